//! Loops that use the widest vectors of the processor at hand, and all its cores.

use rayon::prelude::*;

/// Values below which a second core costs more than it brings.
const PARALLEL_FROM: usize = 1 << 15;
/// Values a task works on: three such arrays fit a 1 MiB cache beside others.
const CHUNK: usize = 1 << 14;

/// Runs `f` compiled for the best instruction set found at run time. Mark closures called inside
/// `#[inline(always)]`, or they stay compiled for the baseline.
#[inline(always)]
pub(crate) fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// Calls `f(first index, chunk)` for chunks of `out` whose length is a multiple of `unit`,
/// on all cores when there is enough to do. The chunks do not depend on the number of cores.
pub(crate) fn for_each_chunk(out: &mut [f32], unit: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    let chunk = unit.max(1) * (CHUNK / unit.max(1)).max(1);
    if out.len() < PARALLEL_FROM {
        out.chunks_mut(chunk)
            .enumerate()
            .for_each(|(i, part)| f(i * chunk, part));
    } else {
        out.par_chunks_mut(chunk)
            .enumerate()
            .for_each(|(i, part)| f(i * chunk, part));
    }
}

/// `out[i] = f(a[i])`. Here and below `f` should own what it captures: behind a reference it would be read
/// anew for every value, and vectors would be out of the question.
#[inline(always)]
pub(crate) fn map(a: &[f32], out: &mut [f32], f: impl Fn(f32) -> f32 + Sync + Copy) {
    for_each_chunk(out, 1, |at, out| {
        let a = &a[at..at + out.len()];
        vectorised(
            #[inline(always)]
            move || {
                for (out, &a) in out.iter_mut().zip(a) {
                    *out = f(a);
                }
            },
        );
    });
}

/// `out[i] = f(a[i], b[i])`.
#[inline(always)]
pub(crate) fn map2(
    a: &[f32],
    b: &[f32],
    out: &mut [f32],
    f: impl Fn(f32, f32) -> f32 + Sync + Copy,
) {
    for_each_chunk(out, 1, |at, out| {
        let (a, b) = (&a[at..at + out.len()], &b[at..at + out.len()]);
        vectorised(
            #[inline(always)]
            move || {
                for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
                    *out = f(a, b);
                }
            },
        );
    });
}

/// `out[i] = f(a[i], b[i], c[i])`.
#[inline(always)]
pub(crate) fn map3(
    a: &[f32],
    b: &[f32],
    c: &[f32],
    out: &mut [f32],
    f: impl Fn(f32, f32, f32) -> f32 + Sync + Copy,
) {
    for_each_chunk(out, 1, |at, out| {
        let range = at..at + out.len();
        let (a, b, c) = (&a[range.clone()], &b[range.clone()], &c[range]);
        vectorised(
            #[inline(always)]
            move || {
                for (((out, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
                    *out = f(a, b, c);
                }
            },
        );
    });
}

/// Σ f(a[i], b[i]) in a fixed order: 16 running sums over blocks of 4,096 values, the blocks in f64.
#[inline(always)]
pub(crate) fn dot_sum(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f64 {
    const LANES: usize = 16;
    vectorised(
        #[inline(always)]
        || {
            let mut total = 0.0f64;
            for (a, b) in a.chunks(4096).zip(b.chunks(4096)) {
                let mut lanes = [0.0f32; LANES];
                let (a_lanes, a_rest) = a.as_chunks::<LANES>();
                let (b_lanes, b_rest) = b.as_chunks::<LANES>();
                for (a, b) in a_lanes.iter().zip(b_lanes) {
                    for i in 0..LANES {
                        lanes[i] += f(a[i], b[i]);
                    }
                }
                for i in 0..a_rest.len() {
                    lanes[i] += f(a_rest[i], b_rest[i]);
                }
                total += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>();
            }
            total
        },
    )
}

/// Σ a[i], as [`dot_sum`] adds.
pub(crate) fn sum(a: &[f32]) -> f64 {
    dot_sum(
        a,
        a,
        #[inline(always)]
        |a, _| a,
    )
}
