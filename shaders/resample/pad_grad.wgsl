// The adjoint of padding: an invocation makes an image pixel, the sum of the padded positions that
// show it. Along each axis these are the pixel itself and up to two reflections.

#import lib/index.wgsl

struct Params {
    len: u32,
    height: u32,
    width: u32,
    left: u32,
    top: u32,
    padded_height: u32,
    padded_width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> g: array<real_g>;
@group(0) @binding(2) var<storage, read_write> out: array<real_out>;

override REFLECT: bool = true;
override WORKGROUP: u32 = 256u;

const NOWHERE: u32 = 0xffffffffu;

// The positions that show pixel `at`: in the middle, before the image and after it.
fn positions(at: u32, before: u32, extent: u32, padded: u32) -> array<u32, 3> {
    var found = array<u32, 3>(before + at, NOWHERE, NOWHERE);
    if REFLECT {
        if at > 0u && at <= before {
            found[1] = before - at;
        }
        let after = before + 2u * (extent - 1u) - at;
        if at < extent - 1u && after < padded {
            found[2] = after;
        }
    }
    return found;
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
    var rows = positions(row - plane * params.height, params.top, params.height, params.padded_height);
    var columns = positions(i - row * params.width, params.left, params.width, params.padded_width);
    var sum = 0.0;
    for (var down = 0u; down < 3u; down++) {
        if rows[down] == NOWHERE {
            continue;
        }
        let start = (plane * params.padded_height + rows[down]) * params.padded_width;
        for (var across = 0u; across < 3u; across++) {
            if columns[across] != NOWHERE {
                sum += f32(g[start + columns[across]]);
            }
        }
    }
    out[i] = real_out(sum);
}
