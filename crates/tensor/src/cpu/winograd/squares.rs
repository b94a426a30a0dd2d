//! Tiles, and the transformed pieces of images and gradients that lie under them.

#![allow(unsafe_code, reason = "inner loops walk by pointers")]

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::points::{both_axes, onto_places};
use super::{Buffer, Convolution};
use crate::cpu::dry::{self, each};
use crate::cpu::gemm::SharedOut;
use crate::cpu::tile::BLOCK;
use crate::cpu::transpose::transpose;

/// A convolution's tiles of M×M outputs, in groups of sixteen through all items, and its phases: with a
/// stride of two the kernel is four of half the size, each on the pixels that two steps lie between.
pub(super) struct Tiling {
    /// Rows and columns of outputs in a tile.
    pub outputs: usize,
    /// Tiles down and across.
    pub tiles: [usize; 2],
    pub all: usize,
    pub stride: usize,
    /// Whether the odd phases have a tap less than the even ones.
    odd_lack: bool,
}

impl Tiling {
    pub fn new<const M: usize>(conv: &Convolution) -> Self {
        let tiles = conv.out.map(|extent| extent.div_ceil(M));
        Tiling {
            outputs: M,
            tiles,
            all: conv.items * tiles[0] * tiles[1],
            stride: conv.stride,
            odd_lack: !conv.kernel[0].is_multiple_of(conv.stride),
        }
    }

    pub fn groups(&self) -> usize {
        self.all.div_ceil(BLOCK)
    }

    /// The tiles of some groups.
    pub fn tiles_of(&self, groups: &Range<usize>) -> Range<usize> {
        groups.start * BLOCK..(groups.end * BLOCK).min(self.all)
    }

    /// Item, and first row and column of outputs.
    pub fn place(&self, tile: usize) -> [usize; 3] {
        let [down, across] = self.tiles;
        [
            tile / (down * across),
            tile / across % down * self.outputs,
            tile % across * self.outputs,
        ]
    }

    /// First row and column of each phase. They go round, so that in every place those that have taps for it
    /// are next to each other.
    pub fn phases(&self) -> &'static [[usize; 2]] {
        match self.stride {
            1 => &[[0, 0]],
            _ => &[[1, 0], [0, 0], [0, 1], [1, 1]],
        }
    }

    /// The phases that have something in place (i, j) of N×N: a single tap vanishes at ∞.
    pub fn phases_in<const N: usize>(&self, i: usize, j: usize) -> Range<usize> {
        let last = |at: usize| self.odd_lack && at == N - 1;
        match (last(i), last(j)) {
            (false, false) => 0..self.phases().len(),
            (true, false) => 1..3,
            (false, true) => 0..2,
            (true, true) => 1..2,
        }
    }
}

/// How far two places of transformed tiles are apart, `len` being the values of one. A line of the cache
/// is left between them: powers of two would have all places fight for the same lines.
pub(super) fn apart(len: usize) -> usize {
    len + BLOCK
}

/// Some rows of sixteen planes as pixels of sixteen channels, with zeros around the image and in place of
/// missing planes.
struct Pixels {
    data: Buffer,
    width: usize,
}

