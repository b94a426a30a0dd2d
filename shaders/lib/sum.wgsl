// The sum of a value over a workgroup of WORKGROUP invocations (a power of two), as a tree: the
// order is fixed, so the bits are. Every invocation has to call it, and every one gets the sum.

var<workgroup> sum_tree: array<f32, WORKGROUP>;

fn workgroup_sum(value: f32, local_index: u32) -> f32 {
    sum_tree[local_index] = value;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if local_index < half {
            sum_tree[local_index] += sum_tree[local_index + half];
        }
        workgroupBarrier();
    }
    let sum = sum_tree[0];
    // The tree is free for the next sum only when all have read this one.
    workgroupBarrier();
    return sum;
}
