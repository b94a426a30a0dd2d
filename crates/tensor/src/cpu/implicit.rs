//! Convolution as a matrix product whose right side is never written down: at a depth (c, i, j) it is
//! the image's channel c, shifted by the kernel tap (i, j). See [`super::planes`] for the layout that
//! makes this true for any stride.

#![allow(
    unsafe_code,
    reason = "tasks write separate parts of one result, and inner loops walk by pointers"
)]

use std::ops::Range;
use std::sync::Arc;

use bytemuck::cast_slice_mut;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::convolution::for_each_channel;
use super::dry::{collect, each};
use super::gemm::SharedOut;
use super::planes::{Planes, SHARED};
use super::tile::{BLOCK, Operands, STRETCH, Tile, WIDE, dots};
use super::transpose::transpose;
use super::{Buffer, Convolution};

/// Blocks of 16 rows that a task computes at once: enough for a stretch of the planes to be used while it
/// is near.
const BLOCKS: usize = 8;

/// Tiles across that a task computes at once: enough for a stretch of the weights to be used while it is
/// near.
const ACROSS: usize = 8;

/// A matrix packed in blocks of 16 rows: row r at depth k stands at `(r / 16 · depth + k) · 16 + r % 16`.
/// `values` has it at `r · row + depths[k]`; missing rows are zero.
fn pack(values: &[f32], rows: usize, row: usize, depths: &[usize]) -> Buffer {
    let mut packed = Buffer::new(rows.div_ceil(BLOCK) * depths.len() * BLOCK);
    if packed.is_dry() {
        return packed;
    }
    let fill = |(block, mut packed): (usize, &mut [f32])| {
        let first = block * BLOCK;
        let here = (rows - first).min(BLOCK);
        if here < BLOCK {
            packed.fill(0.0);
        }
        // Depths that follow each other are transposed together.
        for depths in depths.chunk_by(|a, b| a + 1 == *b) {
            for depths in depths.chunks(BLOCK) {
                let from = &values[first * row + depths[0]..];
                assert!(
                    (here - 1) * row + depths.len() <= from.len(),
                    "too few values"
                );
                let (onto, rest) = packed.split_at_mut(depths.len() * BLOCK);
                packed = rest;
                let part = [here, depths.len()];
                // SAFETY: values of the rows at these depths, and as many vectors.
                unsafe { transpose(from.as_ptr(), row, part, onto.as_mut_ptr(), BLOCK) };
            }
        }
    };
    packed
        .par_chunks_mut((depths.len() * BLOCK).max(1))
        .enumerate()
        .for_each(fill);
    packed
}

/// What is summed at a position: planes shifted, each weighted for every row.
struct Sum {
    /// For each depth how far its plane is shifted.
    shifts: Vec<usize>,
    weights: Arc<Buffer>,
}

/// Sums over shifted planes at every position of an item.
struct Walk<'a> {
    planes: *const f32,
    pitch: usize,
    /// The sums of a position, which stand side by side in the output.
    sums: &'a [Sum],
    /// Positions down and across.
    positions: [usize; 2],
    rows: usize,
    bias: Option<&'a [f32]>,
    out: SharedOut<'a>,
    /// Where row 0 has its first sum.
    at: usize,
    /// Steps from a row to the next, and from a position to the one below.
    steps: [usize; 2],
    /// Sums across, of which the last position may have fewer.
    width: usize,
}

// SAFETY: the planes are only read; what is written through `out` differs from task to task.
unsafe impl Sync for Walk<'_> {}