impl Pixels {
    /// Row `first` and those after it of the planes with `before` rows and columns around them.
    fn new(
        planes: &[f32],
        [h, w]: [usize; 2],
        before: usize,
        first: usize,
        [height, width]: [usize; 2],
    ) -> Self {
        let row = width * BLOCK;
        let mut data = Buffer::new(height * row);
        if data.is_dry() {
            return Pixels { data, width };
        }
        let channels = planes.len() / (h * w);
        let inside = w.min(width - before);
        for (y, onto) in data.chunks_exact_mut(row).enumerate() {
            let from_y = (first + y).wrapping_sub(before);
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

/// The squares of some groups of tiles in their P places: tile t of them and channel c at
/// `((t/16·P + place) · apart) + (c/16·16 + t%16)·16 + c%16`. An image's phases follow each other as channels,
/// each from a new block of sixteen.
pub(super) struct Squares {
    data: Buffer,
    first: usize,
    places: usize,
    pub apart: usize,
}

impl Squares {
    /// A group's first square in its first place.
    pub fn group(&self, group: usize) -> *const f32 {
        self.data[(group - self.first) * self.places * self.apart..].as_ptr()
    }

    /// Those of an image N×C×H×W: its N×N pieces, transformed by Bᵀ.
    pub fn of_image<const N: usize>(
        conv: &Convolution,
        image: &[f32],
        tiling: &Tiling,
        groups: Range<usize>,
    ) -> Self {
        Planes {
            planes: image,
            channels: conv.channels[0],
            extent: conv.image,
            padding: conv.padding,
            phases: tiling.phases(),
            stride: tiling.stride,
        }
        .squares::<N, N>(tiling, groups)
    }

    /// Those of a gradient N×M×H′×W′: its M×M tiles, transformed by A.
    pub fn of_grad<const N: usize, const M: usize>(
        conv: &Convolution,
        grad: &[f32],
        tiling: &Tiling,
        groups: Range<usize>,
    ) -> Self {
        Planes {
            planes: grad,
            channels: conv.channels[1],
            extent: conv.out,
            padding: 0,
            phases: &[[0, 0]],
            stride: 1,
        }
        .squares::<M, N>(tiling, groups)
    }
}

/// What is transformed.
struct Planes<'a> {
    planes: &'a [f32],
    channels: usize,
    extent: [usize; 2],
    padding: usize,
    phases: &'a [[usize; 2]],
    /// From a value of a phase to its next.
    stride: usize,
}

impl Planes<'_> {
    /// P×P values of each phase under each tile. A task does sixteen channels of an item.
    fn squares<const P: usize, const N: usize>(
        &self,
        tiling: &Tiling,
        groups: Range<usize>,
    ) -> Squares {
        let blocks = self.channels.div_ceil(BLOCK);
        let phase = blocks * BLOCK * BLOCK;
        let apart = apart(self.phases.len() * phase);
        let mut data = Buffer::new(groups.len() * N * N * apart);
        let out = SharedOut::new(&mut data);
        let tiles = tiling.tiles_of(&groups);
        let an_item = tiling.tiles[0] * tiling.tiles[1];
        let items = tiles.start / an_item..tiles.end.div_ceil(an_item);
        let plane = self.extent[0] * self.extent[1];
        let work = |task: usize| {
            let (item, block) = (items.start + task / blocks, task % blocks);
            let first = item * self.channels + block * BLOCK;
            let here = (self.channels - block * BLOCK).min(BLOCK);
            let tiles = tiles.start.max(item * an_item)..tiles.end.min((item + 1) * an_item);
            // Rows of tiles, and of pixels under them.
            let across = tiling.tiles[1];
            let down = tiles.start % an_item / across..((tiles.end - 1) % an_item) / across + 1;
            let covered =
                |tiles: usize| self.stride * (tiling.outputs * tiles + P - tiling.outputs);
            let row = down.start * tiling.outputs * self.stride;
            let planes = match dry::is_on() {
                true => &[],
                false => &self.planes[first * plane..][..here * plane],
            };
            Arch::new().dispatch(Task::<P, N> {
                pixels: Pixels::new(
                    planes,
                    self.extent,
                    self.padding,
                    row,
                    [covered(down.len()), covered(across)],
                ),
                of: self,
                tiling,
                tiles,
                row,
                groups: groups.clone(),
                block: block * BLOCK * BLOCK,
                phase,
                apart,
                out,
            });
        };
        each(items.len() * blocks, work);
        Squares {
            data,
            first: groups.start,
            places: N * N,
            apart,
        }
    }
}

/// The squares of sixteen channels under some tiles of an item.
struct Task<'a, const P: usize, const N: usize> {
    pixels: Pixels,
    of: &'a Planes<'a>,
    tiling: &'a Tiling,
    tiles: Range<usize>,
    /// The row that the pixels begin with.
    row: usize,
    groups: Range<usize>,
    /// Where the block's first phase begins, and the step to the next.
    block: usize,
    phase: usize,
    apart: usize,
    out: SharedOut<'a>,
}

impl<const P: usize, const N: usize> WithSimd for Task<'_, P, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if dry::is_on() {
            return;
        }
        let row = self.pixels.width * BLOCK;
        let stride = self.of.stride;
        let steps = [stride * row, stride * BLOCK];
        // Groups are whole: the last has zeros for the tiles it lacks.
        let is_last = self.tiles.end == self.tiling.all;
        let lacking = if is_last {
            self.tiles.end..self.groups.end * BLOCK
        } else {
            0..0
        };
        let place = |tile: usize, phase: usize| {
            let group = (tile / BLOCK - self.groups.start) * N * N * self.apart;
            group + self.block + phase * self.phase + tile % BLOCK * BLOCK
        };
        // SAFETY: pixels hold whole squares; tasks differ in items or blocks.
        unsafe {
            for tile in self.tiles.clone() {
                let [_, y, x] = self.tiling.place(tile);
                for (phase, first) in self.of.phases.iter().enumerate() {
                    let at = (y * stride - self.row + first[0]) * row + x * steps[1];
                    let from = self.pixels.data[at + first[1] * BLOCK..].as_ptr();
                    let onto = self.out.as_mut_ptr().add(place(tile, phase));
                    both_axes(
                        simd,
                        #[inline(always)]
                        |x| onto_places::<S, P, N>(x),
                        from,
                        steps,
                        onto,
                        self.apart,
                    );
                }
            }
            for tile in lacking {
                for phase in 0..self.of.phases.len() {
                    let onto = self.out.as_mut_ptr().add(place(tile, phase));
                    (0..N * N).for_each(|p| onto.add(p * self.apart).write_bytes(0, BLOCK));
                }
            }
        }
    }
}
