// Transposed convolution in gather form. With stride s the output falls into s·s phases (residues of
// its coordinates), and each sees only every s-th tap along an axis: a dense convolution of its own,
// a layer of `lib/gemm`. Rows are output channels, columns a phase's positions in the whole batch,
// the depth is the image's channels times the phase's taps: none is tested in vain.

struct Params {
    // `columns` and `depth` are those of the largest phase.
    gemm: Gemm,
    window: Window,
    batch: u32,
    // Of the image.
    channels: u32,
    height: u32,
    width: u32,
    // Of the output.
    down: u32,
    across: u32,
    // Whether to add one; if not, `bias` is anything.
    has_bias: u32,
    // Phases side by side.
    phases_x: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> image: array<real_image>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<real_out>;

const A_ALONG_DEPTH: bool = true;
const B_ALONG_DEPTH: bool = false;

#import lib/window.wgsl
// After the overrides: naga 30 fails on those that follow an array whose length is computed of some.
#import lib/gemm.wgsl

struct Phase {
    // The first position's coordinates in the output; the others follow by the stride.
    y: u32,
    x: u32,
    // Its positions.
    down: u32,
    across: u32,
    // Its first tap; the others follow by the stride.
    tap_y: u32,
    tap_x: u32,
    // The pixel that the first tap sees from the first position; tap t sees the t-th before it.
    image_y: u32,
    image_x: u32,
    // How many taps.
    taps: u32,
    all_taps_x: bool,
}

// The most taps that a phase has side by side; others have one less.
fn most_taps_x() -> u32 {
    return (window().kernel_w + window().stride - 1u) / window().stride;
}

var<private> phase: Phase;
var<private> split: u32;

fn phase_at(layer: u32) -> Phase {
    let window = window();
    let y = layer / params.phases_x;
    let x = layer % params.phases_x;
    let tap_y = (y + window.padding) % window.stride;
    let tap_x = (x + window.padding) % window.stride;
    let taps_y = (max(window.kernel_h, tap_y) - tap_y + window.stride - 1u) / window.stride;
    let taps_x = (max(window.kernel_w, tap_x) - tap_x + window.stride - 1u) / window.stride;
    return Phase(
        y,
        x,
        (params.down - y + window.stride - 1u) / window.stride,
        (params.across - x + window.stride - 1u) / window.stride,
        tap_y,
        tap_x,
        (y + window.padding) / window.stride,
        (x + window.padding) / window.stride,
        taps_y * taps_x,
        taps_x == most_taps_x(),
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
    let window = window();
    let plane = phase.down * phase.across;
    let item = column / plane;
    let position = column - item * plane;
    let down = position / phase.across;
    let across = position - down * phase.across;
    let y = phase.image_y + down;
    let x = phase.image_x + across;
    let out_y = phase.y + down * window.stride;
    let out_x = phase.x + across * window.stride;
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
    let window = window();
    let channel = k / phase.taps;
    let tap = k - channel * phase.taps;
    // Two divisions by constants are cheaper than one by a variable.
    let most = most_taps_x();
    let fewer = max(most, 2u) - 1u;
    let y = select(tap / fewer, tap / most, phase.all_taps_x);
    let x = tap - y * select(fewer, most, phase.all_taps_x);
    let weight = (phase.tap_y + y * window.stride) * window.kernel_w + phase.tap_x + x * window.stride;
    return Depth(
        channel * params.gemm.rows * window.kernel_h * window.kernel_w + weight,
        (channel * params.height - y) * params.width - x,
        y,
        x,
    );
}

fn a_at(row: u32, depth: Depth) -> f32 {
    let window = window();
    return weight[depth.weight + row * window.kernel_h * window.kernel_w];
}

fn b_at(column: Column, depth: Depth) -> f32 {
    // Coordinates below zero have wrapped to large ones.
    if column.y - depth.y < params.height && column.x - depth.x < params.width {
        return f32(image[column.image + depth.image]);
    }
    return 0.0;
}

fn store(row: u32, column: Column, value: f32) {
    var total = value;
    if params.has_bias != 0u && split == 0u {
        total += bias[row];
    }
    out[split * params.gemm.len + column.out + row * params.down * params.across] = real_out(total);
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
