// Makes images `factor` times as long on each side; an invocation makes an output pixel of the
// four nearest, or of the nearest.

#import lib/index.wgsl
#import lib/interpolate.wgsl

struct Params {
    len: u32,
    height: u32,
    width: u32,
    factor: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<real_x>;
@group(0) @binding(2) var<storage, read_write> out: array<real_out>;

override BILINEAR: bool = false;
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
    let large = vec2u(params.height, params.width) * params.factor;
    let row = i / large.y;
    let plane = row / large.x;
    let down = between(row - plane * large.x, params.factor, params.height);
    let across = between(i - row * large.y, params.factor, params.width);
    let top = (plane * params.height + down.first) * params.width;
    if !BILINEAR {
        out[i] = real_out(f32(x[top + across.first]));
        return;
    }
    let bottom = (plane * params.height + down.second) * params.width;
    let above = mix(f32(x[top + across.first]), f32(x[top + across.second]), across.weight);
    let below = mix(f32(x[bottom + across.first]), f32(x[bottom + across.second]), across.weight);
    out[i] = real_out(mix(above, below, down.weight));
}