impl Walk<'_> {
    /// Columns of a tile.
    fn tile_width(&self) -> usize {
        if self.rows <= 4 { WIDE } else { BLOCK }
    }

    /// Where tiles start: a row at a time, or on through the planes with what lies between two rows
    /// computed in vain, whichever takes fewer tiles. The number of them, and that of a row.
    fn tiles(&self) -> (usize, Option<usize>) {
        let [down, across] = self.positions;
        let in_row = across.div_ceil(self.tile_width());
        let through = ((down.max(1) - 1) * self.pitch + across).div_ceil(self.tile_width());
        match down * in_row <= through {
            true => (down * in_row, Some(in_row)),
            false => (through, None),
        }
    }

    /// Computes everything, on all cores.
    fn run(&self) {
        if self.positions.contains(&0) {
            return;
        }
        let (tiles, in_row) = self.tiles();
        let parts = self.rows.div_ceil(BLOCK).div_ceil(BLOCKS);
        // Where there are few, all cores should have some.
        let some = (tiles * parts / (2 * rayon::current_num_threads())).clamp(1, ACROSS);
        let tasks = tiles.div_ceil(some);
        each(tasks * parts, |task| {
            let (task, part) = (task / parts, task % parts);
            Arch::new().dispatch(Tiles {
                walk: self,
                tiles: task * some..((task + 1) * some).min(tiles),
                in_row,
                first_row: part * BLOCKS * BLOCK,
            });
        });
    }

    /// Writes a tile of some rows, `width` sums each, whose first position is `start` in the planes.
    #[inline(always)]
    fn store(&self, rows: Range<usize>, start: usize, one_row: bool, tile: &[f32], width: usize) {
        let [down, across] = self.positions;
        let many = self.sums.len();
        let (mut y, mut x, mut l) = (start / self.pitch, start % self.pitch, 0);
        while l < width / many && y < down {
            let run = across.saturating_sub(x).min(width / many - l) * many;
            let run = run.min(self.width.saturating_sub(x * many));
            // Between two rows there is nothing to write.
            let rows = if run > 0 { rows.clone() } else { 0..0 };
            for (row, tile) in rows.zip(tile.chunks_exact(width)) {
                let bias = self.bias.map_or(0.0, |bias| bias[row]);
                let at = self.at + row * self.steps[0] + y * self.steps[1] + x * many;
                // SAFETY: positions of the output; tasks differ in rows or positions.
                unsafe { self.out.write(at, &tile[l * many..][..run], bias) };
            }
            if one_row {
                return;
            }
            l += self.pitch - x;
            (y, x) = (y + 1, 0);
        }
    }
}

/// Some tiles of a walk, for up to 128 rows.
struct Tiles<'a> {
    walk: &'a Walk<'a>,
    tiles: Range<usize>,
    in_row: Option<usize>,
    first_row: usize,
}

impl WithSimd for Tiles<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let walk = self.walk;
        let (width, many) = (walk.tile_width(), walk.sums.len());
        let rows = self.first_row..walk.rows.min(self.first_row + BLOCKS * BLOCK);
        let blocks = rows.len().div_ceil(BLOCK);
        let starts = self.tiles.map(|index| match self.in_row {
            Some(in_row) => index / in_row * walk.pitch + index % in_row * width,
            None => index * width,
        });
        let starts: Vec<usize> = starts.collect();
        let mut wide = [0.0; 4 * WIDE];
        let mut room = Buffer::new(if walk.rows <= 4 {
            0
        } else {
            starts.len() * blocks * BLOCK * BLOCK
        });
        let tile_len = rows.len() * width;
        let mut side_by_side = Buffer::new(if many > 1 {
            starts.len() * tile_len * many
        } else {
            0
        });
        if room.is_dry() {
            return;
        }
        let one_row = self.in_row.is_some();
        for (i, sum) in walk.sums.iter().enumerate() {
            if walk.rows > 4 {
                let planes = starts.iter().map(|&start| walk.planes.wrapping_add(start));
                // SAFETY: positions and shifts lie inside the planes, which zeros follow.
                unsafe {
                    let tiles = cast_slice_mut(&mut room);
                    many_rows(simd, self.first_row, sum, planes, blocks, tiles);
                }
            }
            for (t, &start) in starts.iter().enumerate() {
                let tile = if walk.rows > 4 {
                    &room[t * blocks * BLOCK * BLOCK..][..tile_len]
                } else {
                    let planes = walk.planes.wrapping_add(start);
                    // SAFETY: as above.
                    unsafe { few_rows(simd, walk.rows, sum, planes, &mut wide) };
                    &wide[..tile_len]
                };
                if many == 1 {
                    walk.store(rows.clone(), start, one_row, tile, width);
                } else {
                    let onto = &mut side_by_side[t * tile_len * many..][..tile_len * many];
                    let onto = onto.iter_mut().skip(i).step_by(many);
                    onto.zip(tile).for_each(|(onto, &value)| *onto = value);
                }
            }
        }
        if many > 1 {
            for (tile, &start) in side_by_side.chunks_exact(tile_len * many).zip(&starts) {
                walk.store(rows.clone(), start, one_row, tile, width * many);
            }
        }
    }
}

