// Winograd's transform Bᵀ d B of an image's 6×6 tiles, which overlap by two; an invocation makes a tile.

#import lib/index.wgsl
#import lib/tiles.wgsl

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> image: array<real_image>;
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
    // Coordinates below zero wrap to large ones.
    let top = 4u * tile.y - params.padding;
    let left = 4u * tile.x - params.padding;
    var columns: array<Six, 6>;
    for (var x = 0u; x < 6u; x++) {
        var column: Six;
        for (var y = 0u; y < 6u; y++) {
            column[y] = 0.0;
            if top + y < params.height && left + x < params.width {
                column[y] = f32(image[tile.plane + (top + y) * params.width + left + x]);
            }
        }
        columns[x] = image_transform(column);
    }
    for (var y = 0u; y < 6u; y++) {
        let row = image_transform(Six(
            columns[0][y], columns[1][y], columns[2][y], columns[3][y], columns[4][y], columns[5][y],
        ));
        for (var x = 0u; x < 6u; x++) {
            out[tile.transformed + (6u * y + x) * params.place] = row[x];
        }
    }
}
