// Entries of one dimension put together anew: each of the output's is the sum of some of the input's, often
// of one, that a list names. An invocation does a value; neighbours read neighbours where entries are rows.

#import lib/index.wgsl

struct Params {
    // Of the output.
    len: u32,
    // Entries of the dimension, of input and output.
    from_extent: u32,
    to_extent: u32,
    // Values of an entry that lie together.
    inner: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<real_x>;
// Where each entry's part of the list begins, and where the last one's ends; behind that the list.
@group(0) @binding(2) var<storage, read> plan: array<u32>;
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
    let row = i / params.inner;
    let column = i - row * params.inner;
    let outer = row / params.to_extent;
    let entry = row - outer * params.to_extent;
    let list = params.to_extent + 1u;
    var sum = 0.0;
    for (var k = plan[entry]; k < plan[entry + 1u]; k++) {
        let from_row = outer * params.from_extent + plan[list + k];
        sum += f32(x[from_row * params.inner + column]);
    }
    out[i] = real_out(sum);
}
