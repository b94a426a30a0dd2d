// Instance norm: (x − mean)·r with r = 1 / √(variance + eps), or r alone. A leaky relu may follow at
// once. A workgroup does a plane:
// its invocations stride over it twice, for the mean and for the variance around that, since
// E[x²] − E[x]² cancels. All is told from the first value, so that large offsets cost no bits.

#import lib/sum.wgsl

struct Params {
    planes: u32,
    // Values of a plane.
    len: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<real_x>;
@group(0) @binding(2) var<storage, read_write> out: array<real_out>;

// Write r, a value a plane, rather than the normalised plane.
override RSTD: bool = false;
// Factor of what is below zero; 1 is none.
override SLOPE: f32 = 1.0;
override WORKGROUP: u32 = 256u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local_index: u32,
) {
    let plane = workgroup_id.y * num_workgroups.x + workgroup_id.x;
    if plane >= params.planes {
        return;
    }
    let start = plane * params.len;
    let end = start + params.len;
    let pivot = f32(x[start]);
    var sum = 0.0;
    for (var i = start + local_index; i < end; i += WORKGROUP) {
        sum += f32(x[i]) - pivot;
    }
    let mean = workgroup_sum(sum, local_index) / f32(params.len);
    sum = 0.0;
    for (var i = start + local_index; i < end; i += WORKGROUP) {
        let deviation = f32(x[i]) - pivot - mean;
        sum += deviation * deviation;
    }
    let variance = workgroup_sum(sum, local_index) / f32(params.len);
    let r = 1.0 / sqrt(variance + params.eps);
    if RSTD {
        if local_index == 0u {
            out[plane] = real_out(r);
        }
        return;
    }
    for (var i = start + local_index; i < end; i += WORKGROUP) {
        let normed = (f32(x[i]) - pivot - mean) * r;
        out[i] = real_out(select(SLOPE * normed, normed, normed > 0.0));
    }
}
