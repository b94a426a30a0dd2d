//! The inner loop of every convolution: a tile of results held in registers while the depth goes by.
//!
//! C[r][l] = Σₖ a(k)[r] · b(k)[l]: a value of A is broadcast over a vector of B. Neither operand has
//! to be contiguous from one k to the next, so an image is multiplied where it lies, shifted by a
//! kernel tap at a time, and a transposed operand costs nothing.

#![allow(
    unsafe_code,
    reason = "inner loops walk by pointers: a check for each product would halve the speed"
)]

use bytemuck::{Pod, Zeroable};
use pulp::Simd;

use super::lanes::Lanes;

/// Rows and columns of a tile; what is packed is packed in blocks of 16×16.
pub(super) const BLOCK: usize = 16;

/// Columns of the tile for few rows.
pub(super) const WIDE: usize = 64;

/// Products summed in one go: rounding errors grow with the root of it, and networks that normalise
/// nearly flat planes, as fresh ones do, multiply them by up to 1/√eps a layer.
pub(super) const STRETCH: usize = 64;

/// A tile in memory, row-major.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Tile(pub [f32; BLOCK * BLOCK]);

impl Tile {
    pub const ZERO: Tile = Tile([0.0; BLOCK * BLOCK]);
}

/// The operands of a tile: where A's and B's values of a depth stand, and where those of A's rows.
#[derive(Clone, Copy)]
pub(super) struct Operands<A, Row, B> {
    depth: usize,
    a: A,
    a_row: Row,
    b: B,
}

impl<A, Row, B> Operands<A, Row, B>
where
    A: Fn(usize) -> *const f32 + Copy,
    Row: Fn(usize) -> usize + Copy,
    B: Fn(usize) -> *const f32 + Copy,
{
    /// `a(k)` is row 0 of A at depth k, `a_row(r)` the step from there to row r, `b(k)` column 0 of B,
    /// which the other columns follow.
    #[inline(always)]
    pub fn new(depth: usize, a: A, a_row: Row, b: B) -> Self {
        Operands { depth, a, a_row, b }
    }

    /// A tile of 16 rows and 16 columns: `out` = A·B, or `out` += A·B.
    ///
    /// # Safety
    /// Every value of A and B that the tile needs must be readable.
    #[inline(always)]
    pub unsafe fn multiply<S: Simd>(self, simd: S, accumulate: bool, out: &mut Tile) {
        let out = out.0.as_mut_ptr();
        // Registers: 16 of 32 accumulate with AVX-512 and NEON, 8 of 16 with AVX2.
        // SAFETY: by the caller's word; the parts lie inside the tile.
        unsafe {
            match Lanes::<S>::COUNT {
                16 => self.part::<S, 16, 1>(simd, [0, 0], accumulate, out, BLOCK),
                8 => (0..BLOCK)
                    .step_by(4)
                    .for_each(|r| self.part::<S, 4, 2>(simd, [r, 0], accumulate, out, BLOCK)),
                4 => (0..BLOCK)
                    .step_by(4)
                    .for_each(|r| self.part::<S, 4, 4>(simd, [r, 0], accumulate, out, BLOCK)),
                lanes => {
                    for r in 0..BLOCK {
                        for l in (0..BLOCK).step_by(lanes) {
                            self.part::<S, 1, 1>(simd, [r, l], accumulate, out, BLOCK);
                        }
                    }
                }
            }
        }
    }

    /// A tile of `ROWS` (up to 4) rows and 64 columns: `out` = A·B, row-major.
    ///
    /// # Safety
    /// As for [`Operands::multiply`].
    #[inline(always)]
    pub unsafe fn multiply_wide<S: Simd, const ROWS: usize>(
        self,
        simd: S,
        out: &mut [f32; 4 * WIDE],
    ) {
        let out = out.as_mut_ptr();
        // SAFETY: by the caller's word; the parts lie inside the tile.
        unsafe {
            match Lanes::<S>::COUNT {
                16 => self.part::<S, ROWS, 4>(simd, [0, 0], false, out, WIDE),
                8 => (0..WIDE)
                    .step_by(16)
                    .for_each(|l| self.part::<S, ROWS, 2>(simd, [0, l], false, out, WIDE)),
                4 => (0..WIDE)
                    .step_by(16)
                    .for_each(|l| self.part::<S, ROWS, 4>(simd, [0, l], false, out, WIDE)),
                lanes => (0..WIDE)
                    .step_by(lanes)
                    .for_each(|l| self.part::<S, ROWS, 1>(simd, [0, l], false, out, WIDE)),
            }
        }
    }

    /// `R` rows and `V` vectors of the tile, from row and column `at`.
    #[inline(always)]
    unsafe fn part<S: Simd, const R: usize, const V: usize>(
        self,
        simd: S,
        at: [usize; 2],
        accumulate: bool,
        out: *mut f32,
        pitch: usize,
    ) {
        let zero = Lanes::splat(simd, 0.0);
        for start in (0..self.depth.max(1)).step_by(STRETCH) {
            let mut sums = [[zero; V]; R];
            for k in start..(start + STRETCH).min(self.depth) {
                let (a, b) = ((self.a)(k), (self.b)(k));
                let mut b_k = [zero; V];
                for (v, b_k) in b_k.iter_mut().enumerate() {
                    // SAFETY: by the caller's word.
                    *b_k = unsafe { Lanes::load(simd, b.add(at[1] + v * Lanes::<S>::COUNT)) };
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: by the caller's word.
                    let a = Lanes::splat(simd, unsafe { *a.add((self.a_row)(at[0] + r)) });
                    for (sum, b) in sums.iter_mut().zip(b_k) {
                        *sum = sum.plus_product(a, b);
                    }
                }
            }
            for (r, sums) in sums.into_iter().enumerate() {
                for (v, mut sum) in sums.into_iter().enumerate() {
                    // SAFETY: inside the tile.
                    unsafe {
                        let onto = out.add((at[0] + r) * pitch + at[1] + v * Lanes::<S>::COUNT);
                        if accumulate || start > 0 {
                            sum = sum + Lanes::load(simd, onto);
                        }
                        sum.store(onto);
                    }
                }
            }
        }
    }
}

