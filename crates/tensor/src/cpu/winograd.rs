//! 3×3 convolution with stride 1 by Winograd's F(4×4, 3×3) (Lavin & Gray, 2016): sixteen outputs of a
//! tile for 36 multiplications where the definition takes 144.
//!
//! A 6×6 piece d of the image, the filter g and the 4×4 outputs y are polynomials evaluated at 0,
//! ±√½, ±√2 and ∞: y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A. These points halve the rounding error of the usual
//! 0, ±1, ±2, ∞. The products over channels are 36 matrix products, one for each place of a tile.
//!
//! Both gradients are the adjoint of that expression, so they use the same transforms and tiles:
//! with ŷ = A y Aᵀ, the image's is B[Σ (G g Gᵀ) ⊙ ŷ]Bᵀ, where tiles overlap their pieces are added,
//! and the filter's Gᵀ[Σ (Bᵀ d B) ⊙ ŷ]G.
//!
//! Everything between the planes of the image and those of the output is in vectors of sixteen channels,
//! so that transforms need no shuffles: planes are transposed once on the way in and once on the way out.

use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};
use std::ops::Range;

use bytemuck::cast_slice_mut;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::gemm::SharedOut;
use super::lanes::Lanes;
use super::tile::{BLOCK, Operands, Tile};
use super::transpose::transpose;
use super::{Buffer, Convolution};

/// Places of a transformed tile.
const PLACES: usize = 36;

/// How far two places of transformed tiles are apart, `len` being the values of one. A line of the cache
/// is left between them: powers of two would have all places fight for the same lines.
fn apart(len: usize) -> usize {
    len + BLOCK
}

const P: f32 = FRAC_1_SQRT_2;
const Q: f32 = SQRT_2;

/// Bᵀ
#[inline(always)]
fn data<S: Simd>(d: [Lanes<S>; 6]) -> [Lanes<S>; 6] {
    let (even_p, odd_p) = (d[4] - d[2] * 2.0, (d[3] - d[1] * 2.0) * P);
    let (even_q, odd_q) = (d[4] - d[2] * 0.5, (d[3] - d[1] * 0.5) * Q);
    [
        d[0] - d[2] * 2.5 + d[4],
        even_p + odd_p,
        even_p - odd_p,
        even_q + odd_q,
        even_q - odd_q,
        d[1] - d[3] * 2.5 + d[5],
    ]
}

/// B
#[inline(always)]
fn data_adjoint<S: Simd>(v: [Lanes<S>; 6]) -> [Lanes<S>; 6] {
    let (even_p, odd_p) = (v[1] + v[2], (v[1] - v[2]) * P);
    let (even_q, odd_q) = (v[3] + v[4], (v[3] - v[4]) * Q);
    [
        v[0],
        v[5] - odd_p * 2.0 - odd_q * 0.5,
        v[0] * -2.5 - even_p * 2.0 - even_q * 0.5,
        odd_p + odd_q - v[5] * 2.5,
        v[0] + even_p + even_q,
        v[5],
    ]
}

/// G
#[inline(always)]
fn filter<S: Simd>(g: [Lanes<S>; 3]) -> [Lanes<S>; 6] {
    let (even_p, odd_p) = (g[0] + g[2] * 0.5, g[1] * P);
    let (even_q, odd_q) = (g[0] + g[2] * 2.0, g[1] * Q);
    [
        g[0],
        (even_p + odd_p) * (-1.0 / 1.5),
        (even_p - odd_p) * (-1.0 / 1.5),
        (even_q + odd_q) * (1.0 / 6.0),
        (even_q - odd_q) * (1.0 / 6.0),
        g[2],
    ]
}

/// Gᵀ
#[inline(always)]
fn filter_adjoint<S: Simd>(u: [Lanes<S>; 6]) -> [Lanes<S>; 3] {
    let (even_p, odd_p) = ((u[1] + u[2]) * (-1.0 / 1.5), (u[1] - u[2]) * (-P / 1.5));
    let (even_q, odd_q) = ((u[3] + u[4]) * (1.0 / 6.0), (u[3] - u[4]) * (Q / 6.0));
    [
        u[0] + even_p + even_q,
        odd_p + odd_q,
        even_p * 0.5 + even_q * 2.0 + u[5],
    ]
}

