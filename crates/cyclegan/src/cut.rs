use nn::{Conv2d, Module, Norm, Param, Weights, parameters, patch_nce};
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use rand::seq::index::sample;
use tensor::ops::Activation;
use tensor::{Device, Precision, Result, Tensor, no_grad};

use crate::adversary::Verdict;
use crate::generator::feature_channels;
use crate::model::of_both;
use crate::{
    Adversary, Averaged, Config, Generator, Losses, Model, Optimisers, Outcome, Perception,
    Perceptual, Stream, generator, rng,
};

/// CUT (Park, Efros, Zhang & Zhu, 2020): one generator from A to B, one discriminator of B, and in place of a
/// way back the demand that what the generator sees in a patch of its picture be more like what it saw in that
/// place before than like any other patch.
pub struct Cut {
    g_a: Averaged,
    d_a: Adversary,
    /// Of each layer.
    heads: Vec<Head>,
    optimisers: Optimisers,
    perceptual: Perceptual,
    /// Whether a network may see two batches as one: what its norms see would be another thing.
    joined: bool,
    lambda_nce: f32,
    /// Whether domain B's pictures, of which the generator has to make themselves, count like A's.
    nce_idt: bool,
    patches: usize,
    temperature: f32,
    flip_equivariance: bool,
}

/// What the generator made of pictures, and what it sees in those, layer by layer.
struct Made {
    fake: Tensor,
    keys: Vec<Tensor>,
}

impl Cut {
    /// Fresh networks, drawn from the configuration's seed.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(config: &Config, device: &Device) -> Result<Self> {
        let mut rng = rng(config.seed, Stream::Weights, 0);
        let weights = &mut config.weights(&mut rng, device);
        let g_a = generator(config, config.channels(), weights)?;
        let d_a = Adversary::new(["D_A", "D_A_global"], 1, config, weights)?;
        let heads = feature_channels(config).into_iter();
        let heads = heads.map(|from| Head::new(weights, from, config.nce_features));
        let heads = heads.collect::<Result<Vec<_>>>()?;
        let mut g_a = Averaged::new(["G_A", "G_A_ema"], g_a);
        g_a.average_from_here(config, weights)?;
        let mut trained = parameters(g_a.generator());
        trained.extend(heads.iter().flat_map(|head| parameters(head)));
        let discriminators = d_a.networks().flat_map(|(_, network)| parameters(network));
        let discriminators = discriminators.collect();
        Ok(Cut {
            optimisers: Optimisers::new(config, trained, discriminators, device)?,
            g_a,
            d_a,
            heads,
            perceptual: Perceptual::new(config),
            joined: config.norm != Norm::Batch,
            lambda_nce: config.lambda_nce,
            nce_idt: config.nce_idt,
            patches: config.nce_patches,
            temperature: config.nce_temperature,
            flip_equivariance: config.flip_equivariance,
        })
    }

    /// What the generator makes of A's pictures, `mirrored` if so, and, where that counts, of B's.
    fn make(
        &self,
        real_a: &Tensor,
        real_b: &Tensor,
        mirrored: bool,
    ) -> Result<(Made, Option<Made>)> {
        let generator = self.g_a.generator();
        let picture_and_keys = |x: &Tensor| {
            let (fake, keys) = match mirrored {
                false => generator.forward_with_features(x)?,
                true => (
                    generator.forward(&x.flip(3)?)?,
                    no_grad(|| generator.features(x))?,
                ),
            };
            let keys = keys.iter().map(Tensor::detach);
            Ok([fake].into_iter().chain(keys).collect())
        };
        let made = |mut all: Vec<Tensor>| Made {
            keys: all.split_off(1),
            fake: all.remove(0),
        };
        if !self.nce_idt {
            return Ok((made(picture_and_keys(real_a)?), None));
        }
        let [a, b] = of_both([real_a, real_b], self.joined, picture_and_keys)?;
        Ok((made(a), Some(made(b))))
    }

    /// What the generator is trained for: to convince the discriminator, and to keep what is in its place.
    fn objective(
        &self,
        a: &Made,
        b: Option<&Made>,
        [real_a, real_b]: [&Tensor; 2],
        mirrored: bool,
        [seen, patches]: [&mut ChaCha8Rng; 2],
    ) -> Result<Losses<Tensor>> {
        let Verdict { gan, features } = self.d_a.verdict(&a.fake, real_b, seen)?;
        let turned;
        let from = match mirrored {
            false => real_a,
            true => {
                turned = real_a.flip(3)?;
                &turned
            }
        };
        let [perceptual, style] = self.perceptual.losses(&a.fake, from, real_b)?;
        let terms = [
            ("G_A", Some(gan)),
            ("features_A", features),
            ("perceptual_A", perceptual),
            ("style_A", style),
        ];
        let terms = terms.into_iter();
        let terms = terms.filter_map(|(name, value)| Some((name, value?)));
        let objective: Losses<Tensor> = terms.collect();
        let features = |x: &Tensor| self.g_a.generator().features(x);
        let Some(b) = b else {
            let nce = self.nce(&features(&a.fake)?, &a.keys, mirrored, patches)?;
            return Ok(objective.with([("NCE", nce.scale(self.lambda_nce)?)]));
        };
        let [of_a, of_b] = of_both([&a.fake, &b.fake], self.joined, features)?;
        let nce = self.nce(&of_a, &a.keys, mirrored, patches)?;
        let nce_y = self.nce(&of_b, &b.keys, mirrored, patches)?;
        let half = 0.5 * self.lambda_nce;
        Ok(objective.with([("NCE", nce.scale(half)?), ("NCE_Y", nce_y.scale(half)?)]))
    }

    /// The contrastive loss of patches drawn at random, in the mean over layers.
    fn nce(
        &self,
        queries: &[Tensor],
        keys: &[Tensor],
        mirrored: bool,
        patches: &mut ChaCha8Rng,
    ) -> Result<Tensor> {
        let mut sum = Tensor::zeros([], queries[0].device())?;
        for ((query, key), head) in queries.iter().zip(keys).zip(&self.heads) {
            let [_, _, h, w] = query.shape().nchw();
            let places = sample(patches, h * w, self.patches.min(h * w)).into_vec();
            let turned = |place: usize| place + w - 1 - 2 * (place % w);
            let in_query: Vec<usize> = match mirrored {
                true => places.iter().copied().map(turned).collect(),
                false => places.clone(),
            };
            let key = no_grad(|| head.forward(&picked(key, &places)?))?;
            let query = head.forward(&picked(query, &in_query)?)?;
            sum = sum.add(&patch_nce(&query, &key, self.temperature)?)?;
        }
        sum.scale(1.0 / queries.len() as f32)
    }
}

