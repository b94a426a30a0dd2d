// Winograd's transform A y Aᵀ of the 4×4 tiles of an output's gradient; an invocation makes a tile.

#import lib/index.wgsl
#import lib/tiles.wgsl

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> grad: array<real_grad>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

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
    var columns: array<Six, 4>;
    for (var x = 0u; x < 4u; x++) {
        var column: Four;
        for (var y = 0u; y < 4u; y++) {
            column[y] = 0.0;
            if 4u * tile.y + y < params.height && 4u * tile.x + x < params.width {
                column[y] = f32(grad[tile.plane + (4u * tile.y + y) * params.width + 4u * tile.x + x]);
            }
        }
        columns[x] = result_adjoint(column);
    }
    for (var y = 0u; y < 6u; y++) {
        let row = result_adjoint(Four(columns[0][y], columns[1][y], columns[2][y], columns[3][y]));
        for (var x = 0u; x < 6u; x++) {
            out[tile.transformed + (6u * y + x) * params.place] = row[x];
        }
    }
}
