// g·scale·∂distance/∂p, where g is the gradient of the mean; an invocation does four values.

#import lib/index.wgsl
#import lib/logistic.wgsl

struct Params {
    // In vec4s.
    len: u32,
    // 1 / the number of values
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> p: array<vec4<real_p>>;
@group(0) @binding(2) var<storage, read> t: array<vec4<real_t>>;
@group(0) @binding(3) var<storage, read> g: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<real_out>>;

// 0 absolute, 1 squared, 2 cross-entropy of logits
override KIND: u32 = 0u;
override WORKGROUP: u32 = 256u;

fn slope(p: vec4f, t: vec4f) -> vec4f {
    switch KIND {
        case 0u: { return sign(p - t); }
        case 1u: { return 2.0 * (p - t); }
        default: { return sigmoid(p) - t; }
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
    out[i] = vec4<real_out>(g[0] * params.scale * slope(vec4f(p[i]), vec4f(t[i])));
}
