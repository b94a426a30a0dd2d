//! Padding around images, by reflection or with zeros.

use crate::cpu::for_each_chunk;
use crate::launch::{Launch, extents};
use crate::op::{nchw, refuse};
use crate::ops::{Case, Family, draw};
use crate::{Array, Backward, CpuArray, GpuArray, Op, Reads, Result, Shape, Tensor, apply};

/// What stands around a padded image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PadMode {
    /// The image mirrored at its outermost pixels, which are not repeated.
    Reflect,
    /// Zeros.
    Zero,
}

/// Adds `left`, `right`, `top` and `bottom` pixels.
#[derive(Clone, Copy, Debug)]
struct Pad {
    mode: PadMode,
    sides: Sides,
}

/// The adjoint of [`Pad`]: takes the padding off, adding mirrored pixels back onto their origin.
#[derive(Clone, Copy, Debug)]
struct PadGrad(Pad);

#[derive(Clone, Copy, Debug)]
struct Sides {
    left: usize,
    right: usize,
    top: usize,
    bottom: usize,
}

impl Tensor {
    /// Pads the last two of four dimensions by `[left, right, top, bottom]` pixels.
    ///
    /// # Errors
    /// When there are not four dimensions, or a reflection is as wide as the image or wider.
    pub fn pad(&self, mode: PadMode, [left, right, top, bottom]: [usize; 4]) -> Result<Tensor> {
        apply(
            Pad {
                mode,
                sides: Sides {
                    left,
                    right,
                    top,
                    bottom,
                },
            },
            &[self],
        )
    }

    /// Pads all four sides by reflection.
    ///
    /// # Errors
    /// As [`Tensor::pad`].
    pub fn reflection_pad2d(&self, by: usize) -> Result<Tensor> {
        self.pad(PadMode::Reflect, [by; 4])
    }
}

/// The index in an image of `extent` pixels that position `i` of the padded one shows.
fn origin(mode: PadMode, i: usize, before: usize, extent: usize) -> Option<usize> {
    let at = i as isize - before as isize;
    let last = extent as isize - 1;
    match mode {
        PadMode::Reflect => {
            let at = at.abs();
            Some((if at > last { 2 * last - at } else { at }) as usize)
        }
        PadMode::Zero => (0..=last).contains(&at).then_some(at as usize),
    }
}

impl Op for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [n, c, h, w] = nchw(self.name(), inputs, 0)?;
        let Sides {
            left,
            right,
            top,
            bottom,
        } = self.sides;
        let too_far = left.max(right) >= w || top.max(bottom) >= h;
        if self.mode == PadMode::Reflect && too_far {
            let reason = format!(
                "reflecting {} pixels takes an image larger than that on every side",
                left.max(right).max(top).max(bottom)
            );
            return refuse(self.name(), inputs, reason);
        }
        Ok([n, c, h + top + bottom, w + left + right].into())
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let [_, _, h, w] = inputs[0].shape.nchw();
        let [_, _, height, width] = out.shape.nchw();
        let Sides { left, top, .. } = self.sides;
        for_each_chunk(out.data, width, |at, rows| {
            for (row, line) in rows.chunks_exact_mut(width).enumerate() {
                let row = at / width + row;
                let Some(y) = origin(self.mode, row % height, top, h) else {
                    line.fill(0.0);
                    continue;
                };
                let from = &inputs[0].data[(row / height * h + y) * w..][..w];
                line[left..left + w].copy_from_slice(from);
                for x in (0..left).chain(left + w..width) {
                    line[x] = origin(self.mode, x, left, w).map_or(0.0, |x| from[x]);
                }
            }
        });
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let kernel = &shaders::resample::PAD;
        let [_, _, h, w] = inputs[0].shape.nchw();
        let [_, _, height, width] = out.shape.nchw();
        let Sides { left, top, .. } = self.sides;
        let len = out.shape.len();
        let params = extents(kernel, [len, h, w, left, top, height, width])?;
        let reflect = self.mode == PadMode::Reflect;
        let launch = Launch {
            gpu,
            kernel,
            overrides: &[("REFLECT", reflect.into())],
            buffers: &[inputs[0].data, out.data],
        };
        launch.invocations(&params, len)
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(apply(PadGrad(*self), &[pass.grad])?)])
    }
}

