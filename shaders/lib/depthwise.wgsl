// What the kernels of depthwise convolution are asked for: how many values, and all extents.

struct Params {
    len: u32,
    batch: u32,
    channels: u32,
    height: u32,
    width: u32,
    down: u32,
    across: u32,
    kernel_height: u32,
    kernel_width: u32,
    stride: u32,
    padding: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
