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

use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::gemm::SharedOut;
use super::lanes::Lanes;
use super::planes::Planes;
use super::tile::{BLOCK, Operands, Tile};
use super::{Buffer, Convolution};

/// Places of a transformed tile.
const PLACES: usize = 36;

/// Sixteen 6×6 pieces, place by place.
type Pieces = [Tile; PLACES * BLOCK / (BLOCK * BLOCK) + 1];

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

/// Applies a transform along both axes of sixteen N×N squares. Value (i, j) of square l stands at
/// `from[(i·N + j)·step + l]`; those of the M×M results go to `onto[(i·M + j)·onto_step + l]`.
///
/// # Safety
/// All of them must be readable and writable.
#[inline(always)]
unsafe fn both_axes<S: Simd, const N: usize, const M: usize>(
    simd: S,
    transform: impl Fn([Lanes<S>; N]) -> [Lanes<S>; M],
    from: *const f32,
    step: usize,
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
                *value = unsafe { Lanes::load(simd, from.add((i * N + j) * step + lane)) };
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

/// Reads the N×N squares that start at the given places, place by place as [`both_axes`] takes them.
///
/// # Safety
/// The squares must be readable.
#[inline(always)]
unsafe fn gather<const N: usize>(
    planes: *const f32,
    starts: &[usize],
    pitch: usize,
    squares: &mut Pieces,
) {
    let onto = squares.as_mut_ptr().cast::<f32>();
    for l in 0..BLOCK {
        for i in 0..N {
            for j in 0..N {
                // SAFETY: by the caller's word.
                unsafe {
                    *onto.add((i * N + j) * BLOCK + l) = match starts.get(l) {
                        Some(&start) => *planes.add(start + i * pitch + j),
                        None => 0.0,
                    };
                }
            }
        }
    }
}

/// A convolution's tiles.
struct Tiling {
    /// Tiles down and across.
    tiles: [usize; 2],
    items: usize,
}

impl Tiling {
    fn new(conv: &Convolution) -> Self {
        Tiling {
            tiles: conv.out.map(|extent| extent.div_ceil(4)),
            items: conv.items,
        }
    }

    /// Groups of sixteen tiles, through all items.
    fn groups(&self) -> usize {
        (self.items * self.tiles[0] * self.tiles[1]).div_ceil(BLOCK)
    }

    /// Item, and first row and column of outputs, of a group's tiles.
    fn group(&self, group: usize) -> impl Iterator<Item = [usize; 3]> {
        let [down, across] = self.tiles;
        let all = self.items * down * across;
        (group * BLOCK..((group + 1) * BLOCK).min(all))
            .map(move |t| [t / (down * across), t / across % down * 4, t % across * 4])
    }

    /// Where a group's tiles start in planes of `channels` channels.
    fn starts(&self, group: usize, planes: &Planes, channels: usize) -> Starts {
        let mut starts = Starts {
            at: [0; BLOCK],
            len: 0,
        };
        for [item, y, x] in self.group(group) {
            starts.at[starts.len] = item * channels * planes.channel + y * planes.pitch + x;
            starts.len += 1;
        }
        starts
    }
}

/// Where up to sixteen squares start.
struct Starts {
    at: [usize; BLOCK],
    len: usize,
}

/// Runs code compiled for the processor at hand.
struct Task<F>(F);

/// What a [`Task`] runs, for any instruction set.
trait Work {
    fn run<S: Simd>(self, simd: S);
}

impl<F: Work> WithSimd for Task<F> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.0.run(simd);
    }
}

fn each(tasks: usize, work: impl Fn(usize) + Send + Sync) {
    (0..tasks).into_par_iter().for_each(work);
}

