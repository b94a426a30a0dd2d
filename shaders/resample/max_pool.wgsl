// Max pooling: an invocation finds a window's largest pixel in one image and takes it from another, which
// is the same but in second derivatives.

#import lib/index.wgsl
#import lib/max_pool.wgsl

@group(0) @binding(2) var<storage, read> x: array<real_x>;
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
    let row = i / params.across;
    let plane = row / params.down;
    let best = pick(plane, row - plane * params.down, i - row * params.across);
    out[i] = real_out(x[best]);
}
