//! Convolution and its gradients on a GPU, by the method that suits the device and the shape.

use std::borrow::Cow;

use gpu::{Buffer, Context, Precision};
use shaders::conv::{CONV_TRANSPOSE2D, CONV2D, CONV2D_WEIGHT_GRAD};
use shaders::resample::PAD;

use super::contraction::{self, Contraction, Factor, Layout};
use super::winograd::Winograd;
use super::{Gemm, Launch, extents, in_parts};
use crate::Result;

/// A convolution: M filters of C channels slide over N×C×H×W and give N×M×H′×W′.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Convolution<'a> {
    pub gpu: &'a Context,
    pub image: [usize; 4],
    pub out: [usize; 4],
    pub kernel: [usize; 2],
    pub stride: usize,
    pub padding: usize,
}

/// How a pass is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// As the sum that it is defined by.
    Direct(Products),
    /// By Winograd's transforms, around matrix products.
    Winograd(Products),
}

/// How products are summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Products {
    /// In workgroup memory, where their operands are gathered.
    Tiled,
    /// In registers, with operands that subgroups pass round.
    Subgroups,
}

/// Fewest channels, filters and tiles for which transforms are worth their time.
const WINOGRAD_FROM: usize = 16;

impl Method {
    fn name(self) -> &'static str {
        match self {
            Method::Direct(Products::Tiled) => "tiled",
            Method::Direct(Products::Subgroups) => "subgroups",
            Method::Winograd(Products::Tiled) => "winograd-tiled",
            Method::Winograd(Products::Subgroups) => "winograd-subgroups",
        }
    }
}