/// G g Gᵀ for M×C filters: filter (m, c) at `((place · M/16 + m/16) · C + c) · 16 + m%16`.
fn filters(weight: &[f32], [c, m]: [usize; 2]) -> Buffer {
    let blocks = m.div_ceil(BLOCK);
    // As the left side of the image's gradient its channels are taken sixteen at a time.
    let mut filters = Buffer::new(PLACES * blocks * c * BLOCK + BLOCK * BLOCK);
    filters[PLACES * blocks * c * BLOCK..].fill(0.0);
    let out = SharedOut::new(&mut filters);
    each(blocks, |block| {
        struct Filters<'a> {
            weight: &'a [f32],
            c: usize,
            m: usize,
            block: usize,
            blocks: usize,
            out: SharedOut<'a>,
        }
        impl Work for Filters<'_> {
            #[inline(always)]
            fn run<S: Simd>(self, simd: S) {
                let mut squares = [Tile::ZERO; 3];
                let here = (self.m - self.block * BLOCK).min(BLOCK);
                for c in 0..self.c {
                    let mut starts = [0; BLOCK];
                    for (l, start) in starts[..here].iter_mut().enumerate() {
                        *start = ((self.block * BLOCK + l) * self.c + c) * 9;
                    }
                    let at = (self.block * self.c + c) * BLOCK;
                    // SAFETY: filters are 9 values each; tasks differ in blocks.
                    unsafe {
                        gather::<3>(self.weight.as_ptr(), &starts[..here], 3, &mut squares);
                        let from = squares.as_ptr().cast();
                        let step = self.blocks * self.c * BLOCK;
                        let onto = self.out.as_mut_ptr().add(at);
                        both_axes(
                            simd,
                            #[inline(always)]
                            |x| filter(x),
                            from,
                            BLOCK,
                            onto,
                            step,
                        );
                    }
                }
            }
        }
        Arch::new().dispatch(Task(Filters {
            weight,
            c,
            m,
            block,
            blocks,
            out,
        }));
    });
    filters
}

/// Squares of N×N from planes, transformed to 36 places: those of group g and channel c, a vector of
/// sixteen tiles, at `((g·36 + place) · channels + c) · 16`.
fn by_tiles<const N: usize>(planes: &Planes, channels: usize, tiling: &Tiling) -> Buffer
where
    (): Squares<N>,
{
    let len = tiling.groups() * PLACES * channels * BLOCK;
    // As the left side of the weight's gradient its channels are taken sixteen at a time.
    let mut out = Buffer::new(len + BLOCK * BLOCK);
    out[len..].fill(0.0);
    let shared = SharedOut::new(&mut out);
    let parts = channels.div_ceil(BLOCK);
    each(tiling.groups() * parts, |task| {
        struct ByTiles<'a, const N: usize> {
            planes: &'a Planes,
            channels: usize,
            starts: Starts,
            group: usize,
            some: std::ops::Range<usize>,
            out: SharedOut<'a>,
        }
        impl<const N: usize> Work for ByTiles<'_, N>
        where
            (): Squares<N>,
        {
            #[inline(always)]
            fn run<S: Simd>(self, simd: S) {
                let mut squares = [Tile::ZERO; 3];
                let starts = &self.starts.at[..self.starts.len];
                for c in self.some {
                    let at = (self.group * PLACES * self.channels + c) * BLOCK;
                    // SAFETY: planes hold whole tiles; tasks differ in groups or channels.
                    unsafe {
                        let plane = self.planes.as_ptr().add(c * self.planes.channel);
                        gather::<N>(plane, starts, self.planes.pitch, &mut squares);
                        let onto = self.out.as_mut_ptr().add(at);
                        let step = self.channels * BLOCK;
                        <()>::transform(simd, squares.as_ptr().cast(), onto, step);
                    }
                }
            }
        }
        let (group, part) = (task / parts, task % parts);
        Arch::new().dispatch(Task(ByTiles {
            planes,
            channels,
            starts: tiling.starts(group, planes, channels),
            group,
            some: part * BLOCK..((part + 1) * BLOCK).min(channels),
            out: shared,
        }));
    });
    out
}

/// The transform that takes an N×N square to its 36 places: of the image (6) or of a gradient (4).
trait Squares<const N: usize> {
    /// # Safety
    /// As for [`both_axes`].
    unsafe fn transform<S: Simd>(simd: S, from: *const f32, onto: *mut f32, step: usize);
}

impl Squares<6> for () {
    #[inline(always)]
    unsafe fn transform<S: Simd>(simd: S, from: *const f32, onto: *mut f32, step: usize) {
        // SAFETY: by the caller's word.
        unsafe {
            both_axes(
                simd,
                #[inline(always)]
                |x| data(x),
                from,
                BLOCK,
                onto,
                step,
            );
        }
    }
}

impl Squares<4> for () {
    #[inline(always)]
    unsafe fn transform<S: Simd>(simd: S, from: *const f32, onto: *mut f32, step: usize) {
        // SAFETY: by the caller's word.
        unsafe {
            both_axes(
                simd,
                #[inline(always)]
                |x| result_adjoint(x),
                from,
                BLOCK,
                onto,
                step,
            );
        }
    }
}

