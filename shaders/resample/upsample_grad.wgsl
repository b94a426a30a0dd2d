// The adjoint of upsampling: an invocation makes an image pixel, the weighted sum of the new pixels
// that were made of it.

#import lib/index.wgsl
#import lib/interpolate.wgsl

struct Params {
    len: u32,
    height: u32,
    width: u32,
    factor: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> g: array<real_g>;
@group(0) @binding(2) var<storage, read_write> out: array<real_out>;

override BILINEAR: bool = false;
override WORKGROUP: u32 = 256u;

// The new pixels that may be made of old pixel `at`: first, and one past the last.
fn reach(at: u32, extent: u32) -> vec2u {
    let factor = params.factor;
    let margin = select(0u, (factor + 1u) / 2u, BILINEAR);
    return vec2u(
        max(at * factor, margin) - margin,
        min((at + 1u) * factor + margin, extent * factor),
    );
}

// What part of new pixel i is old pixel `at`.
fn part(i: u32, at: u32, extent: u32) -> f32 {
    let place = between(i, params.factor, extent);
    return select(0.0, 1.0 - place.weight, place.first == at)
        + select(0.0, place.weight, place.second == at);
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
    let row = i / params.width;
    let plane = row / params.height;
    let y = row - plane * params.height;
    let x = i - row * params.width;
    let rows = reach(y, params.height);
    let columns = reach(x, params.width);
    let large = vec2u(params.height, params.width) * params.factor;
    var sum = 0.0;
    for (var down = rows.x; down < rows.y; down++) {
        let start = (plane * large.x + down) * large.y;
        var line = 0.0;
        for (var across = columns.x; across < columns.y; across++) {
            line += part(across, x, params.width) * f32(g[start + across]);
        }
        sum += part(down, y, params.height) * line;
    }
    out[i] = real_out(sum);
}
