// The tiled matrix product behind convolutions and matmul: out = A·B with rows × depth and depth ×
// columns, whose elements the kernel gathers from wherever they are.
//
// A workgroup makes a tile of 4·GROUP_M × 4·GROUP_N results in K_STEPs: it gathers that much depth
// of A and B into workgroup memory, then each invocation multiplies 4 rows by 4 columns of them.
// An invocation's rows lie GROUP_M apart and its columns GROUP_N, so that neighbours load and store
// neighbouring addresses. Long depths are cut into splits that write partial results.
//
// The kernel provides:
//   struct Column, fn column_at(column) -> Column    what b_at and store need to know of a column
//   struct Depth, fn depth_at(k) -> Depth            what a_at and b_at need to know of a depth
//   fn a_at(row, Depth) -> f32, fn b_at(Column, Depth) -> f32
//   fn store(row, Column, value)
//   A_ALONG_DEPTH, B_ALONG_DEPTH                     whether neighbours in depth are neighbours in memory

struct Gemm {
    rows: u32,
    columns: u32,
    depth: u32,
    // Depth of a split, a multiple of K_STEP, and the number of splits.
    split: u32,
    splits: u32,
    column_tiles: u32,
    // Independent products, such as a batch; the kernel tells them apart.
    layers: u32,
    // Values of the output, and so of each split's partial results.
    len: u32,
}

struct Tile {
    row: u32,
    column: u32,
    split: u32,
    layer: u32,
    // Workgroups past the last tile have nothing to do.
    exists: bool,
}

// A power of two each; together at least K_STEP.
override GROUP_M: u32 = 16u;
override GROUP_N: u32 = 16u;
const K_STEP: u32 = 16u;

// One column of vec4s more than needed keeps stores along the depth in different memory banks.
var<workgroup> tile_a: array<vec4f, K_STEP * (GROUP_M + 1u)>;
var<workgroup> tile_b: array<vec4f, K_STEP * (GROUP_N + 1u)>;

// Row tiles vary fastest, so that workgroups that run together share columns.
fn tile_of(gemm: Gemm, workgroup: u32) -> Tile {
    let row_tiles = (gemm.rows + 4u * GROUP_M - 1u) / (4u * GROUP_M);
    let row_tile = workgroup % row_tiles;
    var rest = workgroup / row_tiles;
    let column_tile = rest % gemm.column_tiles;
    rest /= gemm.column_tiles;
    return Tile(
        row_tile * 4u * GROUP_M,
        column_tile * 4u * GROUP_N,
        rest % gemm.splits,
        rest / gemm.splits,
        rest / gemm.splits < gemm.layers,
    );
}

// A's elements at four rows.
fn gather_a(rows: vec4u, depth: Depth) -> vec4f {
    return vec4f(
        a_at(rows.x, depth),
        a_at(rows.y, depth),
        a_at(rows.z, depth),
        a_at(rows.w, depth),
    );
}

fn multiply(gemm: Gemm, tile: Tile, local_index: u32) {
    let my_row = local_index / GROUP_N;
    let my_column = local_index % GROUP_N;
    // Rows and columns past the end gather those at the end; they are not stored.
    let row_offsets = vec4u(0u, 1u, 2u, 3u) * GROUP_M;
    let column_offsets = vec4u(0u, 1u, 2u, 3u) * GROUP_N;
    let last_row = vec4u(gemm.rows - 1u);
    let last_column = vec4u(gemm.columns - 1u);
    let columns = tile.column + my_column + column_offsets;
    let clamped = min(columns, last_column);
    let column_0 = column_at(clamped.x);
    let column_1 = column_at(clamped.y);
    let column_2 = column_at(clamped.z);
    let column_3 = column_at(clamped.w);

    // Results of row 0, 1, 2, 3 in four columns.
    var sum_0 = vec4f(0.0);
    var sum_1 = vec4f(0.0);
    var sum_2 = vec4f(0.0);
    var sum_3 = vec4f(0.0);
    let end = min((tile.split + 1u) * gemm.split, gemm.depth);
    for (var start = tile.split * gemm.split; start < end; start += K_STEP) {
        for (var i = local_index; i < K_STEP * GROUP_M; i += GROUP_M * GROUP_N) {
            let at = select(vec2u(i / GROUP_M, i % GROUP_M), vec2u(i % K_STEP, i / K_STEP), A_ALONG_DEPTH);
            var values = vec4f(0.0);
            if start + at.x < end {
                let rows = min(tile.row + at.y + row_offsets, last_row);
                values = gather_a(rows, depth_at(start + at.x));
            }
            tile_a[at.x * (GROUP_M + 1u) + at.y] = values;
        }
        if B_ALONG_DEPTH {
            for (var i = local_index; i < K_STEP * GROUP_N; i += GROUP_M * GROUP_N) {
                let at = vec2u(i % K_STEP, i / K_STEP);
                var values = vec4f(0.0);
                if start + at.x < end {
                    let depth = depth_at(start + at.x);
                    let columns = min(tile.column + at.y + column_offsets, last_column);
                    values = vec4f(
                        b_at(column_at(columns.x), depth),
                        b_at(column_at(columns.y), depth),
                        b_at(column_at(columns.z), depth),
                        b_at(column_at(columns.w), depth),
                    );
                }
                tile_b[at.x * (GROUP_N + 1u) + at.y] = values;
            }
        } else {
            // An invocation gathers the columns that it will multiply: it knows them already.
            for (var k = my_row; k < K_STEP; k += GROUP_M) {
                var values = vec4f(0.0);
                if start + k < end {
                    let depth = depth_at(start + k);
                    values = vec4f(
                        b_at(column_0, depth),
                        b_at(column_1, depth),
                        b_at(column_2, depth),
                        b_at(column_3, depth),
                    );
                }
                tile_b[k * (GROUP_N + 1u) + my_column] = values;
            }
        }
        workgroupBarrier();
        // Summed a step at a time: rounding errors grow with the root of the depth otherwise.
        var part_0 = vec4f(0.0);
        var part_1 = vec4f(0.0);
        var part_2 = vec4f(0.0);
        var part_3 = vec4f(0.0);
        for (var k = 0u; k < K_STEP; k++) {
            let a = tile_a[k * (GROUP_M + 1u) + my_row];
            let b = tile_b[k * (GROUP_N + 1u) + my_column];
            part_0 = fma(vec4f(a.x), b, part_0);
            part_1 = fma(vec4f(a.y), b, part_1);
            part_2 = fma(vec4f(a.z), b, part_2);
            part_3 = fma(vec4f(a.w), b, part_3);
        }
        sum_0 += part_0;
        sum_1 += part_1;
        sum_2 += part_2;
        sum_3 += part_3;
        workgroupBarrier();
    }

    let rows = tile.row + my_row + row_offsets;
    for (var i = 0u; i < 4u; i++) {
        let row = rows[i];
        if row < gemm.rows {
            var sum = sum_0;
            switch i {
                case 1u: { sum = sum_1; }
                case 2u: { sum = sum_2; }
                case 3u: { sum = sum_3; }
                default: {}
            }
            if columns.x < gemm.columns { store(row, column_0, sum.x); }
            if columns.y < gemm.columns { store(row, column_1, sum.y); }
            if columns.z < gemm.columns { store(row, column_2, sum.z); }
            if columns.w < gemm.columns { store(row, column_3, sum.w); }
        }
    }
}
