//! Sums of products by subgroups: `shaders/conv/contraction.wgsl`.

use gpu::{Buffer, Context, Dispatch, fold};
use shaders::conv::CONTRACTION;

use super::{in_parts, u32_of};
use crate::Result;

/// out[layer, row, column] = Σ a[layer, row, outer, inner] · b[layer, column, outer, inner].
///
/// Columns count in three dimensions and `outer` in two. Steps may lead back.
pub(super) struct Contraction<'a> {
    pub rows: usize,
    pub columns: [usize; 3],
    pub layers: usize,
    pub outer: [usize; 2],
    pub inner: usize,
    pub a: Factor<'a, 1>,
    pub b: Factor<'a, 3>,
    pub bias: Option<&'a Buffer>,
    pub out: Layout,
}

/// A factor of the products.
pub(super) struct Factor<'a, const N: usize> {
    pub buffer: &'a Buffer,
    pub at: usize,
    pub layer: usize,
    /// Steps of A's rows, or of B's columns.
    pub own: [usize; N],
    pub outer: [isize; 2],
    pub inner: usize,
}

/// Where results go.
pub(super) struct Layout {
    pub at: usize,
    pub layer: usize,
    pub row: usize,
    pub columns: [usize; 3],
}

/// Rows of a tile.
fn tile_height(rows: usize) -> usize {
    if rows <= 4 { 4 } else { 16 }
}

/// The lanes of each of the device's subgroups, if the kernel can be made for them.
pub(super) fn subgroup(gpu: &Context) -> Option<usize> {
    let limits = gpu.limits();
    let (least, most) = limits.subgroup_size;
    let known = least == most && matches!(least, 8 | 16 | 32 | 64);
    (limits.subgroups && known).then_some(least as usize)
}

/// Columns of a tile.
fn tile_width(lanes: usize, columns: usize) -> usize {
    // Small subgroups have registers for twice as many.
    match lanes == 8 && columns > 4 * lanes {
        true => 8 * lanes,
        false => 4 * lanes,
    }
}

/// The results that tiles make for so many rows and columns, those for nothing included.
pub(super) fn area(gpu: &Context, rows: usize, columns: usize) -> usize {
    let width = tile_width(subgroup(gpu).unwrap_or(1), columns);
    rows.next_multiple_of(tile_height(rows)) * columns.next_multiple_of(width)
}

/// Whether steps lead from quad to quad.
fn quads(steps: impl IntoIterator<Item = usize>) -> bool {
    steps.into_iter().all(|step| step.is_multiple_of(4))
}

impl Contraction<'_> {
    fn row_tiles(&self) -> usize {
        self.rows.div_ceil(tile_height(self.rows))
    }

    /// In how many parts the sums should be for the device to have enough to do.
    pub fn parts(&self, gpu: &Context, out: &Buffer) -> usize {
        let enough = if gpu.info().is_software { 8 } else { 256 };
        let columns: usize = self.columns.iter().product();
        let tiles = self.layers * self.row_tiles() * columns.div_ceil(64);
        let outer: usize = self.outer.iter().product();
        let most = gpu.max_buffer_len() / out.len().max(1);
        usize::div_ceil(enough, tiles.max(1))
            .min(outer)
            .min(most)
            .max(1)
    }

    /// Computes the sums.
    pub fn run(&self, gpu: &Context, out: &Buffer) -> Result<()> {
        let parts = self.parts(gpu, out);
        in_parts(gpu, parts, out, |onto| {
            self.write(gpu, parts, out.len(), onto)
        })
    }

    /// Writes the sums, or so many parts of them that stand one after another, `len` values each.
    pub fn write(&self, gpu: &Context, parts: usize, len: usize, out: &Buffer) -> Result<()> {
        let Some(lanes) = subgroup(gpu) else {
            unreachable!("the method is for devices with subgroups")
        };
        let (a, b) = (&self.a, &self.b);
        let back = |outer: [isize; 2]| outer.map(isize::unsigned_abs);
        let a_quads =
            a.inner == 1 && quads([a.at, a.layer, a.own[0]].into_iter().chain(back(a.outer)));
        let b_quads = b.own[2] == 1
            && (self.columns[2].is_multiple_of(4) || self.columns[..2] == [1, 1])
            && quads(
                [b.at, b.layer, b.own[0], b.own[1], b.inner]
                    .into_iter()
                    .chain(back(b.outer)),
            );
        let columns: usize = self.columns.iter().product();
        let width = tile_width(lanes, columns);
        let column_tiles = columns.div_ceil(width);
        let outer: usize = self.outer.iter().product();
        let extents = [
            self.rows,
            columns,
            self.layers,
            outer,
            self.outer[1],
            self.inner,
            outer.div_ceil(parts),
            parts,
            len,
            column_tiles,
            self.columns[1],
            self.columns[2],
            usize::from(self.bias.is_some()),
        ];
        let extents = super::extents(&CONTRACTION, extents)?;
        // The kernel's indices wrap, so that steps may lead back.
        let step = |step: usize| step as u32;
        let outer = |steps: [isize; 2]| steps.map(|step| step as u32);
        let ([a_y, a_x], [b_y, b_x]) = (outer(a.outer), outer(b.outer));
        let places = [
            step(a.at),
            step(a.layer),
            step(a.own[0]),
            a_y,
            a_x,
            step(a.inner),
            step(b.at),
            step(b.layer),
            step(b.own[0]),
            step(b.own[1]),
            step(b.own[2]),
            b_y,
            b_x,
            step(b.inner),
            step(self.out.at),
            step(self.out.layer),
            step(self.out.row),
            step(self.out.columns[0]),
            step(self.out.columns[1]),
            step(self.out.columns[2]),
        ];
        // Without a bias A stands in its place, unread.
        let bias = self.bias.unwrap_or(a.buffer);
        let buffers = [a.buffer, a.buffer, b.buffer, b.buffer, bias, out];
        for buffer in buffers {
            u32_of(&CONTRACTION, buffer.len())?;
        }
        let groups = column_tiles * self.row_tiles() * parts * self.layers;
        gpu.dispatch(Dispatch {
            kernel: &CONTRACTION,
            overrides: &[
                ("SUBGROUP", lanes as f64),
                ("ROWS", tile_height(self.rows) as f64),
                ("WIDE", (width > 4 * lanes).into()),
                // Small subgroups have registers for it.
                ("TWO_LEVELS", (lanes == 8).into()),
                ("A_QUADS", a_quads.into()),
                ("B_QUADS", b_quads.into()),
            ],
            params: bytemuck::cast_slice(&[&extents[..], &places[..]].concat()),
            buffers: &buffers,
            groups: fold(groups as u64),
        })?;
        Ok(())
    }
}
