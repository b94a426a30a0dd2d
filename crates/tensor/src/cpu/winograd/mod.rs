//! Convolution by Winograd's method (Lavin & Gray, 2016): the outputs of a tile for a fraction of the
//! multiplications.
//!
//! An N×N piece d of the image, the T×T filter g and the M×M outputs y, N = M + T − 1, are polynomials
//! evaluated at N points: y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A (`points.rs`). The products over channels are N²
//! matrix products, one for each place of a tile.
//!
//! | kernel | N, M, T | multiplications an output |
//! |---|---|---|
//! | 3×3, stride 1 | 6, 4, 3 | 2.25 instead of 9 |
//! | 4×4, stride 1 | 6, 3, 4 | 4 instead of 16 |
//! | 4×4, stride 2, as four phases of 2×2 | 5, 4, 2 | 6.25 instead of 16 |
//! | 3×3, stride 2, as phases of 2×2, 2×1, 1×2 and 1×1 | 5, 4, 2 | 5.06 instead of 9 |
//!
//! Both gradients are the adjoint of that expression, so they use the same transforms and tiles:
//! with ŷ = A y Aᵀ, the image's is B[Σ (G g Gᵀ) ⊙ ŷ]Bᵀ, where tiles overlap their pieces are added,
//! and the filter's Gᵀ[Σ (Bᵀ d B) ⊙ ŷ]G.
//!
//! Everything between the planes of the image and those of the output is in vectors of sixteen channels,
//! so that transforms need no shuffles: planes are transposed once on the way in and once on the way out.

#![allow(
    unsafe_code,
    reason = "tasks write separate parts of one result, and inner loops walk by pointers"
)]

mod points;
mod squares;

use std::ops::Range;

use bytemuck::cast_slice_mut;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use self::points::{both_axes, data_adjoint, evaluate_adjoint, filter, filter_adjoint};
use self::squares::{Squares, Tiling, apart};
use super::dry::{self, collect, each, join};
use super::gemm::SharedOut;
use super::tile::{BLOCK, Operands, Tile};
use super::transpose::transpose;
use super::{Buffer, Convolution};

/// How many tiles a convolution has, if it is in the table above.
pub(super) fn tiles(conv: &Convolution) -> Option<usize> {
    match (conv.kernel, conv.stride) {
        ([3, 3], 1) | ([3, 3] | [4, 4], 2) => Some(Tiling::new::<4>(conv).all),
        ([4, 4], 1) => Some(Tiling::new::<3>(conv).all),
        _ => None,
    }
}

/// Calls a pass with the row's numbers.
macro_rules! by_shape {
    ($pass:ident($conv:expr, $($argument:expr),*)) => {
        match ($conv.kernel, $conv.stride) {
            ([3, 3], 1) => $pass::<6, 4, 3>($conv, $($argument),*),
            ([4, 4], 1) => $pass::<6, 3, 4>($conv, $($argument),*),
            _ => $pass::<5, 4, 2>($conv, $($argument),*),
        }
    };
}

/// The most taps a kernel has.
const TAPS: usize = 16;

/// G g Gᵀ of sixteen columns of filters, a vector each. Phase f of filter (k, l) stands at
/// `(f·rows + k)·16 + l` of each place.
struct Filters {
    data: Buffer,
    /// Rows a phase: `depth`, up to a whole block where phases follow each other.
    rows: usize,
    apart: usize,
}

/// The columns of a weight that are made into [`Filters`]: filter (k, l) starts at `at + k·row + l·column`.
/// Those from `columns` on are zero.
struct Columns<'a, const N: usize, const T: usize> {
    tiling: &'a Tiling,
    weight: &'a [f32],
    kernel: usize,
    at: usize,
    steps: [usize; 2],
    depth: usize,
    columns: usize,
}

impl<'a, const N: usize, const T: usize> Columns<'a, N, T> {
    /// Those that make a block of the outputs.
    fn of_outputs(conv: &Convolution, tiling: &'a Tiling, weight: &'a [f32], block: usize) -> Self {
        let ([c, m], kernel) = (conv.channels, conv.kernel[0]);
        let taps = kernel * kernel;
        Columns {
            tiling,
            weight,
            kernel,
            at: block * BLOCK * c * taps,
            steps: [taps, c * taps],
            depth: c,
            columns: (m - block * BLOCK).min(BLOCK),
        }
    }

