//! Instance norm where a picture goes through a network in tiles: every norm needs the statistics of the whole
//! picture, and has them only when all tiles have come as far as that norm. So the tiles go through once for
//! each norm, up to the first that is not measured yet, and once more to the end.

use std::cell::RefCell;
use std::mem;
use std::ops::Range;

use tensor::{Device, Error, Result, Tensor, no_grad};

use crate::layers::EPS;
use crate::{Activation, Module, Param};

/// A rectangle of pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area {
    /// From the top.
    pub rows: Range<usize>,
    /// From the left.
    pub columns: Range<usize>,
}

/// What is known of the norms of a network for a picture.
#[derive(Default)]
pub struct TiledNorms {
    /// Of the first norms in the order of execution: mean, scale and shift, N×C×1×1.
    known: Vec<[Tensor; 3]>,
    /// The one after them, over the tiles so far.
    measured: Option<Measured>,
}

struct Measured {
    /// Of each plane.
    moments: Vec<Moments>,
    affine: Option<(Param, Param)>,
    device: Device,
    planes: [usize; 4],
}

/// Number, mean and squared deviations from it of some values.
#[derive(Clone, Copy)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

/// A tile on its way through the network.
struct Passing {
    norms: TiledNorms,
    /// Norms that it has met.
    met: usize,
    core: Area,
    /// The tile's height and width.
    size: [usize; 2],
}

thread_local! {
    static PASSING: RefCell<Option<Passing>> = const { RefCell::new(None) };
}

impl TiledNorms {
    /// Sends a tile (N×C×H×W) through the network. Its `core`, an area in pixels of the tile, is what it adds
    /// to the picture; what is around it must reach as far as the network sees. Every layer must
    /// divide the core's borders without a rest.
    ///
    /// None: the tile went up to a norm that is not known yet, and its core counts in that norm's statistics.
    ///
    /// # Errors
    /// When the network can't take the tile's shape, or the device fails.
    pub fn forward(
        &mut self,
        network: &dyn Module,
        tile: &Tensor,
        core: Area,
    ) -> Result<Option<Tensor>> {
        /// Nothing is passing any more, on unwinding too.
        struct Passed;
        impl Drop for Passed {
            fn drop(&mut self) {
                PASSING.take();
            }
        }
        let [_, _, height, width] = tile.shape().nchw();
        PASSING.replace(Some(Passing {
            norms: mem::take(self),
            met: 0,
            core,
            size: [height, width],
        }));
        let _passed = Passed;
        let out = no_grad(|| network.forward(tile));
        if let Some(passing) = PASSING.take() {
            *self = passing.norms;
        }
        match out {
            Err(Error::Stopped) => Ok(None),
            out => out.map(Some),
        }
    }

    /// After all tiles went through: the norm that was measured is known from now on.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn end_pass(&mut self) -> Result<()> {
        if let Some(measured) = self.measured.take() {
            self.known.push(measured.factors()?);
        }
        Ok(())
    }
}

/// Whether what goes through the layers of this thread is a tile.
pub(crate) fn under_way() -> bool {
    PASSING.with_borrow(Option::is_some)
}

/// What an instance norm does with a tile.
pub(crate) fn normalise(
    x: &Tensor,
    affine: Option<&(Param, Param)>,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let known = PASSING.with_borrow_mut(|passing| {
        let passing = passing.as_mut().expect("a tile is under way");
        passing.met += 1;
        match passing.norms.known.get(passing.met - 1) {
            Some(known) => Ok(known.clone()),
            None => {
                passing.measure(x, affine)?;
                Err(Error::Stopped)
            }
        }
    })?;
    let (slope, after) = match activation {
        None => (1.0, None),
        Some(Activation::Relu) => (0.0, None),
        Some(Activation::LeakyRelu(slope)) => (slope, None),
        other => (1.0, other),
    };
    let normed = x.normalise(known.each_ref(), slope)?;
    match after {
        Some(activation) => normed.activation(activation),
        None => Ok(normed),
    }
}

