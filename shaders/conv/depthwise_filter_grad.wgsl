// The gradient of a depthwise convolution to its filters: a workgroup makes one tap of one channel, the sum
// over all outputs of the batch, each invocation over every WORKGROUPth of them, then as a tree.

#import lib/depthwise.wgsl
#import lib/sum.wgsl

@group(0) @binding(1) var<storage, read> image: array<real_image>;
@group(0) @binding(2) var<storage, read> g: array<real_g>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

const WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local_index: u32,
) {
    let i = workgroup_id.y * num_workgroups.x + workgroup_id.x;
    let taps = params.kernel_height * params.kernel_width;
    let channel = i / taps;
    let ky = i % taps / params.kernel_width;
    let kx = i % params.kernel_width;
    let area = params.down * params.across;
    var sum = 0.0;
    for (var at = local_index; at < params.batch * area; at += WORKGROUP) {
        let plane = at / area * params.channels + channel;
        let pixel = at % area;
        // Before the image they wrap to beyond it.
        let y = pixel / params.across * params.stride + ky - params.padding;
        let x = pixel % params.across * params.stride + kx - params.padding;
        if i < params.len && y < params.height && x < params.width {
            sum += f32(image[(plane * params.height + y) * params.width + x])
                * f32(g[plane * area + pixel]);
        }
    }
    let total = workgroup_sum(sum, local_index);
    if local_index == 0u && i < params.len {
        out[i] = total;
    }
}
