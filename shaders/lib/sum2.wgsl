// The sums of two values over a workgroup of WORKGROUP invocations (a power of two), as a tree: the
// order is fixed, so the bits are. Every invocation has to call it, and every one gets the sums.

var<workgroup> sum2_tree: array<vec2f, WORKGROUP>;

fn workgroup_sum2(value: vec2f, local_index: u32) -> vec2f {
    sum2_tree[local_index] = value;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if local_index < half {
            sum2_tree[local_index] += sum2_tree[local_index + half];
        }
        workgroupBarrier();
    }
    let sum = sum2_tree[0];
    // The tree is free for the next sums only when all have read these.
    workgroupBarrier();
    return sum;
}
