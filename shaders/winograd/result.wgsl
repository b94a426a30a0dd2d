// Winograd's transform Aᵀ m A to an output's 4×4 tiles, and the bias; an invocation makes a tile.

#import lib/index.wgsl
#import lib/tiles.wgsl

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> products: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<real_out>;

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
    let tile = tile_at(i);
    var columns: array<Four, 6>;
    for (var x = 0u; x < 6u; x++) {
        var column: Six;
        for (var y = 0u; y < 6u; y++) {
            column[y] = products[tile.transformed + (6u * y + x) * params.place];
        }
        columns[x] = result_transform(column);
    }
    var added = 0.0;
    if params.has_bias != 0u {
        added = bias[tile.channel];
    }
    for (var y = 0u; y < 4u; y++) {
        let row = result_transform(Six(
            columns[0][y], columns[1][y], columns[2][y], columns[3][y], columns[4][y], columns[5][y],
        ));
        for (var x = 0u; x < 4u; x++) {
            if 4u * tile.y + y < params.height && 4u * tile.x + x < params.width {
                out[tile.plane + (4u * tile.y + y) * params.width + 4u * tile.x + x] = real_out(row[x] + added);
            }
        }
    }
}