/// The operands of a stretch of a sum, for the sixteen rows from `first_row` on.
#[inline(always)]
fn operands(
    sum: &Sum,
    first_row: usize,
    planes: *const f32,
    stretch: Range<usize>,
) -> Operands<
    impl Fn(usize) -> *const f32 + Copy,
    impl Fn(usize) -> usize + Copy,
    impl Fn(usize) -> *const f32 + Copy,
> {
    let at = first_row * sum.shifts.len() + stretch.start * BLOCK;
    let weights = sum.weights[at..][..stretch.len() * BLOCK].as_ptr();
    let shifts = sum.shifts[stretch.clone()].as_ptr();
    Operands::new(
        stretch.len(),
        #[inline(always)]
        move |k| weights.wrapping_add(k * BLOCK),
        #[inline(always)]
        |r| r,
        #[inline(always)]
        // SAFETY: k is inside the stretch.
        move |k| planes.wrapping_add(unsafe { *shifts.add(k) }),
    )
}

/// A sum at 16 positions of each start for blocks of 16 rows, a tile after the other. A stretch of the
/// weights of all blocks meets all starts while it is near, and a stretch of the planes all blocks.
///
/// # Safety
/// The planes must be readable at the sum's shifts.
#[inline(always)]
unsafe fn many_rows<S: Simd>(
    simd: S,
    first_row: usize,
    sum: &Sum,
    planes: impl Iterator<Item = *const f32> + Clone,
    blocks: usize,
    tiles: &mut [Tile],
) {
    let depth = sum.shifts.len();
    for start in (0..depth.max(1)).step_by(STRETCH) {
        let stretch = start..(start + STRETCH).min(depth);
        for (planes, tiles) in planes.clone().zip(tiles.chunks_exact_mut(blocks)) {
            for (block, tile) in tiles.iter_mut().enumerate() {
                let first_row = first_row + block * BLOCK;
                let operands = operands(sum, first_row, planes, stretch.clone());
                // SAFETY: by the caller's word.
                unsafe { operands.multiply(simd, start > 0, tile) };
            }
        }
    }
}

/// A sum at 64 positions for up to four rows.
///
/// # Safety
/// As for [`many_rows`].
#[inline(always)]
unsafe fn few_rows<S: Simd>(
    simd: S,
    rows: usize,
    sum: &Sum,
    planes: *const f32,
    tile: &mut [f32; 4 * WIDE],
) {
    let operands = operands(sum, 0, planes, 0..sum.shifts.len());
    // SAFETY: by the caller's word.
    unsafe {
        match rows {
            1 => operands.multiply_wide::<S, 1>(simd, tile),
            2 => operands.multiply_wide::<S, 2>(simd, tile),
            3 => operands.multiply_wide::<S, 3>(simd, tile),
            _ => operands.multiply_wide::<S, 4>(simd, tile),
        }
    }
}

/// See [`Convolution::forward`].
pub(super) fn forward(
    conv: &Convolution,
    image: &Buffer,
    weight: &Buffer,
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    let Convolution {
        items,
        channels: [c, m],
        out: [down, across],
        ..
    } = *conv;
    let depth = conv.depth();
    let how = ("packed", [m, depth, 0, 0, 0, 0, 0, 0]);
    let weights = weight.derive(how, || {
        pack(weight, m, depth, &(0..depth).collect::<Vec<_>>())
    });
    let planes = conv.image_planes(image);
    let sums = [Sum {
        shifts: conv.shifts(&planes),
        weights,
    }];
    let out = SharedOut::new(out);
    for item in 0..items {
        Walk {
            planes: planes.as_ptr().wrapping_add(item * c * planes.channel),
            pitch: planes.pitch,
            sums: &sums,
            positions: [down, across],
            rows: m,
            bias,
            out,
            at: item * m * down * across,
            steps: [down * across, across],
            width: across,
        }
        .run();
    }
}

