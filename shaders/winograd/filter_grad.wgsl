// Winograd's transform Gᵀ u G to the gradient of 3×3 filters; an invocation makes a filter.

#import lib/index.wgsl

struct Params {
    len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> products: array<f32>;
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
    var columns: array<Three, 6>;
    for (var x = 0u; x < 6u; x++) {
        var column: Six;
        for (var y = 0u; y < 6u; y++) {
            column[y] = products[i + (6u * y + x) * params.len];
        }
        columns[x] = filter_adjoint(column);
    }
    for (var y = 0u; y < 3u; y++) {
        let row = filter_adjoint(Six(
            columns[0][y], columns[1][y], columns[2][y], columns[3][y], columns[4][y], columns[5][y],
        ));
        for (var x = 0u; x < 3u; x++) {
            out[9u * i + 3u * y + x] = row[x];
        }
    }
}
