//! Convolution as a matrix product whose right side is never written down: at a depth (c, i, j) it is
//! the image's channel c, shifted by the kernel tap (i, j). See [`super::planes`] for the layout that
//! makes this true for any stride.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::gemm::SharedOut;
use super::planes::Planes;
use super::tile::{BLOCK, Operands, Tile, WIDE, dots};
use super::{Buffer, Convolution};

/// Tiles that make a task worth sending to another core.
const TILES_PER_TASK: usize = 8;

/// A matrix packed in blocks of 16 rows: row r at depth k stands at `(r / 16 · depth + k) · 16 + r % 16`.
/// `values` has it at `r · row + depths[k]`; missing rows are zero.
fn pack(values: &[f32], rows: usize, row: usize, depths: &[usize]) -> Buffer {
    let mut packed = Buffer::new(rows.div_ceil(BLOCK) * depths.len() * BLOCK);
    let fill = |(block, packed): (usize, &mut [f32])| {
        let first = block * BLOCK;
        let here = (rows - first).min(BLOCK);
        for (&depth, packed) in depths.iter().zip(packed.as_chunks_mut::<BLOCK>().0) {
            let values = &values[first * row + depth..];
            for (r, value) in packed.iter_mut().enumerate() {
                *value = if r < here { values[r * row] } else { 0.0 };
            }
        }
    };
    packed
        .par_chunks_mut((depths.len() * BLOCK).max(1))
        .enumerate()
        .for_each(fill);
    packed
}

/// A sum over shifted planes for every row of packed weights and every position.
struct Walk<'a> {
    planes: *const f32,
    pitch: usize,
    /// For each depth how far its plane is shifted.
    shifts: &'a [usize],
    /// Positions down and across.
    positions: [usize; 2],
    rows: usize,
    weights: &'a [f32],
    bias: Option<&'a [f32]>,
    out: SharedOut<'a>,
    /// Where row 0 has its first position.
    at: usize,
    /// Steps from a row to the next, from a position to the one below, and to the one at the right.
    steps: [usize; 3],
}

// SAFETY: the planes are only read; what is written through `out` differs from task to task.
unsafe impl Sync for Walk<'_> {}

impl Walk<'_> {
    /// Columns of a tile.
    fn width(&self) -> usize {
        if self.rows <= 4 { WIDE } else { BLOCK }
    }

    /// Where tiles start: a row at a time, or on through the planes with what lies between two rows
    /// computed in vain, whichever takes fewer tiles. The number of them, and that of a row.
    fn tiles(&self) -> (usize, Option<usize>) {
        let [down, across] = self.positions;
        let in_row = across.div_ceil(self.width());
        let through = ((down.max(1) - 1) * self.pitch + across).div_ceil(self.width());
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
        let blocks = self.rows.div_ceil(BLOCK);
        let (tiles, in_row) = self.tiles();
        let tasks = (tiles * blocks).div_ceil(TILES_PER_TASK);
        (0..tasks).into_par_iter().for_each(|task| {
            let some = task * TILES_PER_TASK..((task + 1) * TILES_PER_TASK).min(tiles * blocks);
            Arch::new().dispatch(Some {
                walk: self,
                tiles: some,
                in_row,
                blocks,
            });
        });
    }

    /// Writes the tile that starts at `start` (in the planes' coordinates) for the given rows.
    #[inline(always)]
    fn store(&self, first_row: usize, start: usize, one_row: bool, tile: &[f32], width: usize) {
        let [down, across] = self.positions;
        let [row_step, down_step, across_step] = self.steps;
        let rows = (self.rows - first_row).min(BLOCK);
        let (mut y, mut x, mut l) = (start / self.pitch, start % self.pitch, 0);
        while l < width && y < down {
            let run = across.saturating_sub(x).min(width - l);
            for r in 0..rows {
                let row = first_row + r;
                let bias = self.bias.map_or(0.0, |bias| bias[row]);
                let at = self.at + row * row_step + y * down_step + x * across_step;
                let from = &tile[r * width + l..][..run];
                // SAFETY: the position is one of the output's; tasks differ in rows or positions.
                unsafe { self.out.write(at, across_step, from, bias) };
            }
            if one_row {
                return;
            }
            l += self.pitch - x;
            (y, x) = (y + 1, 0);
        }
    }
}

