// Convolution as a matrix product that never stores its columns (implicit GEMM): rows are output
// channels, columns the output positions of the whole batch, the depth is C·kh·kw. `lib/gemm`
// tiles it; the image is gathered under each kernel tap, and the bias is added on storing.

struct Params {
    gemm: Gemm,
    window: Window,
    // Of the image.
    channels: u32,
    height: u32,
    width: u32,
    // Of the output.
    down: u32,
    across: u32,
    // Whether to add one; if not, `bias` is anything.
    has_bias: u32,
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
    let window = window();
    let plane = params.down * params.across;
    let item = column / plane;
    let position = column - item * plane;
    let down = position / params.across;
    let y = down * window.stride - window.padding;
    let x = (position - down * params.across) * window.stride - window.padding;
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
    let window = window();
    let channel = k / (window.kernel_h * window.kernel_w);
    let tap = k % (window.kernel_h * window.kernel_w);
    let y = tap / window.kernel_w;
    let x = tap % window.kernel_w;
    return Depth(k, (channel * params.height + y) * params.width + x, y, x);
}

fn a_at(row: u32, depth: Depth) -> f32 {
    return weight[row * params.gemm.depth + depth.k];
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
    split = tile.split;
    multiply(params.gemm, tile, local_index);
}