/// Aᵀ
#[inline(always)]
fn result<S: Simd>(m: [Lanes<S>; 6]) -> [Lanes<S>; 4] {
    let (even_p, odd_p) = (m[1] + m[2], (m[1] - m[2]) * P);
    let (even_q, odd_q) = (m[3] + m[4], (m[3] - m[4]) * Q);
    [
        m[0] + even_p + even_q,
        odd_p + odd_q,
        even_p * 0.5 + even_q * 2.0,
        odd_p * 0.5 + odd_q * 2.0 + m[5],
    ]
}

/// A
#[inline(always)]
fn result_adjoint<S: Simd>(y: [Lanes<S>; 4]) -> [Lanes<S>; 6] {
    let (even_p, odd_p) = (y[0] + y[2] * 0.5, (y[1] + y[3] * 0.5) * P);
    let (even_q, odd_q) = (y[0] + y[2] * 2.0, (y[1] + y[3] * 2.0) * Q);
    [
        y[0],
        even_p + odd_p,
        even_p - odd_p,
        even_q + odd_q,
        even_q - odd_q,
        y[3],
    ]
}

/// Applies a transform along both axes of sixteen N×N squares, one a lane. Values (i, j) stand at
/// `from + i·step₀ + j·step₁`; those of the M×M results go to `onto + (i·M + j)·onto_step`.
///
/// # Safety
/// All of them must be readable and writable.
#[inline(always)]
unsafe fn both_axes<S: Simd, const N: usize, const M: usize>(
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

/// A convolution's tiles, in groups of sixteen through all items.
struct Tiling {
    /// Tiles down and across.
    tiles: [usize; 2],
    all: usize,
}

impl Tiling {
    fn new(conv: &Convolution) -> Self {
        let tiles = conv.out.map(|extent| extent.div_ceil(4));
        Tiling {
            tiles,
            all: conv.items * tiles[0] * tiles[1],
        }
    }

    fn groups(&self) -> usize {
        self.all.div_ceil(BLOCK)
    }

    /// The tiles of some groups.
    fn tiles_of(&self, groups: &Range<usize>) -> Range<usize> {
        groups.start * BLOCK..(groups.end * BLOCK).min(self.all)
    }

    /// Item, and first row and column of outputs.
    fn place(&self, tile: usize) -> [usize; 3] {
        let [down, across] = self.tiles;
        [
            tile / (down * across),
            tile / across % down * 4,
            tile % across * 4,
        ]
    }
}

fn each(tasks: usize, work: impl Fn(usize) + Send + Sync) {
    (0..tasks).into_par_iter().for_each(work);
}

/// Sixteen planes as pixels of sixteen channels, with zeros around the image and in place of missing
/// planes.
struct Pixels {
    data: Buffer,
    width: usize,
}

impl Pixels {
    fn new(planes: &[f32], [h, w]: [usize; 2], before: usize, [height, width]: [usize; 2]) -> Self {
        let channels = planes.len() / (h * w);
        let row = width * BLOCK;
        let mut data = Buffer::new(height * row);
        let inside = w.min(width - before);
        for (y, onto) in data.chunks_exact_mut(row).enumerate() {
            let from_y = y.wrapping_sub(before);
            if from_y >= h {
                onto.fill(0.0);
                continue;
            }
            onto[..before * BLOCK].fill(0.0);
            onto[(before + inside) * BLOCK..].fill(0.0);
            let onto = &mut onto[before * BLOCK..][..inside * BLOCK];
            if channels < BLOCK {
                onto.fill(0.0);
            }
            for (x, onto) in onto.chunks_mut(BLOCK * BLOCK).enumerate() {
                let part = [channels, onto.len() / BLOCK];
                let from = planes[from_y * w + x * BLOCK..].as_ptr();
                // SAFETY: `part` rows and columns of the planes, and of this stretch.
                unsafe { transpose(from, h * w, part, onto.as_mut_ptr(), BLOCK) };
            }
        }
        Pixels { data, width }
    }
}

/// The squares of tiles in their places: tile t and channel c at
/// `((t/16·36 + place) · apart) + (c/16·16 + t%16)·16 + c%16`.
struct Squares {
    data: Buffer,
    apart: usize,
}

impl Squares {
    /// A group's first square in its first place.
    fn group(&self, group: usize) -> *const f32 {
        self.data[group * PLACES * self.apart..].as_ptr()
    }
}

/// Which squares are transformed: the image's 6×6 pieces by Bᵀ, or a gradient's 4×4 tiles by A.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    Image { padding: usize },
    Gradient,
}

