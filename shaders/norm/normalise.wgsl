// `out = (x − mean)·scale + shift` with a value of each a plane; a leaky relu may follow at once. An
// invocation does one value.

#import lib/index.wgsl

struct Params {
    len: u32,
    // Values of a plane.
    plane: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<real_x>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> scale: array<f32>;
@group(0) @binding(4) var<storage, read> shift: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<real_out>;

// Factor of what is below zero; 1 is none.
override SLOPE: f32 = 1.0;
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
    let plane = i / params.plane;
    let normed = (f32(x[i]) - mean[plane]) * scale[plane] + shift[plane];
    out[i] = real_out(select(SLOPE * normed, normed, normed > 0.0));
}