/// A y Aᵀ of gradients, sixteen channels a vector: tile t of group g and channel m at
/// `(((g·36 + place) · M/16 + m/16) · 16 + t) · 16 + m%16`.
fn by_channels(planes: &Planes, channels: usize, tiling: &Tiling) -> Buffer {
    let blocks = channels.div_ceil(BLOCK);
    let mut out = Buffer::new(tiling.groups() * PLACES * blocks * BLOCK * BLOCK);
    let shared = SharedOut::new(&mut out);
    each(tiling.groups() * blocks, |task| {
        struct ByChannels<'a> {
            planes: &'a Planes,
            starts: Starts,
            some: std::ops::Range<usize>,
            step: usize,
            at: usize,
            out: SharedOut<'a>,
        }
        impl Work for ByChannels<'_> {
            #[inline(always)]
            fn run<S: Simd>(self, simd: S) {
                let mut squares = [Tile::ZERO; 3];
                for t in 0..BLOCK {
                    let mut starts = [0; BLOCK];
                    let here = match t < self.starts.len {
                        true => self.some.len(),
                        false => 0,
                    };
                    for (l, start) in starts[..here].iter_mut().enumerate() {
                        *start = self.starts.at[t] + (self.some.start + l) * self.planes.channel;
                    }
                    // SAFETY: planes hold whole tiles; tasks differ in groups or channels.
                    unsafe {
                        let planes = self.planes.as_ptr();
                        gather::<4>(planes, &starts[..here], self.planes.pitch, &mut squares);
                        let onto = self.out.as_mut_ptr().add(self.at + t * BLOCK);
                        let from = squares.as_ptr().cast();
                        both_axes(
                            simd,
                            #[inline(always)]
                            |x| result_adjoint(x),
                            from,
                            BLOCK,
                            onto,
                            self.step,
                        );
                    }
                }
            }
        }
        let (group, block) = (task / blocks, task % blocks);
        Arch::new().dispatch(Task(ByChannels {
            planes,
            starts: tiling.starts(group, planes, channels),
            some: block * BLOCK..((block + 1) * BLOCK).min(channels),
            step: blocks * BLOCK * BLOCK,
            at: (group * PLACES * blocks + block) * BLOCK * BLOCK,
            out: shared,
        }));
    });
    out
}

/// The image in planes that hold whole 6×6 pieces.
fn image_planes(conv: &Convolution, image: &[f32], tiling: &Tiling) -> Planes {
    let extent = tiling.tiles.map(|tiles| 4 * tiles + 2);
    Planes::new(image, conv.image, 1, [conv.padding; 2], extent)
}

/// A gradient in planes that hold whole 4×4 tiles.
fn grad_planes(conv: &Convolution, grad: &[f32], tiling: &Tiling) -> Planes {
    Planes::new(
        grad,
        conv.out,
        1,
        [0; 2],
        tiling.tiles.map(|tiles| 4 * tiles),
    )
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
        filters: *const f32,
        pieces: *const f32,
        bias: Option<&'a [f32]>,
        group: usize,
        block: usize,
        out: SharedOut<'a>,
    }
    impl Work for Outputs<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let Convolution {
                channels: [c, m],
                out: [down, across],
                ..
            } = *self.conv;
            let mut places = [Tile::ZERO; PLACES];
            for (place, tile) in places.iter_mut().enumerate() {
                let filters = self
                    .filters
                    .wrapping_add((place * m.div_ceil(BLOCK) + self.block) * c * BLOCK);
                let pieces = self
                    .pieces
                    .wrapping_add((self.group * PLACES + place) * c * BLOCK);
                let operands = Operands::new(
                    c,
                    #[inline(always)]
                    |k| filters.wrapping_add(k * BLOCK),
                    #[inline(always)]
                    |r| r,
                    #[inline(always)]
                    |k| pieces.wrapping_add(k * BLOCK),
                );
                // SAFETY: both are laid out for it.
                unsafe { operands.multiply(simd, false, tile) };
            }
            let mut pixels = [[[0.0f32; BLOCK]; 4]; 4];
            let first = self.block * BLOCK;
            for r in 0..(m - first).min(BLOCK) {
                let row = first + r;
                let bias = self.bias.map_or(0.0, |bias| bias[row]);
                // SAFETY: row r of every place's tile; 4×4 vectors of pixels.
                unsafe {
                    let from = places.as_ptr().cast::<f32>().add(r * BLOCK);
                    let onto = pixels.as_mut_ptr().cast();
                    both_axes(
                        simd,
                        #[inline(always)]
                        |x| result(x),
                        from,
                        BLOCK * BLOCK,
                        onto,
                        BLOCK,
                    );
                }
                for (l, [item, y, x]) in self.tiling.group(self.group).enumerate() {
                    let width = (across - x).min(4);
                    for (i, pixels) in pixels[..(down - y).min(4)].iter().enumerate() {
                        let at = ((item * m + row) * down + y + i) * across + x;
                        for (j, pixels) in pixels[..width].iter().enumerate() {
                            // SAFETY: a pixel of the output; tasks differ in groups or rows.
                            unsafe { *self.out.as_mut_ptr().add(at + j) = pixels[l] + bias };
                        }
                    }
                }
            }
        }
    }
    let Convolution {
        channels: [c, m], ..
    } = *conv;
    let tiling = &Tiling::new(conv);
    let filters = filters(weight, [c, m]);
    let planes = image_planes(conv, image, tiling);
    let pieces = by_tiles::<6>(&planes, c, tiling);
    let (filters, pieces) = (Shared(filters.as_ptr()), Shared(pieces.as_ptr()));
    let out = SharedOut::new(out);
    let blocks = m.div_ceil(BLOCK);
    each(tiling.groups() * blocks, |task| {
        Arch::new().dispatch(Task(Outputs {
            conv,
            tiling,
            filters: filters.get(),
            pieces: pieces.get(),
            bias,
            group: task / blocks,
            block: task % blocks,
            out,
        }));
    });
}

