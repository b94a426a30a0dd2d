//! The transforms: polynomials evaluated at N places, of which the last is ∞.
//!
//! Six places are 0, ±√½, ±√2, ∞; they halve the rounding error of the usual 0, ±1, ±2, ∞. Five are ±½, ±5/4,
//! ∞, with about half the error of 0, ±1, 2, ∞. Points in pairs let the transforms share their even and odd
//! parts. The matrices follow Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks" (2016).

#![allow(unsafe_code, reason = "inner loops walk by pointers")]

use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

use pulp::Simd;

use crate::cpu::lanes::Lanes;
use crate::cpu::tile::BLOCK;

/// A pair of points ±x, with what their filters are divided by: the product of the distances to all others.
struct Pair {
    x: f32,
    squared: f32,
    /// For x and for −x.
    scale: [f32; 2],
}

/// Both pairs.
const fn pairs<const N: usize>() -> [Pair; 2] {
    const fn pair(x: f32, squared: f32, scale: [f32; 2]) -> Pair {
        Pair { x, squared, scale }
    }
    match N {
        6 => [
            pair(FRAC_1_SQRT_2, 0.5, [-1.0 / 1.5; 2]),
            pair(SQRT_2, 2.0, [1.0 / 6.0; 2]),
        ],
        5 => [
            pair(0.5, 0.25, [-1.0 / 1.3125, 1.0 / 1.3125]),
            pair(1.25, 1.5625, [1.0 / 3.28125, -1.0 / 3.28125]),
        ],
        _ => panic!("no such set of points"),
    }
}

/// Places before the pairs: six have 0.
const fn zeros<const N: usize>() -> usize {
    N - 5
}

/// The six values, or the last five of them.
#[inline(always)]
fn places<S: Simd, const N: usize>(six: [Lanes<S>; 6]) -> [Lanes<S>; N] {
    let mut places = [six[0]; N];
    places.copy_from_slice(&six[1 - zeros::<N>()..]);
    places
}

/// The values of a polynomial in a pair of points.
#[inline(always)]
fn in_pair<S: Simd, const K: usize>(c: [Lanes<S>; K], pair: &Pair) -> [Lanes<S>; 2] {
    let (mut even, mut odd) = (c[0], c[1]);
    if K > 2 {
        even = even + c[2] * pair.squared;
    }
    if K > 3 {
        odd = odd + c[3] * pair.squared;
    }
    odd = odd * pair.x;
    [even + odd, even - odd]
}

/// A, and for filters G before its scaling: the values in all places of the polynomial with these
/// coefficients; at ∞ that is the last of them.
#[inline(always)]
pub(super) fn evaluate<S: Simd, const K: usize, const N: usize>(c: [Lanes<S>; K]) -> [Lanes<S>; N] {
    let [p, q] = const { pairs::<N>() };
    let ([a, b], [d, e]) = (in_pair(c, &p), in_pair(c, &q));
    places([c[0], a, b, d, e, c[K - 1]])
}

/// The sum and, times x, the difference of what stands in each pair of points.
#[inline(always)]
fn of_pairs<S: Simd, const N: usize>(v: [Lanes<S>; N]) -> [[Lanes<S>; 2]; 2] {
    let [p, q] = const { pairs::<N>() };
    let i = zeros::<N>();
    [
        [v[i] + v[i + 1], (v[i] - v[i + 1]) * p.x],
        [v[i + 2] + v[i + 3], (v[i + 2] - v[i + 3]) * q.x],
    ]
}

/// Aᵀ
#[inline(always)]
pub(super) fn evaluate_adjoint<S: Simd, const N: usize, const K: usize>(
    v: [Lanes<S>; N],
) -> [Lanes<S>; K] {
    let [p, q] = const { pairs::<N>() };
    let [[even_p, odd_p], [even_q, odd_q]] = of_pairs(v);
    let mut c = [even_p + even_q; K];
    if zeros::<N>() == 1 {
        c[0] = v[0] + even_p + even_q;
    }
    c[1] = odd_p + odd_q;
    if K > 2 {
        c[2] = even_p * p.squared + even_q * q.squared;
    }
    if K > 3 {
        c[3] = odd_p * p.squared + odd_q * q.squared;
    }
    c[K - 1] = c[K - 1] + v[N - 1];
    c
}

/// Divides what stands in the pairs of points as filters are divided.
#[inline(always)]
fn scaled<S: Simd, const N: usize>(mut u: [Lanes<S>; N]) -> [Lanes<S>; N] {
    let [p, q] = const { pairs::<N>() };
    for (i, pair) in [p, q].iter().enumerate() {
        for (j, scale) in pair.scale.iter().enumerate() {
            let at = zeros::<N>() + 2 * i + j;
            u[at] = u[at] * *scale;
        }
    }
    u
}

