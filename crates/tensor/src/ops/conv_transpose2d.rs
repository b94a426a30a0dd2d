//! Transposed convolution, which is also the gradient of [`super::conv2d`] with respect to its image.

use rayon::prelude::*;

use crate::cpu::{self, Matrix, MatrixMut, SharedOut, Window};
use crate::launch::Gemm;
use crate::op::{nchw, refuse};
use crate::ops::conv2d::{self, Conv2d, Setting, bias_grad, positions};
use crate::ops::conv2d_weight_grad::Conv2dWeightGrad;
use crate::ops::{Case, Family, draw};
use crate::{Array, Backward, Cost, CpuArray, GpuArray, Op, Result, Shape, Tensor, apply};

/// Inputs: image N×M×H′×W′, weight M×C×kh×kw, and maybe bias C. Output: N×C×`size`, an image that
/// the convolution of the same weight takes to one of the input's shape.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConvTranspose2d {
    pub stride: usize,
    pub padding: usize,
    pub size: [usize; 2],
}

impl Tensor {
    /// Transposed convolution of N×M×H×W with a weight M×C×kh×kw and a bias of C values; the output
    /// is (H − 1)·stride − 2·padding + kh + `output_padding` high.
    ///
    /// # Errors
    /// When the shapes don't go together, or `output_padding` is not below the stride.
    pub fn conv_transpose2d(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        stride: usize,
        padding: usize,
        output_padding: usize,
    ) -> Result<Tensor> {
        let [_, _, h, w] = self.shape().nchw();
        let [_, _, kh, kw] = weight.shape().nchw();
        let size = |extent: usize, kernel: usize| {
            ((extent.max(1) - 1) * stride + kernel + output_padding).saturating_sub(2 * padding)
        };
        let op = ConvTranspose2d {
            stride,
            padding,
            size: [size(h, kh), size(w, kw)],
        };
        match bias {
            Some(bias) => apply(op, &[self, weight, bias]),
            None => apply(op, &[self, weight]),
        }
    }
}

impl Op for ConvTranspose2d {
    fn name(&self) -> &'static str {
        "conv_transpose2d"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [n, m, h, w] = nchw(self.name(), inputs, 0)?;
        let [weight_m, c, kh, kw] = nchw(self.name(), inputs, 1)?;
        if weight_m != m {
            let reason = format!("the weight is for {weight_m} channels, the image has {m}");
            return refuse(self.name(), inputs, reason);
        }
        if inputs.get(2).is_some_and(|bias| bias.dims() != [c]) {
            return refuse(
                self.name(),
                inputs,
                format!("the bias must have {c} values"),
            );
        }
        let [height, width] = self.size;
        let fits = positions(height, kh, self.stride, self.padding) == Some(h)
            && positions(width, kw, self.stride, self.padding) == Some(w);
        if !fits {
            let reason = format!(
                "no convolution with stride {} and padding {} leads from {height}×{width} to it",
                self.stride, self.padding
            );
            return refuse(self.name(), inputs, reason);
        }
        Ok([n, c, height, width].into())
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let [_, _, kh, kw] = inputs[1].shape.nchw();
        if self.stride == 1 && kh == kw && self.padding < kh {
            self.as_convolution(inputs, out);
        } else {
            self.by_columns(inputs, out);
        }
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let [n, m, h, w] = inputs[0].shape.nchw();
        let [_, c, kh, kw] = inputs[1].shape.nchw();
        let [down, across] = self.size;
        let (image, weight) = (inputs[0].data, inputs[1].data);
        let bias = inputs.get(2).map(|bias| bias.data);
        let stride = self.stride;
        // Phases down and across; where the output is smaller than the stride, some have no pixel.
        let phases = [stride.min(down), stride.min(across)];
        let taps = kh.div_ceil(stride) * kw.div_ceil(stride);
        let window = [kh, kw, stride, self.padding];
        let gemm = Gemm {
            kernel: &shaders::conv::CONV_TRANSPOSE2D,
            rows: c,
            columns: n * down.div_ceil(stride) * across.div_ceil(stride),
            depth: m * taps,
            layers: phases[0] * phases[1],
            overrides: &conv2d::window_overrides(window),
            // Without a bias the weight stands in its place, unread.
            buffers: &[image, weight, bias.unwrap_or(weight)],
        };
        let padding = self.padding;
        let has_bias = usize::from(bias.is_some());
        gemm.run(
            gpu,
            [
                kh, kw, stride, padding, n, m, h, w, down, across, has_bias, phases[1],
            ],
            out.data,
        )
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let ConvTranspose2d {
            stride, padding, ..
        } = *self;
        let (image, weight, grad) = (&pass.inputs[0], &pass.inputs[1], pass.grad);
        let [_, _, kh, kw] = weight.shape().nchw();
        let mut gradients = vec![
            pass.gradient(0, || apply(Conv2d { stride, padding }, &[grad, weight]))?,
            pass.gradient(1, || {
                apply(
                    Conv2dWeightGrad {
                        stride,
                        padding,
                        kernel: [kh, kw],
                    },
                    &[grad, image],
                )
            })?,
        ];
        if pass.inputs.len() == 3 {
            gradients.push(pass.gradient(2, || bias_grad(grad))?);
        }
        Ok(gradients)
    }

    fn cost(&self, inputs: &[Shape], out: Shape) -> Cost {
        let flops = conv2d::flops(inputs[0].nchw(), inputs[1].nchw());
        Cost::bandwidth(inputs, out).with_flops(flops)
    }
}

