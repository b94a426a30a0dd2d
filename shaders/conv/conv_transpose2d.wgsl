// Transposed convolution in gather form. With stride s the output falls into s·s phases (residues of
// its coordinates), and each sees only every s-th tap along an axis: a dense convolution of its own,
// a layer of `lib/gemm`. Rows are output channels, columns a phase's positions in the whole batch,
// the depth is the image's channels times the phase's taps: none is tested in vain.

struct Params {
    // `columns` and `depth` are those of the largest phase.
    gemm: Gemm,
    batch: u32,
    // Of the image.
    channels: u32,
    height: u32,
    width: u32,
    // Of the output.
    down: u32,
    across: u32,
    // Phases side by side.
    phases_x: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> image: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

override KERNEL_H: u32 = 3u;
override KERNEL_W: u32 = 3u;
override STRIDE: u32 = 1u;
override PADDING: u32 = 1u;
override BIAS: bool = false;
// The most taps that a phase has side by side: ⌈KERNEL_W / STRIDE⌉. Others have one less.
override TAPS_X: u32 = 3u;
override FEWER_TAPS_X: u32 = 2u;

const A_ALONG_DEPTH: bool = true;
const B_ALONG_DEPTH: bool = false;

// After the overrides: naga 30 fails on those that follow an array whose length is computed of some.
#import lib/gemm.wgsl

struct Phase {
    // The first position's coordinates in the output; the others follow by STRIDE.
    y: u32,
    x: u32,
    // Its positions.
    down: u32,
    across: u32,
    // Its first tap; the others follow by STRIDE.
    tap_y: u32,
    tap_x: u32,
    // The pixel that the first tap sees from the first position; tap t sees the t-th before it.
    image_y: u32,
    image_x: u32,
    // How many taps.
    taps: u32,
    all_taps_x: bool,
}

var<private> phase: Phase;
var<private> split: u32;

fn phase_at(layer: u32) -> Phase {
    let y = layer / params.phases_x;
    let x = layer % params.phases_x;
    let tap_y = (y + PADDING) % STRIDE;
    let tap_x = (x + PADDING) % STRIDE;
    let taps_y = (max(KERNEL_H, tap_y) - tap_y + STRIDE - 1u) / STRIDE;
    let taps_x = (max(KERNEL_W, tap_x) - tap_x + STRIDE - 1u) / STRIDE;
    return Phase(
        y,
        x,
        (params.down - y + STRIDE - 1u) / STRIDE,
        (params.across - x + STRIDE - 1u) / STRIDE,
        tap_y,
        tap_x,
        (y + PADDING) / STRIDE,
        (x + PADDING) / STRIDE,
        taps_y * taps_x,
        taps_x == TAPS_X,
    );
}

struct Column {
    // What the first tap sees: in channel 0 of `image`, and its coordinates.
    image: u32,
    y: u32,
    x: u32,
    // In channel 0 of `out`.
    out: u32,
}

fn column_at(column: u32) -> Column {
    let plane = phase.down * phase.across;
    let item = column / plane;
    let position = column - item * plane;
    let down = position / phase.across;
    let across = position - down * phase.across;
    let y = phase.image_y + down;
    let x = phase.image_x + across;
    let out_y = phase.y + down * STRIDE;
    let out_x = phase.x + across * STRIDE;
    return Column(
        (item * params.channels * params.height + y) * params.width + x,
        y,
        x,
        (item * params.gemm.rows * params.down + out_y) * params.across + out_x,
    );
}

struct Depth {
    // In the weights of output channel 0.
    weight: u32,
    // From what the first tap sees: in `image` (wrapping), and backwards in coordinates.
    image: u32,
    y: u32,
    x: u32,
}

fn depth_at(k: u32) -> Depth {
    let channel = k / phase.taps;
    let tap = k - channel * phase.taps;
    // Two divisions by constants are cheaper than one by a variable.
    let y = select(tap / FEWER_TAPS_X, tap / TAPS_X, phase.all_taps_x);
    let x = tap - y * select(FEWER_TAPS_X, TAPS_X, phase.all_taps_x);
    let weight = (phase.tap_y + y * STRIDE) * KERNEL_W + phase.tap_x + x * STRIDE;
    return Depth(
        channel * params.gemm.rows * KERNEL_H * KERNEL_W + weight,
        (channel * params.height - y) * params.width - x,
        y,
        x,
    );
}

fn a_at(row: u32, depth: Depth) -> f32 {
    return weight[depth.weight + row * KERNEL_H * KERNEL_W];
}

fn b_at(column: Column, depth: Depth) -> f32 {
    // Coordinates below zero have wrapped to large ones.
    if column.y - depth.y < params.height && column.x - depth.x < params.width {
        return image[column.image + depth.image];
    }
    return 0.0;
}

fn store(row: u32, column: Column, value: f32) {
    var total = value;
    if BIAS && split == 0u {
        total += bias[row];
    }
    out[split * params.gemm.len + column.out + row * params.down * params.across] = total;
}

@compute @workgroup_size(GROUP_N, GROUP_M)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local_index: u32,
) {
    let tile = tile_of(params.gemm, workgroup_id.y * num_workgroups.x + workgroup_id.x);
    if !tile.exists {
        return;
    }
    phase = phase_at(tile.layer);
    split = tile.split;
    var gemm = params.gemm;
    gemm.columns = params.batch * phase.down * phase.across;
    gemm.depth = params.channels * phase.taps;
    if tile.column < gemm.columns {
        multiply(gemm, tile, local_index);
    }
}