/// See [`Convolution::image_grad`]. With a stride of s the output falls into s×s phases: pixels of one
/// see the same taps of the kernel, those that fall on whole positions, so that each is a dense
/// convolution.
pub(super) fn image_grad(
    conv: &Convolution,
    grad: &Buffer,
    weight: &Buffer,
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    let Convolution {
        items,
        channels: [c, m],
        image: [h, w],
        kernel: [kh, kw],
        out: [down, across],
        stride,
        padding,
    } = *conv;
    // Pixel y of phase p sees tap i where y·stride + p + padding − i = stride·(position): taps
    // i = first + stride·j at position y + ahead − j.
    let phase = |p: usize, kernel: usize| {
        let first = (p + padding) % stride;
        let taps = kernel.saturating_sub(first).div_ceil(stride);
        (first, (p + padding) / stride, taps)
    };
    // Zeros before the gradient and after it that the taps of any phase reach.
    let around = |image: usize, grad: usize, kernel: usize| {
        let reach = |p| {
            let (_, ahead, taps) = phase(p, kernel);
            let last = (image.max(p + 1) - p).div_ceil(stride) - 1 + ahead;
            (
                (taps.max(1) - 1).saturating_sub(ahead),
                (last + 1).saturating_sub(grad),
            )
        };
        let all = (0..stride).map(reach);
        all.fold((0, 0), |a, b| (a.0.max(b.0), a.1.max(b.1)))
    };
    let (above, below) = around(h, down, kh);
    let (left, right) = around(w, across, kw);
    let planes = Planes::new(
        grad,
        [down, across],
        1,
        [above, left],
        [
            above + down + below,
            left + across + right - left.min(right).min(SHARED),
        ],
    );
    let out = SharedOut::new(out);
    for p in 0..stride.min(h) {
        let (first_i, ahead_i, taps_i) = phase(p, kh);
        let sum = |q: usize| {
            let (first_j, ahead_j, taps_j) = phase(q, kw);
            let taps = taps_i * taps_j;
            let depth = m * taps;
            // At depth (m, i, j) row c has tap (first_i + stride·i, first_j + stride·j).
            let tap = |k: usize| (k / taps, k % taps / taps_j, k % taps_j);
            let how = ("packed by phase", [m, c, kh, kw, stride, padding, p, q]);
            let weights = weight.derive(how, || {
                let at = |(from, i, j)| {
                    (from * c * kh + first_i + stride * i) * kw + first_j + stride * j
                };
                let depths: Vec<usize> = (0..depth).map(|k| at(tap(k))).collect();
                pack(weight, c, kh * kw, &depths)
            });
            let shift = |k: usize| {
                let (_, i, j) = tap(k);
                (above + ahead_i - i) * planes.pitch + left + ahead_j - j
            };
            let shifts = for_each_channel(m, planes.channel, (0..taps).map(shift));
            Sum { shifts, weights }
        };
        let sums: Vec<Sum> = (0..stride).map(sum).collect();
        for item in 0..items {
            Walk {
                planes: planes.as_ptr().wrapping_add(item * m * planes.channel),
                pitch: planes.pitch,
                sums: &sums,
                positions: [(h - p).div_ceil(stride), w.div_ceil(stride)],
                rows: c,
                bias,
                out,
                at: item * c * h * w + p * w,
                steps: [h * w, stride * w],
                width: w,
            }
            .run();
        }
    }
}

