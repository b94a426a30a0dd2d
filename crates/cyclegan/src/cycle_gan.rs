use nn::{Module, Norm, Param, parameters};
use rand::rngs::ChaCha8Rng;
use tensor::ops::Loss;
use tensor::{Device, Result, Tensor, no_grad};

use crate::model::forward_both;
use crate::{
    Adversary, Averaged, Config, Generator, Losses, Model, Optimisers, Outcome, Perception,
    Perceptual, Stream, generator, rng,
};

/// Two generators, two discriminators, and what trains them. G_A takes domain A to B and G_B back;
/// D_A judges pictures of B (those G_A makes), D_B those of A: the reference's names.
pub struct CycleGan {
    g_a: Averaged,
    g_b: Averaged,
    d_a: Adversary,
    d_b: Adversary,
    optimisers: Optimisers,
    perceptual: Perceptual,
    /// Whether a network may see two batches as one: what its norms see would be another thing.
    joined: bool,
    lambda_a: f32,
    lambda_b: f32,
    lambda_identity: f32,
}

/// A batch there and back.
struct Translation {
    /// G_A(real_A)
    fake_b: Tensor,
    /// G_B(fake_B)
    rec_a: Tensor,
    /// G_B(real_B)
    fake_a: Tensor,
    /// G_A(fake_A)
    rec_b: Tensor,
}

impl CycleGan {
    /// Fresh networks, drawn from the configuration's seed.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(config: &Config, device: &Device) -> Result<Self> {
        let mut rng = rng(config.seed, Stream::Weights, 0);
        let weights = &mut config.weights(&mut rng, device);
        let [a, b] = config.channels();
        let g_a = generator(config, [a, b], weights)?;
        let g_b = generator(config, [b, a], weights)?;
        let d_a = Adversary::new(["D_A", "D_A_global"], 1, config, weights)?;
        let d_b = Adversary::new(["D_B", "D_B_global"], 0, config, weights)?;
        let mut g_a = Averaged::new(["G_A", "G_A_ema"], g_a);
        let mut g_b = Averaged::new(["G_B", "G_B_ema"], g_b);
        for generator in [&mut g_a, &mut g_b] {
            generator.average_from_here(config, weights)?;
        }
        let of_all = |networks: &[&dyn Module]| -> Vec<Param> {
            let each = networks.iter().map(|network| parameters(*network));
            each.flatten().collect()
        };
        let generators = of_all(&[g_a.generator(), g_b.generator()]);
        let discriminators = d_a.networks().chain(d_b.networks());
        let discriminators: Vec<_> = discriminators.map(|(_, network)| network).collect();
        let discriminators = of_all(&discriminators);
        Ok(CycleGan {
            optimisers: Optimisers::new(config, generators, discriminators, device)?,
            g_a,
            g_b,
            d_a,
            d_b,
            perceptual: Perceptual::new(config),
            joined: config.norm != Norm::Batch,
            lambda_a: config.lambda_a,
            lambda_b: config.lambda_b,
            lambda_identity: config.lambda_identity,
        })
    }

    /// As [`translate`], and for the identity loss, where there is one, each generator's
    /// picture of its own target domain. What a generator makes of both domains it makes in one batch:
    /// its norms see single pictures, so that nothing changes but the time.
    fn translate_all(
        &self,
        real_a: &Tensor,
        real_b: &Tensor,
    ) -> Result<(Translation, Option<[Tensor; 2]>)> {
        let [g_a, g_b] = [self.g_a.generator(), self.g_b.generator()];
        if self.lambda_identity == 0.0 {
            return Ok((translate([g_a, g_b], real_a, real_b)?, None));
        }
        let [fake_b, idt_a] = forward_both(g_a, [real_a, real_b], self.joined)?;
        let [fake_a, idt_b] = forward_both(g_b, [real_b, real_a], self.joined)?;
        let translation = Translation {
            rec_a: g_b.forward(&fake_b)?,
            rec_b: g_a.forward(&fake_a)?,
            fake_b,
            fake_a,
        };
        Ok((translation, Some([idt_a, idt_b])))
    }

    /// What the generators are trained for: to convince the discriminators, to find back from the
    /// other domain, and to leave alone what is in their target domain already.
    fn objective(
        &self,
        real_a: &Tensor,
        real_b: &Tensor,
        translation: &Translation,
        identity: Option<[Tensor; 2]>,
        seen: &mut ChaCha8Rng,
    ) -> Result<Losses<Tensor>> {
        let Translation {
            fake_b,
            rec_a,
            fake_a,
            rec_b,
        } = translation;
        let [idt_a, idt_b] = match identity {
            Some([idt_a, idt_b]) => [
                idt_a
                    .loss(Loss::L1, real_b)?
                    .scale(self.lambda_b * self.lambda_identity)?,
                idt_b
                    .loss(Loss::L1, real_a)?
                    .scale(self.lambda_a * self.lambda_identity)?,
            ],
            None => {
                let none = Tensor::zeros([], real_a.device())?;
                [none.clone(), none]
            }
        };
        let of_a = self.d_a.verdict(fake_b, real_b, seen)?;
        let of_b = self.d_b.verdict(fake_a, real_a, seen)?;
        let cycle_a = rec_a.loss(Loss::L1, real_a)?.scale(self.lambda_a)?;
        let cycle_b = rec_b.loss(Loss::L1, real_b)?.scale(self.lambda_b)?;
        let terms = [
            ("G_A", of_a.gan),
            ("G_B", of_b.gan),
            ("cycle_A", cycle_a),
            ("cycle_B", cycle_b),
            ("idt_A", idt_a),
            ("idt_B", idt_b),
        ];
        let [perceptual_a, style_a] = self.perceptual.losses(fake_b, real_a, real_b)?;
        let [perceptual_b, style_b] = self.perceptual.losses(fake_a, real_b, real_a)?;
        let more = [
            ("features_A", of_a.features),
            ("features_B", of_b.features),
            ("perceptual_A", perceptual_a),
            ("perceptual_B", perceptual_b),
            ("style_A", style_a),
            ("style_B", style_b),
        ];
        let more = more.into_iter();
        let more = more.filter_map(|(name, value)| Some((name, value?)));
        Ok(terms.into_iter().chain(more).collect())
    }
}

