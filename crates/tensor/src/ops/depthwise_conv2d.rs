//! Depthwise convolution: every channel with a filter of its own. With its two gradients it is closed under
//! differentiation, as [`super::conv2d`] is.

use std::ops::Range;

use crate::cpu::{for_each_chunk, vectorised};
use crate::launch::{Launch, extents};
use crate::op::{nchw, refuse};
use crate::ops::conv2d::positions;
use crate::ops::{Case, Family, draw};
use crate::{
    Array, Backward, Cost, CpuArray, GpuArray, Op, Precision, Reads, Result, Shape, Tensor, apply,
};

/// Inputs: image N×C×H×W and filters C×1×kh×kw. Output: N×C×H′×W′ with H′ = (H + 2·padding − kh) / stride + 1.
#[derive(Clone, Copy, Debug)]
struct DepthwiseConv2d {
    stride: usize,
    padding: usize,
}

/// Its gradient to the image, which is of `size`. Inputs: the gradient to its output, and the filters.
#[derive(Clone, Copy, Debug)]
struct DepthwiseImageGrad {
    convolution: DepthwiseConv2d,
    size: [usize; 2],
}

/// Its gradient to the filters, which are of `kernel`. Inputs: the image, and the gradient to its output.
#[derive(Clone, Copy, Debug)]
struct DepthwiseFilterGrad {
    convolution: DepthwiseConv2d,
    kernel: [usize; 2],
}

impl Tensor {
    /// Convolves each channel of N×C×H×W with its own of C×1×kh×kw filters, zeros around.
    ///
    /// # Errors
    /// When the shapes don't go together or the kernel is larger than the padded image.
    pub fn depthwise_conv2d(
        &self,
        filters: &Tensor,
        stride: usize,
        padding: usize,
    ) -> Result<Tensor> {
        apply(DepthwiseConv2d { stride, padding }, &[self, filters])
    }
}

/// Extents of one channel of an image, of an output and of the filters.
#[derive(Clone, Copy)]
struct Plane {
    image: [usize; 2],
    out: [usize; 2],
    kernel: [usize; 2],
    stride: usize,
    padding: usize,
}

/// Where a tap of the filter meets a row of the output: pixel `first + i·stride` of the image goes with
/// pixel `i` of `out`.
struct Stretch {
    tap: usize,
    out: Range<usize>,
    first: usize,
}

impl Plane {
    fn new(
        [image, out, filters]: [Shape; 3],
        DepthwiseConv2d { stride, padding }: DepthwiseConv2d,
    ) -> Self {
        let [image, out, kernel] = [image, out, filters].map(|shape| {
            let [_, _, down, across] = shape.nchw();
            [down, across]
        });
        Plane {
            image,
            out,
            kernel,
            stride,
            padding,
        }
    }

    /// Values of an image, an output and a filter.
    fn lens(&self) -> [usize; 3] {
        [self.image, self.out, self.kernel].map(|[down, across]| down * across)
    }

    /// All stretches, none of them empty.
    #[inline(always)]
    fn stretches(&self, mut visit: impl FnMut(Stretch)) {
        let Plane {
            image: [h, w],
            out: [down, across],
            kernel: [kh, kw],
            stride,
            padding,
        } = *self;
        for y in 0..down {
            for ky in 0..kh {
                let row = (y * stride + ky).wrapping_sub(padding);
                if row >= h {
                    continue;
                }
                for kx in 0..kw {
                    let start = padding.saturating_sub(kx).div_ceil(stride);
                    let end = (w + padding).saturating_sub(kx).div_ceil(stride);
                    let end = end.min(across);
                    if start < end {
                        visit(Stretch {
                            tap: ky * kw + kx,
                            out: y * across + start..y * across + end,
                            first: row * w + start * stride + kx - padding,
                        });
                    }
                }
            }
        }
    }

