// Adam's moments after a gradient g, which is multiplied by the gate's factor first: m ← β₁·m + (1 − β₁)·g
// and v ← β₂·v + (1 − β₂)·g², where all m stand before all v; as they were, if the gate is closed. An
// invocation does one of each.

#import lib/index.wgsl

struct Params {
    // Of g.
    len: u32,
    beta1: f32,
    beta2: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> moments: array<f32>;
@group(0) @binding(2) var<storage, read> g: array<f32>;
// What `gradient_gate` says.
@group(0) @binding(3) var<storage, read> gate: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

override WORKGROUP: u32 = 256u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local_index: u32,
) {
    let i = flat_index(workgroup_id, num_workgroups, local_index, WORKGROUP);
    if i >= params.len {
        return;
    }
    let v = params.len + i;
    let factor = gate[0];
    if factor < 0.0 {
        out[i] = moments[i];
        out[v] = moments[v];
        return;
    }
    let gradient = factor * g[i];
    out[i] = params.beta1 * moments[i] + (1.0 - params.beta1) * gradient;
    out[v] = params.beta2 * moments[v] + (1.0 - params.beta2) * gradient * gradient;
}