/// The places of an N×C×H×W tensor as N×C×1×P.
fn picked(features: &Tensor, places: &[usize]) -> Result<Tensor> {
    let [n, c, h, w] = features.shape().nchw();
    let flat = features.reshape([n, c, 1, h * w])?;
    flat.index_select(3, places)?
        .to_precision(Precision::Single)
}

impl Model for Cut {
    /// The discriminator, then the generator, which meets what that has learnt.
    fn train(
        &mut self,
        real_a: &Tensor,
        real_b: &Tensor,
        learning_rate: f32,
    ) -> Result<Outcome<Tensor>> {
        let [seen, pool, patches] = &mut [Stream::DiffAugment, Stream::Pool, Stream::Patches]
            .map(|stream| self.optimisers.rng(stream));
        let mirrored = self.flip_equivariance && patches.random();
        let (a, b) = self.make(real_a, real_b, mirrored)?;

        let d_a = self.d_a.loss(real_b, &a.fake.detach(), pool, seen)?;
        let norm_d = self
            .optimisers
            .discriminators
            .minimise(&d_a, learning_rate)?;

        let objective =
            self.objective(&a, b.as_ref(), [real_a, real_b], mirrored, [seen, patches])?;
        let norm_g = self
            .optimisers
            .generators
            .minimise(&objective.total()?, learning_rate)?;
        Ok(Outcome {
            losses: objective.detach().with([("D_A", d_a.detach())]),
            gradient_norms: [norm_g, norm_d],
        })
    }

