// The gradient of a convolution with respect to its weight, as a matrix product: rows are the
// output's channels, columns the weight's C·kh·kw, the depth is the positions of the whole batch.
// `lib/gemm` tiles it; the depth is long and the result small, so it is cut into splits.

struct Params {
    gemm: Gemm,
    window: Window,
    // Of the image.
    channels: u32,
    height: u32,
    width: u32,
    // Of the convolution's output.
    down: u32,
    across: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> image: array<real_image>;
@group(0) @binding(2) var<storage, read> grad: array<real_grad>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

const A_ALONG_DEPTH: bool = true;
const B_ALONG_DEPTH: bool = true;

#import lib/window.wgsl
// After the overrides: naga 30 fails on those that follow an array whose length is computed of some.
#import lib/gemm.wgsl

var<private> split: u32;

struct Column {
    // From the kernel's corner: in `image`, and the tap's coordinates.
    image: u32,
    y: u32,
    x: u32,
    // In row 0 of `out`.
    out: u32,
}

fn column_at(column: u32) -> Column {
    let window = window();
    let channel = column / (window.kernel_h * window.kernel_w);
    let tap = column % (window.kernel_h * window.kernel_w);
    let y = tap / window.kernel_w;
    let x = tap % window.kernel_w;
    return Column((channel * params.height + y) * params.width + x, y, x, column);
}

struct Depth {
    // The position in channel 0 of `grad`.
    grad: u32,
    // The kernel's corner: in `image`, and its coordinates. With padding they wrap below zero.
    image: u32,
    y: u32,
    x: u32,
}

fn depth_at(k: u32) -> Depth {
    let window = window();
    let plane = params.down * params.across;
    let item = k / plane;
    let position = k - item * plane;
    let down = position / params.across;
    let y = down * window.stride - window.padding;
    let x = (position - down * params.across) * window.stride - window.padding;
    return Depth(
        item * params.gemm.rows * plane + position,
        item * params.channels * params.height * params.width + y * params.width + x,
        y,
        x,
    );
}

fn a_at(row: u32, depth: Depth) -> f32 {
    return f32(grad[depth.grad + row * params.down * params.across]);
}

fn b_at(column: Column, depth: Depth) -> f32 {
    let window = window();
    // Coordinates below zero have wrapped to large ones.
    if window.padding == 0u || (column.y + depth.y < params.height && column.x + depth.x < params.width) {
        return f32(image[column.image + depth.image]);
    }
    return 0.0;
}

fn store(row: u32, column: Column, value: f32) {
    out[split * params.gemm.len + row * params.gemm.columns + column.out] = value;
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
