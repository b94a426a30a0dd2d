// The gradient of a depthwise convolution to its image: an invocation makes an image pixel, from those
// outputs whose windows hold it.

#import lib/depthwise.wgsl
#import lib/index.wgsl

@group(0) @binding(1) var<storage, read> g: array<real_g>;
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
    let row = i / params.width;
    let plane = row / params.height;
    let y = row - plane * params.height + params.padding;
    let x = i - row * params.width + params.padding;
    let taps = plane % params.channels * params.kernel_height * params.kernel_width;
    var sum = 0.0;
    for (var ky = 0u; ky < min(params.kernel_height, y + 1u); ky++) {
        let down = (y - ky) / params.stride;
        if down >= params.down || down * params.stride != y - ky {
            continue;
        }
        for (var kx = 0u; kx < min(params.kernel_width, x + 1u); kx++) {
            let across = (x - kx) / params.stride;
            if across < params.across && across * params.stride == x - kx {
                sum += filters[taps + ky * params.kernel_width + kx]
                    * f32(g[(plane * params.down + down) * params.across + across]);
            }
        }
    }
    out[i] = real_out(sum);
}