    fn sample(&self, real_a: &Tensor, real_b: &Tensor) -> Result<Vec<Tensor>> {
        let stored = self.optimisers.stored([real_a, real_b])?;
        let generator: &Generator = self.g_a.in_use();
        let [fake_b, idt_b] = no_grad(|| -> Result<_> {
            Ok([
                generator.forward(&stored[0])?,
                generator.forward(&stored[1])?,
            ])
        })?;
        Ok(vec![real_a.clone(), fake_b, real_b.clone(), idt_b])
    }

    fn train_by(&mut self, perception: Perception) {
        self.perceptual.train_by(perception);
    }

    fn generators(&self) -> Vec<&Averaged> {
        vec![&self.g_a]
    }

    fn adversaries(&self) -> Vec<&Adversary> {
        vec![&self.d_a]
    }

    fn adversaries_mut(&mut self) -> Vec<&mut Adversary> {
        vec![&mut self.d_a]
    }

    fn heads(&self) -> Vec<(&'static str, &dyn Module)> {
        let heads = self.heads.iter().map(|head| head as &dyn Module);
        HEADS.into_iter().zip(heads).collect()
    }

    fn optimisers(&self) -> &Optimisers {
        &self.optimisers
    }

    fn optimisers_mut(&mut self) -> &mut Optimisers {
        &mut self.optimisers
    }
}

/// What brings a layer's patches to features that can be compared: two linear layers, as 1×1 convolutions.
struct Head {
    layers: [Conv2d; 2],
}

/// The names of the layers' heads in checkpoints, as the reference numbers them.
const HEADS: [&str; 5] = ["F/mlp_0", "F/mlp_1", "F/mlp_2", "F/mlp_3", "F/mlp_4"];

impl Head {
    fn new(weights: &mut Weights<'_>, from: usize, to: usize) -> Result<Self> {
        Ok(Head {
            layers: [
                Conv2d::new(weights, [from, to], 1, 1, 0)?,
                Conv2d::new(weights, [to, to], 1, 1, 0)?,
            ],
        })
    }
}

impl Module for Head {
    /// Features of length one: N×C×P of N×C'×1×P.
    fn forward(&self, patches: &Tensor) -> Result<Tensor> {
        let [first, second] = &self.layers;
        let x = first.forward(patches)?.activation(Activation::Relu)?;
        let x = second.forward(&x)?;
        let [n, c, _, p] = x.shape().nchw();
        // The root's slope at zero is none.
        let squares = x.mul(&x)?.sum_to([n, 1, 1, p])?.scale_add(1.0, 1e-14)?;
        let inverse = squares.sqrt()?.scale_add(1.0, 1e-7)?.reciprocal()?;
        x.mul(&inverse.expand(x.shape())?)?.reshape([n, c, p])
    }