impl Convolution<'_> {
    /// What a convolution gives.
    pub fn forward(
        &self,
        image: &Buffer,
        weight: &Buffer,
        bias: Option<&Buffer>,
        out: &Buffer,
    ) -> Result<()> {
        self.choose("forward", image, |method| {
            self.forward_by(method, image, weight, bias, out)
        })
    }

    /// The gradient with respect to the image, to which a bias is added (of a transposed convolution).
    pub fn image_grad(
        &self,
        grad: &Buffer,
        weight: &Buffer,
        bias: Option<&Buffer>,
        out: &Buffer,
    ) -> Result<()> {
        self.choose("image gradient", grad, |method| {
            self.image_grad_by(method, grad, weight, bias, out)
        })
    }

    /// The gradient with respect to the weight.
    pub fn weight_grad(&self, image: &Buffer, grad: &Buffer, out: &Buffer) -> Result<()> {
        self.choose("weight gradient", grad, |method| {
            self.weight_grad_by(method, image, grad, out)
        })
    }

    /// Runs a pass over `planes` by one of the methods that are possible.
    fn choose(
        &self,
        pass: &str,
        planes: &Buffer,
        mut run: impl FnMut(Method) -> Result<()>,
    ) -> Result<()> {
        let Convolution {
            image,
            out,
            kernel,
            stride,
            padding,
            ..
        } = *self;
        let task = || {
            let stored = match planes.precision() {
                Precision::Single => "",
                Precision::Half => " in half precision",
            };
            format!(
                "{image:?} to {out:?} by {kernel:?}, stride {stride}, padding {padding}: {pass}{stored}"
            )
        };
        let methods = self.methods();
        let names: Vec<_> = methods.iter().map(|method| method.name()).collect();
        self.gpu.choose(task, &names, |i| run(methods[i]))
    }

    /// What can be done, the best guess first.
    fn methods(&self) -> Vec<Method> {
        let mut products = vec![Products::Tiled];
        if contraction::subgroup(self.gpu).is_some() {
            products.push(Products::Subgroups);
        }
        // Software loads from memory lane by lane, so what stays in registers is several times as fast.
        // On hardware workgroup memory is the safer guess.
        if self.gpu.info().is_software {
            products.reverse();
        }
        let ([_, c, ..], [_, m, ..]) = (self.image, self.out);
        let winograd = self.winograd(Products::Subgroups);
        let three = self.kernel == [3, 3] && self.stride == 1 && self.padding <= 2;
        let enough = c.min(m).min(winograd.tiles()) >= WINOGRAD_FROM;
        let mut methods = Vec::new();
        if three && enough && winograd.workspace() <= self.gpu.max_buffer_len() {
            methods.extend(products.iter().map(|&products| Method::Winograd(products)));
        }
        methods.extend(products.iter().map(|&products| Method::Direct(products)));
        methods
    }

    fn forward_by(
        &self,
        method: Method,
        image: &Buffer,
        weight: &Buffer,
        bias: Option<&Buffer>,
        out: &Buffer,
    ) -> Result<()> {
        let ([n, c, h, w], [_, m, down, across]) = (self.image, self.out);
        let Convolution {
            kernel: [kh, kw],
            stride,
            padding,
            ..
        } = *self;
        match method {
            Method::Direct(Products::Tiled) => Gemm {
                kernel: &CONV2D,
                rows: m,
                columns: n * down * across,
                depth: c * kh * kw,
                layers: 1,
                overrides: &self.window_overrides(),
                // Without a bias the weight stands in its place, unread.
                buffers: &[image, weight, bias.unwrap_or(weight)],
            }
            .run(
                self.gpu,
                [
                    kh,
                    kw,
                    stride,
                    padding,
                    c,
                    h,
                    w,
                    down,
                    across,
                    usize::from(bias.is_some()),
                ],
                out,
            ),
            Method::Direct(Products::Subgroups) => {
                let (image, [h, w]) = self.padded(image, self.image, [padding; 4])?;
                // The kernel sums over fours of the inner index.
                let along_channels = c % 4 == 0 || c > kw;
                let (outer, inner) = match along_channels {
                    true => (self.kernel, c),
                    false => ([c, kh], kw),
                };
                let steps = |channel: usize, row: usize| match along_channels {
                    true => ([row as isize, 1], channel),
                    false => ([channel as isize, row as isize], 1),
                };
                let (a_outer, a_inner) = steps(kh * kw, kw);
                let (b_outer, b_inner) = steps(h * w, w);
                let contraction = Contraction {
                    rows: m,
                    columns: [n, down, across],
                    layers: 1,
                    outer,
                    inner,
                    a: Factor {
                        buffer: weight,
                        at: 0,
                        layer: 0,
                        own: [c * kh * kw],
                        outer: a_outer,
                        inner: a_inner,
                    },
                    b: Factor {
                        buffer: &image,
                        at: 0,
                        layer: 0,
                        own: [c * h * w, stride * w, stride],
                        outer: b_outer,
                        inner: b_inner,
                    },
                    bias,
                    out: Layout {
                        at: 0,
                        layer: 0,
                        row: down * across,
                        columns: [m * down * across, across, 1],
                    },
                };
                contraction.run(self.gpu, out)
            }
            Method::Winograd(products) => self
                .winograd(products)
                .forward(image, weight, false, bias, out),
        }
    }

    fn image_grad_by(
        &self,
        method: Method,
        grad: &Buffer,
        weight: &Buffer,
        bias: Option<&Buffer>,
        out: &Buffer,
    ) -> Result<()> {
        let ([n, c, h, w], [_, m, down, across]) = (self.image, self.out);
        let Convolution {
            kernel: [kh, kw],
            stride,
            padding,
            ..
        } = *self;
        match method {
            Method::Direct(Products::Tiled) => {
                // Where the image is smaller than the stride, some phases have no pixel.
                let phases = [stride.min(h), stride.min(w)];
                Gemm {
                    kernel: &CONV_TRANSPOSE2D,
                    rows: c,
                    columns: n * h.div_ceil(stride) * w.div_ceil(stride),
                    depth: m * kh.div_ceil(stride) * kw.div_ceil(stride),
                    layers: phases[0] * phases[1],
                    overrides: &self.window_overrides(),
                    // Without a bias the weight stands in its place, unread.
                    buffers: &[grad, weight, bias.unwrap_or(weight)],
                }
                .run(
                    self.gpu,
                    [
                        kh,
                        kw,
                        stride,
                        padding,
                        n,
                        m,
                        down,
                        across,
                        h,
                        w,
                        usize::from(bias.is_some()),
                        phases[1],
                    ],
                    out,
                )
            }
            Method::Direct(Products::Subgroups) => {
                let rows = Phase::all(h, kh, stride, padding);
                let columns = Phase::all(w, kw, stride, padding);
                let [top, bottom] = Phase::margins(&rows, down);
                let [left, right] = Phase::margins(&columns, across);
                let sides = [left, right, top, bottom];
                let (grad, [grad_h, grad_w]) = self.padded(grad, self.out, sides)?;
                let phase = |y: &Phase, x: &Phase| Contraction {
                    rows: c,
                    columns: [n, y.positions, x.positions],
                    layers: 1,
                    outer: [y.taps, x.taps],
                    inner: m,
                    a: Factor {
                        buffer: weight,
                        at: y.tap * kw + x.tap,
                        layer: 0,
                        own: [kh * kw],
                        outer: [(stride * kw) as isize, stride as isize],
                        inner: c * kh * kw,
                    },
                    b: Factor {
                        buffer: &grad,
                        at: (y.sees + top) * grad_w + x.sees + left,
                        layer: 0,
                        own: [m * grad_h * grad_w, grad_w, 1],
                        outer: [-(grad_w as isize), -1],
                        inner: grad_h * grad_w,
                    },
                    bias,
                    out: Layout {
                        at: y.first * w + x.first,
                        layer: 0,
                        row: h * w,
                        columns: [c * h * w, stride * w, stride],
                    },
                };
                // All phases write to the same parts.
                let parts = match (rows.first(), columns.first()) {
                    (Some(y), Some(x)) => phase(y, x).parts(self.gpu, out),
                    _ => 1,
                };
                in_parts(self.gpu, parts, out, |onto| {
                    for y in &rows {
                        for x in &columns {
                            phase(y, x).write(self.gpu, parts, out.len(), onto)?;
                        }
                    }
                    Ok(())
                })
            }
            // The gradient is a convolution with filters turned by half a turn.
            Method::Winograd(products) => Winograd {
                image: self.out,
                out: self.image,
                padding: 2 - padding,
                ..self.winograd(products)
            }
            .forward(grad, weight, true, bias, out),
        }
    }

    fn weight_grad_by(
        &self,
        method: Method,
        image: &Buffer,
        grad: &Buffer,
        out: &Buffer,
    ) -> Result<()> {
        let ([n, c, h, w], [_, m, down, across]) = (self.image, self.out);
        let Convolution {
            kernel: [kh, kw],
            stride,
            padding,
            ..
        } = *self;
        match method {
            Method::Direct(Products::Tiled) => Gemm {
                kernel: &CONV2D_WEIGHT_GRAD,
                rows: m,
                columns: c * kh * kw,
                depth: n * down * across,
                layers: 1,
                overrides: &self.window_overrides(),
                buffers: &[image, grad],
            }
            .run(
                self.gpu,
                [kh, kw, stride, padding, c, h, w, down, across],
                out,
            ),
            Method::Direct(Products::Subgroups) => {
                let (image, [h, w]) = self.padded(image, self.image, [padding; 4])?;
                let contraction = Contraction {
                    rows: m,
                    columns: [c, kh, kw],
                    layers: 1,
                    outer: [n, down],
                    inner: across,
                    a: Factor {
                        buffer: grad,
                        at: 0,
                        layer: 0,
                        own: [down * across],
                        outer: [(m * down * across) as isize, across as isize],
                        inner: 1,
                    },
                    b: Factor {
                        buffer: &image,
                        at: 0,
                        layer: 0,
                        own: [h * w, w, 1],
                        outer: [(c * h * w) as isize, (stride * w) as isize],
                        inner: stride,
                    },
                    bias: None,
                    out: Layout {
                        at: 0,
                        layer: 0,
                        row: c * kh * kw,
                        columns: [kh * kw, kw, 1],
                    },
                };
                contraction.run(self.gpu, out)
            }
            Method::Winograd(products) => self.winograd(products).weight_grad(image, grad, out),
        }
    }

    fn winograd(&self, products: Products) -> Winograd<'_> {
        Winograd {
            gpu: self.gpu,
            products,
            image: self.image,
            out: self.out,
            padding: self.padding,
        }
    }

    /// Fixes the window in a pipeline of its own if it is one that networks are made of; others share
    /// one that takes it from its parameters.
    fn window_overrides(&self) -> Vec<(&'static str, f64)> {
        let Convolution {
            kernel: [kh, kw],
            stride,
            padding,
            ..
        } = *self;
        let usual = kh == kw && matches!(kh, 1 | 3 | 4 | 7) && stride <= 2 && padding < kh;
        let window = [kh, kw, stride, padding].map(|value| value as f64);
        match usual {
            true => ["KERNEL_H", "KERNEL_W", "STRIDE", "PADDING"]
                .into_iter()
                .zip(window)
                .collect(),
            false => Vec::new(),
        }
    }

    /// Planes with zeros to the left, right, top and bottom, and their new extents.
    fn padded<'b>(
        &self,
        planes: &'b Buffer,
        [n, c, h, w]: [usize; 4],
        sides: [usize; 4],
    ) -> Result<(Cow<'b, Buffer>, [usize; 2])> {
        if sides == [0; 4] {
            return Ok((Cow::Borrowed(planes), [h, w]));
        }
        let [left, right, top, bottom] = sides;
        let (height, width) = (h + top + bottom, w + left + right);
        let len = n * c * height * width;
        let padded = self.gpu.alloc_in(planes.precision(), len)?;
        let launch = Launch {
            gpu: self.gpu,
            kernel: &PAD,
            overrides: &[("REFLECT", 0.0)],
            buffers: &[planes, &padded],
        };
        launch.invocations(&extents(&PAD, [len, h, w, left, top, height, width])?, len)?;
        Ok((Cow::Owned(padded), [height, width]))
    }
}