/// The squares of planes N×`channels`×`extent`. A task does sixteen channels of an item.
fn squares(
    planes: &[f32],
    channels: usize,
    extent: [usize; 2],
    of: Of,
    tiling: &Tiling,
) -> Squares {
    struct Transform<'a> {
        pixels: Pixels,
        of: Of,
        tiling: &'a Tiling,
        tiles: Range<usize>,
        block: usize,
        apart: usize,
        out: SharedOut<'a>,
    }
    impl WithSimd for Transform<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let steps = [self.pixels.width * BLOCK, BLOCK];
            // Groups are whole: the last has zeros for the tiles it lacks.
            let is_last = self.tiles.end == self.tiling.all;
            let lacking = if is_last {
                self.tiles.end..self.tiling.groups() * BLOCK
            } else {
                0..0
            };
            let place = |tile: usize| {
                let group = tile / BLOCK * PLACES * self.apart;
                group + (self.block * BLOCK + tile % BLOCK) * BLOCK
            };
            // SAFETY: pixels hold whole squares; tasks differ in items or blocks.
            unsafe {
                for tile in self.tiles.clone() {
                    let [_, y, x] = self.tiling.place(tile);
                    let from = self.pixels.data[y * steps[0] + x * steps[1]..].as_ptr();
                    let onto = self.out.as_mut_ptr().add(place(tile));
                    match self.of {
                        Of::Image { .. } => both_axes(
                            simd,
                            #[inline(always)]
                            |x| data(x),
                            from,
                            steps,
                            onto,
                            self.apart,
                        ),
                        Of::Gradient => both_axes(
                            simd,
                            #[inline(always)]
                            |x| result_adjoint(x),
                            from,
                            steps,
                            onto,
                            self.apart,
                        ),
                    }
                }
                for tile in lacking {
                    let onto = self.out.as_mut_ptr().add(place(tile));
                    (0..PLACES).for_each(|p| onto.add(p * self.apart).write_bytes(0, BLOCK));
                }
            }
        }
    }
    let blocks = channels.div_ceil(BLOCK);
    let apart = apart(blocks * BLOCK * BLOCK);
    let mut data = Buffer::new(tiling.groups() * PLACES * apart);
    let out = SharedOut::new(&mut data);
    let [down, across] = tiling.tiles;
    let (items, plane) = (tiling.all / (down * across), extent[0] * extent[1]);
    let (before, around) = match of {
        Of::Image { padding } => (padding, 2),
        Of::Gradient => (0, 0),
    };
    each(items * blocks, |task| {
        let (item, block) = (task / blocks, task % blocks);
        let first = item * channels + block * BLOCK;
        let here = (channels - block * BLOCK).min(BLOCK);
        let planes = &planes[first * plane..][..here * plane];
        let whole = tiling.tiles.map(|tiles| 4 * tiles + around);
        Arch::new().dispatch(Transform {
            pixels: Pixels::new(planes, extent, before, whole),
            of,
            tiling,
            tiles: item * down * across..(item + 1) * down * across,
            block,
            apart,
            out,
        });
    });
    Squares { data, apart }
}

/// The squares of an image N×C×H×W.
fn image_squares(conv: &Convolution, image: &[f32], tiling: &Tiling) -> Squares {
    let of = Of::Image {
        padding: conv.padding,
    };
    squares(image, conv.channels[0], conv.image, of, tiling)
}

/// The squares of a gradient N×M×H′×W′.
fn grad_squares(conv: &Convolution, grad: &[f32], tiling: &Tiling) -> Squares {
    squares(grad, conv.channels[1], conv.out, Of::Gradient, tiling)
}

