//! Entries picked along a dimension.

use std::fmt;
use std::sync::Arc;

use crate::cpu::for_each_chunk;
use crate::launch::{Launch, extents};
use crate::op::refuse;
use crate::ops::{Case, Family, draw};
use crate::{Array, Backward, CpuArray, GpuArray, Op, Reads, Result, Shape, Tensor, apply};

/// Makes each entry of a dimension the sum of some of the input's: a product with a matrix of zeros and ones,
/// whose transposed is the gradient.
#[derive(Clone)]
struct Gather {
    axis: usize,
    plan: Arc<Plan>,
}

/// Which entries of the input each of the output's is made of.
struct Plan {
    /// Entries of the input.
    from: usize,
    /// Where each entry's part of `list` begins, and where the last one's ends.
    starts: Vec<u32>,
    list: Vec<u32>,
}

impl fmt::Debug for Gather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { from, starts, list } = &*self.plan;
        let (picked, to) = (list.len(), starts.len() - 1);
        write!(
            f,
            "Gather {{ axis: {}, {picked} of {from} to {to} }}",
            self.axis
        )
    }
}

impl Tensor {
    /// The entries `indices` of a dimension, in that order; one may come more than once.
    ///
    /// # Errors
    /// When there is no such dimension, or no such entry.
    pub fn index_select(&self, axis: usize, indices: &[usize]) -> Result<Tensor> {
        let from = self.shape().dims().get(axis).copied().unwrap_or(0);
        let plan = Arc::new(Plan {
            from,
            starts: (0..=indices.len() as u32).collect(),
            list: indices.iter().map(|&index| clamped(index)).collect(),
        });
        apply(Gather { axis, plan }, &[self])
    }

    /// The entries of a dimension in reverse: axis 3 of N×C×H×W mirrors pictures.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn flip(&self, axis: usize) -> Result<Tensor> {
        let extent = self.shape().dims().get(axis).copied().unwrap_or(0);
        self.index_select(axis, &(0..extent).rev().collect::<Vec<_>>())
    }
}

/// An index, where there are no more than so many entries in any dimension.
fn clamped(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

impl Plan {
    fn to(&self) -> usize {
        self.starts.len() - 1
    }

    /// The plan whose matrix is the transposed.
    fn transposed(&self) -> Plan {
        let mut starts = vec![0; self.from + 1];
        for &from in &self.list {
            starts[from as usize + 1] += 1;
        }
        for i in 0..self.from {
            starts[i + 1] += starts[i];
        }
        let mut next = starts.clone();
        let mut list = vec![0; self.list.len()];
        for to in 0..self.to() {
            for &from in self.of(to) {
                let at = &mut next[from as usize];
                list[*at as usize] = to as u32;
                *at += 1;
            }
        }
        Plan {
            from: self.to(),
            starts,
            list,
        }
    }

    /// The entries that one is made of.
    fn of(&self, to: usize) -> &[u32] {
        &self.list[self.starts[to] as usize..self.starts[to + 1] as usize]
    }
}

impl Gather {
    /// Values of an entry that lie together.
    fn inner(&self, shape: Shape) -> usize {
        shape.dims()[self.axis + 1..].iter().product()
    }
}

impl Op for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let Plan { from, list, .. } = &*self.plan;
        if inputs[0].dims().get(self.axis) != Some(from) {
            let reason = format!("there are no {from} entries in dimension {}", self.axis);
            return refuse(self.name(), inputs, reason);
        }
        if let Some(index) = list.iter().find(|&&index| index as usize >= *from) {
            let reason = format!("there is no entry {index} in dimension {}", self.axis);
            return refuse(self.name(), inputs, reason);
        }
        Ok(inputs[0].with_dim(self.axis, self.plan.to()))
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let (plan, inner) = (&*self.plan, self.inner(out.shape).max(1));
        let entries = plan.to();
        let x = &inputs[0].data[..];
        for_each_chunk(out.data, inner, |at, rows| {
            for (i, out) in rows.chunks_exact_mut(inner).enumerate() {
                let row = at / inner + i;
                let (outer, entry) = (row / entries, row % entries);
                let from = |index: u32| {
                    let row = outer * plan.from + index as usize;
                    &x[row * inner..][..inner]
                };
                match *plan.of(entry) {
                    [one] => out.copy_from_slice(from(one)),
                    ref several => {
                        out.fill(0.0);
                        for &index in several {
                            for (sum, value) in out.iter_mut().zip(from(index)) {
                                *sum += value;
                            }
                        }
                    }
                }
            }
        });
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let kernel = &shaders::resample::GATHER;
        let Plan { from, starts, list } = &*self.plan;
        let plan = [&starts[..], &list[..]].concat();
        // Buffers hold 32 bits a value, whatever they mean.
        let plan = gpu.upload(bytemuck::cast_slice(&plan))?;
        let len = out.shape.len();
        let launch = Launch {
            gpu,
            kernel,
            overrides: &[],
            buffers: &[inputs[0].data, &plan, out.data],
        };
        let inner = self.inner(out.shape);
        let params = extents(kernel, [len, *from, self.plan.to(), inner])?;
        launch.invocations(&params, len)
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let transposed = Gather {
            axis: self.axis,
            plan: Arc::new(self.plan.transposed()),
        };
        Ok(vec![Some(apply(transposed, &[pass.grad])?)])
    }
}

