// Zeros in place of values that a hash of their position and the seed picks, the others scaled; an invocation
// does four.

#import lib/index.wgsl

struct Params {
    // In vec4s.
    len: u32,
    // Hashed already.
    seed: u32,
    // Values whose hash is below go.
    threshold: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<real_x>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<real_out>>;

override WORKGROUP: u32 = 256u;

// PCG's output function over one step of its generator (Jarzynski & Olano, 2020).
fn pcg(x: vec4u) -> vec4u {
    let state = x * 747796405u + 2891336453u;
    let word = ((state >> ((state >> vec4u(28u)) + 4u)) ^ state) * 277803737u;
    return (word >> vec4u(22u)) ^ word;
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
    // Hashed twice: seeds must not give stretches of one sequence.
    let hash = pcg(pcg(4u * i + vec4u(0u, 1u, 2u, 3u)) + params.seed);
    let kept = params.scale * vec4f(x[i]);
    out[i] = vec4<real_out>(select(kept, vec4f(0.0), hash < vec4u(params.threshold)));
}
