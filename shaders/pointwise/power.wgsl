// x to the power of a whole number or a half more, or the inverse of that; an invocation does four values.
// Products and roots, since pow() may err by thousands of roundings.

#import lib/index.wgsl

struct Params {
    // In vec4s.
    len: u32,
    // The exponent, without sign and half.
    whole: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<real_x>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<real_out>>;

// Whether there is a half more.
override ROOTED: u32 = 0u;
override INVERSE: u32 = 0u;
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
    let base = vec4f(x[i]);
    var power = vec4f(1.0);
    if ROOTED == 1u {
        power = sqrt(base);
    }
    for (var j = 0u; j < params.whole; j++) {
        power *= base;
    }
    if INVERSE == 1u {
        power = 1.0 / power;
    }
    out[i] = vec4<real_out>(power);
}
