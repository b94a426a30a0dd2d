// The gradient of a nonlinearity from its output y and the gradient g of that: g·f′; an invocation
// does four values.

#import lib/index.wgsl

struct Params {
    // In vec4s.
    len: u32,
    // Of the leaky relu.
    slope: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<vec4<real_y>>;
@group(0) @binding(2) var<storage, read> g: array<vec4<real_g>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<real_out>>;

// 0 relu, 1 leaky relu, 2 tanh, 3 sigmoid
override KIND: u32 = 0u;
override WORKGROUP: u32 = 256u;

fn gradient(y: vec4f, g: vec4f) -> vec4f {
    switch KIND {
        case 0u: { return select(vec4f(0.0), g, y > vec4f(0.0)); }
        case 1u: { return select(params.slope * g, g, y > vec4f(0.0)); }
        case 2u: { return g * (1.0 - y * y); }
        default: { return g * y * (1.0 - y); }
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
    out[i] = vec4<real_out>(gradient(vec4f(y[i]), vec4f(g[i])));
}
