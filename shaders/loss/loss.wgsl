// Σ distance(p, t)·scale over a workgroup's share of the values, one partial sum a workgroup: the
// invocations stride over the values, then add as a tree. `reduce/sum` adds the partial sums.

#import lib/sum.wgsl

struct Params {
    len: u32,
    // What of its own a workgroup adds up.
    share: u32,
    // 1 / len
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> p: array<real_p>;
@group(0) @binding(2) var<storage, read> t: array<real_t>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

// 0 absolute, 1 squared, 2 cross-entropy of logits, 3 no distance, but the product
override KIND: u32 = 0u;
const WORKGROUP: u32 = 256u;

fn distance_of(p: f32, t: f32) -> f32 {
    switch KIND {
        case 0u: { return abs(p - t); }
        case 1u: { return (p - t) * (p - t); }
        case 3u: { return p * t; }
        default: { return max(p, 0.0) - p * t + log(1.0 + exp(-abs(p))); }
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(local_invocation_index) local_index: u32,
) {
    let start = workgroup_id.x * params.share;
    let end = min(start + params.share, params.len);
    var sum = 0.0;
    for (var i = start + local_index; i < end; i += WORKGROUP) {
        sum += distance_of(f32(p[i]), f32(t[i]));
    }
    sum = workgroup_sum(sum, local_index);
    if local_index == 0u {
        out[workgroup_id.x] = sum * params.scale;
    }
}
