// Winograd's transform G g Gᵀ of 3×3 filters M×C; an invocation makes a filter.

#import lib/index.wgsl

struct Params {
    len: u32,
    channels: u32,
    // From one place of transformed filters to the next, one of M, one of C.
    place: u32,
    of_m: u32,
    of_c: u32,
    // Whether filters are turned by half a turn, as the gradient of the image has them.
    turned: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

override WORKGROUP: u32 = 64u;

#import lib/winograd.wgsl

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
    let m = i / params.channels;
    let onto = m * params.of_m + (i - m * params.channels) * params.of_c;
    var columns: array<Six, 3>;
    for (var x = 0u; x < 3u; x++) {
        var column: Three;
        for (var y = 0u; y < 3u; y++) {
            let tap = 3u * y + x;
            column[y] = weight[9u * i + select(tap, 8u - tap, params.turned != 0u)];
        }
        columns[x] = filter_transform(column);
    }
    for (var y = 0u; y < 6u; y++) {
        let row = filter_transform(Three(columns[0][y], columns[1][y], columns[2][y]));
        for (var x = 0u; x < 6u; x++) {
            out[onto + (6u * y + x) * params.place] = row[x];
        }
    }
}