/// See [`Convolution::weight_grad`]. Rows are the weight's columns (c, i, j), the depth the positions,
/// counted through the image's planes: where those lie between two rows the gradient is zero.
pub(super) fn weight_grad(conv: &Convolution, image: &Buffer, grad: &[f32], out: &mut [f32]) {
    let Convolution {
        items,
        channels: [c, m],
        out: [down, across],
        ..
    } = *conv;
    let planes = conv.image_planes(image);
    let shifts = conv.shifts(&planes);
    let positions = down * planes.pitch;
    let padded = positions.next_multiple_of(BLOCK);
    let tiles = conv.depth().div_ceil(BLOCK) * m.div_ceil(BLOCK);
    if m > 8 && tiles <= 64 && items * padded >= 4 * SHARES * PIECE {
        return weight_grad_by_shares(conv, &planes, &shifts, grad, out);
    }
    let few = m <= 8;
    // Few channels: as planes, sixteen positions a vector. Many: sixteen channels a vector.
    let mut grads = Buffer::new(items * m.next_multiple_of(if few { 4 } else { BLOCK }) * padded);
    let per_item = grads.len() / items.max(1);
    let lay = |grads: &mut [f32], index: usize, from: &[f32]| match few {
        true => {
            for (plane, from) in grads
                .chunks_exact_mut(padded)
                .zip(from.chunks_exact(down * across))
            {
                for (y, from) in from.chunks_exact(across).enumerate() {
                    plane[y * planes.pitch..][..across].copy_from_slice(from);
                }
            }
        }
        false => {
            let (first, plane) = (index * BLOCK, down * across);
            let from = &from[first * plane..][..(m - first).min(BLOCK) * plane];
            lay_vectors(from, conv.out, planes.pitch, 0..positions, grads);
        }
    };
    let unit = if few { per_item } else { padded * BLOCK };
    let per_item_units = per_item / unit.max(1);
    // In a dry run there are no chunks.
    grads
        .par_chunks_mut(unit.max(1))
        .enumerate()
        .for_each(|(i, grads)| {
            grads.fill(0.0);
            let item = i / per_item_units;
            let from = &grad[item * m * down * across..][..m * down * across];
            lay(grads, i % per_item_units, from);
        });
    let depth = conv.depth();
    // The tasks are few where planes are large, so that the gradients come by few times.
    let blocks = depth.div_ceil(BLOCK);
    let tasks = blocks.min(if padded * m > 1 << 18 { 8 } else { 64 });
    let shared = SharedOut::new(out);
    each(tasks, |task| {
        let blocks = task * blocks / tasks..(task + 1) * blocks / tasks;
        let rows = blocks.start * BLOCK..(blocks.end * BLOCK).min(depth);
        Arch::new().dispatch(WeightRows {
            planes: planes.as_ptr(),
            per_item: [c * planes.channel, per_item],
            items,
            shifts: &shifts,
            positions: padded,
            grads: &grads,
            m,
            few,
            rows,
            out: shared,
        });
    });
}

/// Lays up to sixteen planes out as vectors, one for each of some positions, which count `pitch` a row. Those
/// past the end of a row stay as they are.
fn lay_vectors(
    planes: &[f32],
    [down, across]: [usize; 2],
    pitch: usize,
    positions: Range<usize>,
    onto: &mut [f32],
) {
    let plane = down * across;
    let here = planes.len() / plane;
    for y in positions.start / pitch..positions.end.div_ceil(pitch) {
        let row = y * pitch;
        let inside = positions.start.max(row)..positions.end.min(row + across);
        for at in inside.clone().step_by(BLOCK) {
            let part = [here, (inside.end - at).min(BLOCK)];
            let from = planes[y * across + at - row..].as_ptr();
            let onto = onto[(at - positions.start) * BLOCK..].as_mut_ptr();
            // SAFETY: a stretch of a row of some channels, and as many vectors.
            unsafe { transpose(from, plane, part, onto, BLOCK) };
        }
    }
}

/// Positions whose gradients, sixteen channels a vector, stay near the core while all rows see them.
const PIECE: usize = 256;

/// Parts that positions are cut into; the sums of a weight depend on their number.
const SHARES: usize = 8;