/// A residue of an image's coordinates modulo the stride: along an axis, the gradient of its pixels is
/// a dense convolution with every stride-th tap.
struct Phase {
    /// Its first pixel; the others follow by the stride.
    first: usize,
    positions: usize,
    /// Its first tap; the others follow by the stride.
    tap: usize,
    taps: usize,
    /// What the first tap sees from the first pixel; tap t sees the t-th before it.
    sees: usize,
}

impl Phase {
    fn all(extent: usize, kernel: usize, stride: usize, padding: usize) -> Vec<Phase> {
        let phase = |first: usize| {
            let tap = (first + padding) % stride;
            Phase {
                first,
                positions: (extent - first).div_ceil(stride),
                tap,
                taps: kernel.saturating_sub(tap).div_ceil(stride),
                sees: (first + padding) / stride,
            }
        };
        (0..stride.min(extent)).map(phase).collect()
    }

    /// The zeros before and after a gradient of so many values for all of their taps to see something.
    fn margins(phases: &[Phase], extent: usize) -> [usize; 2] {
        let before = |phase: &Phase| phase.taps.saturating_sub(phase.sees + 1);
        let after = |phase: &Phase| (phase.sees + phase.positions).saturating_sub(extent);
        let most = |margin: &dyn Fn(&Phase) -> usize| phases.iter().map(margin).max().unwrap_or(0);
        [most(&before), most(&after)]
    }
}
