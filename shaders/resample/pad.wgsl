// Pads images, by reflection or with zeros; an invocation makes an output pixel.

#import lib/index.wgsl

struct Params {
    len: u32,
    height: u32,
    width: u32,
    left: u32,
    top: u32,
    padded_height: u32,
    padded_width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<real_x>;
@group(0) @binding(2) var<storage, read_write> out: array<real_out>;

override REFLECT: bool = true;
override WORKGROUP: u32 = 256u;

// The pixel that position `at` shows; outside of the image (wrapped round zero) there is none.
fn origin(at: u32, before: u32, extent: u32) -> u32 {
    if !REFLECT {
        return at - before;
    }
    let distance = select(at - before, before - at, at < before);
    return select(distance, 2u * (extent - 1u) - distance, distance >= extent);
}

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
    let row = i / params.padded_width;
    let plane = row / params.padded_height;
    let y = origin(row - plane * params.padded_height, params.top, params.height);
    let x_at = origin(i - row * params.padded_width, params.left, params.width);
    var value = 0.0;
    if y < params.height && x_at < params.width {
        value = f32(x[(plane * params.height + y) * params.width + x_at]);
    }
    out[i] = real_out(value);
}