impl Passing {
    /// Adds the core of a layer's input to the statistics.
    fn measure(&mut self, x: &Tensor, affine: Option<&(Param, Param)>) -> Result<()> {
        let [n, c, height, width] = x.shape().nchw();
        let scaled = |range: &Range<usize>, to: usize, from: usize| {
            (range.start * to / from)..(range.end * to / from)
        };
        let rows = scaled(&self.core.rows, height, self.size[0]);
        let columns = scaled(&self.core.columns, width, self.size[1]);
        let count = rows.len() * columns.len();
        let core = cut(&cut(x, 2, rows)?, 3, columns)?;

        let planes = [n, c, 1, 1];
        let both = Tensor::concat(&[&core.mean_to(planes)?, &core.instance_rstd(EPS)?], 0)?;
        let both = both.to_vec()?;
        let (means, factors) = both.split_at(n * c);
        let measured = self.norms.measured.get_or_insert_with(|| Measured {
            moments: vec![Moments::NONE; n * c],
            affine: affine.cloned(),
            device: x.device().clone(),
            planes,
        });
        for ((all, &mean), &factor) in measured.moments.iter_mut().zip(means).zip(factors) {
            let variance = f64::from(factor).powi(-2) - f64::from(EPS);
            all.add(Moments {
                count: count as f64,
                mean: f64::from(mean),
                squares: count as f64 * variance.max(0.0),
            });
        }
        Ok(())
    }
}

fn cut(x: &Tensor, axis: usize, range: Range<usize>) -> Result<Tensor> {
    match x.shape().dims()[axis] == range.len() {
        true => Ok(x.clone()),
        false => x.narrow(axis, range.start, range.len()),
    }
}

impl Moments {
    const NONE: Moments = Moments {
        count: 0.0,
        mean: 0.0,
        squares: 0.0,
    };

    /// Those of both sets of values together (Chan, Golub & `LeVeque`, 1979).
    fn add(&mut self, other: Moments) {
        let count = self.count + other.count;
        let apart = other.mean - self.mean;
        self.mean += apart * other.count / count;
        self.squares += other.squares + apart * apart * self.count * other.count / count;
        self.count = count;
    }
}

impl Measured {
    /// Mean, scale and shift, the layer's own parameters in them.
    fn factors(&self) -> Result<[Tensor; 3]> {
        let channels = self.planes[1];
        let (gamma, beta) = match &self.affine {
            Some((gamma, beta)) => (gamma.get().to_vec()?, beta.get().to_vec()?),
            None => (vec![1.0; channels], vec![0.0; channels]),
        };
        let means: Vec<f32> = self.moments.iter().map(|all| all.mean as f32).collect();
        let scale = |(all, gamma): (&Moments, &f32)| {
            let variance = all.squares / all.count + f64::from(EPS);
            (f64::from(*gamma) / variance.sqrt()) as f32
        };
        let scales: Vec<f32> = self
            .moments
            .iter()
            .zip(gamma.iter().cycle())
            .map(scale)
            .collect();
        let shifts: Vec<f32> = beta.iter().copied().cycle().take(means.len()).collect();
        let tensor = |values: &[f32]| Tensor::from_slice(values, self.planes, &self.device);
        Ok([tensor(&means)?, tensor(&scales)?, tensor(&shifts)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_parts_are_those_of_the_whole() {
        let values: Vec<f64> = (0..97).map(|i| 1e4 + f64::from(i * i % 31)).collect();
        let of = |part: &[f64]| {
            let count = part.len() as f64;
            let mean = part.iter().sum::<f64>() / count;
            let squares = part.iter().map(|x| (x - mean).powi(2)).sum();
            Moments {
                count,
                mean,
                squares,
            }
        };
        let mut sum = Moments::NONE;
        for part in [&values[..5], &values[5..6], &values[6..70], &values[70..]] {
            sum.add(of(part));
        }
        let all = of(&values);
        assert!((sum.mean - all.mean).abs() < 1e-9);
        assert!((sum.squares / all.squares - 1.0).abs() < 1e-9);
    }
}
