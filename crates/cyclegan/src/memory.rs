//! What training takes of a device's memory, known before it begins: the code of a step is run dry
//! ([`Device::dry_run`]), so that there is no second account of it to keep up to date.

use std::ops::RangeInclusive;

use nn::Module;
use tensor::{Device, Result, Tensor, no_grad};

use crate::{Config, Model, PerceptionOn, Stream, generator, model, rng};

/// Steps until nothing new is taken: the second has the first one's memory, in another order.
pub(crate) const STEPS: u64 = 3;

/// What steps draw says what they take: with this seed FastCUT's are of both kinds.
pub(crate) const SEED: u64 = 1;

/// Bytes of a device that training takes at the most, by what they hold. Image pools count as full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Parameters of all networks, that included which is trained by.
    pub weights: u64,
    /// Adam's moments.
    pub optimiser: u64,
    /// What a step computes and keeps until its end, the operations' workspace, and what buffers of many
    /// sizes leave unused.
    pub activations: u64,
    /// Both image pools.
    pub pools: u64,
    /// The largest tensor, which writing a checkpoint brings to the system's memory: not of the device's.
    pub checkpoint: u64,
}

impl MemoryPlan {
    /// All of the device's memory.
    pub fn total(&self) -> u64 {
        let MemoryPlan {
            weights,
            optimiser,
            activations,
            pools,
            checkpoint: _,
        } = self;
        weights + optimiser + activations + pools
    }
}

/// Plans the training of a configuration, whose stages are not looked at, on a device, with the network that it
/// is trained by, if any. Takes milliseconds and no memory.
///
/// # Errors
/// When the networks can't take the pictures' size, or the device can't at all: a buffer over its limit,
/// half precision that it lacks.
pub fn plan(
    config: &Config,
    perception: Option<&PerceptionOn>,
    device: &Device,
) -> Result<MemoryPlan> {
    let config = &Config {
        seed: SEED,
        ..config.clone()
    };
    device.dry_run(|device| {
        let in_use = || device.memory().in_use;
        let mut model = model(config, device)?;
        let parameters = in_use();
        if let Some(perception) = perception {
            model.train_by(perception(device)?);
        }
        let perception = in_use() - parameters;
        model.fill_pools(pictures(config, 1, device)?.each_ref())?;
        let pools = in_use() - parameters - perception;
        sample(&*model, config, device)?;
        for _ in 0..STEPS {
            let [a, b] = pictures(config, config.batch, device)?;
            model.step(&a, &b, config.learning_rate)?.read()?;
        }
        sample(&*model, config, device)?;
        let state = model.state()?;
        let largest = state.values().map(|tensor| tensor.shape().len()).max();
        // Two moments a weight.
        let weights = parameters / 3;
        Ok(MemoryPlan {
            weights: weights + perception,
            optimiser: parameters - weights,
            activations: device.memory().taken - parameters - perception - pools,
            pools,
            checkpoint: 4 * largest.unwrap_or(0) as u64,
        })
    })
}

/// A batch of each domain.
fn pictures(config: &Config, batch: usize, device: &Device) -> Result<[Tensor; 2]> {
    let zeros = |channels| Tensor::zeros([batch, channels, config.size, config.size], device);
    let [a, b] = config.channels();
    Ok([zeros(a)?, zeros(b)?])
}

/// A row of a sample sheet.
fn sample(model: &dyn Model, config: &Config, device: &Device) -> Result<()> {
    let [a, b] = pictures(config, 1, device)?;
    model.sample(&a, &b).map(drop)
}

/// Bytes that a configuration's generator takes at the most to translate one picture of so many rows and
/// columns, its weights included. Takes milliseconds and no memory.
///
/// # Errors
/// As [`plan`].
pub fn translation(config: &Config, [h, w]: [usize; 2], device: &Device) -> Result<u64> {
    device.dry_run(|device| {
        let mut rng = rng(config.seed, Stream::Weights, 0);
        let mut weights = config.weights(&mut rng, device);
        let channels = config.channels();
        let generator = generator(config, channels, &mut weights)?;
        let picture = Tensor::zeros([1, channels[0], h, w], device)?;
        let picture = picture.to_precision(config.precision.of_pictures())?;
        no_grad(|| generator.forward(&picture))?;
        Ok(device.memory().taken)
    })
}

/// The largest batch at the configuration's size that fits, if any does; `fits` is told what it takes.
pub fn largest_batch(
    config: &Config,
    perception: Option<&PerceptionOn>,
    device: &Device,
    fits: impl Fn(&Config, &MemoryPlan) -> bool,
) -> Option<usize> {
    last(1..=1024, |batch| {
        let config = Config {
            batch,
            ..config.clone()
        };
        plan(&config, perception, device).is_ok_and(|plan| fits(&config, &plan))
    })
}

/// The largest size that fits with a batch of one, if any does; `fits` is told what it takes. The loading
/// size keeps its proportion.
pub fn largest_size(
    config: &Config,
    perception: Option<&PerceptionOn>,
    device: &Device,
    fits: impl Fn(&Config, &MemoryPlan) -> bool,
) -> Option<usize> {
    let configs: Vec<Config> = config.sizes().collect();
    let largest = last(1..=configs.len(), |count| {
        let config = &configs[count - 1];
        plan(config, perception, device).is_ok_and(|plan| fits(config, &plan))
    })?;
    Some(configs[largest - 1].size)
}

/// The last number for which something holds that holds up to it, by doubling and halving.
fn last(range: RangeInclusive<usize>, holds: impl Fn(usize) -> bool) -> Option<usize> {
    let (start, end) = (*range.start(), *range.end());
    if start > end || !holds(start) {
        return None;
    }
    let (mut low, mut high) = (start, end + 1);
    while high - low > 1 {
        let middle = (2 * low).min(low + (high - low) / 2);
        match holds(middle) {
            true => low = middle,
            false => high = middle,
        }
    }
    Some(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Preset;

    #[test]
    fn the_last_is_found_wherever_it_is() {
        for end in 1..=40 {
            for most in 0..=end + 1 {
                let found = last(1..=end, |n| n <= most);
                assert_eq!(
                    found,
                    (most > 0).then_some(most.min(end)),
                    "{most} of {end}"
                );
            }
        }
    }

    #[test]
    fn plans_grow_with_what_they_are_for() {
        let demo = Config::preset(Preset::Demo);
        let plan = |config: &Config| plan(config, None, &Device::Cpu).unwrap();
        let small = plan(&demo);
        let larger = plan(&Config {
            batch: 4,
            ..demo.clone()
        });
        assert_eq!((small.weights, small.pools), (larger.weights, larger.pools));
        assert!(larger.activations > 2 * small.activations);
        let again = plan(&Config {
            checkpoint_activations: true,
            ..demo.clone()
        });
        assert!(again.activations < small.activations);
        let fits = |limit: u64| move |_: &Config, plan: &MemoryPlan| plan.total() <= limit;
        let largest = |limit| largest_batch(&demo, None, &Device::Cpu, fits(limit));
        assert_eq!(largest(0), None);
        assert_eq!(largest(small.total()), Some(1));
        assert!(largest(larger.total()) >= Some(4));
        let size = |limit| largest_size(&demo, None, &Device::Cpu, fits(limit));
        assert_eq!(size(0), None);
        assert!(size(larger.total()) >= Some(100));
        let picture = translation(&demo, [64, 64], &Device::Cpu).unwrap();
        assert!(picture < small.total() / 3);
    }
}
