// The gradient of instance norm: r·(g − mean g − x̂·mean(g·x̂)) with x̂ = r·(x − mean x). A workgroup
// does a plane: its invocations stride over it twice, for the means of x and g, then for the
// variance and the covariance around them.

#import lib/sum2.wgsl

struct Params {
    planes: u32,
    // Values of a plane.
    len: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<real_x>;
@group(0) @binding(2) var<storage, read> g: array<real_g>;
@group(0) @binding(3) var<storage, read_write> out: array<real_out>;

// Factor that g gets first where x̂ is not above zero: a leaky relu follows the norm. 1 is none.
override SLOPE: f32 = 1.0;
override WORKGROUP: u32 = 256u;

fn through(g: f32, deviation: f32) -> f32 {
    return select(SLOPE * g, g, deviation > 0.0);
}

fn deviations(i: u32, pivot: vec2f, mean: vec2f) -> vec2f {
    let x_deviation = f32(x[i]) - pivot.x - mean.x;
    return vec2f(x_deviation, through(f32(g[i]), x_deviation) - pivot.y - mean.y);
}

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
    // All is told from the first values, so that large offsets cost no bits.
    let pivot = vec2f(f32(x[start]), f32(g[start]));
    var sum = vec2f(0.0);
    for (var i = start + local_index; i < end; i += WORKGROUP) {
        sum += vec2f(f32(x[i]), f32(g[i])) - pivot;
    }
    var mean = workgroup_sum2(sum, local_index) / f32(params.len);
    if SLOPE != 1.0 {
        // What passes of g is known only now that the mean of x is.
        sum = vec2f(0.0);
        for (var i = start + local_index; i < end; i += WORKGROUP) {
            sum.y += through(f32(g[i]), f32(x[i]) - pivot.x - mean.x) - pivot.y;
        }
        mean.y = workgroup_sum2(sum, local_index).y / f32(params.len);
    }
    sum = vec2f(0.0);
    for (var i = start + local_index; i < end; i += WORKGROUP) {
        let deviation = deviations(i, pivot, mean);
        sum += deviation.x * deviation;
    }
    let moments = workgroup_sum2(sum, local_index) / f32(params.len);
    let r = 1.0 / sqrt(moments.x + params.eps);
    let along = moments.y * r * r;
    for (var i = start + local_index; i < end; i += WORKGROUP) {
        let deviation = deviations(i, pivot, mean);
        out[i] = real_out(r * (deviation.y - deviation.x * along));
    }
}