    /// A kernel, and what it asks for: how many values it makes (`len`), then all extents.
    fn launch<'a>(
        &self,
        gpu: &'a gpu::Context,
        kernel: &'static shaders::Kernel,
        buffers: &'a [&'a gpu::Buffer; 3],
        [len, n, c]: [usize; 3],
    ) -> Result<(Launch<'a>, [u32; 11])> {
        let ([h, w], [down, across], [kh, kw]) = (self.image, self.out, self.kernel);
        let (stride, padding) = (self.stride, self.padding);
        let params = [len, n, c, h, w, down, across, kh, kw, stride, padding];
        let launch = Launch {
            gpu,
            kernel,
            overrides: &[],
            buffers,
        };
        Ok((launch, extents(kernel, params)?))
    }
}

/// Calls `make` with each plane of `out`, that of the other image with `len` values a plane, and the filter
/// of its channel.
fn each_plane(
    out: Array<&mut [f32]>,
    (others, len): (&[f32], usize),
    filters: &CpuArray<'_>,
    make: impl Fn(&mut [f32], &[f32], &[f32]) + Sync,
) {
    let [_, channels, down, across] = out.shape.nchw();
    let [_, _, kh, kw] = filters.shape.nchw();
    let (own, taps) = (down * across, kh * kw);
    for_each_chunk(out.data, own, |at, planes| {
        for (i, plane) in planes.chunks_exact_mut(own).enumerate() {
            let i = at / own + i;
            let other = &others[i * len..][..len];
            make(plane, other, &filters.data[i % channels * taps..][..taps]);
        }
    });
}

fn check_filters(name: &'static str, inputs: &[Shape], at: usize) -> Result<()> {
    let [_, channels, _, _] = nchw(name, inputs, 0)?;
    let [c, one, _, _] = nchw(name, inputs, at)?;
    match [c, one] == [channels, 1] {
        true => Ok(()),
        false => {
            let reason = format!("for {channels} channels the filters must be {channels}×1×kh×kw");
            refuse(name, inputs, reason)
        }
    }
}

fn flops(out: Shape, filters: Shape) -> f64 {
    let [_, _, kh, kw] = filters.nchw();
    2.0 * (out.len() * kh * kw) as f64
}

impl Op for DepthwiseConv2d {
    fn name(&self) -> &'static str {
        "depthwise_conv2d"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        check_filters(self.name(), inputs, 1)?;
        let ([n, c, h, w], [_, _, kh, kw]) = (inputs[0].nchw(), inputs[1].nchw());
        let down = positions(h, kh, self.stride, self.padding);
        let across = positions(w, kw, self.stride, self.padding);
        match (down, across) {
            (Some(down), Some(across)) => Ok([n, c, down, across].into()),
            _ => refuse(
                self.name(),
                inputs,
                "the kernel is larger than the padded image",
            ),
        }
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let plane = Plane::new([inputs[0].shape, out.shape, inputs[1].shape], *self);
        let [image_len, ..] = plane.lens();
        let images = (&inputs[0].data[..], image_len);
        each_plane(out, images, &inputs[1], |out, image, filter| {
            vectorised(
                #[inline(always)]
                || {
                    out.fill(0.0);
                    plane.stretches(
                        |Stretch {
                             tap,
                             out: at,
                             first,
                         }| {
                            let weight = filter[tap];
                            let (out, image) = (&mut out[at], &image[first..]);
                            match plane.stride {
                                1 => (out.iter_mut().zip(image))
                                    .for_each(|(out, value)| *out += weight * value),
                                stride => (out.iter_mut().zip(image.iter().step_by(stride)))
                                    .for_each(|(out, value)| *out += weight * value),
                            }
                        },
                    );
                },
            );
        });
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let plane = Plane::new([inputs[0].shape, out.shape, inputs[1].shape], *self);
        let [n, c, ..] = out.shape.nchw();
        let len = out.shape.len();
        let buffers = [inputs[0].data, inputs[1].data, out.data];
        let kernel = &shaders::conv::DEPTHWISE;
        let (launch, params) = plane.launch(gpu, kernel, &buffers, [len, n, c])?;
        launch.invocations(&params, len)
    }

    fn reads(&self) -> Reads {
        Reads::Inputs
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let (image, filters) = (&pass.inputs[0], &pass.inputs[1]);
        let [[_, _, h, w], [_, _, kh, kw]] = [image, filters].map(|input| input.shape().nchw());
        Ok(vec![
            pass.gradient(0, || {
                let (convolution, size) = (*self, [h, w]);
                let op = DepthwiseImageGrad { convolution, size };
                apply(op, &[pass.grad, filters])
            })?,
            pass.gradient(1, || {
                let (convolution, kernel) = (*self, [kh, kw]);
                let op = DepthwiseFilterGrad {
                    convolution,
                    kernel,
                };
                apply(op, &[image, pass.grad])
            })?,
        ])
    }

    fn cost(&self, inputs: &[Shape], out: Shape) -> Cost {
        Cost::bandwidth(inputs, out).with_flops(flops(out, inputs[1]))
    }
}