impl Op for PadGrad {
    fn name(&self) -> &'static str {
        "pad_grad"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [n, c, h, w] = nchw(self.name(), inputs, 0)?;
        let Sides {
            left,
            right,
            top,
            bottom,
        } = self.0.sides;
        if h <= top + bottom || w <= left + right {
            return refuse(self.name(), inputs, "it is not larger than the padding");
        }
        Ok([n, c, h - top - bottom, w - left - right].into())
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let [_, _, height, width] = inputs[0].shape.nchw();
        let [_, _, h, w] = out.shape.nchw();
        let Pad {
            mode,
            sides: Sides { left, top, .. },
        } = self.0;
        for_each_chunk(out.data, h * w, |at, planes| {
            for (plane, image) in planes.chunks_exact_mut(h * w).enumerate() {
                let plane = at / (h * w) + plane;
                image.fill(0.0);
                for row in 0..height {
                    let Some(y) = origin(mode, row, top, h) else {
                        continue;
                    };
                    let line = &inputs[0].data[(plane * height + row) * width..][..width];
                    let onto = &mut image[y * w..][..w];
                    onto.iter_mut()
                        .zip(&line[left..])
                        .for_each(|(onto, value)| *onto += value);
                    for x in (0..left).chain(left + w..width) {
                        if let Some(at) = origin(mode, x, left, w) {
                            onto[at] += line[x];
                        }
                    }
                }
            }
        });
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let kernel = &shaders::resample::PAD_GRAD;
        let [_, _, h, w] = out.shape.nchw();
        let [_, _, height, width] = inputs[0].shape.nchw();
        let Sides { left, top, .. } = self.0.sides;
        let len = out.shape.len();
        let params = extents(kernel, [len, h, w, left, top, height, width])?;
        let reflect = self.0.mode == PadMode::Reflect;
        let launch = Launch {
            gpu,
            kernel,
            overrides: &[("REFLECT", reflect.into())],
            buffers: &[inputs[0].data, out.data],
        };
        launch.invocations(&params, len)
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(apply(self.0, &[pass.grad])?)])
    }
}

pub(super) fn family() -> Family {
    fn case(mode: PadMode, shape: [usize; 4], [left, right, top, bottom]: [usize; 4]) -> Case {
        Case::new(
            Pad {
                mode,
                sides: Sides {
                    left,
                    right,
                    top,
                    bottom,
                },
            },
            [shape.into()],
        )
    }
    Family {
        name: "pad",
        cases: || {
            vec![
                case(PadMode::Reflect, [2, 3, 5, 6], [1; 4]),
                case(PadMode::Reflect, [1, 2, 4, 4], [3; 4]),
                case(PadMode::Reflect, [1, 2, 4, 5], [3, 0, 1, 2]),
                case(PadMode::Zero, [2, 3, 5, 6], [1; 4]),
                case(PadMode::Zero, [1, 2, 3, 2], [4, 0, 3, 5]),
            ]
        },
        random: |rng| {
            let shape = [
                draw(rng, 1..=2),
                draw(rng, 1..=5),
                draw(rng, 4..=17),
                draw(rng, 4..=17),
            ];
            let mode = [PadMode::Reflect, PadMode::Zero][draw(rng, 0..=1)];
            case(mode, shape, [(); 4].map(|()| draw(rng, 0..=3)))
        },
        benches: || {
            vec![
                case(PadMode::Reflect, [1, 256, 64, 64], [1; 4]),
                case(PadMode::Reflect, [1, 64, 256, 256], [3; 4]),
            ]
        },
    }
}