    fn visit(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Param)) {
        let [first, second] = &self.layers;
        first.visit(&format!("{prefix}0."), visit);
        second.visit(&format!("{prefix}2."), visit);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Method, Preset, noise};

    fn config(method: Method) -> Config {
        Config {
            size: 12,
            load_size: 12,
            ngf: 2,
            ndf: 2,
            discriminator: crate::DiscriminatorKind::Pixel,
            nce_patches: 20,
            nce_features: 6,
            init: nn::Init::Normal,
            init_gain: 0.1,
            ..Config::preset(Preset::Demo).with_method(method)
        }
    }

    fn values(model: &Cut) -> Vec<(String, Vec<f32>)> {
        let state = model.state().unwrap().into_iter();
        let values = state.map(|(name, tensor)| (name, tensor.to_vec().unwrap()));
        values.collect()
    }

    #[test]
    fn all_networks_learn_and_a_checkpoint_goes_on_alike() {
        for method in [Method::Cut, Method::FastCut] {
            let config = Config {
                ema: 0.9,
                ..config(method)
            };
            let [a, b] = noise(&config, &Device::Cpu).unwrap();
            let mut model = Cut::new(&config, &Device::Cpu).unwrap();
            let fresh = values(&model);
            for _ in 0..3 {
                model.step(&a, &b, 1e-3).unwrap();
            }
            let state = model.state().unwrap();
            for ((name, now), (_, before)) in values(&model).iter().zip(&fresh) {
                // Biases before instance norms have no gradient.
                let is_free = name.ends_with("bias") && name.starts_with("G_A");
                assert!(is_free || now != before, "{name} did not move");
            }
            let mut again = Cut::new(&config, &Device::Cpu).unwrap();
            again.load_state(&state, 3).unwrap();
            for model in [&mut model, &mut again] {
                model.step(&a, &b, 1e-3).unwrap();
            }
            assert_eq!(values(&again), values(&model));
        }
    }

    #[test]
    fn a_mirrored_patch_is_held_against_its_own_place() {
        // A generator that leaves pictures alone would have a loss of nothing but what chance gives.
        let config = config(Method::FastCut);
        let [a, _] = noise(&config, &Device::Cpu).unwrap();
        let model = Cut::new(&config, &Device::Cpu).unwrap();
        let generator = model.g_a.generator();
        let nce = |queries: &[Tensor], mirrored: bool| {
            let keys = generator.features(&a).unwrap();
            let patches = &mut rng(1, Stream::Patches, 0);
            let loss = model.nce(queries, &keys, mirrored, patches).unwrap();
            loss.item().unwrap()
        };
        let straight = generator.features(&a).unwrap();
        let turned: Vec<Tensor> = straight.iter().map(|x| x.flip(3).unwrap()).collect();
        assert_eq!(nce(&turned, true), nce(&straight, false));
        assert!(nce(&turned, false) > 1.5 * nce(&straight, false));
    }

    #[test]
    fn a_mirrored_translation_is_seen_beside_its_mirrored_picture() {
        let config = Config {
            lambda_perceptual: 1.0,
            ..config(Method::FastCut)
        };
        let [a, b] = noise(&config, &Device::Cpu).unwrap();
        let mut model = Cut::new(&config, &Device::Cpu).unwrap();
        // It sees pixels.
        model.train_by(Arc::new(|x: &Tensor| Ok(vec![x.clone()])));
        let loss = |mirrored: bool| {
            let fake = match mirrored {
                true => a.flip(3).unwrap(),
                false => a.clone(),
            };
            let keys = model.g_a.generator().features(&a).unwrap();
            let made = Made { fake, keys };
            let [seen, patches] = &mut [0, 1].map(|step| rng(1, Stream::Patches, step));
            let objective = model.objective(&made, None, [&a, &b], mirrored, [seen, patches]);
            objective.unwrap()["perceptual_A"].item().unwrap()
        };
        assert_eq!([loss(false), loss(true)], [0.0, 0.0]);
    }

    #[test]
    fn plans_of_memory_meet_mirrored_steps_and_others() {
        let of_step = |step| -> bool { rng(crate::memory::SEED, Stream::Patches, step).random() };
        let steps: Vec<bool> = (0..crate::memory::STEPS).map(of_step).collect();
        assert!(steps.contains(&true) && steps.contains(&false), "{steps:?}");
    }

    #[test]
    fn a_batch_is_as_good_as_its_pictures() {
        let config = config(Method::Cut);
        let [a, b] = noise(&config, &Device::Cpu).unwrap();
        let joined = Cut::new(&config, &Device::Cpu).unwrap();
        let apart = Cut {
            joined: false,
            ..Cut::new(&config, &Device::Cpu).unwrap()
        };
        let loss = |model: &Cut| {
            let (made, idt) = model.make(&a, &b, false).unwrap();
            let [seen, patches] = &mut [0, 1].map(|step| rng(1, Stream::Patches, step));
            let objective = model.objective(&made, idt.as_ref(), [&a, &b], false, [seen, patches]);
            let terms = objective.unwrap();
            let terms = terms.named().map(|(_, term)| term.item().unwrap());
            terms.collect::<Vec<f32>>()
        };
        for (joined, apart) in loss(&joined).iter().zip(loss(&apart)) {
            assert!((joined - apart).abs() < 1e-4, "{joined} {apart}");
        }
    }
}
