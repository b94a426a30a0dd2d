// A nonlinearity of each value; an invocation does four.

#import lib/index.wgsl
#import lib/logistic.wgsl

struct Params {
    // In vec4s.
    len: u32,
    // Of the leaky relu.
    slope: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<real_x>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<real_out>>;

// 0 relu, 1 leaky relu, 2 tanh, 3 sigmoid
override KIND: u32 = 0u;
override WORKGROUP: u32 = 256u;

fn activation(x: vec4f) -> vec4f {
    switch KIND {
        case 0u: { return max(x, vec4f(0.0)); }
        case 1u: { return select(params.slope * x, x, x > vec4f(0.0)); }
        case 2u: { return safe_tanh(x); }
        default: { return sigmoid(x); }
    }
}

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
    out[i] = vec4<real_out>(activation(vec4f(x[i])));
}
