// Whether and how a step along gradients is taken, from the sums of their squares: 0 what gradients are
// multiplied with, or −1 for no step, 1 their norm. One invocation: there are as many sums as parameters.

#import lib/finite.wgsl

struct Params {
    len: u32,
    // What undoes the scale of the loss.
    factor: f32,
    // The norm that longer gradients are brought to.
    most: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> squares: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(1)
fn main() {
    var sum = 0.0;
    for (var i = 0u; i < params.len; i++) {
        sum += squares[i];
    }
    if !is_finite(sum) {
        out[0] = -1.0;
        out[1] = sum;
        return;
    }
    let norm = sqrt(sum) * params.factor;
    out[1] = norm;
    out[0] = params.factor;
    if norm > params.most {
        out[0] = params.factor * (params.most / norm);
    }
}