/// A pointer to what all tasks read.
#[derive(Clone, Copy)]
struct Shared(*const f32);

// SAFETY: it is only read.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    fn get(self) -> *const f32 {
        self.0
    }
}

/// See [`Convolution::image_grad`]. A task makes sixteen channels of the image.
pub(super) fn image_grad(
    conv: &Convolution,
    grad: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    struct Pixels<'a> {
        conv: &'a Convolution,
        tiling: &'a Tiling,
        filters: *const f32,
        grads: *const f32,
        bias: Option<&'a [f32]>,
        block: usize,
        out: SharedOut<'a>,
    }
    impl Work for Pixels<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let Convolution {
                items,
                channels: [c, m],
                image: [h, w],
                padding,
                ..
            } = *self.conv;
            let first = self.block * BLOCK;
            let here = (c - first).min(BLOCK);
            let [height, width] = self.tiling.tiles.map(|tiles| 4 * tiles + 2);
            let mut planes = Buffer::new(items * here * height * width);
            planes.fill(0.0);
            let mut places = [Tile::ZERO; PLACES];
            let mut pieces = [[[0.0f32; BLOCK]; 6]; 6];
            for group in 0..self.tiling.groups() {
                for (place, tile) in places.iter_mut().enumerate() {
                    let filters = self
                        .filters
                        .wrapping_add((place * m.div_ceil(BLOCK) * c + first) * BLOCK);
                    let grads = self
                        .grads
                        .wrapping_add((group * PLACES + place) * m * BLOCK);
                    let operands = Operands::new(
                        m,
                        #[inline(always)]
                        |k| filters.wrapping_add(k / BLOCK * c * BLOCK + k % BLOCK),
                        #[inline(always)]
                        |r| r * BLOCK,
                        #[inline(always)]
                        |k| grads.wrapping_add(k * BLOCK),
                    );
                    // SAFETY: both are laid out for it.
                    unsafe { operands.multiply(simd, false, tile) };
                }
                for r in 0..here {
                    // SAFETY: row r of every place's tile; 6×6 vectors of pixels.
                    unsafe {
                        let from = places.as_ptr().cast::<f32>().add(r * BLOCK);
                        let onto = pieces.as_mut_ptr().cast();
                        both_axes(
                            simd,
                            #[inline(always)]
                            |x| data_adjoint(x),
                            from,
                            BLOCK * BLOCK,
                            onto,
                            BLOCK,
                        );
                    }
                    for (l, [item, y, x]) in self.tiling.group(group).enumerate() {
                        let at = ((item * here + r) * height + y) * width + x;
                        for (i, pieces) in pieces.iter().enumerate() {
                            let line = &mut planes[at + i * width..][..6];
                            for (onto, piece) in line.iter_mut().zip(pieces) {
                                *onto += piece[l];
                            }
                        }
                    }
                }
            }
            for (i, plane) in planes.chunks_exact(height * width).enumerate() {
                let (item, channel) = (i / here, first + i % here);
                let bias = self.bias.map_or(0.0, |bias| bias[channel]);
                for y in 0..h {
                    let at = ((item * c + channel) * h + y) * w;
                    // Where the last row of tiles ends before the image does, the gradient is zero.
                    let line = plane.get((y + padding) * width + padding..);
                    let inside = match y + padding < height {
                        true => w.min(width - padding),
                        false => 0,
                    };
                    let line = &line.unwrap_or_default()[..inside];
                    // SAFETY: rows of the output; tasks differ in channels.
                    unsafe {
                        self.out.write(at, 1, line, bias);
                        for x in inside..w {
                            self.out.write(at + x, 1, &[0.0], bias);
                        }
                    }
                }
            }
        }
    }
    let Convolution {
        channels: [c, m], ..
    } = *conv;
    let tiling = &Tiling::new(conv);
    let filters = filters(weight, [c, m]);
    let planes = grad_planes(conv, grad, tiling);
    let grads = by_tiles::<4>(&planes, m, tiling);
    let (filters, grads) = (Shared(filters.as_ptr()), Shared(grads.as_ptr()));
    let out = SharedOut::new(out);
    each(c.div_ceil(BLOCK), |block| {
        Arch::new().dispatch(Task(Pixels {
            conv,
            tiling,
            filters: filters.get(),
            grads: grads.get(),
            bias,
            block,
            out,
        }));
    });
}

