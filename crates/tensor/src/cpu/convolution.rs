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
    /// A fraction of the multiplications, for 3×3 and 4×4 with strides of one and two.
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
    /// | 3×3 or 4×4, stride 1 or 2, at least 16 channels to 16 (3×3 with stride 2: 32), at least 8 tiles | Winograd |
    /// | any other | implicit |
    fn method(&self) -> Method {
        let positions: usize = self.out.iter().product();
        let channels = self.channels[0].min(self.channels[1]);
        let least = match (self.kernel, self.stride) {
            ([3, 3], 2) => 32,
            _ => 16,
        };
        match () {
            () if positions < 16 => Method::Columns,
            () if channels >= least && winograd::tiles(self).is_some_and(|tiles| tiles >= 8) => {
                Method::Winograd
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn values(len: usize, seed: usize) -> Buffer {
        let value = |i: usize| ((i + seed) * 7919 % 2003) as f32 / 1001.0 - 1.0;
        Buffer::from_slice(&(0..len).map(value).collect::<Vec<f32>>())
    }

    /// Calls `f(image, weight, output)` with the indices of every product that the definition has.
    fn each_product(conv: &Convolution, mut f: impl FnMut(usize, usize, usize)) {
        let Convolution {
            items,
            channels: [c, m],
            image: [h, w],
            kernel: [kh, kw],
            out: [down, across],
            stride,
            padding,
        } = *conv;
        for at in 0..items * m * down * across {
            let (item, o) = (at / (m * down * across), at / (down * across) % m);
            let (y, x) = (at / across % down * stride, at % across * stride);
            for k in 0..c * kh * kw {
                let (i, j) = (y + k / kw % kh, x + k % kw);
                let inside =
                    (padding..h + padding).contains(&i) && (padding..w + padding).contains(&j);
                if inside {
                    let row = (item * c + k / (kh * kw)) * h + i - padding;
                    f(row * w + j - padding, o * c * kh * kw + k, at);
                }
            }
        }
    }

    fn compare(what: &str, conv: &Convolution, method: Method, got: &[f32], exact: &[f64]) {
        let scale = exact
            .iter()
            .fold(1.0f64, |most, value| most.max(value.abs()));
        for (i, (&got, exact)) in got.iter().zip(exact).enumerate() {
            let error = (f64::from(got) - exact).abs() / scale;
            assert!(
                error < 1e-5,
                "{what} of {conv:?} by {method:?}, value {i}: {got} for {exact}"
            );
        }
    }

    /// All passes of `conv` by its method, which has to be `method`, against the definition in f64.
    fn check(
        method: Method,
        [items, c, h, w]: [usize; 4],
        m: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) {
        let out = |extent: usize| (extent + 2 * padding - kernel) / stride + 1;
        let conv = Convolution::new(
            [items, c, h, w],
            [items, m, out(h), out(w)],
            [kernel; 2],
            stride,
            padding,
        );
        assert_eq!(conv.method(), method, "{conv:?}");
        let image = values(items * c * h * w, 1);
        let weight = values(m * c * kernel * kernel, 5);
        let grad = values(items * m * out(h) * out(w), 11);
        let bias = values(c.max(m), 17);
        let plane =
            |at: usize, extent: usize, channels: usize| f64::from(bias[at / extent % channels]);
        let mut outputs: Vec<f64> = (0..grad.len())
            .map(|i| plane(i, out(h) * out(w), m))
            .collect();
        let mut pixels: Vec<f64> = (0..image.len()).map(|i| plane(i, h * w, c)).collect();
        let mut weights = vec![0.0; weight.len()];
        each_product(&conv, |i, k, o| {
            let [x, g, y] = [image[i], weight[k], grad[o]].map(f64::from);
            outputs[o] += x * g;
            pixels[i] += y * g;
            weights[k] += x * y;
        });
        let mut got = [outputs.len(), pixels.len(), weights.len()].map(|len| vec![f32::NAN; len]);
        conv.forward(&image, &weight, Some(&bias[..m]), &mut got[0]);
        conv.image_grad(&grad, &weight, Some(&bias[..c]), &mut got[1]);
        conv.weight_grad(&image, &grad, &mut got[2]);
        compare("output", &conv, method, &got[0], &outputs);
        compare("image gradient", &conv, method, &got[1], &pixels);
        compare("weight gradient", &conv, method, &got[2], &weights);
    }

    #[test]
    fn methods_agree_with_the_definition() {
        // Channels beside and on multiples of sixteen; extents that leave parts of tiles and unread pixels.
        for (kernel, stride) in [(3, 1), (4, 1), (3, 2), (4, 2)] {
            check(Method::Winograd, [1, 32, 22, 23], 32, kernel, stride, 1);
            check(Method::Winograd, [2, 35, 23, 18], 53, kernel, stride, 0);
            check(Method::Winograd, [3, 48, 14, 27], 33, kernel, stride, 2);
            // In strips of tiles.
            check(Method::Winograd, [3, 32, 46, 50], 32, kernel, stride, 1);
            check(Method::Implicit, [2, 5, 21, 18], 7, kernel, stride, 1);
            check(Method::Columns, [2, 17, 6, 5], 18, kernel, stride, 0);
        }
        check(Method::Implicit, [1, 3, 20, 23], 18, 7, 1, 3);
        check(Method::Implicit, [2, 18, 11, 20], 3, 7, 1, 0);
        // Weights by shares of the positions.
        check(Method::Implicit, [2, 3, 70, 67], 20, 7, 1, 0);
        check(Method::Implicit, [5, 2, 123, 90], 33, 4, 2, 1);
        check(Method::Implicit, [1, 17, 9, 9], 19, 1, 1, 0);
        check(Method::Implicit, [1, 17, 31, 29], 19, 5, 3, 2);
    }
}
