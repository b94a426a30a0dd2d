// Products of a batch of matrices, a layer of `lib/gemm` each; either factor may be stored
// transposed, which changes only where its elements are and in which order they are gathered.

struct Params {
    gemm: Gemm,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<real_a>;
@group(0) @binding(2) var<storage, read> b: array<real_b>;
@group(0) @binding(3) var<storage, read_write> out: array<real_out>;

// Whether a is stored as rows × depth, rather than transposed, and b transposed.
override A_ALONG_DEPTH: bool = true;
override B_ALONG_DEPTH: bool = false;

// After the overrides: naga 30 fails on those that follow an array whose length is computed of some.
#import lib/gemm.wgsl

var<private> tile: Tile;

struct Column {
    column: u32,
}

fn column_at(column: u32) -> Column {
    return Column(column);
}

struct Depth {
    k: u32,
}

fn depth_at(k: u32) -> Depth {
    return Depth(k);
}

fn a_at(row: u32, depth: Depth) -> f32 {
    let start = tile.layer * params.gemm.rows * params.gemm.depth;
    if A_ALONG_DEPTH {
        return f32(a[start + row * params.gemm.depth + depth.k]);
    }
    return f32(a[start + depth.k * params.gemm.rows + row]);
}

fn b_at(column: Column, depth: Depth) -> f32 {
    let start = tile.layer * params.gemm.columns * params.gemm.depth;
    if B_ALONG_DEPTH {
        return f32(b[start + column.column * params.gemm.depth + depth.k]);
    }
    return f32(b[start + depth.k * params.gemm.columns + column.column]);
}

fn store(row: u32, column: Column, value: f32) {
    let start = tile.split * params.gemm.len + tile.layer * params.gemm.rows * params.gemm.columns;
    out[start + row * params.gemm.columns + column.column] = real_out(value);
}

@compute @workgroup_size(GROUP_N, GROUP_M)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local_index: u32,
) {
    tile = tile_of(params.gemm, workgroup_id.y * num_workgroups.x + workgroup_id.x);
    if !tile.exists {
        return;
    }
    multiply(params.gemm, tile, local_index);
}
