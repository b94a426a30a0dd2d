//! A vector register with operators, for whichever instruction set runs.

#![allow(
    unsafe_code,
    reason = "vector registers are loaded and stored by pointers"
)]

use std::ops::{Add, Mul, Sub};

use pulp::Simd;

/// As many floats as a vector of `S` holds.
#[derive(Clone, Copy)]
pub(super) struct Lanes<S: Simd> {
    simd: S,
    values: S::f32s,
}

impl<S: Simd> Lanes<S> {
    pub const COUNT: usize = S::F32_LANES;

    #[inline(always)]
    pub fn splat(simd: S, value: f32) -> Self {
        let values = simd.splat_f32s(value);
        Lanes { simd, values }
    }

    /// # Safety
    /// `from` must be readable for as many floats as there are lanes.
    #[inline(always)]
    pub unsafe fn load(simd: S, from: *const f32) -> Self {
        // SAFETY: by the caller's word; vectors are plain floats.
        let values = unsafe { from.cast::<S::f32s>().read_unaligned() };
        Lanes { simd, values }
    }

    /// # Safety
    /// `onto` must be writable for as many floats as there are lanes.
    #[inline(always)]
    pub unsafe fn store(self, onto: *mut f32) {
        // SAFETY: by the caller's word.
        unsafe { onto.cast::<S::f32s>().write_unaligned(self.values) }
    }

    /// self + a·b, rounded once.
    #[inline(always)]
    pub fn plus_product(self, a: Self, b: Self) -> Self {
        let values = self.simd.mul_add_e_f32s(a.values, b.values, self.values);
        Lanes { values, ..self }
    }

    /// The sum over the lanes.
    #[inline(always)]
    pub fn sum(self) -> f32 {
        self.simd.reduce_sum_f32s(self.values)
    }
}

impl<S: Simd> Add for Lanes<S> {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        let values = self.simd.add_f32s(self.values, other.values);
        Lanes { values, ..self }
    }
}

impl<S: Simd> Sub for Lanes<S> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        let values = self.simd.sub_f32s(self.values, other.values);
        Lanes { values, ..self }
    }
}

impl<S: Simd> Mul<f32> for Lanes<S> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, factor: f32) -> Self {
        let factor = self.simd.splat_f32s(factor);
        let values = self.simd.mul_f32s(self.values, factor);
        Lanes { values, ..self }
    }
}