    /// Those that make a block of the image's gradient.
    fn of_image(conv: &Convolution, tiling: &'a Tiling, weight: &'a [f32], block: usize) -> Self {
        let ([c, m], kernel) = (conv.channels, conv.kernel[0]);
        let taps = kernel * kernel;
        Columns {
            tiling,
            weight,
            kernel,
            at: block * BLOCK * taps,
            steps: [c * taps, taps],
            depth: m,
            columns: (c - block * BLOCK).min(BLOCK),
        }
    }
}

impl<const N: usize, const T: usize> WithSimd for Columns<'_, N, T> {
    type Output = Filters;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Filters {
        let (phases, stride) = (self.tiling.phases(), self.tiling.stride);
        let rows = match phases.len() {
            1 => self.depth,
            _ => self.depth.next_multiple_of(BLOCK),
        };
        let apart = apart(phases.len() * rows * BLOCK);
        let mut data = Buffer::new(N * N * apart);
        // Sixteen columns a vector; where filters follow each other in memory, many taps at a time.
        let count = self.kernel * self.kernel;
        let mut vectors = Buffer::new(self.depth * count * BLOCK);
        if data.is_dry() {
            return Filters { data, rows, apart };
        }
        for phase in 0..phases.len() {
            let lacking = (phase * rows + self.depth) * BLOCK..(phase + 1) * rows * BLOCK;
            for place in data.chunks_exact_mut(apart) {
                place[lacking.clone()].fill(0.0);
            }
        }
        let [row, column] = self.steps;
        let run = if row == count { self.depth } else { 1 };
        for k in (0..self.depth).step_by(run) {
            let from =
                &self.weight[self.at + k * row..][..(self.columns - 1) * column + run * count];
            for tap in (0..run * count).step_by(BLOCK) {
                let part = [self.columns, (run * count - tap).min(BLOCK)];
                let onto = vectors[(k * count + tap) * BLOCK..].as_mut_ptr();
                // SAFETY: as many values for each of the columns, as many vectors.
                unsafe { transpose(from[tap..].as_ptr(), column, part, onto, BLOCK) };
            }
        }
        // All phases have T×T taps, of which some may be zeros.
        let (kernel, grid) = (self.kernel, stride * T);
        let mut padded = [0.0f32; TAPS * BLOCK];
        for (k, mut taps) in vectors.chunks_exact(count * BLOCK).enumerate() {
            if grid != kernel {
                let lines = taps.chunks_exact(kernel * BLOCK);
                for (from, onto) in lines.zip(padded.chunks_exact_mut(grid * BLOCK)) {
                    onto[..from.len()].copy_from_slice(from);
                }
                taps = &padded;
            }
            for (phase, first) in phases.iter().enumerate() {
                // SAFETY: the taps of a phase; N² places.
                unsafe {
                    both_axes(
                        simd,
                        #[inline(always)]
                        |x| filter::<S, T, N>(x),
                        taps.as_ptr().add((first[0] * grid + first[1]) * BLOCK),
                        [stride * grid * BLOCK, stride * BLOCK],
                        data.as_mut_ptr().add((phase * rows + k) * BLOCK),
                        apart,
                    );
                }
            }
        }
        Filters { data, rows, apart }
    }
}

/// Groups that a task takes together: they share the transform of their filters, and the filters of a
/// place stay near the core while all groups are multiplied with them.
const GROUPS: usize = 8;

/// The products of some groups, N² tiles each.
fn room_for<const N: usize>(groups: usize) -> Buffer {
    Buffer::new(groups * N * N * BLOCK * BLOCK)
}

/// What is multiplied in a place: so many channels of squares with as many filters, from the first ones on.
struct Stretch {
    squares: usize,
    filters: usize,
    depth: usize,
}