/// See [`Convolution::weight_grad`].
pub(super) fn weight_grad(conv: &Convolution, image: &[f32], grad: &[f32], out: &mut [f32]) {
    struct Weights<'a> {
        conv: &'a Convolution,
        groups: usize,
        pieces: *const f32,
        grads: *const f32,
        block: [usize; 2],
        out: SharedOut<'a>,
    }
    impl Work for Weights<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let [c, m] = self.conv.channels;
            let blocks = m.div_ceil(BLOCK);
            let [first_c, first_m] = self.block.map(|block| block * BLOCK);
            let mut places = [Tile::ZERO; PLACES];
            for (place, tile) in places.iter_mut().enumerate() {
                let pieces = self.pieces.wrapping_add((place * c + first_c) * BLOCK);
                let grads = self
                    .grads
                    .wrapping_add((place * blocks + self.block[1]) * BLOCK * BLOCK);
                let operands = Operands::new(
                    self.groups * BLOCK,
                    #[inline(always)]
                    |k| pieces.wrapping_add(k / BLOCK * PLACES * c * BLOCK + k % BLOCK),
                    #[inline(always)]
                    |r| r * BLOCK,
                    #[inline(always)]
                    |k| {
                        let group = k / BLOCK * PLACES * blocks * BLOCK * BLOCK;
                        grads.wrapping_add(group + k % BLOCK * BLOCK)
                    },
                );
                // SAFETY: both are laid out for it.
                unsafe { operands.multiply(simd, false, tile) };
            }
            let mut taps = [[[0.0f32; BLOCK]; 3]; 3];
            for r in 0..(c - first_c).min(BLOCK) {
                // SAFETY: row r of every place's tile; 3×3 vectors of taps.
                unsafe {
                    let from = places.as_ptr().cast::<f32>().add(r * BLOCK);
                    let onto = taps.as_mut_ptr().cast();
                    both_axes(
                        simd,
                        #[inline(always)]
                        |x| filter_adjoint(x),
                        from,
                        BLOCK * BLOCK,
                        onto,
                        BLOCK,
                    );
                }
                for l in 0..(m - first_m).min(BLOCK) {
                    let at = ((first_m + l) * c + first_c + r) * 9;
                    for (k, taps) in taps.as_flattened().iter().enumerate() {
                        // SAFETY: a weight of the output; tasks differ in channels.
                        unsafe { *self.out.as_mut_ptr().add(at + k) = taps[l] };
                    }
                }
            }
        }
    }
    let Convolution {
        channels: [c, m], ..
    } = *conv;
    let tiling = &Tiling::new(conv);
    let planes = image_planes(conv, image, tiling);
    let pieces = by_tiles::<6>(&planes, c, tiling);
    let planes = grad_planes(conv, grad, tiling);
    let grads = by_channels(&planes, m, tiling);
    let (pieces, grads) = (Shared(pieces.as_ptr()), Shared(grads.as_ptr()));
    let out = SharedOut::new(out);
    let blocks = [c.div_ceil(BLOCK), m.div_ceil(BLOCK)];
    each(blocks[0] * blocks[1], |task| {
        Arch::new().dispatch(Task(Weights {
            conv,
            groups: tiling.groups(),
            pieces: pieces.get(),
            grads: grads.get(),
            block: [task / blocks[1], task % blocks[1]],
            out,
        }));
    });
}
