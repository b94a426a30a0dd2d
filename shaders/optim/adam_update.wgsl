// A parameter after a step of Adam: p − rate·m / (√v · v_scale + eps), where all m stand before
// all v; as it was, if the gate is closed. An invocation does a value.

#import lib/index.wgsl

struct Params {
    len: u32,
    rate: f32,
    v_scale: f32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> p: array<f32>;
@group(0) @binding(2) var<storage, read> moments: array<f32>;
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
    if gate[0] < 0.0 {
        out[i] = p[i];
        return;
    }
    let m = moments[i];
    let v = moments[params.len + i];
    out[i] = p[i] - params.rate * m / (sqrt(v) * params.v_scale + params.eps);
}