/// As [`weight_grad`], for few weights and many positions: a task makes all weights from its share of the
/// positions, so that the gradient comes by once.
fn weight_grad_by_shares(
    conv: &Convolution,
    planes: &Planes<'_>,
    shifts: &[usize],
    grad: &[f32],
    out: &mut [f32],
) {
    let Convolution {
        items,
        channels: [_, m],
        ..
    } = *conv;
    let pieces = items * (conv.out[0] * planes.pitch).div_ceil(PIECE);
    let sums = collect(SHARES, |share| {
        Arch::new().dispatch(WeightShare {
            conv,
            planes,
            shifts,
            grad,
            pieces: share * pieces / SHARES..(share + 1) * pieces / SHARES,
        })
    });
    if sums[0].is_dry() {
        return;
    }
    let (depth, columns) = (shifts.len(), m.div_ceil(BLOCK));
    let mut total = Tile::ZERO;
    for at in 0..sums[0].len() / (BLOCK * BLOCK) {
        total.0.fill(0.0);
        for sums in &sums {
            let sums = &sums[at * BLOCK * BLOCK..][..BLOCK * BLOCK];
            total
                .0
                .iter_mut()
                .zip(sums)
                .for_each(|(total, sum)| *total += sum);
        }
        let (first, first_m) = (at / columns * BLOCK, at % columns * BLOCK);
        let part = [(depth - first).min(BLOCK), (m - first_m).min(BLOCK)];
        let onto = out[first_m * depth + first..].as_mut_ptr();
        // SAFETY: weights of the output.
        unsafe { transpose(total.0.as_ptr(), BLOCK, part, onto, depth) };
    }
}

/// The sums that some pieces of the positions make of all weights, a tile for each sixteen rows and columns.
struct WeightShare<'a> {
    conv: &'a Convolution,
    planes: &'a Planes<'a>,
    shifts: &'a [usize],
    grad: &'a [f32],
    pieces: Range<usize>,
}

impl WithSimd for WeightShare<'_> {
    type Output = Buffer;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Buffer {
        let Convolution {
            channels: [c, m],
            out: [down, across],
            ..
        } = *self.conv;
        let pitch = self.planes.pitch;
        let (depth, columns) = (self.shifts.len(), m.div_ceil(BLOCK));
        let positions = (down * pitch).next_multiple_of(BLOCK);
        let an_item = (down * pitch).div_ceil(PIECE);
        let mut sums = Buffer::new(depth.div_ceil(BLOCK) * columns * BLOCK * BLOCK);
        sums.fill(0.0);
        let mut vectors = Buffer::new(PIECE * BLOCK);
        if sums.is_dry() {
            return sums;
        }
        for piece in self.pieces {
            let (item, start) = (piece / an_item, piece % an_item * PIECE);
            let len = PIECE.min(positions - start);
            let planes = self.planes.as_ptr();
            let planes = planes.wrapping_add(item * c * self.planes.channel + start);
            for column in 0..columns {
                vectors.fill(0.0);
                let here = (m - column * BLOCK).min(BLOCK);
                let plane = down * across;
                let grad = &self.grad[(item * m + column * BLOCK) * plane..][..here * plane];
                let seen = start..(start + len).min(down * pitch);
                lay_vectors(grad, self.conv.out, pitch, seen, &mut vectors);
                for (block, shifts) in self.shifts.chunks(BLOCK).enumerate() {
                    // Rows past the last are computed as the last is, and not kept.
                    let mut rows = [shifts[shifts.len() - 1]; BLOCK];
                    rows[..shifts.len()].copy_from_slice(shifts);
                    let at = (block * columns + column) * BLOCK * BLOCK;
                    let sums = &mut sums[at..][..BLOCK * BLOCK];
                    // SAFETY: positions and shifts lie inside the planes, which zeros follow.
                    unsafe { many(simd, planes, &rows, len, sums, vectors.as_ptr()) };
                }
            }
        }
        sums
    }
}

/// Some rows (c, i, j) of a weight's gradient.
struct WeightRows<'a> {
    planes: *const f32,
    /// Steps from an item to the next, in the planes and in the gradients.
    per_item: [usize; 2],
    items: usize,
    shifts: &'a [usize],
    positions: usize,
    grads: &'a [f32],
    m: usize,
    few: bool,
    rows: Range<usize>,
    out: SharedOut<'a>,
}