impl Op for DepthwiseImageGrad {
    fn name(&self) -> &'static str {
        "depthwise_image_grad"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        check_filters(self.name(), inputs, 1)?;
        let [n, c, ..] = inputs[0].nchw();
        let [h, w] = self.size;
        let image = Shape::from([n, c, h, w]);
        match self.convolution.shape(&[image, inputs[1]]) {
            Ok(out) if out == inputs[0] => Ok(image),
            _ => refuse(
                self.name(),
                inputs,
                format!("no such convolution leads from {image} to the first"),
            ),
        }
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let shapes = [out.shape, inputs[0].shape, inputs[1].shape];
        let plane = Plane::new(shapes, self.convolution);
        let [_, grad_len, _] = plane.lens();
        let grads = (&inputs[0].data[..], grad_len);
        each_plane(out, grads, &inputs[1], |image, grad, filter| {
            vectorised(
                #[inline(always)]
                || {
                    image.fill(0.0);
                    plane.stretches(|Stretch { tap, out, first }| {
                        let weight = filter[tap];
                        let image = image[first..].iter_mut().step_by(plane.stride);
                        image
                            .zip(&grad[out])
                            .for_each(|(image, grad)| *image += weight * grad);
                    });
                },
            );
        });
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let plane = Plane::new(
            [out.shape, inputs[0].shape, inputs[1].shape],
            self.convolution,
        );
        let [n, c, ..] = out.shape.nchw();
        let len = out.shape.len();
        let buffers = [inputs[0].data, inputs[1].data, out.data];
        let kernel = &shaders::conv::DEPTHWISE_IMAGE_GRAD;
        let (launch, params) = plane.launch(gpu, kernel, &buffers, [len, n, c])?;
        launch.invocations(&params, len)
    }

    fn reads(&self) -> Reads {
        Reads::Inputs
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let (grad, filters) = (&pass.inputs[0], &pass.inputs[1]);
        let [_, _, kh, kw] = filters.shape().nchw();
        Ok(vec![
            pass.gradient(0, || apply(self.convolution, &[pass.grad, filters]))?,
            pass.gradient(1, || {
                let op = DepthwiseFilterGrad {
                    convolution: self.convolution,
                    kernel: [kh, kw],
                };
                apply(op, &[pass.grad, grad])
            })?,
        ])
    }

    fn cost(&self, inputs: &[Shape], out: Shape) -> Cost {
        Cost::bandwidth(inputs, out).with_flops(flops(inputs[0], inputs[1]))
    }
}