pub(super) fn family() -> Family {
    fn case(shape: impl Into<Shape>, axis: usize, indices: &[usize]) -> Case {
        let shape = shape.into();
        let plan = Plan {
            from: shape.dims()[axis],
            starts: (0..=indices.len() as u32).collect(),
            list: indices.iter().map(|&index| index as u32).collect(),
        };
        let plan = Arc::new(plan);
        Case::new(Gather { axis, plan }, [shape])
    }
    fn back(shape: impl Into<Shape>, axis: usize, entries: usize, indices: &[usize]) -> Case {
        let plan = Plan {
            from: entries,
            starts: (0..=indices.len() as u32).collect(),
            list: indices.iter().map(|&index| index as u32).collect(),
        };
        let plan = Arc::new(plan.transposed());
        Case::new(Gather { axis, plan }, [shape.into()])
    }
    Family {
        name: "gather",
        cases: || {
            vec![
                case([2, 3, 4, 5], 3, &[4, 3, 2, 1, 0]),
                case([2, 3, 7], 2, &[6, 0, 3]),
                case([3, 2, 5, 2], 0, &[1]),
                case([2, 4, 3, 3], 1, &[3, 3, 0, 3, 1]),
                case([5], 0, &[2, 4]),
                back([2, 3, 3], 2, 7, &[6, 0, 3]),
                back([2, 5, 2, 3], 1, 4, &[3, 3, 0, 3, 1]),
            ]
        },
        random: |rng| {
            let shape = [
                draw(rng, 1..=3),
                draw(rng, 1..=5),
                draw(rng, 1..=9),
                draw(rng, 1..=9),
            ];
            let axis = draw(rng, 0..=3);
            let picked = draw(rng, 1..=12);
            let last = shape[axis] - 1;
            let indices: Vec<usize> = (0..picked).map(|_| draw(rng, 0..=last)).collect();
            match draw(rng, 0..=1) {
                0 => case(shape, axis, &indices),
                _ => {
                    let mut of_picked = shape;
                    of_picked[axis] = picked;
                    back(of_picked, axis, shape[axis], &indices)
                }
            }
        },
        benches: || {
            let some: Vec<usize> = (0..256).map(|i| i * 1009 % 65536).collect();
            vec![case([1, 64, 65536], 2, &some)]
        },
    }
}

#[cfg(test)]
mod tests {
    use crate::{Device, Tensor};

    #[test]
    fn entries_are_picked_in_the_order_asked_for() {
        let x: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let x = Tensor::from_slice(&x, [2, 3, 2], &Device::Cpu).unwrap();
        let picked = x.index_select(1, &[2, 0, 2]).unwrap();
        assert_eq!(picked.shape(), [2, 3, 2].into());
        let expected = [4, 5, 0, 1, 4, 5, 10, 11, 6, 7, 10, 11].map(|i| i as f32);
        assert_eq!(picked.to_vec().unwrap(), expected);
        let turned = x.flip(2).unwrap().to_vec().unwrap();
        assert_eq!(
            turned,
            [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10].map(|i| i as f32)
        );
        assert!(x.index_select(1, &[3]).is_err() && x.flip(3).is_err());
    }
}
