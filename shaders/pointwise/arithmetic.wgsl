// `out = a ∘ b`, value by value; an invocation does four.

#import lib/index.wgsl

struct Params {
    // In vec4s.
    len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;

// 0 sum, 1 difference, 2 product
override KIND: u32 = 0u;
override WORKGROUP: u32 = 256u;

fn combine(a: vec4f, b: vec4f) -> vec4f {
    switch KIND {
        case 0u: { return a + b; }
        case 1u: { return a - b; }
        default: { return a * b; }
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
    out[i] = combine(a[i], b[i]);
}
