// The gradient of max pooling: an invocation makes an image pixel, from those windows that pick it. It looks
// through all windows that hold it, so that no two write to one place.

#import lib/index.wgsl
#import lib/max_pool.wgsl

@group(0) @binding(2) var<storage, read> g: array<real_g>;
@group(0) @binding(3) var<storage, read_write> out: array<real_out>;

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
    let row = i / params.width;
    let plane = row / params.height;
    let y = row - plane * params.height + params.before;
    let x = i - row * params.width + params.before;
    // The first window that reaches so far, and the last that begins so early.
    let first_down = (max(y + 1u, params.kernel) - params.kernel + params.stride - 1u) / params.stride;
    let first_across = (max(x + 1u, params.kernel) - params.kernel + params.stride - 1u) / params.stride;
    let last_down = min(y / params.stride + 1u, params.down);
    let last_across = min(x / params.stride + 1u, params.across);
    var sum = 0.0;
    for (var down = first_down; down < last_down; down++) {
        for (var across = first_across; across < last_across; across++) {
            if pick(plane, down, across) == i {
                sum += f32(g[(plane * params.down + down) * params.across + across]);
            }
        }
    }
    out[i] = real_out(sum);
}
