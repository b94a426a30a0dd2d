// Convolution as a matrix product that never stores its columns (implicit GEMM): rows are output
// channels, columns the output positions of the whole batch, the depth is C·kh·kw. `lib/gemm`
// tiles it; the image is gathered under each kernel tap, and the bias is added on storing.

struct Params {
    gemm: Gemm,
    // Of the image.
    channels: u32,
    height: u32,
    width: u32,
    // Of the output.
    down: u32,
    across: u32,
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

const A_ALONG_DEPTH: bool = true;
const B_ALONG_DEPTH: bool = false;

// After the overrides: naga 30 fails on those that follow an array whose length is computed of some.
#import lib/gemm.wgsl

var<private> split: u32;

struct Column {
    // The kernel's corner: in `image`, and its coordinates. With padding they wrap below zero.
    image: u32,
    y: u32,
    x: u32,
    // In channel 0 of `out`.
    out: u32,
}

fn column_at(column: u32) -> Column {
    let plane = params.down * params.across;
    let item = column / plane;
    let position = column - item * plane;
    let down = position / params.across;
    let y = down * STRIDE - PADDING;
    let x = (position - down * params.across) * STRIDE - PADDING;
    return Column(
        item * params.channels * params.height * params.width + y * params.width + x,
        y,
        x,
        item * params.gemm.rows * plane + position,
    );
}

struct Depth {
    k: u32,
    // From the corner: in `image`, and the tap's coordinates.
    image: u32,
    y: u32,
    x: u32,
}

fn depth_at(k: u32) -> Depth {
    let channel = k / (KERNEL_H * KERNEL_W);
    let tap = k % (KERNEL_H * KERNEL_W);
    let y = tap / KERNEL_W;
    let x = tap % KERNEL_W;
    return Depth(k, (channel * params.height + y) * params.width + x, y, x);
}

fn a_at(row: u32, depth: Depth) -> f32 {
    return weight[row * params.gemm.depth + depth.k];
}

fn b_at(column: Column, depth: Depth) -> f32 {
    // Coordinates below zero have wrapped to large ones.
    if PADDING == 0u || (column.y + depth.y < params.height && column.x + depth.x < params.width) {
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
    split = tile.split;
    multiply(params.gemm, tile, local_index);
}