/// G g Gᵀ of a stretch of filters, sixteen columns a vector: filter (k, l), which starts at
/// `at + k·row + l·column` in the weight, at `k·16 + l` of each place. Those from `columns` on are zero.
#[inline(always)]
fn filters<S: Simd>(
    simd: S,
    weight: &[f32],
    at: usize,
    [row, column]: [usize; 2],
    [depth, columns]: [usize; 2],
) -> Buffer {
    let apart = apart(depth * BLOCK);
    let mut filters = Buffer::new(PLACES * apart);
    let mut taps = [0.0f32; 9 * BLOCK];
    for k in 0..depth {
        let from = &weight[at + k * row..][..(columns - 1) * column + 9];
        // SAFETY: 9 values for each of the columns; 9 vectors of taps, 36 of places.
        unsafe {
            transpose(
                from.as_ptr(),
                column,
                [columns, 9],
                taps.as_mut_ptr(),
                BLOCK,
            );
            both_axes(
                simd,
                #[inline(always)]
                |x| filter(x),
                taps.as_ptr(),
                [3 * BLOCK, BLOCK],
                filters.as_mut_ptr().add(k * BLOCK),
                apart,
            );
        }
    }
    filters
}

/// Groups that a task takes together: they share the transform of their filters, and the filters of a
/// place stay near the core while all groups are multiplied with them.
const GROUPS: usize = 8;

/// Room for the products of so many groups.
fn room_for(groups: usize) -> Buffer {
    Buffer::new(groups * PLACES * BLOCK * BLOCK)
}