/// Some tiles of a walk.
struct Some<'a> {
    walk: &'a Walk<'a>,
    tiles: std::ops::Range<usize>,
    in_row: Option<usize>,
    blocks: usize,
}

impl WithSimd for Some<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let walk = self.walk;
        let width = walk.width();
        let mut tile = Tile::ZERO;
        let mut wide = [0.0; 4 * WIDE];
        for index in self.tiles {
            let (position, block) = (index / self.blocks, index % self.blocks);
            let start = match self.in_row {
                Option::Some(in_row) => position / in_row * walk.pitch + position % in_row * width,
                None => position * width,
            };
            let depth = walk.shifts.len();
            let weights = walk.weights[block * depth * BLOCK..][..depth * BLOCK].as_ptr();
            let planes = walk.planes.wrapping_add(start);
            let shifts = walk.shifts.as_ptr();
            let operands = Operands::new(
                depth,
                #[inline(always)]
                |k| weights.wrapping_add(k * BLOCK),
                #[inline(always)]
                |r| r,
                #[inline(always)]
                // SAFETY: k is below the depth.
                |k| planes.wrapping_add(unsafe { *shifts.add(k) }),
            );
            // SAFETY: positions and shifts lie inside the planes, which 64 zeros follow.
            let values = unsafe {
                match walk.rows {
                    1 => operands.multiply_wide::<S, 1>(simd, &mut wide),
                    2 => operands.multiply_wide::<S, 2>(simd, &mut wide),
                    3 => operands.multiply_wide::<S, 3>(simd, &mut wide),
                    4 => operands.multiply_wide::<S, 4>(simd, &mut wide),
                    _ => operands.multiply(simd, false, &mut tile),
                }
                if walk.rows <= 4 {
                    &wide[..]
                } else {
                    &tile.0[..]
                }
            };
            walk.store(block * BLOCK, start, self.in_row.is_some(), values, width);
        }
    }
}

/// See [`Convolution::forward`].
pub(super) fn forward(
    conv: &Convolution,
    image: &[f32],
    weight: &Buffer,
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    let Convolution {
        items,
        channels: [c, m],
        image: [h, w],
        out: [down, across],
        stride,
        padding,
        ..
    } = *conv;
    let depth = conv.depth();
    let how = ("packed", [m, depth, 0, 0, 0, 0, 0, 0]);
    let weights = weight.derive(how, || {
        pack(weight, m, depth, &(0..depth).collect::<Vec<_>>())
    });
    let planes = conv.image_planes(image);
    let shifts = conv.shifts(&planes);
    debug_assert_eq!(image.len(), items * c * h * w, "padding {padding}");
    let out = SharedOut::new(out);
    debug_assert!(stride > 0);
    for item in 0..items {
        Walk {
            planes: planes.as_ptr().wrapping_add(item * c * planes.channel),
            pitch: planes.pitch,
            shifts: &shifts,
            positions: [down, across],
            rows: m,
            weights: &weights,
            bias,
            out,
            at: item * m * down * across,
            steps: [down * across, across, 1],
        }
        .run();
    }
}

