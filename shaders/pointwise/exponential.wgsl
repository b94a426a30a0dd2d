// e to the power of x, or the natural logarithm of x; an invocation does four values.

#import lib/index.wgsl

struct Params {
    // In vec4s.
    len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<real_x>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<real_out>>;

override LOGARITHM: u32 = 0u;
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
    let value = vec4f(x[i]);
    if LOGARITHM == 1u {
        out[i] = vec4<real_out>(log(value));
    } else {
        out[i] = vec4<real_out>(exp(value));
    }
}