impl Model for CycleGan {
    /// Both generators, then both discriminators on the fakes made before the generators moved.
    fn train(
        &mut self,
        real_a: &Tensor,
        real_b: &Tensor,
        learning_rate: f32,
    ) -> Result<Outcome<Tensor>> {
        let seen = &mut self.optimisers.rng(Stream::DiffAugment);
        let (translation, identity) = self.translate_all(real_a, real_b)?;
        let objective = self.objective(real_a, real_b, &translation, identity, seen)?;
        let norm_g = self
            .optimisers
            .generators
            .minimise(&objective.total()?, learning_rate)?;
        let objective = objective.detach();

        let pool = &mut self.optimisers.rng(Stream::Pool);
        let Translation { fake_a, fake_b, .. } = translation;
        let d_a = self.d_a.loss(real_b, &fake_b.detach(), pool, seen)?;
        let d_b = self.d_b.loss(real_a, &fake_a.detach(), pool, seen)?;
        let norm_d = self
            .optimisers
            .discriminators
            .minimise(&d_a.add(&d_b)?, learning_rate)?;
        Ok(Outcome {
            losses: objective.with([("D_A", d_a.detach()), ("D_B", d_b.detach())]),
            gradient_norms: [norm_g, norm_d],
        })
    }

    fn sample(&self, real_a: &Tensor, real_b: &Tensor) -> Result<Vec<Tensor>> {
        let [a, b] = &self.optimisers.stored([real_a, real_b])?;
        let generators = [self.g_a.in_use(), self.g_b.in_use()];
        let Translation {
            fake_b,
            rec_a,
            fake_a,
            rec_b,
        } = no_grad(|| translate(generators, a, b))?;
        Ok(vec![
            real_a.clone(),
            fake_b,
            rec_a,
            real_b.clone(),
            fake_a,
            rec_b,
        ])
    }

    fn train_by(&mut self, perception: Perception) {
        self.perceptual.train_by(perception);
    }

    fn generators(&self) -> Vec<&Averaged> {
        vec![&self.g_a, &self.g_b]
    }

    fn adversaries(&self) -> Vec<&Adversary> {
        vec![&self.d_a, &self.d_b]
    }

    fn adversaries_mut(&mut self) -> Vec<&mut Adversary> {
        vec![&mut self.d_a, &mut self.d_b]
    }

    fn optimisers(&self) -> &Optimisers {
        &self.optimisers
    }

    fn optimisers_mut(&mut self) -> &mut Optimisers {
        &mut self.optimisers
    }
}