/// G
#[inline(always)]
pub(super) fn filter<S: Simd, const T: usize, const N: usize>(g: [Lanes<S>; T]) -> [Lanes<S>; N] {
    scaled(evaluate(g))
}

/// Gᵀ
#[inline(always)]
pub(super) fn filter_adjoint<S: Simd, const N: usize, const T: usize>(
    u: [Lanes<S>; N],
) -> [Lanes<S>; T] {
    evaluate_adjoint(scaled(u))
}

/// Bᵀ: row x has the coefficients of the polynomial that vanishes in all other points.
#[inline(always)]
pub(super) fn data<S: Simd, const N: usize>(d: [Lanes<S>; N]) -> [Lanes<S>; N] {
    let [p, q] = const { pairs::<N>() };
    let i = zeros::<N>();
    // The row of 0, or of ∞: (x² − p²)(x² − q²), at ∞ times x if 0 is a point.
    let (sum, product) = (p.squared + q.squared, p.squared * q.squared);
    let zero = d[0] * product - d[2] * sum + d[4];
    let infinite = d[i] * product - d[i + 2] * sum + d[i + 4];
    let (even_p, odd_p) = (
        d[i + 3] - d[i + 1] * q.squared,
        (d[i + 2] - d[i] * q.squared) * p.x,
    );
    let (even_q, odd_q) = (
        d[i + 3] - d[i + 1] * p.squared,
        (d[i + 2] - d[i] * p.squared) * q.x,
    );
    places([
        zero,
        even_p + odd_p,
        even_p - odd_p,
        even_q + odd_q,
        even_q - odd_q,
        infinite,
    ])
}

/// Bᵀ for a piece of the image, which has a value a place; A for the fewer of a tile of outputs.
#[inline(always)]
pub(super) fn onto_places<S: Simd, const P: usize, const N: usize>(
    values: [Lanes<S>; P],
) -> [Lanes<S>; N] {
    if P < N {
        return evaluate(values);
    }
    let mut piece = [values[0]; N];
    piece.copy_from_slice(&values);
    data(piece)
}

/// B
#[inline(always)]
pub(super) fn data_adjoint<S: Simd, const N: usize>(v: [Lanes<S>; N]) -> [Lanes<S>; N] {
    let [p, q] = const { pairs::<N>() };
    let i = zeros::<N>();
    let (sum, product) = (p.squared + q.squared, p.squared * q.squared);
    let [[even_p, odd_p], [even_q, odd_q]] = of_pairs(v);
    let infinite = v[N - 1];
    let mut d = [infinite; N];
    d[i] = infinite * product - odd_p * q.squared - odd_q * p.squared;
    d[i + 1] = even_p * -q.squared - even_q * p.squared;
    d[i + 2] = odd_p + odd_q - infinite * sum;
    d[i + 3] = even_p + even_q;
    if i == 1 {
        d[0] = v[0] * product;
        d[2] = d[2] - v[0] * sum;
        d[4] = d[4] + v[0];
    }
    d
}

/// Applies a transform along both axes of sixteen N×N squares, one a lane. Values (i, j) stand at
/// `from + i·step₀ + j·step₁`; those of the M×M results go to `onto + (i·M + j)·onto_step`.
///
/// # Safety
/// All of them must be readable and writable.
#[inline(always)]
pub(super) unsafe fn both_axes<S: Simd, const N: usize, const M: usize>(
    simd: S,
    transform: impl Fn([Lanes<S>; N]) -> [Lanes<S>; M],
    from: *const f32,
    step: [usize; 2],
    onto: *mut f32,
    onto_step: usize,
) {
    let zero = Lanes::splat(simd, 0.0);
    for lane in (0..BLOCK).step_by(Lanes::<S>::COUNT) {
        let mut half = [[zero; N]; M];
        for j in 0..N {
            let mut column = [zero; N];
            for (i, value) in column.iter_mut().enumerate() {
                // SAFETY: by the caller's word.
                *value = unsafe { Lanes::load(simd, from.add(i * step[0] + j * step[1] + lane)) };
            }
            for (half, value) in half.iter_mut().zip(transform(column)) {
                half[j] = value;
            }
        }
        for (i, row) in half.into_iter().enumerate() {
            for (j, value) in transform(row).into_iter().enumerate() {
                // SAFETY: by the caller's word.
                unsafe { value.store(onto.add((i * M + j) * onto_step + lane)) };
            }
        }
    }
}
