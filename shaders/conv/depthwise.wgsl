// Depthwise convolution: an invocation makes an output pixel from its channel's window. Neighbours share
// rows of the image, which the cache keeps.

#import lib/depthwise.wgsl
#import lib/index.wgsl

@group(0) @binding(1) var<storage, read> image: array<real_image>;
@group(0) @binding(2) var<storage, read> filters: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<real_out>;

override WORKGROUP: u32 = 256u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local_index: u32,
) {
    let i = flat_index(workgroup_id, num_workgroups, local_index, WORKGROUP);
    if i >= params.len {
        return;
    }
    let row = i / params.across;
    let plane = row / params.down;
    // Rows and columns of the window's corner; before the image they wrap to beyond it.
    let top = (row - plane * params.down) * params.stride - params.padding;
    let left = (i - row * params.across) * params.stride - params.padding;
    let taps = plane % params.channels * params.kernel_height * params.kernel_width;
    var sum = 0.0;
    for (var ky = 0u; ky < params.kernel_height; ky++) {
        let y = top + ky;
        if y >= params.height {
            continue;
        }
        for (var kx = 0u; kx < params.kernel_width; kx++) {
            let x = left + kx;
            if x < params.width {
                sum += filters[taps + ky * params.kernel_width + kx]
                    * f32(image[(plane * params.height + y) * params.width + x]);
            }
        }
    }
    out[i] = real_out(sum);
}