/// Both domains to the other and back, by the generators from A and from B.
fn translate([g_a, g_b]: [&Generator; 2], real_a: &Tensor, real_b: &Tensor) -> Result<Translation> {
    let fake_b = g_a.forward(real_a)?;
    let rec_a = g_b.forward(&fake_b)?;
    let fake_a = g_b.forward(real_b)?;
    let rec_b = g_a.forward(&fake_a)?;
    Ok(Translation {
        fake_b,
        rec_a,
        fake_a,
        rec_b,
    })
}

#[cfg(test)]
mod tests {
    use nn::{GanMode, training};

    use super::*;
    use crate::{DiscriminatorKind, Preset, Upsampling, noise};

    fn config() -> Config {
        Config {
            size: 8,
            load_size: 8,
            ngf: 2,
            discriminator: DiscriminatorKind::Pixel,
            ndf: 2,
            pool_size: 2,
            ..Config::preset(Preset::Demo)
        }
    }

    /// All values that a checkpoint holds, but for the pools.
    fn values(model: &CycleGan) -> Vec<(String, Vec<f32>)> {
        let state = model.state().unwrap().into_iter();
        let kept = state.filter(|(name, _)| !name.starts_with("pool"));
        kept.map(|(name, tensor)| (name, tensor.to_vec().unwrap()))
            .collect()
    }

    #[test]
    fn a_step_on_what_is_no_number_changes_nothing() {
        let device = Device::Cpu;
        let mut model = CycleGan::new(&config(), &device).unwrap();
        let [good, _] = noise(&config(), &device).unwrap();
        let bad = good.scale(f32::NAN).unwrap();
        model.step(&good, &good, 1e-3).unwrap();
        let before = values(&model);
        let outcome = model.step(&bad, &good, 1e-3).unwrap().read().unwrap();
        assert!(outcome.losses["cycle_A"].is_nan());
        assert!(outcome.gradient_norms.iter().all(|norm| norm.is_nan()));
        assert_eq!(values(&model), before);
        for _ in 0..6 {
            let outcome = model.step(&good, &good, 1e-3).unwrap().read().unwrap();
            let numbers: Vec<f32> = outcome.named().map(|(_, value)| *value).collect();
            assert!(numbers.iter().all(|value| value.is_finite()), "{numbers:?}");
        }
        assert_ne!(values(&model), before);
    }

    #[test]
    fn pictures_are_made_with_the_average_which_a_state_takes_along() {
        let device = Device::Cpu;
        let config = Config {
            ema: 0.99,
            ..config()
        };
        let [good, _] = noise(&config, &device).unwrap();
        let mut model = CycleGan::new(&config, &device).unwrap();
        let sample = |model: &CycleGan| {
            let fake = &model.sample(&good, &good).unwrap()[1];
            fake.to_vec().unwrap()
        };
        for _ in 0..5 {
            model.step(&good, &good, 1e-2).unwrap();
        }
        let in_training = no_grad(|| model.g_a.generator().forward(&good)).unwrap();
        assert_ne!(sample(&model), in_training.to_vec().unwrap());
        let state = model.state().unwrap();
        let mut again = CycleGan::new(&config, &device).unwrap();
        again.load_state(&state, 5).unwrap();
        assert_eq!(sample(&again), sample(&model));
        // Switched on later, it begins with the networks as they are.
        let without = state
            .into_iter()
            .filter(|(name, _)| !name.contains("_ema/"));
        again.load_state(&without.collect(), 5).unwrap();
        assert_eq!(sample(&again), in_training.to_vec().unwrap());
    }

    /// Models of all kinds, by what is otherwise than in [`config`].
    fn kinds() -> Vec<Config> {
        let grey = Config {
            input_nc: 1,
            lambda_identity: 0.0,
            ..config()
        };
        let batch = Config {
            norm: Norm::Batch,
            batch: 2,
            ..config()
        };
        let dropout = Config {
            dropout: true,
            ..config()
        };
        let mode = |gan_mode| Config {
            gan_mode,
            ..config()
        };
        let r1 = Config {
            lambda_r1: 1.0,
            ..config()
        };
        let spectral = Config {
            spectral_norm: true,
            discriminator: DiscriminatorKind::NLayers,
            n_layers: 1,
            ..config()
        };
        let resized = Config {
            upsampling: Upsampling::Resize,
            ..config()
        };
        let (hinge, wasserstein) = (mode(GanMode::Hinge), mode(GanMode::Wgangp));
        vec![
            grey,
            batch,
            dropout,
            spectral,
            resized,
            hinge,
            wasserstein,
            r1,
        ]
    }

