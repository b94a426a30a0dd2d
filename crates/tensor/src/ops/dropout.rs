//! Dropout (Srivastava et al., 2014).

use bytemuck::{Pod, Zeroable};

use crate::cpu::for_each_chunk;
use crate::launch::{Launch, extents};
use crate::ops::{Case, Family, draw};
use crate::{Array, Backward, CpuArray, GpuArray, Op, Reads, Result, Shape, Tensor, apply};

/// 0 with probability `rate`, else x / (1 − rate). Which values go is a function of the seed and of where they
/// stand, on both devices the same.
#[derive(Clone, Copy, Debug)]
struct Dropout {
    rate: f32,
    seed: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    vec4s: u32,
    seed: u32,
    /// Values whose hash is below go.
    threshold: u32,
    scale: f32,
}

impl Tensor {
    /// Leaves out values with probability `rate`, from 0 to below 1, and scales the others so that the mean
    /// stays. Which ones follows from `seed`.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn dropout(&self, rate: f32, seed: u32) -> Result<Tensor> {
        apply(Dropout { rate, seed }, &[self])
    }
}

impl Dropout {
    fn threshold(self) -> u32 {
        (f64::from(self.rate) * 2f64.powi(32)) as u32
    }

    fn scale(self) -> f32 {
        1.0 / (1.0 - self.rate)
    }
}

/// PCG's output function over one step of its generator (Jarzynski & Olano, 2020).
#[inline(always)]
fn pcg(x: u32) -> u32 {
    let state = x.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
    (word >> 22) ^ word
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        Ok(inputs[0])
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let (threshold, scale, seed) = (self.threshold(), self.scale(), pcg(self.seed));
        let x = inputs[0].data;
        for_each_chunk(out.data, 1, |at, chunk| {
            for (i, (out, x)) in (at..).zip(chunk.iter_mut().zip(&x[at..])) {
                let goes = pcg(pcg(i as u32).wrapping_add(seed)) < threshold;
                *out = if goes { 0.0 } else { scale * x };
            }
        });
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let kernel = &shaders::pointwise::DROPOUT;
        let len = out.shape.len().div_ceil(4);
        let [vec4s] = extents(kernel, [len])?;
        let launch = Launch {
            gpu,
            kernel,
            overrides: &[],
            buffers: &[inputs[0].data, out.data],
        };
        let params = Params {
            vec4s,
            seed: pcg(self.seed),
            threshold: self.threshold(),
            scale: self.scale(),
        };
        launch.invocations(&params, len)
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(apply(*self, &[pass.grad])?)])
    }
}

pub(super) fn family() -> Family {
    fn case(rate: f32, seed: u32, shape: Shape) -> Case {
        Case::new(Dropout { rate, seed }, [shape])
    }
    Family {
        name: "dropout",
        cases: || {
            let shape = Shape::from([2, 3, 5, 7]);
            vec![case(0.5, 1, shape), case(0.0, 2, shape)]
        },
        random: |rng| {
            let shape = [draw(rng, 1..=9), draw(rng, 1..=33)];
            let rate = draw(rng, 0..=9) as f32 / 10.0;
            case(rate, draw(rng, 0..=1000) as u32, shape.into())
        },
        benches: || vec![case(0.5, 3, [1, 256, 64, 64].into())],
    }
}

#[cfg(test)]
mod tests {
    use crate::{Device, Tensor};

    #[test]
    fn as_many_go_as_the_rate_says_and_seeds_and_neighbours_are_independent() {
        let len = 100_000;
        let ones = Tensor::full([len], 1.0, &Device::Cpu).unwrap();
        let kept = |seed| ones.dropout(0.3, seed).unwrap().to_vec().unwrap();
        let share = |values: &mut dyn Iterator<Item = bool>| {
            values.filter(|&both| both).count() as f64 / len as f64
        };
        let (first, second) = (kept(1), kept(2));
        assert!(first.iter().all(|&x| x == 0.0 || x == 1.0 / 0.7));
        // Five deviations of a binomial share.
        let near =
            |share: f64, p: f64| (share - p).abs() < 5.0 * (p * (1.0 - p) / len as f64).sqrt();
        assert!(near(share(&mut first.iter().map(|&x| x > 0.0)), 0.7));
        let both = first.iter().zip(&second).map(|(a, b)| a * b > 0.0);
        assert!(near(share(&mut both.into_iter()), 0.49));
        let pairs = first.windows(2).map(|pair| pair[0] * pair[1] > 0.0);
        assert!(near(share(&mut pairs.into_iter()), 0.49));
    }
}
