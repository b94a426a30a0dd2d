// Means of squares that don't overlap; an invocation makes a mean.

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
@group(0) @binding(1) var<storage, read> x: array<real_x>;
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
    let row = i / params.across;
    let plane = row / params.down;
    let y = (row - plane * params.down) * kernel;
    let start = (plane * params.height + y) * params.width + (i - row * params.across) * kernel;
    var sum = 0.0;
    for (var down = 0u; down < kernel; down++) {
        for (var across = 0u; across < kernel; across++) {
            sum += f32(x[start + down * params.width + across]);
        }
    }
    out[i] = real_out(sum / f32(kernel * kernel));
}