    #[test]
    fn every_kind_of_model_trains_and_goes_on_from_its_state() {
        for config in kinds() {
            config.check().unwrap();
            let [a, b] = noise(&config, &Device::Cpu).unwrap();
            let new = || CycleGan::new(&config, &Device::Cpu).unwrap();
            let mut whole = new();
            let before = values(&whole);
            let mut outcome = None;
            for step in 0..4 {
                if step == 2 {
                    let mut again = new();
                    again.load_state(&whole.state().unwrap(), 2).unwrap();
                    for _ in 0..2 {
                        again.step(&a, &b, 1e-3).unwrap();
                    }
                    outcome = Some(values(&again));
                }
                let numbers = whole.step(&a, &b, 1e-3).unwrap().read().unwrap();
                let numbers: Vec<f32> = numbers.named().map(|(_, value)| *value).collect();
                assert!(numbers.iter().all(|value| value.is_finite()), "{config:?}");
            }
            assert_eq!(outcome.unwrap(), values(&whole), "{config:?}");
            let moved = before.iter().zip(values(&whole));
            let still = moved.filter(|(before, after)| **before == *after).count();
            // The biases before norms alone may have no gradient, and Adam's moments of them.
            assert!(still * 2 < before.len(), "{config:?}: {still} did not move");
        }
    }

    #[test]
    fn what_is_computed_again_for_its_gradient_is_the_same_with_dropout_and_batch_norm() {
        for config in kinds() {
            let trained = |checkpoint_activations| {
                let config = Config {
                    checkpoint_activations,
                    ..config.clone()
                };
                let [a, b] = noise(&config, &Device::Cpu).unwrap();
                let mut model = CycleGan::new(&config, &Device::Cpu).unwrap();
                for _ in 0..3 {
                    model.step(&a, &b, 1e-3).unwrap();
                }
                values(&model)
            };
            assert_eq!(trained(true), trained(false), "{config:?}");
        }
    }

    #[test]
    fn dropout_is_for_training_alone() {
        let config = Config {
            dropout: true,
            ..config()
        };
        let [a, b] = noise(&config, &Device::Cpu).unwrap();
        let model = CycleGan::new(&config, &Device::Cpu).unwrap();
        let sample = || {
            let sampled = model.sample(&a, &b).unwrap();
            sampled[1].to_vec().unwrap()
        };
        assert_eq!(sample(), sample());
        let in_training = |seed| {
            let fake = training(seed, || model.g_a.generator().forward(&a)).unwrap();
            fake.to_vec().unwrap()
        };
        assert_ne!(in_training(1), sample());
        assert_ne!(in_training(1), in_training(2));
        assert_eq!(in_training(1), in_training(1));
    }

    #[test]
    fn pictures_of_both_domains_may_differ_in_size() {
        let config = config();
        let mut model = CycleGan::new(&config, &Device::Cpu).unwrap();
        let picture = |h, w| Tensor::full([1, 3, h, w], 0.3, &Device::Cpu).unwrap();
        for (h, w) in [(8, 12), (12, 8), (16, 8), (8, 8)] {
            let outcome = model.step(&picture(8, 8), &picture(h, w), 1e-3).unwrap();
            assert!(outcome.read().unwrap().losses["idt_A"].is_finite());
        }
    }

    #[test]
    fn long_gradients_are_clipped_to_a_norm_of_which_adam_sees_nothing_else() {
        let device = Device::Cpu;
        let [good, _] = noise(&config(), &device).unwrap();
        let moments = |clip_norm: f32| {
            let config = Config {
                clip_norm,
                ..config()
            };
            let mut model = CycleGan::new(&config, &device).unwrap();
            let outcome = model.step(&good, &good, 1e-3).unwrap().read().unwrap();
            // After one step m is (1 − β₁)·g.
            let state = model.state().unwrap().into_iter();
            let moments = state.filter(|(name, _)| name.starts_with("adam_G/"));
            let squares = moments.map(|(_, tensor)| {
                let values = tensor.to_vec().unwrap();
                let m = &values[..values.len() / 2];
                m.iter().map(|m| f64::from(2.0 * m).powi(2)).sum::<f64>()
            });
            (
                outcome.gradient_norms[0],
                squares.sum::<f64>().sqrt() as f32,
            )
        };
        let (norm, length) = moments(0.0);
        assert!((norm - length).abs() < 1e-4 * norm, "{norm} {length}");
        let (same, length) = moments(norm / 4.0);
        assert_eq!(same, norm, "the norm is that before clipping");
        assert!((length - norm / 4.0).abs() < 1e-4 * norm, "{norm} {length}");
        assert_eq!(moments(2.0 * norm).1, moments(0.0).1);
    }
}
