//! Convolution and its two gradients on the processor, by the method that suits the shape.

use super::columns;
use super::planes::{Planes, SHARED};
use super::{Buffer, implicit, winograd};

/// A convolution's extents: the image is N×C×H×W, the weight M×C×kh×kw, the output N×M×H′×W′.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Convolution {
    pub(super) items: usize,
    /// C and M.
    pub(super) channels: [usize; 2],
    /// H and W.
    pub(super) image: [usize; 2],
    pub(super) kernel: [usize; 2],
    /// H′ and W′.
    pub(super) out: [usize; 2],
    pub(super) stride: usize,
    pub(super) padding: usize,
}

/// The ways to compute one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// A quarter of the multiplications, for 3×3 with stride 1.
    Winograd,
    /// A matrix product with the image read where it lies.
    Implicit,
    /// A matrix product with the windows written down as columns.
    Columns,
}

impl Convolution {
    /// That from an image N×C×H×W to an output N×M×H′×W′.
    pub fn new(
        [items, c, h, w]: [usize; 4],
        [_, m, down, across]: [usize; 4],
        kernel: [usize; 2],
        stride: usize,
        padding: usize,
    ) -> Self {
        Convolution {
            items,
            channels: [c, m],
            image: [h, w],
            kernel,
            out: [down, across],
            stride,
            padding,
        }
    }

    /// The method for a shape, from measurements at the networks' shapes (`cargo bench --bench ops`):
    ///
    /// | shape | method |
    /// |---|---|
    /// | fewer than 16 positions | columns: vectors run along positions, and these don't fill one |
    /// | 3×3, stride 1, from 16 channels to 16, at least 16 tiles of 4×4 | Winograd |
    /// | any other | implicit |
    fn method(&self) -> Method {
        let [c, m] = self.channels;
        let positions: usize = self.out.iter().product();
        let tiles = self.items * self.out.iter().map(|e| e.div_ceil(4)).product::<usize>();
        let three = self.kernel == [3, 3] && self.stride == 1;
        match () {
            () if positions < 16 => Method::Columns,
            () if three && c.min(m) >= 16 && tiles >= 16 => Method::Winograd,
            () => Method::Implicit,
        }
    }

    /// The convolution of an image, with a bias of M values.
    pub fn forward(&self, image: &Buffer, weight: &Buffer, bias: Option<&[f32]>, out: &mut [f32]) {
        match self.method() {
            Method::Winograd => winograd::forward(self, image, weight, bias, out),
            Method::Implicit => implicit::forward(self, image, weight, bias, out),
            Method::Columns => columns::forward(self, image, weight, bias, out),
        }
    }

    /// The gradient of the image from that of the output, which is the transposed convolution, with a
    /// bias of C values.
    pub fn image_grad(
        &self,
        grad: &Buffer,
        weight: &Buffer,
        bias: Option<&[f32]>,
        out: &mut [f32],
    ) {
        match self.method() {
            Method::Winograd => winograd::image_grad(self, grad, weight, bias, out),
            Method::Implicit => implicit::image_grad(self, grad, weight, bias, out),
            Method::Columns => columns::image_grad(self, grad, weight, bias, out),
        }
    }

    /// The gradient of the weight from the image and the gradient of the output.
    pub fn weight_grad(&self, image: &Buffer, grad: &[f32], out: &mut [f32]) {
        match self.method() {
            Method::Winograd => winograd::weight_grad(self, image, grad, out),
            Method::Implicit => implicit::weight_grad(self, image, grad, out),
            Method::Columns => columns::weight_grad(self, image, grad, out),
        }
    }

    /// Values that make one of the output's: C·kh·kw.
    pub(super) fn depth(&self) -> usize {
        self.channels[0] * self.kernel[0] * self.kernel[1]
    }

    /// The image laid out for its windows.
    pub(super) fn image_planes<'a>(&self, image: &'a Buffer) -> Planes<'a> {
        let mut extent = [0, 1].map(|axis| self.out[axis] + (self.kernel[axis] - 1) / self.stride);
        if self.stride == 1 {
            let after = extent[1].saturating_sub(self.padding + self.image[1]);
            extent[1] -= self.padding.min(after).min(self.kernel[1] - 1).min(SHARED);
        }
        Planes::new(image, self.image, self.stride, [self.padding; 2], extent)
    }

    /// For each (c, i, j) how far those planes are shifted to lie under the output.
    pub(super) fn shifts(&self, planes: &Planes<'_>) -> Vec<usize> {
        let ([kh, kw], s) = (self.kernel, self.stride);
        let tap = |k: usize| {
            let (i, j) = (k / kw, k % kw);
            let phase = i % s * s + j % s;
            phase * planes.phase + i / s * planes.pitch + j / s
        };
        for_each_channel(self.channels[0], planes.channel, (0..kh * kw).map(tap))
    }
}

/// The shifts of a channel's taps, for channel after channel.
pub(super) fn for_each_channel(
    channels: usize,
    step: usize,
    taps: impl Iterator<Item = usize>,
) -> Vec<usize> {
    let taps: Vec<usize> = taps.collect();
    (0..channels)
        .flat_map(|c| taps.iter().map(move |tap| c * step + tap))
        .collect()
}
