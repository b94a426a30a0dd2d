//! Products of batches of matrices.

#![allow(unsafe_code, reason = "tasks write separate parts of one result")]

use rayon::prelude::*;

use crate::cpu::{self, Matrix, MatrixMut, SharedOut};
use crate::launch::Gemm;
use crate::op::refuse;
use crate::ops::{Case, Family, draw};
use crate::{Array, Backward, Cost, CpuArray, GpuArray, Op, Reads, Result, Shape, Tensor, apply};

/// out[n] = a[n]·b[n], each factor transposed first if so asked.
#[derive(Clone, Copy, Debug)]
struct MatMul {
    transpose_a: bool,
    transpose_b: bool,
}

/// Batch, rows, inner extent and columns of a product.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Extents {
    batch: usize,
    m: usize,
    k: usize,
    n: usize,
}

impl Tensor {
    /// The products `a[i]·b[i]` of N×m×k with N×k×n.
    ///
    /// # Errors
    /// When the shapes don't go together.
    pub fn matmul(&self, other: &Tensor) -> Result<Tensor> {
        apply(
            MatMul {
                transpose_a: false,
                transpose_b: false,
            },
            &[self, other],
        )
    }

    /// The products `a[i]ᵀ·b[i]` of N×k×m with N×k×n.
    ///
    /// # Errors
    /// When the shapes don't go together.
    pub fn transposed_matmul(&self, other: &Tensor) -> Result<Tensor> {
        apply(
            MatMul {
                transpose_a: true,
                transpose_b: false,
            },
            &[self, other],
        )
    }

    /// The products `a[i]·b[i]ᵀ` of N×m×k with N×n×k.
    ///
    /// # Errors
    /// When the shapes don't go together.
    pub fn matmul_transposed(&self, other: &Tensor) -> Result<Tensor> {
        apply(
            MatMul {
                transpose_a: false,
                transpose_b: true,
            },
            &[self, other],
        )
    }
}

impl MatMul {
    fn extents(&self, inputs: &[Shape]) -> Option<Extents> {
        let a: [usize; 3] = inputs[0].dims().try_into().ok()?;
        let b: [usize; 3] = inputs[1].dims().try_into().ok()?;
        let turn = |[batch, rows, cols]: [usize; 3], transpose| match transpose {
            true => [batch, cols, rows],
            false => [batch, rows, cols],
        };
        let [batch, m, k] = turn(a, self.transpose_a);
        let [b_batch, b_k, n] = turn(b, self.transpose_b);
        (batch == b_batch && k == b_k).then_some(Extents { batch, m, k, n })
    }
}

impl Op for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        match self.extents(inputs) {
            Some(Extents { batch, m, n, .. }) => Ok([batch, m, n].into()),
            None => refuse(self.name(), inputs, "it takes N×m×k with N×k×n"),
        }
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let Some(Extents { m, k, n, .. }) = self.extents(&[inputs[0].shape, inputs[1].shape])
        else {
            unreachable!("checked by `shape`")
        };
        out.data
            .par_chunks_mut((m * n).max(1))
            .enumerate()
            .for_each(|(i, out)| {
                let view = |data, rows, cols, transpose| match transpose {
                    true => Matrix {
                        data,
                        rows: 1,
                        cols: rows,
                    },
                    false => Matrix {
                        data,
                        rows: cols,
                        cols: 1,
                    },
                };
                let a = view(
                    &inputs[0].data[i * m * k..][..m * k],
                    m,
                    k,
                    self.transpose_a,
                );
                let b = view(
                    &inputs[1].data[i * k * n..][..k * n],
                    k,
                    n,
                    self.transpose_b,
                );
                let dst = MatrixMut {
                    out: SharedOut::new(out),
                    at: 0,
                    rows: n,
                };
                // SAFETY: each task has a matrix of its own.
                unsafe { cpu::gemm([m, n, k], dst, false, a, b) };
            });
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let Some(Extents { batch, m, k, n }) = self.extents(&[inputs[0].shape, inputs[1].shape])
        else {
            unreachable!("checked by `shape`")
        };
        let gemm = Gemm {
            kernel: &shaders::conv::MATMUL,
            rows: m,
            columns: n,
            depth: k,
            layers: batch,
            overrides: &[
                ("A_ALONG_DEPTH", (!self.transpose_a).into()),
                ("B_ALONG_DEPTH", self.transpose_b.into()),
            ],
            buffers: &[inputs[0].data, inputs[1].data],
        };
        gemm.run(gpu, [], out.data)
    }

    fn reads(&self) -> Reads {
        Reads::Inputs
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let (a, b, g) = (&pass.inputs[0], &pass.inputs[1], pass.grad);
        let product = |transpose_a, transpose_b, a: &Tensor, b: &Tensor| {
            apply(
                MatMul {
                    transpose_a,
                    transpose_b,
                },
                &[a, b],
            )
        };
        // With A = op(a) and B = op(b): dA = g·Bᵀ, dB = Aᵀ·g; transposed back where op transposes.
        let to_a = pass.gradient(0, || match self.transpose_a {
            false => product(false, !self.transpose_b, g, b),
            true => product(self.transpose_b, true, b, g),
        })?;
        let to_b = pass.gradient(1, || match self.transpose_b {
            false => product(!self.transpose_a, false, a, g),
            true => product(true, self.transpose_a, g, a),
        })?;
        Ok(vec![to_a, to_b])
    }

    fn cost(&self, inputs: &[Shape], out: Shape) -> Cost {
        let inner = self.extents(inputs).map_or(0, |extents| extents.k);
        Cost::bandwidth(inputs, out).with_flops(2.0 * (out.len() * inner) as f64)
    }
}

/// A product of an m×k with a k×n matrix, `kind` (0 to 3) saying which factors are stored transposed.
fn case(batch: usize, [m, k, n]: [usize; 3], kind: usize) -> Case {
    let op = MatMul {
        transpose_a: kind & 1 != 0,
        transpose_b: kind & 2 != 0,
    };
    let a = if op.transpose_a {
        [batch, k, m]
    } else {
        [batch, m, k]
    };
    let b = if op.transpose_b {
        [batch, n, k]
    } else {
        [batch, k, n]
    };
    Case::new(op, [a.into(), b.into()])
}

pub(super) fn family() -> Family {
    Family {
        name: "matmul",
        cases: || (0..4).map(|kind| case(2, [3, 5, 4], kind)).collect(),
        random: |rng| {
            let extents = [draw(rng, 1..=40), draw(rng, 1..=70), draw(rng, 1..=40)];
            case(draw(rng, 1..=3), extents, draw(rng, 0..=3))
        },
        benches: || vec![case(1, [512, 512, 512], 0), case(1, [256, 4096, 256], 2)],
    }
}
