// A sum of products over two indices, `outer` and `inner`, for each row and column: convolutions,
// their gradients and matrix products, by what the index arithmetic in `Params` says. Nothing is tested
// inside of the sum, so images have to be padded already.
//
// A subgroup makes a tile of ROWS rows × 4·SUBGROUP columns (twice as many if WIDE) in registers. Each
// lane loads the B of its own columns and a share of the tile's A, which the lanes then pass round: no
// workgroup memory, no barrier. The device's subgroups must all be of SUBGROUP lanes, 8, 16, 32 or 64.

struct Params {
    rows: u32,
    columns: u32,
    // Independent products.
    layers: u32,
    // Products of a sum: outer · inner. `outer` counts in two dimensions, whose second is this.
    outer: u32,
    outer_x: u32,
    inner: u32,
    // Outer indices of a split, and the splits; each split writes `len` values of its own.
    split: u32,
    splits: u32,
    len: u32,
    column_tiles: u32,
    // Columns count in three dimensions, of which these are the second and third.
    column_y: u32,
    column_x: u32,
    has_bias: u32,
    // Where things are: an offset, then steps for each index.
    a: u32,
    a_layer: u32,
    a_row: u32,
    a_outer_y: u32,
    a_outer_x: u32,
    a_inner: u32,
    b: u32,
    b_layer: u32,
    b_column_z: u32,
    b_column_y: u32,
    b_column_x: u32,
    b_outer_y: u32,
    b_outer_x: u32,
    b_inner: u32,
    out: u32,
    out_layer: u32,
    out_row: u32,
    out_column_z: u32,
    out_column_y: u32,
    out_column_x: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// The same buffer by values and by fours.
@group(0) @binding(1) var<storage, read> a: array<real_a>;
@group(0) @binding(2) var<storage, read> a_quads: array<vec4<real_a_quads>>;
@group(0) @binding(3) var<storage, read> b: array<real_b>;
@group(0) @binding(4) var<storage, read> b_quads: array<vec4<real_b_quads>>;
@group(0) @binding(5) var<storage, read> bias: array<real_bias>;
@group(0) @binding(6) var<storage, read_write> out: array<real_out>;

override SUBGROUP: u32 = 32u;
override WIDE: bool = false;
// Whether four inner neighbours of A, and four neighbouring columns of B, are a quad in memory.
override A_QUADS: bool = false;
override B_QUADS: bool = false;

// Whether sums of STRETCH products are summed in turn, as in lib/gemm: rounding errors grow with the root of the depth
// otherwise. It takes twice the registers.
override TWO_LEVELS: bool = false;

// Rows of a tile: 16, or 4 where there are no more.
override ROWS: u32 = 16u;

const STRETCH: u32 = 16u;

// Registers, not arrays: not every driver makes one of the other. Four columns of each row.
var<private> sum_0: mat4x4f;
var<private> sum_4: mat4x4f;
var<private> sum_8: mat4x4f;
var<private> sum_12: mat4x4f;
var<private> wide_0: mat4x4f;
var<private> wide_4: mat4x4f;
var<private> wide_8: mat4x4f;
var<private> wide_12: mat4x4f;
var<private> total_0: mat4x4f;
var<private> total_4: mat4x4f;
var<private> total_8: mat4x4f;
var<private> total_12: mat4x4f;
var<private> wide_total_0: mat4x4f;
var<private> wide_total_4: mat4x4f;
var<private> wide_total_8: mat4x4f;
var<private> wide_total_12: mat4x4f;

// Four inner neighbours of A in a row, zeros after the last.
fn a_at(row: u32, k: u32) -> vec4f {
    var values: vec4f;
    if A_QUADS {
        values = vec4f(a_quads[(row + min(k, params.inner - 1u)) / 4u]);
    } else {
        let last = vec4u(params.inner - 1u);
        let at = row + min(k + vec4u(0u, 1u, 2u, 3u), last) * params.a_inner;
        values = vec4f(f32(a[at.x]), f32(a[at.y]), f32(a[at.z]), f32(a[at.w]));
    }
    return select(vec4f(0.0), values, k + vec4u(0u, 1u, 2u, 3u) < vec4u(params.inner));
}

fn b_at(columns: vec4u, k: u32) -> vec4f {
    let at = columns + k * params.b_inner;
    if B_QUADS {
        return vec4f(b_quads[at.x / 4u]);
    }
    return vec4f(f32(b[at.x]), f32(b[at.y]), f32(b[at.z]), f32(b[at.w]));
}

// Adds to four rows the products of their A, which `lane` and the next three hold, with this lane's B.
fn add(sum: mat4x4f, a: f32, lane: u32, b: vec4f) -> mat4x4f {
    return mat4x4f(
        fma(vec4f(subgroupShuffle(a, lane)), b, sum[0]),
        fma(vec4f(subgroupShuffle(a, lane + 1u)), b, sum[1]),
        fma(vec4f(subgroupShuffle(a, lane + 2u)), b, sum[2]),
        fma(vec4f(subgroupShuffle(a, lane + 3u)), b, sum[3]),
    );
}

// For one index: `a_0` and `a_1` are A in rows 0 … 7 and 8 … 15, on the eight lanes after `lane`.
fn multiply(a_0: f32, a_1: f32, lane: u32, b_0: vec4f, b_1: vec4f) {
    sum_0 = add(sum_0, a_0, lane, b_0);
    if WIDE {
        wide_0 = add(wide_0, a_0, lane, b_1);
    }
    if ROWS <= 4u {
        return;
    }
    sum_4 = add(sum_4, a_0, lane + 4u, b_0);
    sum_8 = add(sum_8, a_1, lane, b_0);
    sum_12 = add(sum_12, a_1, lane + 4u, b_0);
    if WIDE {
        wide_4 = add(wide_4, a_0, lane + 4u, b_1);
        wide_8 = add(wide_8, a_1, lane, b_1);
        wide_12 = add(wide_12, a_1, lane + 4u, b_1);
    }
}

// Ends a stretch.
fn add_up() {
    total_0 += sum_0;
    total_4 += sum_4;
    total_8 += sum_8;
    total_12 += sum_12;
    sum_0 = mat4x4f();
    sum_4 = mat4x4f();
    sum_8 = mat4x4f();
    sum_12 = mat4x4f();
    if WIDE {
        wide_total_0 += wide_0;
        wide_total_4 += wide_4;
        wide_total_8 += wide_8;
        wide_total_12 += wide_12;
        wide_0 = mat4x4f();
        wide_4 = mat4x4f();
        wide_8 = mat4x4f();
        wide_12 = mat4x4f();
    }
}

// A column's dimensions.
fn place(column: u32) -> vec3u {
    let row = column / params.column_x;
    let z = row / params.column_y;
    return vec3u(z, row - z * params.column_y, column - row * params.column_x);
}

fn b_place(column: u32) -> u32 {
    let at = place(min(column, params.columns - 1u));
    return at.x * params.b_column_z + at.y * params.b_column_y + at.z * params.b_column_x;
}

fn b_places(column: u32) -> vec4u {
    if B_QUADS {
        return vec4u(b_place(column));
    }
    return vec4u(b_place(column), b_place(column + 1u), b_place(column + 2u), b_place(column + 3u));
}

fn out_place(column: u32) -> u32 {
    let at = place(column);
    return at.x * params.out_column_z + at.y * params.out_column_y + at.z * params.out_column_x;
}

fn store(row: u32, offset: u32, column: u32, sum: vec4f) {
    if row >= params.rows {
        return;
    }
    var total = sum;
    if params.has_bias != 0u && offset < params.len {
        total += f32(bias[row]);
    }
    let at = offset + row * params.out_row;
    if column < params.columns { out[at + out_place(column)] = real_out(total.x); }
    if column + 1u < params.columns { out[at + out_place(column + 1u)] = real_out(total.y); }
    if column + 2u < params.columns { out[at + out_place(column + 2u)] = real_out(total.z); }
    if column + 3u < params.columns { out[at + out_place(column + 3u)] = real_out(total.w); }
}

fn store_four(row: u32, offset: u32, column: u32, sums: mat4x4f) {
    store(row, offset, column, sums[0]);
    store(row + 1u, offset, column, sums[1]);
    store(row + 2u, offset, column, sums[2]);
    store(row + 3u, offset, column, sums[3]);
}

@compute @workgroup_size(SUBGROUP)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let row_tiles = (params.rows + ROWS - 1u) / ROWS;
    let workgroup = workgroup_id.y * num_workgroups.x + workgroup_id.x;
    var rest = workgroup / row_tiles;
    let tile_row = (workgroup - rest * row_tiles) * ROWS;
    let column_tile = rest % params.column_tiles;
    rest /= params.column_tiles;
    let split = rest % params.splits;
    let layer = rest / params.splits;
    if layer >= params.layers {
        return;
    }
    let columns_0 = column_tile * select(4u, 8u, WIDE) * SUBGROUP + 4u * lane;
    let columns_1 = columns_0 + 4u * SUBGROUP;
    let b_0 = b_places(columns_0);
    let b_1 = b_places(columns_1);
    let last = params.rows - 1u;
    let a_0 = params.a + layer * params.a_layer + min(tile_row + lane % 8u, last) * params.a_row;
    let a_1 = params.a + layer * params.a_layer + min(tile_row + 8u + lane % 8u, last) * params.a_row;
    let b_layer = params.b + layer * params.b_layer;

