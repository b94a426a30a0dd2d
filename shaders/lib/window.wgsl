// How a kernel slides over an image. The kernel that imports it has a `params.window`, and takes
// that where KERNEL_H is 0; otherwise index arithmetic is done with constants, which is faster.

struct Window {
    kernel_h: u32,
    kernel_w: u32,
    stride: u32,
    padding: u32,
}

override KERNEL_H: u32 = 0u;
override KERNEL_W: u32 = 0u;
override STRIDE: u32 = 1u;
override PADDING: u32 = 0u;

fn window() -> Window {
    if KERNEL_H > 0u {
        return Window(KERNEL_H, KERNEL_W, STRIDE, PADDING);
    }
    return params.window;
}