/// For each group and place the product of sixteen squares and a stretch of filters.
///
/// # Safety
/// Both must be laid out for it.
#[inline(always)]
unsafe fn multiply_places<S: Simd, const N: usize>(
    simd: S,
    squares: &Squares,
    groups: Range<usize>,
    filters: &Filters,
    stretch: impl Fn(usize, usize) -> Stretch,
    products: &mut [Tile],
) {
    for place in 0..N * N {
        let Stretch {
            squares: first,
            filters: first_filter,
            depth,
        } = stretch(place / N, place % N);
        let filters = filters.data[place * filters.apart + first_filter * BLOCK..].as_ptr();
        for (group, products) in groups.clone().zip(products.chunks_exact_mut(N * N)) {
            let from = squares.group(group);
            let from = from.wrapping_add(place * squares.apart + first * BLOCK);
            let operands = Operands::new(
                depth,
                #[inline(always)]
                |k| from.wrapping_add(k / BLOCK * BLOCK * BLOCK + k % BLOCK),
                #[inline(always)]
                |t| t * BLOCK,
                #[inline(always)]
                |k| filters.wrapping_add(k * BLOCK),
            );
            // SAFETY: by the caller's word.
            unsafe { operands.multiply(simd, false, &mut products[place]) };
        }
    }
}

/// See [`Convolution::forward`].
pub(super) fn forward(
    conv: &Convolution,
    image: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    by_shape!(outputs(conv, image, weight, bias, out));
}

/// See [`Convolution::image_grad`].
pub(super) fn image_grad(
    conv: &Convolution,
    grad: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    by_shape!(pixels(conv, grad, weight, bias, out));
}

/// See [`Convolution::weight_grad`].
pub(super) fn weight_grad(conv: &Convolution, image: &[f32], grad: &[f32], out: &mut [f32]) {
    by_shape!(weights(conv, image, grad, out));
}

/// Squares that a core keeps near itself, in values. Tests have small ones in strips, too.
const NEAR: usize = if cfg!(test) { 1 << 13 } else { 192 << 10 };

/// Squares that cores keep near them together, in values.
const SHARED: usize = if cfg!(test) { 1 << 16 } else { 5 << 19 };

/// Where the squares are much the larger part, tasks are strips of tiles that transform their own squares and
/// go through all filters; else they are blocks of the outputs that transform their own filters.
fn outputs<const N: usize, const M: usize, const T: usize>(
    conv: &Convolution,
    image: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    let [c, m] = conv.channels;
    let tiling = &Tiling::new::<M>(conv);
    let (all, blocks) = (tiling.groups(), m.div_ceil(BLOCK));
    let out = SharedOut::new(out);
    let filters = |block: usize| {
        Arch::new().dispatch(Columns::<N, T>::of_outputs(conv, tiling, weight, block))
    };
    let work = |squares: &Squares, filters: &Filters, groups: Range<usize>, block: usize| {
        Arch::new().dispatch(Outputs::<N, M, T> {
            conv,
            tiling,
            squares,
            filters,
            bias,
            groups,
            block,
            out,
        });
    };
    let group = N * N * tiling.phases().len() * c.next_multiple_of(BLOCK) * BLOCK;
    let strip = (NEAR / group).clamp(1, GROUPS);
    let tasks = all.div_ceil(strip);
    if all > 2 * blocks && tasks >= 4 * rayon::current_num_threads() {
        let filters = collect(blocks, filters);
        each(tasks, |at| {
            let groups = at * strip..((at + 1) * strip).min(all);
            let squares = Squares::of_image::<N>(conv, image, tiling, groups.clone());
            for (block, filters) in filters.iter().enumerate() {
                work(&squares, filters, groups.clone(), block);
            }
        });
    } else {
        for strip in strips(all, SHARED / group) {
            let squares = Squares::of_image::<N>(conv, image, tiling, strip.clone());
            let parts = strip.len().div_ceil(GROUPS);
            each(blocks * parts, |task| {
                let (block, start) = (task / parts, strip.start + task % parts * GROUPS);
                let filters = filters(block);
                work(
                    &squares,
                    &filters,
                    start..(start + GROUPS).min(strip.end),
                    block,
                );
            });
            if dry::is_on() {
                // The others use the same memory.
                break;
            }
        }
    }
}

/// Sixteen channels of the outputs in some groups of tiles.
struct Outputs<'a, const N: usize, const M: usize, const T: usize> {
    conv: &'a Convolution,
    tiling: &'a Tiling,
    squares: &'a Squares,
    filters: &'a Filters,
    bias: Option<&'a [f32]>,
    groups: Range<usize>,
    block: usize,
    out: SharedOut<'a>,
}

