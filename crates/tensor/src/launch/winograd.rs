//! 3×3 convolution with stride 1 by Winograd's F(4×4, 3×3): `shaders/winograd`. As on the processor,
//! transformed tiles are multiplied in 36 matrix products, one for each place of a tile.

use gpu::{Buffer, Context};
use shaders::Kernel;
use shaders::winograd::{FILTER, FILTER_GRAD, GRAD, IMAGE, RESULT};

use super::contraction::{self, Contraction, Factor, Layout};
use super::convolution::Products;
use super::{Gemm, Launch, extents};
use crate::Result;

/// Places of a transformed tile.
const PLACES: usize = 36;

/// 3×3 filters M×C sliding over N×C×H×W, which gives N×M×down×across.
#[derive(Clone, Copy, Debug)]
pub(super) struct Winograd<'a> {
    pub gpu: &'a Context,
    pub products: Products,
    pub image: [usize; 4],
    pub out: [usize; 4],
    pub padding: usize,
}

/// How transformed tiles stand in each place: those of a channel after each other, or the channels of a
/// tile; `pitch` tiles a channel.
#[derive(Clone, Copy)]
struct Order {
    by_tile: bool,
    pitch: usize,
}

impl Winograd<'_> {
    /// Tiles of 4×4 outputs, of a plane down and across.
    fn grid(&self) -> [usize; 2] {
        let [_, _, down, across] = self.out;
        [down.div_ceil(4), across.div_ceil(4)]
    }

    /// Tiles of the whole batch.
    pub fn tiles(&self) -> usize {
        let [down, across] = self.grid();
        self.out[0] * down * across
    }

    /// Values from one channel's tiles to the next one's: whole quads where that helps.
    fn pitch(&self) -> usize {
        match self.products {
            Products::Tiled => self.tiles(),
            Products::Subgroups => self.tiles().next_multiple_of(4),
        }
    }

    /// Values of the largest buffer that it takes.
    pub fn workspace(&self) -> usize {
        let (c, m) = (self.image[1], self.out[1]);
        PLACES * (c.max(m) * self.pitch()).max(c * m)
    }

    /// Adds up the image under the filters; `turned` takes an M×C weight as the filters C×M of the
    /// gradient with respect to the image.
    pub fn forward(
        &self,
        image: &Buffer,
        weight: &Buffer,
        turned: bool,
        bias: Option<&Buffer>,
        out: &Buffer,
    ) -> Result<()> {
        let (c, m) = (self.image[1], self.out[1]);
        // Rows are filters and columns tiles, or the other way round if that leaves fewer tiles of the
        // product half empty.
        let area = |rows, columns| contraction::area(self.gpu, rows, columns);
        let by_tile =
            self.products == Products::Subgroups && area(self.tiles(), m) < area(m, self.tiles());
        let pitch = if by_tile { self.tiles() } else { self.pitch() };
        let order = Order { by_tile, pitch };

        let filters = self.gpu.alloc(PLACES * m * c)?;
        let [of_m, of_c] = if by_tile { [1, m] } else { [c, 1] };
        let params = match turned {
            false => [m * c, c, m * c, of_m, of_c, 0],
            true => [m * c, m, m * c, of_c, of_m, 1],
        };
        Launch {
            gpu: self.gpu,
            kernel: &FILTER,
            overrides: &[],
            buffers: &[weight, &filters],
        }
        .invocations(&extents(&FILTER, params)?, m * c)?;

        let pieces = self.gpu.alloc(PLACES * c * pitch)?;
        self.transform(&IMAGE, self.image, order, false, &[image, &pieces])?;

        let products = self.gpu.alloc(PLACES * m * pitch)?;
        match by_tile {
            false => self.multiply([m, pitch, c], &filters, c, &pieces, &products)?,
            true => self.multiply([pitch, m, c], &pieces, c, &filters, &products)?,
        }
        drop((filters, pieces));

        // Without a bias the weight stands in its place, unread.
        let buffers = [&products, bias.unwrap_or(weight), out];
        self.transform(&RESULT, self.out, order, bias.is_some(), &buffers)
    }

    /// The gradient with respect to the filters.
    pub fn weight_grad(&self, image: &Buffer, grad: &Buffer, out: &Buffer) -> Result<()> {
        let (c, m, pitch) = (self.image[1], self.out[1], self.pitch());
        let grads = self.gpu.alloc(PLACES * m * pitch)?;
        let order = |by_tile| Order { by_tile, pitch };
        self.transform(&GRAD, self.out, order(false), false, &[grad, &grads])?;

        let pieces = self.gpu.alloc(PLACES * pitch * c)?;
        self.transform(&IMAGE, self.image, order(true), false, &[image, &pieces])?;

        let products = self.gpu.alloc(PLACES * m * c)?;
        self.multiply([m, c, self.tiles()], &grads, pitch, &pieces, &products)?;
        drop((grads, pieces));
        Launch {
            gpu: self.gpu,
            kernel: &FILTER_GRAD,
            overrides: &[],
            buffers: &[&products, out],
        }
        .invocations(&extents(&FILTER_GRAD, [m * c])?, m * c)
    }

    /// Transforms the tiles of planes, or back to them.
    fn transform(
        &self,
        kernel: &'static Kernel,
        [_, channels, height, width]: [usize; 4],
        Order { by_tile, pitch }: Order,
        has_bias: bool,
        buffers: &[&Buffer],
    ) -> Result<()> {
        let [down, across] = self.grid();
        let count = self.tiles() * channels;
        let [channel, tile] = if by_tile { [1, channels] } else { [pitch, 1] };
        let params = [
            count,
            channels,
            height,
            width,
            down,
            across,
            channels * pitch,
            channel,
            tile,
            self.padding,
            usize::from(has_bias),
        ];
        let launch = Launch {
            gpu: self.gpu,
            kernel,
            overrides: &[("CHANNELS_FIRST", by_tile.into())],
            buffers,
        };
        launch.invocations(&extents(kernel, params)?, count)
    }

    /// For each place: A, whose rows are `pitch` apart, times B, into `out`.
    fn multiply(
        &self,
        [rows, columns, depth]: [usize; 3],
        a: &Buffer,
        pitch: usize,
        b: &Buffer,
        out: &Buffer,
    ) -> Result<()> {
        match self.products {
            Products::Tiled => Gemm {
                kernel: &shaders::conv::MATMUL,
                rows,
                columns,
                depth,
                layers: PLACES,
                overrides: &[("A_ALONG_DEPTH", 1.0), ("B_ALONG_DEPTH", 0.0)],
                buffers: &[a, b],
            }
            .run(self.gpu, [], out),
            Products::Subgroups => Contraction {
                rows,
                columns: [1, 1, columns],
                layers: PLACES,
                outer: [1, 1],
                inner: depth,
                a: Factor {
                    buffer: a,
                    at: 0,
                    layer: rows * pitch,
                    own: [pitch],
                    outer: [0, 0],
                    inner: 1,
                },
                b: Factor {
                    buffer: b,
                    at: 0,
                    layer: b.len() / PLACES,
                    own: [0, 0, 1],
                    outer: [0, 0],
                    inner: columns,
                },
                bias: None,
                out: Layout {
                    at: 0,
                    layer: rows * columns,
                    row: columns,
                    columns: [0, 0, 1],
                },
            }
            .run(self.gpu, out),
        }
    }
}