/// See [`Convolution::image_grad`]. With a stride of s the output falls into s×s phases: pixels of one
/// see the same taps of the kernel, those that fall on whole positions, so that each is a dense
/// convolution.
pub(super) fn image_grad(
    conv: &Convolution,
    grad: &[f32],
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
    let most = [kh.div_ceil(stride), kw.div_ceil(stride)];
    let farthest = (stride - 1 + padding) / stride;
    let extent = |pixels: usize, most: usize| pixels.div_ceil(stride) + most + farthest;
    let planes = Planes::new(
        grad,
        [down, across],
        1,
        most,
        [extent(h, most[0]), extent(w, most[1])],
    );
    let out = SharedOut::new(out);
    for (p, q) in (0..stride.min(h)).flat_map(|p| (0..stride.min(w)).map(move |q| (p, q))) {
        let ((first_i, ahead_i, taps_i), (first_j, ahead_j, taps_j)) = (phase(p, kh), phase(q, kw));
        let taps = taps_i * taps_j;
        let depth = m * taps;
        // At depth (m, i, j) row c has tap (first_i + stride·i, first_j + stride·j).
        let tap = |k: usize| (k / taps, k % taps / taps_j, k % taps_j);
        let how = ("packed by phase", [m, c, kh, kw, stride, padding, p, q]);
        let weights = weight.derive(how, || {
            let at =
                |(from, i, j)| (from * c * kh + first_i + stride * i) * kw + first_j + stride * j;
            let depths: Vec<usize> = (0..depth).map(|k| at(tap(k))).collect();
            pack(weight, c, kh * kw, &depths)
        });
        let shift = |(from, i, j)| {
            let (y, x) = (most[0] + ahead_i - i, most[1] + ahead_j - j);
            from * planes.channel + y * planes.pitch + x
        };
        let shifts: Vec<usize> = (0..depth).map(|k| shift(tap(k))).collect();
        for item in 0..items {
            Walk {
                planes: planes.as_ptr().wrapping_add(item * m * planes.channel),
                pitch: planes.pitch,
                shifts: &shifts,
                positions: [(h - p).div_ceil(stride), (w - q).div_ceil(stride)],
                rows: c,
                weights: &weights,
                bias,
                out,
                at: item * c * h * w + p * w + q,
                steps: [h * w, stride * w, stride],
            }
            .run();
        }
    }
}

/// See [`Convolution::weight_grad`]. Rows are the weight's columns (c, i, j), the depth the positions,
/// counted through the image's planes: where those lie between two rows the gradient is zero.
pub(super) fn weight_grad(conv: &Convolution, image: &[f32], grad: &[f32], out: &mut [f32]) {
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
            let first = index * BLOCK;
            for (l, from) in from
                .chunks_exact(down * across)
                .skip(first)
                .take(BLOCK)
                .enumerate()
            {
                for (y, from) in from.chunks_exact(across).enumerate() {
                    let onto = &mut grads[y * planes.pitch * BLOCK + l..];
                    for (onto, &from) in onto.iter_mut().step_by(BLOCK).zip(from) {
                        *onto = from;
                    }
                }
            }
        }
    };
    let unit = if few { per_item } else { padded * BLOCK };
    let per_item_units = per_item / unit.max(1);
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
    (0..tasks).into_par_iter().for_each(|task| {
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
    rows: std::ops::Range<usize>,
    out: SharedOut<'a>,
}

impl WithSimd for WeightRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (columns, depth) = (self.m.div_ceil(BLOCK), self.shifts.len());
        let row_blocks = self.rows.len().div_ceil(BLOCK);
        let mut sums = Buffer::new(row_blocks * columns * BLOCK * BLOCK);
        sums.fill(0.0);
        // Positions whose gradients stay near the core while all rows see them.
        let stretch = if self.few { 2048 } else { 256 };
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
        for m in 0..self.m {
            for block in 0..row_blocks {
                let first = self.rows.start + block * BLOCK;
                let at = (block * columns + m / BLOCK) * BLOCK * BLOCK + m % BLOCK;
                let mut line = [0.0; BLOCK];
                for (r, value) in line.iter_mut().enumerate() {
                    *value = sums[at + r * BLOCK];
                }
                let line = &line[..(self.rows.end - first).min(BLOCK)];
                // SAFETY: tasks differ in rows.
                unsafe { self.out.write(m * depth + first, 1, line, 0.0) };
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