impl ConvTranspose2d {
    /// With stride 1 it is a convolution with the weight turned round.
    fn as_convolution(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let [m, c, k, _] = inputs[1].shape.nchw();
        let taps = k * k;
        let mut turned = cpu::Buffer::new(inputs[1].data.len());
        for (i, taps_from) in inputs[1].data.chunks_exact(taps).enumerate() {
            let (from, to) = (i / c, i % c);
            let onto = &mut turned[(to * m + from) * taps..][..taps];
            onto.iter_mut()
                .zip(taps_from.iter().rev())
                .for_each(|(onto, &tap)| *onto = tap);
        }
        let op = Conv2d {
            stride: 1,
            padding: k - 1 - self.padding,
        };
        let weight = Array {
            shape: [c, m, k, k].into(),
            data: &turned[..],
        };
        conv2d::convolve(&op, inputs[0], weight, inputs.get(2), out);
    }

    /// A task makes a few channels: weightᵀ × image gives their columns, which are added back.
    fn by_columns(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let [_, m, h, w] = inputs[0].shape.nchw();
        let [_, c, kh, kw] = inputs[1].shape.nchw();
        let [height, width] = self.size;
        let (plane, positions, depth) = (height * width, h * w, c * kh * kw);
        let window = Window {
            image: self.size,
            kernel: [kh, kw],
            out: [h, w],
            stride: self.stride,
            padding: self.padding,
        };
        conv2d::fill_bias(out.data, plane, inputs.get(2));
        // Products with few rows are slow, so a task has at least 64 of them where it can.
        let block = 64usize.div_ceil(kh * kw).min(c.div_ceil(2)).max(1);
        out.data
            .par_chunks_mut(c * plane)
            .enumerate()
            .for_each(|(item, image)| {
                let from = &inputs[0].data[item * m * positions..][..m * positions];
                image
                    .par_chunks_mut(block * plane)
                    .enumerate()
                    .for_each(|(task, planes)| {
                        let channels = task * block..(task * block + planes.len() / plane);
                        let first = channels.start * kh * kw;
                        let taps = channels.len() * kh * kw;
                        let strip = cpu::rows_per_strip(taps, window.out);
                        let mut columns = cpu::Buffer::new(taps * strip * w);
                        for start in (0..h).step_by(strip) {
                            let rows = start..(start + strip).min(h);
                            let across = rows.len() * w;
                            let dst = MatrixMut {
                                out: SharedOut::new(&mut columns),
                                at: 0,
                                rows: across,
                            };
                            let weight = Matrix {
                                data: &inputs[1].data[first..],
                                rows: 1,
                                cols: depth,
                            };
                            let image = Matrix {
                                data: &from[start * w..],
                                rows: positions,
                                cols: 1,
                            };
                            // SAFETY: the columns are this task's own.
                            unsafe { cpu::gemm([taps, across, m], dst, false, weight, image) };
                            cpu::col2im_add(
                                &columns[..taps * across],
                                &window,
                                channels.clone(),
                                rows,
                                planes,
                            );
                        }
                    });
            });
    }
}

impl Setting {
    /// The gradient of this convolution with respect to its image.
    fn transposed(&self, bias: bool) -> Case {
        let [_, c, h, w] = self.image;
        let op = ConvTranspose2d {
            stride: self.stride,
            padding: self.padding,
            size: [h, w],
        };
        match bias {
            false => Case::new(op, [self.out().into(), self.weight.into()]),
            true => Case::new(op, [self.out().into(), self.weight.into(), [c].into()]),
        }
    }
}

pub(super) fn family() -> Family {
    Family {
        name: "conv_transpose2d",
        cases: || {
            let edges = Setting::edges();
            edges
                .iter()
                .enumerate()
                .map(|(i, setting)| setting.transposed(i % 2 == 0))
                .collect()
        },
        random: |rng| Setting::random(rng).transposed(draw(rng, 0..=1) == 1),
        benches: || {
            let mut settings = Setting::cyclegan();
            settings.push(Setting::new(1, [64, 128], [256, 256], [3, 2, 1]));
            settings
                .iter()
                .map(|setting| setting.transposed(false))
                .collect()
        },
    }
}
