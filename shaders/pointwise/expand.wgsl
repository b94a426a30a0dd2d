// Broadcasts x: each output dimension has a step in x, zero where x is repeated. An invocation
// writes four neighbours and takes its index apart only once, since division is slow.

#import lib/index.wgsl

struct Params {
    // Extents of the output, outermost first, and the steps in x.
    extents: vec4u,
    steps: vec4u,
    // Of the output, in vec4s.
    len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<real_x>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<real_out>>;

override WORKGROUP: u32 = 256u;

// Where row `row` of the output, a line of its innermost dimension, stands in x.
fn row_start(row: u32) -> u32 {
    let e = params.extents;
    let at = vec3u(row / (e.y * e.z) % e.x, row / e.z % e.y, row % e.z);
    let steps = at * params.steps.xyz;
    return steps.x + steps.y + steps.z;
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
    var row = 4u * i / params.extents.w;
    var column = 4u * i % params.extents.w;
    var start = row_start(row);
    var values: vec4f;
    for (var lane = 0u; lane < 4u; lane++) {
        values[lane] = f32(x[start + column * params.steps.w]);
        column++;
        if column == params.extents.w {
            column = 0u;
            row++;
            start = row_start(row);
        }
    }
    out[i] = vec4<real_out>(values);
}
