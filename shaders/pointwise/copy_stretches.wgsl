// Copies a piece out of every stretch of one buffer into every stretch of another: joining and
// cutting along a dimension. An invocation copies a value.

#import lib/index.wgsl

struct Params {
    // Of all pieces together.
    len: u32,
    piece: u32,
    from_stretch: u32,
    from_at: u32,
    to_stretch: u32,
    to_at: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> from_: array<real_from>;
@group(0) @binding(2) var<storage, read_write> to: array<real_to>;

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
    let stretch = i / params.piece;
    let at = i - stretch * params.piece;
    to[stretch * params.to_stretch + params.to_at + at] =
        real_to(f32(from_[stretch * params.from_stretch + params.from_at + at]));
}