/// `ROWS`×4 sums of products of contiguous stretches: `out`[r][m] += Σᵢ a(r)[i] · b(m)[i].
///
/// # Safety
/// Every a(r) and b(m) must be readable for `len` floats, a multiple of 16.
#[inline(always)]
pub(super) unsafe fn dots<S: Simd, const ROWS: usize>(
    simd: S,
    len: usize,
    a: impl Fn(usize) -> *const f32,
    b: impl Fn(usize) -> *const f32,
    out: &mut [[f32; 4]; ROWS],
) {
    let lanes = Lanes::<S>::COUNT;
    let zero = Lanes::splat(simd, 0.0);
    for start in (0..len).step_by(STRETCH * lanes) {
        let mut sums = [[zero; 4]; ROWS];
        for i in (start..(start + STRETCH * lanes).min(len)).step_by(lanes) {
            let mut b_i = [zero; 4];
            for (m, b_i) in b_i.iter_mut().enumerate() {
                // SAFETY: by the caller's word.
                *b_i = unsafe { Lanes::load(simd, b(m).add(i)) };
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                // SAFETY: by the caller's word.
                let a_i = unsafe { Lanes::load(simd, a(r).add(i)) };
                for (sum, b_i) in sums.iter_mut().zip(b_i) {
                    *sum = sum.plus_product(a_i, b_i);
                }
            }
        }
        for (out, sums) in out.iter_mut().zip(sums) {
            for (out, sum) in out.iter_mut().zip(sums) {
                *out += sum.sum();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both tiles and the dots against the definition, for one instruction set.
    fn agrees<S: Simd>(simd: S) {
        const DEPTH: usize = STRETCH + 5;
        let value = |i: usize| ((i * 7919) % 1000) as f32 / 500.0 - 1.0;
        let a: Vec<f32> = (0..DEPTH * BLOCK).map(value).collect();
        let b: Vec<f32> = (0..DEPTH * WIDE).map(|i| value(i + 3)).collect();
        let (a, b) = (a.as_ptr(), b.as_ptr());
        // SAFETY: every index below is inside.
        let at = |p: *const f32, i: usize| f64::from(unsafe { *p.add(i) });
        let exact = |r: usize, l: usize| -> f64 {
            let product = |k| at(a, k * BLOCK + r) * at(b, k * WIDE + l);
            (0..DEPTH).map(product).sum()
        };
        let close = |value: f32, exact: f64| assert!((f64::from(value) - exact).abs() < 1e-4);
        let operands = Operands::new(
            DEPTH,
            |k| a.wrapping_add(k * BLOCK),
            |r| r,
            |k| b.wrapping_add(k * WIDE),
        );
        let mut tile = Tile([1.0; BLOCK * BLOCK]);
        let mut wide = [0.0; 4 * WIDE];
        // SAFETY: both operands have the depth.
        unsafe {
            operands.multiply(simd, true, &mut tile);
            operands.multiply_wide::<S, 3>(simd, &mut wide);
        }
        for r in 0..BLOCK {
            (0..BLOCK).for_each(|l| close(tile.0[r * BLOCK + l], 1.0 + exact(r, l)));
        }
        for r in 0..3 {
            (0..WIDE).for_each(|l| close(wide[r * WIDE + l], exact(r, l)));
        }
        let mut sums = [[0.5; 4]; 4];
        let len = DEPTH.next_multiple_of(BLOCK) - BLOCK;
        // SAFETY: four stretches each, inside.
        unsafe {
            let (a, b) = (|r| a.wrapping_add(r * 3), |m| b.wrapping_add(m * 5));
            dots(simd, len, a, b, &mut sums);
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (m, sum) in sums.into_iter().enumerate() {
                let products = (0..len).map(|i| at(a, r * 3 + i) * at(b, m * 5 + i));
                close(sum, 0.5 + products.sum::<f64>());
            }
        }
    }

    #[test]
    fn every_instruction_set_agrees_with_the_definition() {
        agrees(pulp::Scalar);
        #[cfg(target_arch = "x86_64")]
        {
            pulp::x86::V3::try_new().into_iter().for_each(agrees);
            pulp::x86::V4::try_new().into_iter().for_each(agrees);
        }
        #[cfg(target_arch = "aarch64")]
        pulp::aarch64::Neon::try_new().into_iter().for_each(agrees);
    }
}