    var since = 0u;
    let end = min((split + 1u) * params.split, params.outer);
    for (var outer = split * params.split; outer < end; outer++) {
        let y = outer / params.outer_x;
        let x = outer - y * params.outer_x;
        let a_outer = y * params.a_outer_y + x * params.a_outer_x;
        let b_outer = b_layer + y * params.b_outer_y + x * params.b_outer_x;
        for (var inner = 0u; inner < params.inner; inner += SUBGROUP / 2u) {
            let mine = inner + lane / 8u * 4u;
            let values_0 = a_at(a_0 + a_outer, mine);
            let values_1 = a_at(a_1 + a_outer, mine);
            for (var quad = 0u; quad < SUBGROUP / 8u; quad++) {
                // Past the end A is zero, and B anything that is there.
                let k = min(inner + 4u * quad + vec4u(0u, 1u, 2u, 3u), vec4u(params.inner - 1u));
                let holder = 8u * quad;
                multiply(values_0.x, values_1.x, holder, b_at(b_0 + b_outer, k.x), b_at(b_1 + b_outer, k.x));
                multiply(values_0.y, values_1.y, holder, b_at(b_0 + b_outer, k.y), b_at(b_1 + b_outer, k.y));
                multiply(values_0.z, values_1.z, holder, b_at(b_0 + b_outer, k.z), b_at(b_1 + b_outer, k.z));
                multiply(values_0.w, values_1.w, holder, b_at(b_0 + b_outer, k.w), b_at(b_1 + b_outer, k.w));
            }
            since += SUBGROUP / 2u;
            if TWO_LEVELS && since >= STRETCH {
                add_up();
                since = 0u;
            }
        }
    }
    if TWO_LEVELS {
        add_up();
        sum_0 = total_0;
        sum_4 = total_4;
        sum_8 = total_8;
        sum_12 = total_12;
        wide_0 = wide_total_0;
        wide_4 = wide_total_4;
        wide_8 = wide_total_8;
        wide_12 = wide_total_12;
    }

    let offset = split * params.len + params.out + layer * params.out_layer;
    store_four(tile_row, offset, columns_0, sum_0);
    store_four(tile_row + 4u, offset, columns_0, sum_4);
    store_four(tile_row + 8u, offset, columns_0, sum_8);
    store_four(tile_row + 12u, offset, columns_0, sum_12);
    if WIDE {
        store_four(tile_row, offset, columns_1, wide_0);
        store_four(tile_row + 4u, offset, columns_1, wide_4);
        store_four(tile_row + 8u, offset, columns_1, wide_8);
        store_four(tile_row + 12u, offset, columns_1, wide_12);
    }
}
