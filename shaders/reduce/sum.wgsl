// Sums over some dimensions. LANES invocations share an output and add as a tree, so that short
// sums do not waste a workgroup each; a long sum is cut into `splits`, each an output of its own,
// which a second run adds.

struct Params {
    // Of one run: outputs × splits.
    outputs: u32,
    splits: u32,
    // Values in each sum, and in a split of it.
    count: u32,
    split: u32,
    // Kept dimensions, merged to two: extent of the inner one, steps of the outer and the inner.
    kept_inner: u32,
    kept_step: u32,
    kept_inner_step: u32,
    // Summed dimensions, likewise.
    summed_inner: u32,
    summed_step: u32,
    summed_inner_step: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<real_x>;
@group(0) @binding(2) var<storage, read_write> out: array<real_out>;

override LANES: u32 = 1u;
const WORKGROUP: u32 = 256u;

var<workgroup> tree: array<f32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local_index: u32,
) {
    let group = workgroup_id.y * num_workgroups.x + workgroup_id.x;
    let output = group * (WORKGROUP / LANES) + local_index / LANES;
    let lane = local_index % LANES;
    var sum = 0.0;
    if output < params.outputs {
        let kept = output / params.splits;
        let split = output % params.splits;
        let start = kept / params.kept_inner * params.kept_step
            + kept % params.kept_inner * params.kept_inner_step;
        let end = min((split + 1u) * params.split, params.count);
        if params.summed_inner == params.count {
            for (var i = split * params.split + lane; i < end; i += LANES) {
                sum += f32(x[start + i * params.summed_inner_step]);
            }
        } else {
            for (var i = split * params.split + lane; i < end; i += LANES) {
                sum += f32(x[start + i / params.summed_inner * params.summed_step
                    + i % params.summed_inner * params.summed_inner_step]);
            }
        }
    }
    if LANES > 1u {
        tree[local_index] = sum;
        workgroupBarrier();
        for (var half = LANES / 2u; half > 0u; half /= 2u) {
            if lane < half {
                tree[local_index] += tree[local_index + half];
            }
            workgroupBarrier();
        }
        sum = tree[local_index];
    }
    if lane == 0u && output < params.outputs {
        out[output] = real_out(sum);
    }
}
