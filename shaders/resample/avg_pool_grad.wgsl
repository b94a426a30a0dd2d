// The adjoint of average pooling: an invocation makes an image pixel, its share of its square.

#import lib/index.wgsl

struct Params {
    len: u32,
    height: u32,
    width: u32,
    // Squares down and across.
    down: u32,
    across: u32,
    kernel: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> g: array<real_g>;
@group(0) @binding(2) var<storage, read_write> out: array<real_out>;

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
    let kernel = params.kernel;
    let row = i / params.width;
    let plane = row / params.height;
    let y = (row - plane * params.height) / kernel;
    let x = (i - row * params.width) / kernel;
    var value = 0.0;
    // Pixels at the end that fill no square have no part in a mean.
    if y < params.down && x < params.across {
        value = f32(g[(plane * params.down + y) * params.across + x]) / f32(kernel * kernel);
    }
    out[i] = real_out(value);
}