impl Op for DepthwiseFilterGrad {
    fn name(&self) -> &'static str {
        "depthwise_filter_grad"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [_, c, _, _] = nchw(self.name(), inputs, 0)?;
        let [kh, kw] = self.kernel;
        let filters = Shape::from([c, 1, kh, kw]);
        match self.convolution.shape(&[inputs[0], filters]) {
            Ok(out) if out == inputs[1] => Ok(filters),
            _ => refuse(
                self.name(),
                inputs,
                format!("no {kh}×{kw} depthwise convolution leads from the first to the second"),
            ),
        }
    }

    fn precision(&self, _: &[Precision]) -> Precision {
        Precision::Single
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let shapes = [inputs[0].shape, inputs[1].shape, out.shape];
        let plane = Plane::new(shapes, self.convolution);
        let [image_len, grad_len, taps] = plane.lens();
        let [n, channels, ..] = inputs[0].shape.nchw();
        let (images, grads) = (&inputs[0].data[..], &inputs[1].data[..]);
        for_each_chunk(out.data, taps, |at, filters| {
            for (i, filter) in filters.chunks_exact_mut(taps).enumerate() {
                filter.fill(0.0);
                for image in 0..n {
                    let i = image * channels + at / taps + i;
                    let image = &images[i * image_len..][..image_len];
                    let grad = &grads[i * grad_len..][..grad_len];
                    plane.stretches(|Stretch { tap, out, first }| {
                        let image = image[first..].iter().step_by(plane.stride);
                        let products = image.zip(&grad[out]).map(|(image, grad)| image * grad);
                        filter[tap] += products.sum::<f32>();
                    });
                }
            }
        });
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let plane = Plane::new(
            [inputs[0].shape, inputs[1].shape, out.shape],
            self.convolution,
        );
        let [n, c, ..] = inputs[0].shape.nchw();
        let len = out.shape.len();
        let buffers = [inputs[0].data, inputs[1].data, out.data];
        let kernel = &shaders::conv::DEPTHWISE_FILTER_GRAD;
        let (launch, params) = plane.launch(gpu, kernel, &buffers, [len, n, c])?;
        launch.workgroups(&params, len)
    }

    fn reads(&self) -> Reads {
        Reads::Inputs
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let (image, grad) = (&pass.inputs[0], &pass.inputs[1]);
        let [_, _, h, w] = image.shape().nchw();
        Ok(vec![
            pass.gradient(0, || {
                let op = DepthwiseImageGrad {
                    convolution: self.convolution,
                    size: [h, w],
                };
                apply(op, &[grad, pass.grad])
            })?,
            pass.gradient(1, || apply(self.convolution, &[image, pass.grad]))?,
        ])
    }

    fn cost(&self, inputs: &[Shape], out: Shape) -> Cost {
        Cost::bandwidth(inputs, out).with_flops(flops(inputs[1], out))
    }
}

pub(super) fn family() -> Family {
    /// The convolution and its two gradients, on images `nchw` with filters `kernel`.
    fn three(nchw: [usize; 4], kernel: [usize; 2], stride: usize, padding: usize) -> [Case; 3] {
        let convolution = DepthwiseConv2d { stride, padding };
        let [_, c, h, w] = nchw;
        let filters = [c, 1, kernel[0], kernel[1]];
        let out = convolution
            .shape(&[nchw.into(), filters.into()])
            .expect("the kernel fits");
        let size = [h, w];
        let image_grad = DepthwiseImageGrad { convolution, size };
        let filter_grad = DepthwiseFilterGrad {
            convolution,
            kernel,
        };
        [
            Case::new(convolution, [nchw.into(), filters.into()]).halves(1),
            Case::new(image_grad, [out, filters.into()]).halves(1),
            Case::new(filter_grad, [nchw.into(), out]),
        ]
    }
    Family {
        name: "depthwise_conv2d",
        cases: || {
            [
                three([2, 3, 7, 6], [3, 3], 1, 1),
                three([1, 4, 9, 8], [3, 3], 2, 0),
                three([1, 2, 8, 9], [3, 5], 2, 2),
                three([2, 1, 5, 6], [2, 2], 3, 0),
                three([1, 2, 1, 1], [3, 3], 1, 1),
                three([1, 33, 4, 5], [1, 2], 1, 0),
            ]
            .concat()
        },
        random: |rng| {
            let kernel = [draw(rng, 1..=5), draw(rng, 1..=5)];
            let nchw = [
                draw(rng, 1..=3),
                draw(rng, 1..=9),
                draw(rng, kernel[0]..=18),
                draw(rng, kernel[1]..=18),
            ];
            let cases = three(nchw, kernel, draw(rng, 1..=3), draw(rng, 0..=2));
            cases[draw(rng, 0..=2)].clone()
        },
        benches: || three([1, 64, 128, 128], [3, 3], 1, 1).to_vec(),
    }
}
