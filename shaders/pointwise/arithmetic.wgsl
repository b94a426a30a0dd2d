// `out = a ∘ b`, value by value; an invocation does four.

#import lib/index.wgsl

struct Params {
    // In vec4s.
    len: u32,
    // Of b in a mixture.
    share: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<real_a>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<real_b>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<real_out>>;

// 0 sum, 1 difference, 2 product, 3 mixture
override KIND: u32 = 0u;
override WORKGROUP: u32 = 256u;

fn combine(a: vec4f, b: vec4f) -> vec4f {
    switch KIND {
        case 0u: { return a + b; }
        case 1u: { return a - b; }
        case 2u: { return a * b; }
        default: { return a + params.share * (b - a); }
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
    out[i] = vec4<real_out>(combine(vec4f(a[i]), vec4f(b[i])));
}