impl<const N: usize, const M: usize, const T: usize> WithSimd for Outputs<'_, N, M, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Convolution {
            channels: [c, m],
            out: [down, across],
            ..
        } = *self.conv;
        let mut room = room_for::<N>(self.groups.len());
        if room.is_dry() {
            return;
        }
        let first = self.block * BLOCK;
        let here = (m - first).min(BLOCK);
        let mut bias = [0.0; BLOCK];
        if let Some(values) = self.bias {
            bias[..here].copy_from_slice(&values[first..first + here]);
        }
        let products: &mut [Tile] = cast_slice_mut(&mut room);
        let rows = self.filters.rows;
        // The phases that a place has are next to each other, and so are their channels.
        let stretch = |i: usize, j: usize| {
            let phases = self.tiling.phases_in::<N>(i, j);
            Stretch {
                squares: phases.start * rows,
                filters: phases.start * rows,
                depth: (phases.len() - 1) * rows + c,
            }
        };
        // SAFETY: squares and filters are laid out for it.
        unsafe {
            let groups = self.groups.clone();
            multiply_places::<S, N>(simd, self.squares, groups, self.filters, stretch, products);
        }
        // M rows of pixels: sixteen tiles side by side.
        let mut pixels = [0.0f32; 4 * 4 * BLOCK * BLOCK];
        for (group, places) in self.groups.zip(products.chunks_exact(N * N)) {
            let tiles = self.tiling.tiles_of(&(group..group + 1));
            let mut tile = [0.0f32; 4 * 4 * BLOCK];
            // SAFETY: a row of every place's tile.
            unsafe {
                for l in 0..tiles.len() {
                    both_axes(
                        simd,
                        #[inline(always)]
                        |x| evaluate_adjoint::<S, N, M>(x),
                        places.as_ptr().cast::<f32>().add(l * BLOCK),
                        [N * BLOCK * BLOCK, BLOCK * BLOCK],
                        tile.as_mut_ptr(),
                        BLOCK,
                    );
                    let values = &tile.as_chunks::<BLOCK>().0[..M * M];
                    for (k, values) in values.iter().enumerate() {
                        let onto = &mut pixels[((k / M * BLOCK + l) * M + k % M) * BLOCK..];
                        for ((onto, value), bias) in onto.iter_mut().zip(values).zip(bias) {
                            *onto = value + bias;
                        }
                    }
                }
            }
            // Tiles of one row are next to each other in the output, too.
            let mut tile = tiles.start;
            while tile < tiles.end {
                let [item, y, x] = self.tiling.place(tile);
                let run = (across - x).div_ceil(M).min(tiles.end - tile);
                let width = (M * run).min(across - x);
                for i in 0..(down - y).min(M) {
                    let at = ((item * m + first) * down + y + i) * across + x;
                    for j in (0..width).step_by(BLOCK) {
                        let l = (i * BLOCK + tile - tiles.start) * M + j;
                        let from = pixels[l * BLOCK..].as_ptr();
                        let part = [(width - j).min(BLOCK), here];
                        // SAFETY: pixels of the output; tasks differ in groups or rows.
                        unsafe {
                            let onto = self.out.as_mut_ptr().add(at + j);
                            transpose(from, BLOCK, part, onto, down * across);
                        }
                    }
                }
                tile += run;
            }
        }
    }
}