impl WithSimd for WeightRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (columns, depth) = (self.m.div_ceil(BLOCK), self.shifts.len());
        let row_blocks = self.rows.len().div_ceil(BLOCK);
        let mut sums = Buffer::new(row_blocks * columns * BLOCK * BLOCK);
        if sums.is_dry() {
            return;
        }
        sums.fill(0.0);
        // Positions whose gradients stay near the core while all rows see them.
        let stretch = if self.few { 2048 } else { PIECE };
        for item in 0..self.items {
            let planes = self.planes.wrapping_add(item * self.per_item[0]);
            let grads = self.grads[item * self.per_item[1]..][..self.per_item[1]].as_ptr();
            for start in (0..self.positions).step_by(stretch) {
                let len = stretch.min(self.positions - start);
                for block in 0..row_blocks {
                    let mut shifts = [0; BLOCK];
                    for (r, shift) in shifts.iter_mut().enumerate() {
                        // Rows past the last are computed as the last is, and not kept.
                        let row = (self.rows.start + block * BLOCK + r).min(depth - 1);
                        *shift = self.shifts[row];
                    }
                    for column in 0..columns {
                        let at = (block * columns + column) * BLOCK * BLOCK;
                        let sums = &mut sums[at..][..BLOCK * BLOCK];
                        // SAFETY: positions and shifts lie inside the planes, which zeros follow.
                        unsafe {
                            match self.few {
                                true => few(
                                    simd,
                                    planes.wrapping_add(start),
                                    &shifts,
                                    len,
                                    sums,
                                    #[inline(always)]
                                    |m| grads.wrapping_add(m * self.positions + start),
                                    self.m,
                                ),
                                false => many(
                                    simd,
                                    planes.wrapping_add(start),
                                    &shifts,
                                    len,
                                    sums,
                                    grads.wrapping_add((column * self.positions + start) * BLOCK),
                                ),
                            }
                        }
                    }
                }
            }
        }
        for block in 0..row_blocks {
            let first = self.rows.start + block * BLOCK;
            for column in 0..columns {
                let sums = &sums[(block * columns + column) * BLOCK * BLOCK..][..BLOCK * BLOCK];
                let first_m = column * BLOCK;
                let part = [
                    (self.rows.end - first).min(BLOCK),
                    (self.m - first_m).min(BLOCK),
                ];
                // SAFETY: weights of the output; tasks differ in rows.
                unsafe {
                    let onto = self.out.as_mut_ptr().add(first_m * depth + first);
                    transpose(sums.as_ptr(), BLOCK, part, onto, depth);
                }
            }
        }
    }
}

/// Sixteen rows by sixteen channels, a vector of channels a position.
#[inline(always)]
unsafe fn many<S: Simd>(
    simd: S,
    planes: *const f32,
    shifts: &[usize; BLOCK],
    len: usize,
    sums: &mut [f32],
    grads: *const f32,
) {
    let mut tile = Tile::ZERO;
    let operands = Operands::new(
        len,
        #[inline(always)]
        |k| planes.wrapping_add(k),
        #[inline(always)]
        |r| shifts[r],
        #[inline(always)]
        |k| grads.wrapping_add(k * BLOCK),
    );
    // SAFETY: by the caller's word.
    unsafe { operands.multiply(simd, false, &mut tile) };
    sums.iter_mut()
        .zip(tile.0)
        .for_each(|(sum, value)| *sum += value);
}

/// Sixteen rows by up to eight channels, a vector of positions.
#[inline(always)]
unsafe fn few<S: Simd>(
    simd: S,
    planes: *const f32,
    shifts: &[usize; BLOCK],
    len: usize,
    sums: &mut [f32],
    grads: impl Fn(usize) -> *const f32 + Copy,
    m: usize,
) {
    for first_m in (0..m).step_by(4) {
        for first in (0..BLOCK).step_by(4) {
            let mut tile = [[0.0; 4]; 4];
            // SAFETY: by the caller's word.
            unsafe {
                dots(
                    simd,
                    len,
                    #[inline(always)]
                    |r| planes.wrapping_add(shifts[first + r]),
                    #[inline(always)]
                    |j| grads(first_m + j),
                    &mut tile,
                );
            }
            for (r, tile) in tile.into_iter().enumerate() {
                for (j, value) in tile.into_iter().enumerate() {
                    sums[(first + r) * BLOCK + first_m + j] += value;
                }
            }
        }
    }
}
