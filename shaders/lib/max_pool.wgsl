// Windows of max pooling, and the pixel that each picks.

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