/// A task makes sixteen channels of the image.
fn pixels<const N: usize, const M: usize, const T: usize>(
    conv: &Convolution,
    grad: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    struct Planes<'a, const N: usize, const M: usize, const T: usize> {
        conv: &'a Convolution,
        tiling: &'a Tiling,
        weight: &'a [f32],
        squares: &'a Squares,
        bias: Option<&'a [f32]>,
        block: usize,
        out: SharedOut<'a>,
    }
    impl<const N: usize, const M: usize, const T: usize> WithSimd for Planes<'_, N, M, T> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Convolution {
                items,
                channels: [c, m],
                image: [h, w],
                stride,
                padding,
                ..
            } = *self.conv;
            let tiling = self.tiling;
            let first = self.block * BLOCK;
            let here = (c - first).min(BLOCK);
            let columns = Columns::<N, T>::of_image(self.conv, tiling, self.weight, self.block);
            let filters = columns.with_simd(simd);
            // At least as large as the padded image: where tiles don't reach the gradient is the bias.
            let covered = tiling.tiles.map(|tiles| stride * (M * tiles + N - M));
            let [height, width] = [0, 1].map(|i| covered[i].max(self.conv.image[i] + padding));
            let mut pixels = Buffer::new(items * height * width * BLOCK);
            let mut room = room_for::<N>(GROUPS.min(tiling.groups()));
            if room.is_dry() {
                return;
            }
            let mut start = [0.0; BLOCK];
            if let Some(bias) = self.bias {
                start[..here].copy_from_slice(&bias[first..first + here]);
            }
            pixels
                .as_chunks_mut()
                .0
                .iter_mut()
                .for_each(|pixel| *pixel = start);
            let products: &mut [Tile] = cast_slice_mut(&mut room);
            let mut piece = [0.0f32; 36 * BLOCK];
            for start in (0..tiling.groups()).step_by(GROUPS) {
                let groups = start..(start + GROUPS).min(tiling.groups());
                for (phase, [down, across]) in tiling.phases().iter().enumerate() {
                    let stretch = |i: usize, j: usize| Stretch {
                        squares: 0,
                        filters: phase * filters.rows,
                        depth: match tiling.phases_in::<N>(i, j).contains(&phase) {
                            true => m,
                            false => 0,
                        },
                    };
                    let groups = groups.clone();
                    // SAFETY: squares and filters are laid out for it.
                    unsafe {
                        let squares = self.squares;
                        multiply_places::<S, N>(
                            simd,
                            squares,
                            groups.clone(),
                            &filters,
                            stretch,
                            products,
                        );
                    }
                    for (l, tile) in tiling.tiles_of(&groups).enumerate() {
                        let places = &products[l / BLOCK * N * N..][..N * N];
                        // SAFETY: a row of every place's tile.
                        unsafe {
                            both_axes(
                                simd,
                                #[inline(always)]
                                |x| data_adjoint::<S, N>(x),
                                places.as_ptr().cast::<f32>().add(l % BLOCK * BLOCK),
                                [N * BLOCK * BLOCK, BLOCK * BLOCK],
                                piece.as_mut_ptr(),
                                BLOCK,
                            );
                        }
                        let [item, y, x] = tiling.place(tile);
                        for (i, line) in piece.chunks_exact(N * BLOCK).take(N).enumerate() {
                            let y = (y + i) * stride + down;
                            let at = ((item * height + y) * width + x * stride + across) * BLOCK;
                            let pixels = pixels[at..].chunks_mut(stride * BLOCK);
                            for (pixel, values) in pixels.zip(line.as_chunks::<BLOCK>().0) {
                                pixel
                                    .iter_mut()
                                    .zip(values)
                                    .for_each(|(onto, value)| *onto += value);
                            }
                        }
                    }
                }
            }
            for (item, y) in (0..items).flat_map(|item| (0..h).map(move |y| (item, y))) {
                let from = ((item * height + y + padding) * width + padding) * BLOCK;
                let at = ((item * c + first) * h + y) * w;
                for x in (0..w).step_by(BLOCK) {
                    let part = [(w - x).min(BLOCK), here];
                    // SAFETY: pixels of the output; tasks differ in channels.
                    unsafe {
                        let from = pixels[from + x * BLOCK..].as_ptr();
                        let onto = self.out.as_mut_ptr().add(at + x);
                        transpose(from, BLOCK, part, onto, h * w);
                    }
                }
            }
        }
    }
    let tiling = &Tiling::new::<M>(conv);
    let groups = tiling.groups();
    let group = N * N * conv.channels[1].next_multiple_of(BLOCK) * BLOCK;
    if conv.items > 1 && groups * group > SHARED {
        let (grads, images) = (grad.len() / conv.items, out.len() / conv.items);
        let conv = Convolution { items: 1, ..*conv };
        if dry::is_on() {
            // One after the other, in the same memory.
            return pixels::<N, M, T>(&conv, grad, weight, bias, out);
        }
        for (grad, out) in grad.chunks(grads).zip(out.chunks_mut(images)) {
            pixels::<N, M, T>(&conv, grad, weight, bias, out);
        }
        return;
    }
    let squares = Squares::of_grad::<N, M>(conv, grad, tiling, 0..groups);
    let out = SharedOut::new(out);
    each(conv.channels[0].div_ceil(BLOCK), |block| {
        Arch::new().dispatch(Planes::<N, M, T> {
            conv,
            tiling,
            weight,
            squares: &squares,
            bias,
            block,
            out,
        });
    });
}

