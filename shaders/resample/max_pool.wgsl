// Max pooling: an invocation finds a window's largest pixel in one image and takes it from another, which
// is the same but in second derivatives.

#import lib/index.wgsl

struct Params {
    len: u32,
    height: u32,
    width: u32,
    // Windows down and across.
    down: u32,
    across: u32,
    kernel: u32,
    stride: u32,
    before: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> guide: array<real_guide>;
@group(0) @binding(2) var<storage, read> x: array<real_x>;
@group(0) @binding(3) var<storage, read_write> out: array<real_out>;

override WORKGROUP: u32 = 256u;

// The pixel that a window picks: the first of the largest.
fn pick(plane: u32, down: u32, across: u32) -> u32 {
    let top = max(down * params.stride, params.before) - params.before;
    let left = max(across * params.stride, params.before) - params.before;
    let bottom = min(down * params.stride + params.kernel - params.before, params.height);
    let right = min(across * params.stride + params.kernel - params.before, params.width);
    let start = plane * params.height;
    var best = (start + top) * params.width + left;
    for (var y = top; y < bottom; y++) {
        for (var x = left; x < right; x++) {
            let at = (start + y) * params.width + x;
            if f32(guide[at]) > f32(guide[best]) {
                best = at;
            }
        }
    }
    return best;
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
    let row = i / params.across;
    let plane = row / params.down;
    let best = pick(plane, row - plane * params.down, i - row * params.across);
    out[i] = real_out(x[best]);
}
