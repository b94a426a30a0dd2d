// Where an invocation stands in a one-dimensional job.

// A dispatch has at most 65,535 workgroups a dimension, so long jobs are folded into two
// (`gpu::fold`); the flat index unfolds them. It may lie past the end of the job: test it.
fn flat_index(workgroup_id: vec3u, num_workgroups: vec3u, local_index: u32, workgroup_len: u32) -> u32 {
    return (workgroup_id.y * num_workgroups.x + workgroup_id.x) * workgroup_len + local_index;
}