/// A task makes the weights between some blocks of sixteen channels of the image and some of the gradient, so
/// that a place's squares come by few times.
fn weights<const N: usize, const M: usize, const T: usize>(
    conv: &Convolution,
    image: &[f32],
    grad: &[f32],
    out: &mut [f32],
) {
    struct Weights<'a, const N: usize, const M: usize, const T: usize> {
        conv: &'a Convolution,
        tiling: &'a Tiling,
        pieces: &'a Squares,
        grads: &'a Squares,
        groups: Range<usize>,
        /// Blocks of the image, and of the gradient.
        blocks: [Range<usize>; 2],
        /// The sums of products of earlier groups, if there were any.
        products: Option<Buffer>,
        out: SharedOut<'a>,
    }
    impl<const N: usize, const M: usize, const T: usize> Weights<'_, N, M, T> {
        /// The weights between two blocks from their products: those of a phase and place stand at
        /// `(place · apart) + phase`.
        #[inline(always)]
        fn store<S: Simd>(&self, simd: S, products: &[Tile], apart: usize, block: [usize; 2]) {
            let Convolution {
                channels: [c, m],
                kernel: [kernel, _],
                ..
            } = *self.conv;
            let (count, stride) = (kernel * kernel, self.tiling.stride);
            let [first_c, first_m] = block.map(|block| block * BLOCK);
            let here = [(c - first_c).min(BLOCK), (m - first_m).min(BLOCK)];
            // All taps for each of sixteen channels of the image.
            let mut taps = [0.0f32; TAPS * BLOCK * BLOCK];
            let mut of_phase = [0.0f32; TAPS * BLOCK];
            let step = apart * BLOCK * BLOCK;
            for r in 0..here[0] {
                let taps = &mut taps[r * count * BLOCK..][..count * BLOCK];
                for (phase, [down, across]) in self.tiling.phases().iter().enumerate() {
                    let places = products[phase..].as_ptr().cast::<f32>();
                    // SAFETY: row r of every place's tile; T² vectors of taps.
                    unsafe {
                        both_axes(
                            simd,
                            #[inline(always)]
                            |x| filter_adjoint::<S, N, T>(x),
                            places.add(r * BLOCK),
                            [N * step, step],
                            of_phase.as_mut_ptr(),
                            BLOCK,
                        );
                    }
                    let values = &of_phase.as_chunks::<BLOCK>().0[..T * T];
                    for (k, values) in values.iter().enumerate() {
                        let (i, j) = (k / T * stride + down, k % T * stride + across);
                        if i < kernel && j < kernel {
                            taps[(i * kernel + j) * BLOCK..][..BLOCK].copy_from_slice(values);
                        }
                    }
                }
            }
            let at = (first_m * c + first_c) * count;
            for k in (0..count * here[0]).step_by(BLOCK) {
                let part = [(count * here[0] - k).min(BLOCK), here[1]];
                // SAFETY: weights of the output; tasks differ in channels.
                unsafe {
                    let onto = self.out.as_mut_ptr().add(at + k);
                    transpose(taps.as_ptr().add(k * BLOCK), BLOCK, part, onto, c * count);
                }
            }
        }
    }
    impl<const N: usize, const M: usize, const T: usize> WithSimd for Weights<'_, N, M, T> {
        /// The products, unless the last groups were among them and the weights are made.
        type Output = Option<Buffer>;

        #[inline(always)]
        fn with_simd<S: Simd>(mut self, simd: S) -> Option<Buffer> {
            let pairs: Vec<[usize; 2]> = self.blocks[0]
                .clone()
                .flat_map(|c| self.blocks[1].clone().map(move |m| [c, m]))
                .collect();
            let phases = self.tiling.phases().len();
            let phase = self.conv.channels[0].div_ceil(BLOCK);
            let all = pairs.len() * phases;
            let earlier = self.products.take();
            let accumulate = earlier.is_some();
            let mut room = earlier.unwrap_or_else(|| Buffer::new(N * N * all * BLOCK * BLOCK));
            let is_last = self.groups.end == self.tiling.groups();
            if room.is_dry() {
                return (!is_last).then_some(room);
            }
            let products: &mut [Tile] = cast_slice_mut(&mut room);
            for (place, tiles) in products.chunks_exact_mut(all).enumerate() {
                let first = |squares: &Squares, block: usize| {
                    let first = squares.group(self.groups.start);
                    let first = first.wrapping_add(place * squares.apart + block * BLOCK * BLOCK);
                    (first, N * N * squares.apart)
                };
                let present = self.tiling.phases_in::<N>(place / N, place % N);
                for (i, tile) in tiles.iter_mut().enumerate() {
                    let ([c, m], f) = (pairs[i / phases], i % phases);
                    if !present.contains(&f) {
                        *tile = Tile::ZERO;
                        continue;
                    }
                    let (pieces, pieces_group) = first(self.pieces, f * phase + c);
                    let (grads, grads_group) = first(self.grads, m);
                    let operands = Operands::new(
                        self.groups.len() * BLOCK,
                        #[inline(always)]
                        |t| pieces.wrapping_add(t / BLOCK * pieces_group + t % BLOCK * BLOCK),
                        #[inline(always)]
                        |c| c,
                        #[inline(always)]
                        |t| grads.wrapping_add(t / BLOCK * grads_group + t % BLOCK * BLOCK),
                    );
                    // SAFETY: both are laid out for it.
                    unsafe { operands.multiply(simd, accumulate, tile) };
                }
            }
            if !is_last {
                return Some(room);
            }
            for (i, block) in pairs.iter().enumerate() {
                self.store(simd, &products[i * phases..], all, *block);
            }
            None
        }
    }
    let tiling = &Tiling::new::<M>(conv);
    let out = SharedOut::new(out);
    let blocks = conv.channels.map(|channels| channels.div_ceil(BLOCK));
    let phases = tiling.phases().len();
    // Up to 4×4 blocks a task, phases counted, as long as all cores have some.
    let sides = |side: usize| [side.div_ceil(phases), side];
    let tasks = |side: usize| [0, 1].map(|i| blocks[i].div_ceil(sides(side)[i]));
    let enough =
        |side: &usize| tasks(*side).iter().product::<usize>() >= 4 * rayon::current_num_threads();
    let side = (2..=4).rev().find(enough).unwrap_or(1);
    let [_, across] = tasks(side);
    let some = |at: usize, i: usize| {
        let side = sides(side)[i];
        at * side..((at + 1) * side).min(blocks[i])
    };
    let mut sums: Vec<Option<Buffer>> = Vec::new();
    sums.resize_with(tasks(side).iter().product(), || None);
    let places = N * N * BLOCK * BLOCK;
    let group = places * (phases * blocks[0] + blocks[1]);
    // The sums go by once a strip: a strip is the larger part.
    let near = SHARED.max(places * phases * blocks[0] * blocks[1]);
    for groups in strips(tiling.groups(), near / group) {
        let (pieces, grads) = join(
            || Squares::of_image::<N>(conv, image, tiling, groups.clone()),
            || Squares::of_grad::<N, M>(conv, grad, tiling, groups.clone()),
        );
        let work = |task: usize, products: Option<Buffer>| {
            Arch::new().dispatch(Weights::<N, M, T> {
                conv,
                tiling,
                pieces: &pieces,
                grads: &grads,
                groups: groups.clone(),
                blocks: [some(task / across, 0), some(task % across, 1)],
                products,
                out,
            })
        };
        match dry::is_on() {
            true if groups.len() == tiling.groups() => {
                each(sums.len(), |task| drop(work(task, None)));
            }
            true => {
                for (task, sums) in sums.iter_mut().enumerate() {
                    *sums = work(task, sums.take());
                }
                // Later strips use the same memory.
                break;
            }
            false => sums
                .par_iter_mut()
                .enumerate()
                .for_each(|(task, sums)| *sums = work(task, sums.take())),
        }
    }
}

/// So many groups, cut into strips of about `near`.
fn strips(groups: usize, near: usize) -> impl Iterator<Item = Range<usize>> {
    let strip = groups.div_ceil(groups.div_ceil(near.max(1)));
    (0..groups)
        .step_by(strip)
        .map(move |start| start..(start + strip).min(groups))
}