/// For each group and place the product of sixteen squares and `depth` rows of filters.
///
/// # Safety
/// Both must be laid out for it.
#[inline(always)]
unsafe fn multiply_places<S: Simd>(
    simd: S,
    depth: usize,
    squares: &Squares,
    groups: Range<usize>,
    filters: &Buffer,
    products: &mut [Tile],
) {
    let apart = apart(depth * BLOCK);
    for place in 0..PLACES {
        let filters = filters.as_ptr().wrapping_add(place * apart);
        for (group, products) in groups.clone().zip(products.chunks_exact_mut(PLACES)) {
            let squares = squares.group(group).wrapping_add(place * squares.apart);
            let operands = Operands::new(
                depth,
                #[inline(always)]
                |k| squares.wrapping_add(k / BLOCK * BLOCK * BLOCK + k % BLOCK),
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
    struct Outputs<'a> {
        conv: &'a Convolution,
        tiling: &'a Tiling,
        weight: &'a [f32],
        squares: &'a Squares,
        bias: Option<&'a [f32]>,
        groups: Range<usize>,
        block: usize,
        out: SharedOut<'a>,
    }
    impl WithSimd for Outputs<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Convolution {
                channels: [c, m],
                out: [down, across],
                ..
            } = *self.conv;
            let first = self.block * BLOCK;
            let here = (m - first).min(BLOCK);
            let filters = filters(simd, self.weight, first * c * 9, [9, c * 9], [c, here]);
            let mut bias = [0.0; BLOCK];
            if let Some(values) = self.bias {
                bias[..here].copy_from_slice(&values[first..first + here]);
            }
            let mut room = room_for(self.groups.len());
            let products: &mut [Tile] = cast_slice_mut(&mut room);
            // SAFETY: squares and filters are laid out for it.
            unsafe {
                let groups = self.groups.clone();
                multiply_places(simd, c, self.squares, groups, &filters, products);
            }
            // Four rows of 64 pixels: sixteen tiles side by side.
            let mut pixels = [0.0f32; 4 * 4 * BLOCK * BLOCK];
            for (group, places) in self.groups.zip(products.chunks_exact(PLACES)) {
                let tiles = self.tiling.tiles_of(&(group..group + 1));
                let mut line = [0.0f32; 16 * BLOCK];
                // SAFETY: a row of every place's tile.
                unsafe {
                    for l in 0..tiles.len() {
                        both_axes(
                            simd,
                            #[inline(always)]
                            |x| result(x),
                            places.as_ptr().cast::<f32>().add(l * BLOCK),
                            [6 * BLOCK * BLOCK, BLOCK * BLOCK],
                            line.as_mut_ptr(),
                            BLOCK,
                        );
                        for (k, values) in line.as_chunks::<BLOCK>().0.iter().enumerate() {
                            let onto = &mut pixels[(k / 4 * 4 * BLOCK + l * 4 + k % 4) * BLOCK..];
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
                    let run = ((across - x).div_ceil(4)).min(tiles.end - tile);
                    let width = (4 * run).min(across - x);
                    for i in 0..(down - y).min(4) {
                        let at = ((item * m + first) * down + y + i) * across + x;
                        for j in (0..width).step_by(BLOCK) {
                            let l = (tile - tiles.start) * 4 + j;
                            let from = pixels[(i * 4 * BLOCK + l) * BLOCK..].as_ptr();
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
    let m = conv.channels[1];
    let tiling = &Tiling::new(conv);
    let squares = image_squares(conv, image, tiling);
    let out = SharedOut::new(out);
    let parts = tiling.groups().div_ceil(GROUPS);
    each(m.div_ceil(BLOCK) * parts, |task| {
        let (block, part) = (task / parts, task % parts);
        Arch::new().dispatch(Outputs {
            conv,
            tiling,
            weight,
            squares: &squares,
            bias,
            groups: part * GROUPS..((part + 1) * GROUPS).min(tiling.groups()),
            block,
            out,
        });
    });
}

/// See [`Convolution::image_grad`]. A task makes sixteen channels of the image.
pub(super) fn image_grad(
    conv: &Convolution,
    grad: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    struct Planes<'a> {
        conv: &'a Convolution,
        tiling: &'a Tiling,
        weight: &'a [f32],
        squares: &'a Squares,
        bias: Option<&'a [f32]>,
        block: usize,
        out: SharedOut<'a>,
    }
    impl WithSimd for Planes<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Convolution {
                items,
                channels: [c, m],
                image: [h, w],
                padding,
                ..
            } = *self.conv;
            let first = self.block * BLOCK;
            let here = (c - first).min(BLOCK);
            let filters = filters(simd, self.weight, first * 9, [c * 9, 9], [m, here]);
            // At least as large as the padded image: where tiles don't reach the gradient is the bias.
            let [height, width] =
                [0, 1].map(|i| (4 * self.tiling.tiles[i] + 2).max(self.conv.image[i] + padding));
            let mut pixels = Buffer::new(items * height * width * BLOCK);
            let mut start = [0.0; BLOCK];
            if let Some(bias) = self.bias {
                start[..here].copy_from_slice(&bias[first..first + here]);
            }
            pixels
                .as_chunks_mut()
                .0
                .iter_mut()
                .for_each(|pixel| *pixel = start);
            let mut room = room_for(GROUPS.min(self.tiling.groups()));
            let products: &mut [Tile] = cast_slice_mut(&mut room);
            let mut piece = [0.0f32; 36 * BLOCK];
            for group in 0..self.tiling.groups() {
                let tiles = self.tiling.tiles_of(&(group..group + 1));
                // SAFETY: squares and filters are laid out for it; a row of every place's tile.
                unsafe {
                    if group % GROUPS == 0 {
                        let groups = group..(group + GROUPS).min(self.tiling.groups());
                        multiply_places(simd, m, self.squares, groups, &filters, products);
                    }
                    let places = &products[group % GROUPS * PLACES..][..PLACES];
                    for (l, tile) in tiles.enumerate() {
                        both_axes(
                            simd,
                            #[inline(always)]
                            |x| data_adjoint(x),
                            places.as_ptr().cast::<f32>().add(l * BLOCK),
                            [6 * BLOCK * BLOCK, BLOCK * BLOCK],
                            piece.as_mut_ptr(),
                            BLOCK,
                        );
                        let [item, y, x] = self.tiling.place(tile);
                        for (i, piece) in piece.as_chunks::<{ 6 * BLOCK }>().0.iter().enumerate() {
                            let at = ((item * height + y + i) * width + x) * BLOCK;
                            let line = &mut pixels[at..][..6 * BLOCK];
                            line.iter_mut()
                                .zip(piece)
                                .for_each(|(onto, value)| *onto += value);
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
    let tiling = &Tiling::new(conv);
    let squares = grad_squares(conv, grad, tiling);
    let out = SharedOut::new(out);
    each(conv.channels[0].div_ceil(BLOCK), |block| {
        Arch::new().dispatch(Planes {
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

/// See [`Convolution::weight_grad`]. A task makes the weights between some blocks of sixteen channels of the
/// image and some of the gradient, so that a place's squares come by few times.
pub(super) fn weight_grad(conv: &Convolution, image: &[f32], grad: &[f32], out: &mut [f32]) {
    struct Weights<'a> {
        channels: [usize; 2],
        groups: usize,
        pieces: &'a Squares,
        grads: &'a Squares,
        /// Blocks of the image, and of the gradient.
        blocks: [Range<usize>; 2],
        out: SharedOut<'a>,
    }
    impl Weights<'_> {
        /// The weights between two blocks from their products in each place, `apart` tiles from one to
        /// the next.
        #[inline(always)]
        fn store<S: Simd>(&self, simd: S, places: &[Tile], apart: usize, block: [usize; 2]) {
            let [c, m] = self.channels;
            let [first_c, first_m] = block.map(|block| block * BLOCK);
            let here = [(c - first_c).min(BLOCK), (m - first_m).min(BLOCK)];
            // Nine taps for each of sixteen channels of the image.
            let mut taps = [0.0f32; 9 * BLOCK * BLOCK];
            let step = apart * BLOCK * BLOCK;
            for r in 0..here[0] {
                // SAFETY: row r of every place's tile; nine vectors of taps.
                unsafe {
                    both_axes(
                        simd,
                        #[inline(always)]
                        |x| filter_adjoint(x),
                        places.as_ptr().cast::<f32>().add(r * BLOCK),
                        [6 * step, step],
                        taps.as_mut_ptr().add(r * 9 * BLOCK),
                        BLOCK,
                    );
                }
            }
            let at = (first_m * c + first_c) * 9;
            for k in (0..9 * here[0]).step_by(BLOCK) {
                let part = [(9 * here[0] - k).min(BLOCK), here[1]];
                // SAFETY: weights of the output; tasks differ in channels.
                unsafe {
                    let onto = self.out.as_mut_ptr().add(at + k);
                    transpose(taps.as_ptr().add(k * BLOCK), BLOCK, part, onto, c * 9);
                }
            }
        }
    }
    impl WithSimd for Weights<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let pairs: Vec<[usize; 2]> = self.blocks[0]
                .clone()
                .flat_map(|c| self.blocks[1].clone().map(move |m| [c, m]))
                .collect();
            let mut room = Buffer::new(PLACES * pairs.len() * BLOCK * BLOCK);
            let products: &mut [Tile] = cast_slice_mut(&mut room);
            for (place, tiles) in products.chunks_exact_mut(pairs.len()).enumerate() {
                let first = |squares: &Squares, block: usize| {
                    let first = squares.group(0).wrapping_add(place * squares.apart);
                    (
                        first.wrapping_add(block * BLOCK * BLOCK),
                        PLACES * squares.apart,
                    )
                };
                for (tile, block) in tiles.iter_mut().zip(&pairs) {
                    let (pieces, pieces_group) = first(self.pieces, block[0]);
                    let (grads, grads_group) = first(self.grads, block[1]);
                    let operands = Operands::new(
                        self.groups * BLOCK,
                        #[inline(always)]
                        |t| pieces.wrapping_add(t / BLOCK * pieces_group + t % BLOCK * BLOCK),
                        #[inline(always)]
                        |c| c,
                        #[inline(always)]
                        |t| grads.wrapping_add(t / BLOCK * grads_group + t % BLOCK * BLOCK),
                    );
                    // SAFETY: both are laid out for it.
                    unsafe { operands.multiply(simd, false, tile) };
                }
            }
            for (i, block) in pairs.iter().enumerate() {
                self.store(simd, &products[i..], pairs.len(), *block);
            }
        }
    }
    let tiling = &Tiling::new(conv);
    let (pieces, grads) = rayon::join(
        || image_squares(conv, image, tiling),
        || grad_squares(conv, grad, tiling),
    );
    let out = SharedOut::new(out);
    let blocks = conv.channels.map(|channels| channels.div_ceil(BLOCK));
    // Up to 4×4 blocks a task, as long as all cores have some.
    let tasks = |side: usize| blocks.map(|blocks| blocks.div_ceil(side));
    let enough =
        |side: &usize| tasks(*side).iter().product::<usize>() >= 4 * rayon::current_num_threads();
    let side = (2..=4).rev().find(enough).unwrap_or(1);
    let [_, across] = tasks(side);
    each(tasks(side).iter().product(), |task| {
        let some = |at: usize, all: usize| at * side..((at + 1) * side).min(all);
        Arch::new().dispatch(Weights {
            channels: conv.channels,
            groups: tiling.groups(),
            pieces: &pieces,
            grads: &grads,
            blocks: [
                some(task / across, blocks[0]),
                some(task % across, blocks[1]),
            ],
            out,
        });
    });
}
