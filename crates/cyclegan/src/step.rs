use nn::{
    Adam, Ema, GanLoss, GanMode, LossScale, Module, Norm, Param, StateDict, StateError, Weights,
    gradient_penalty, load_state, parameters, r1_penalty, state_dict, training,
};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt};
use tensor::ops::Loss;
use tensor::{Device, Precision, Reading, Result, Tensor, no_grad};

use crate::{Config, DiffAugment, Generator, ImagePool, Stream, discriminator, generator, rng};

/// Two generators, two discriminators, and what trains them. G_A takes domain A to B and G_B back;
/// D_A judges pictures of B (those G_A makes), D_B those of A: the reference's names.
pub struct CycleGan {
    g_a: Generator,
    g_b: Generator,
    d_a: Box<dyn Module>,
    d_b: Box<dyn Module>,
    generators: Adam,
    discriminators: Adam,
    averages: Option<Averages>,
    fakes_a: ImagePool,
    fakes_b: ImagePool,
    gan_loss: GanLoss,
    lambda_gp: f32,
    lambda_r1: f32,
    /// Whether a network may see two batches as one: what its norms see would be another thing.
    joined: bool,
    diff_augment: DiffAugment,
    lambda_a: f32,
    lambda_b: f32,
    lambda_identity: f32,
    seed: u64,
    /// What pictures, and all that is computed from them, are stored in.
    precision: Precision,
    steps: u64,
}

/// The generators' moving averages, with which pictures are made.
struct Averages {
    g_a: Generator,
    g_b: Generator,
    ema: [Ema; 2],
}

/// The terms of the objective, weighted as they enter it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(non_snake_case, missing_docs)] // the reference's names, which the metrics bear
pub struct Losses<T> {
    pub G_A: T,
    pub G_B: T,
    pub cycle_A: T,
    pub cycle_B: T,
    pub idt_A: T,
    pub idt_B: T,
    pub D_A: T,
    pub D_B: T,
}

impl<T> Losses<T> {
    /// Name and value of each term.
    pub fn named(&self) -> [(&'static str, &T); 8] {
        [
            ("G_A", &self.G_A),
            ("G_B", &self.G_B),
            ("cycle_A", &self.cycle_A),
            ("cycle_B", &self.cycle_B),
            ("idt_A", &self.idt_A),
            ("idt_B", &self.idt_B),
            ("D_A", &self.D_A),
            ("D_B", &self.D_B),
        ]
    }
}

impl Losses<f32> {
    /// A running mean: `share` of these, the rest of `new`.
    pub fn mix(&self, new: &Losses<f32>, share: f32) -> Losses<f32> {
        let mix = |old: f32, new: f32| share * old + (1.0 - share) * new;
        Losses {
            G_A: mix(self.G_A, new.G_A),
            G_B: mix(self.G_B, new.G_B),
            cycle_A: mix(self.cycle_A, new.cycle_A),
            cycle_B: mix(self.cycle_B, new.cycle_B),
            idt_A: mix(self.idt_A, new.idt_A),
            idt_B: mix(self.idt_B, new.idt_B),
            D_A: mix(self.D_A, new.D_A),
            D_B: mix(self.D_B, new.D_B),
        }
    }
}

/// What a step gives to look at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome<T> {
    /// The terms of the objective.
    pub losses: Losses<T>,
    /// Of both generators' parameters and of both discriminators', before clipping. Where one is not finite,
    /// these networks were left as they are.
    pub gradient_norms: [T; 2],
}

impl<T> Outcome<T> {
    /// Name and value of everything.
    pub fn named(&self) -> [(&'static str, &T); 10] {
        let [g, d] = &self.gradient_norms;
        let [g_a, g_b, cycle_a, cycle_b, idt_a, idt_b, d_a, d_b] = self.losses.named();
        let norms = [("gradient_norm_G", g), ("gradient_norm_D", d)];
        [
            g_a, g_b, cycle_a, cycle_b, idt_a, idt_b, d_a, d_b, norms[0], norms[1],
        ]
    }
}

impl Outcome<Tensor> {
    /// The values; waits for the device, once for all.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn read(&self) -> Result<Outcome<f32>> {
        self.read_later()?.wait()
    }

    /// Starts to read the values, so that the device can go on with the next step meanwhile.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn read_later(&self) -> Result<OutcomeReading> {
        let each = self.named().map(|(_, value)| value.reshape([1]));
        let each = each.into_iter().collect::<Result<Vec<_>>>()?;
        let all = Tensor::concat(&each.iter().collect::<Vec<_>>(), 0)?;
        Ok(OutcomeReading(all.read_later()?))
    }
}

/// A step's outcome on its way from a device.
pub struct OutcomeReading(Reading);

impl OutcomeReading {
    /// The values.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn wait(self) -> Result<Outcome<f32>> {
        let values = self.0.wait()?;
        let [
            g_a,
            g_b,
            cycle_a,
            cycle_b,
            idt_a,
            idt_b,
            d_a,
            d_b,
            norm_g,
            norm_d,
        ] = values[..]
        else {
            unreachable!("ten values")
        };
        let losses = Losses {
            G_A: g_a,
            G_B: g_b,
            cycle_A: cycle_a,
            cycle_B: cycle_b,
            idt_A: idt_a,
            idt_B: idt_b,
            D_A: d_a,
            D_B: d_b,
        };
        Ok(Outcome {
            losses,
            gradient_norms: [norm_g, norm_d],
        })
    }
}

/// A batch there and back.
pub struct Translation {
    /// G_A(real_A)
    pub fake_b: Tensor,
    /// G_B(fake_B)
    pub rec_a: Tensor,
    /// G_B(real_B)
    pub fake_a: Tensor,
    /// G_A(fake_A)
    pub rec_b: Tensor,
}

impl CycleGan {
    /// Fresh networks, drawn from the configuration's seed.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(config: &Config, device: &Device) -> Result<Self> {
        let mut rng = rng(config.seed, Stream::Weights, 0);
        let Config {
            init,
            init_gain: gain,
            ..
        } = *config;
        let mut weights = Weights {
            init,
            gain,
            rng: &mut rng,
            device,
        };
        let [a, b] = config.channels();
        let g_a = generator(config, [a, b], &mut weights)?;
        let g_b = generator(config, [b, a], &mut weights)?;
        let d_a = discriminator(config, b, &mut weights)?;
        let d_b = discriminator(config, a, &mut weights)?;
        let averages = match config.ema > 0.0 {
            true => Some(Averages::new(config, &mut weights, [&g_a, &g_b])?),
            false => None,
        };
        let both = |a: &dyn Module, b: &dyn Module| -> Vec<Param> {
            parameters(a).into_iter().chain(parameters(b)).collect()
        };
        let precision = config.precision.of_pictures();
        let optimiser = |parameters: Vec<Param>| -> Result<Adam> {
            let mut adam = Adam::new(parameters, config.adam())?;
            if config.clip_norm > 0.0 {
                adam = adam.with_clip_norm(config.clip_norm);
            }
            Ok(match precision {
                Precision::Single => adam,
                Precision::Half => adam.with_loss_scale(),
            })
        };
        // A device without half precision should say so before anything else is done.
        Tensor::zeros([], device)?.to_precision(precision)?;
        Ok(CycleGan {
            generators: optimiser(both(&g_a, &g_b))?,
            discriminators: optimiser(both(&*d_a, &*d_b))?,
            g_a,
            g_b,
            d_a,
            d_b,
            averages,
            fakes_a: ImagePool::new(config.pool_size),
            fakes_b: ImagePool::new(config.pool_size),
            gan_loss: GanLoss(config.gan_mode),
            lambda_gp: match config.gan_mode {
                GanMode::Wgangp => config.lambda_gp,
                _ => 0.0,
            },
            lambda_r1: config.lambda_r1,
            joined: config.norm != Norm::Batch,
            diff_augment: config.diffaugment,
            lambda_a: config.lambda_a,
            lambda_b: config.lambda_b,
            lambda_identity: config.lambda_identity,
            seed: config.seed,
            precision,
            steps: 0,
        })
    }

    /// One training step: both generators, then both discriminators on the fakes made before the
    /// generators moved. Networks whose gradients are not finite stay as they are.
    ///
    /// # Errors
    /// When the networks can't take the pictures' size, or the device fails.
    pub fn step(
        &mut self,
        real_a: &Tensor,
        real_b: &Tensor,
        learning_rate: f32,
    ) -> Result<Outcome<Tensor>> {
        let dropout = rng(self.seed, Stream::Dropout, self.steps).next_u32();
        training(dropout, || self.train(real_a, real_b, learning_rate))
    }

    fn train(
        &mut self,
        real_a: &Tensor,
        real_b: &Tensor,
        learning_rate: f32,
    ) -> Result<Outcome<Tensor>> {
        let [real_a, real_b] = &self.stored([real_a, real_b])?;
        let seen = &mut rng(self.seed, Stream::DiffAugment, self.steps);
        let (translation, identity) = self.translate_all(real_a, real_b)?;
        let objective = self.generator_objective(real_a, real_b, &translation, identity, seen)?;
        let norm_g = self
            .generators
            .minimise(&objective.total()?, learning_rate)?;
        let objective = objective.detach();

        let rng = &mut rng(self.seed, Stream::Pool, self.steps);
        let Translation { fake_a, fake_b, .. } = translation;
        // A pool must not hand out in later steps what went wrong in this one.
        let fake_b = self.fakes_b.query(&fake_b.finite_or_zero()?, rng)?;
        let fake_a = self.fakes_a.query(&fake_a.finite_or_zero()?, rng)?;
        let d_a = self.discriminator_loss(&*self.d_a, real_b, &fake_b, seen)?;
        let d_b = self.discriminator_loss(&*self.d_b, real_a, &fake_a, seen)?;
        let norm_d = self
            .discriminators
            .minimise(&d_a.add(&d_b)?, learning_rate)?;
        self.steps += 1;
        if let Some(averages) = &self.averages {
            averages.update(self.steps)?;
        }
        Ok(Outcome {
            losses: objective.with_discriminators(&d_a, &d_b),
            gradient_norms: [norm_g, norm_d],
        })
    }

    /// Lets a step go by without taking it.
    pub fn pass_over(&mut self) {
        self.steps += 1;
        self.generators.pass_over();
        self.discriminators.pass_over();
    }

    /// Pictures in the precision that the run is computed in.
    fn stored(&self, [a, b]: [&Tensor; 2]) -> Result<[Tensor; 2]> {
        let precision = self.precision;
        Ok([a.to_precision(precision)?, b.to_precision(precision)?])
    }

    /// As [`translate`], and for the identity loss, where there is one, each generator's
    /// picture of its own target domain. What a generator makes of both domains it makes in one batch:
    /// its norms see single pictures, so that nothing changes but the time.
    fn translate_all(
        &self,
        real_a: &Tensor,
        real_b: &Tensor,
    ) -> Result<(Translation, Option<[Tensor; 2]>)> {
        if self.lambda_identity == 0.0 {
            return Ok((translate([&self.g_a, &self.g_b], real_a, real_b)?, None));
        }
        let [fake_b, idt_a] = self.forward_both(&self.g_a, [real_a, real_b])?;
        let [fake_a, idt_b] = self.forward_both(&self.g_b, [real_b, real_a])?;
        let translation = Translation {
            rec_a: self.g_b.forward(&fake_b)?,
            rec_b: self.g_a.forward(&fake_a)?,
            fake_b,
            fake_a,
        };
        Ok((translation, Some([idt_a, idt_b])))
    }

    /// What the generators are trained for: to convince the discriminators, to find back from the
    /// other domain, and to leave alone what is in their target domain already.
    fn generator_objective(
        &self,
        real_a: &Tensor,
        real_b: &Tensor,
        translation: &Translation,
        identity: Option<[Tensor; 2]>,
        seen: &mut ChaCha8Rng,
    ) -> Result<GeneratorObjective> {
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
        let seen_b = self.diff_augment.augment(fake_b, seen)?;
        let seen_a = self.diff_augment.augment(fake_a, seen)?;
        Ok(GeneratorObjective {
            gan_a: self.gan_loss.of_generator(&self.d_a.forward(&seen_b)?)?,
            gan_b: self.gan_loss.of_generator(&self.d_b.forward(&seen_a)?)?,
            cycle_a: rec_a.loss(Loss::L1, real_a)?.scale(self.lambda_a)?,
            cycle_b: rec_b.loss(Loss::L1, real_b)?.scale(self.lambda_b)?,
            idt_a,
            idt_b,
        })
    }

    /// ½·(real + fake), and of penalties where there are such; of pictures as `seen` has them augmented
    fn discriminator_loss(
        &self,
        discriminator: &dyn Module,
        real: &Tensor,
        fake: &Tensor,
        seen: &mut ChaCha8Rng,
    ) -> Result<Tensor> {
        let real = self.diff_augment.augment(real, seen)?;
        let fake = self.diff_augment.augment(fake, seen)?;
        let [on_real, on_fake] = self.forward_both(discriminator, [&real, &fake])?;
        let on_real = self.gan_loss.on_real(&on_real)?;
        let on_fake = self.gan_loss.on_fake(&on_fake)?;
        let mut loss = on_real.add(&on_fake)?;
        if self.lambda_gp > 0.0 {
            let shares: Vec<f32> = (0..real.shape().nchw()[0]).map(|_| seen.random()).collect();
            let penalty = gradient_penalty(discriminator, &real, &fake, &shares)?;
            loss = loss.add(&penalty.scale(self.lambda_gp)?)?;
        }
        if self.lambda_r1 > 0.0 {
            let penalty = r1_penalty(discriminator, &real)?;
            loss = loss.add(&penalty.scale(self.lambda_r1)?)?;
        }
        loss.scale(0.5)
    }

    /// What a network makes of two batches, computed as one where that is the same.
    fn forward_both(&self, network: &dyn Module, batches: [&Tensor; 2]) -> Result<[Tensor; 2]> {
        let [first, second] = batches.map(|batch| batch.shape().nchw());
        if !self.joined || first[1..] != second[1..] {
            return Ok([network.forward(batches[0])?, network.forward(batches[1])?]);
        }
        let both = network.forward(&Tensor::concat(&batches, 0)?)?;
        let [first, second] = [first[0], second[0]];
        Ok([both.narrow(0, 0, first)?, both.narrow(0, first, second)?])
    }

    /// The generator from A to B to make pictures with: the average over steps where there is one.
    pub fn a_to_b(&self) -> &Generator {
        self.averages
            .as_ref()
            .map_or(&self.g_a, |averages| &averages.g_a)
    }

    /// The generator from B to A to make pictures with.
    pub fn b_to_a(&self) -> &Generator {
        self.averages
            .as_ref()
            .map_or(&self.g_b, |averages| &averages.g_b)
    }

    /// Both domains to the other and back, for sample pictures; without gradients.
    ///
    /// # Errors
    /// When the networks can't take the pictures' size, or the device fails.
    pub fn sample(&self, real_a: &Tensor, real_b: &Tensor) -> Result<Translation> {
        let [real_a, real_b] = &self.stored([real_a, real_b])?;
        no_grad(|| translate([self.a_to_b(), self.b_to_a()], real_a, real_b))
    }

    /// Parameters of a generator and of a discriminator.
    pub fn parameter_counts(&self) -> (usize, usize) {
        let count = |module: &dyn Module| {
            parameters(module)
                .iter()
                .map(|param| param.shape().len())
                .sum()
        };
        (count(&self.g_a), count(&*self.d_a))
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// How the generators' and the discriminators' losses are scaled, in mixed precision.
    pub fn loss_scales(&self) -> Option<[LossScale; 2]> {
        let scale = |adam: &Adam| adam.loss_scale().copied();
        Some([scale(&self.generators)?, scale(&self.discriminators)?])
    }

    /// Everything that training goes on from: networks as `G_A/…`, averages as `G_A_ema/…`, moments as
    /// `adam_G/…`, pools as `pool_A/…`.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn state(&self) -> Result<StateDict> {
        let mut state = StateDict::new();
        for (name, network) in self.networks().into_iter().chain(self.averages()) {
            state.extend(state_dict(network, &format!("{name}/")));
        }
        state.extend(self.generators.state("adam_G/")?);
        state.extend(self.discriminators.state("adam_D/")?);
        for (name, pool) in [("pool_A", &self.fakes_a), ("pool_B", &self.fakes_b)] {
            let images = pool.images().iter().enumerate();
            state.extend(images.map(|(i, image)| (format!("{name}/{i}"), image.clone())));
        }
        Ok(state)
    }

    /// Takes up the networks alone, as a checkpoint or fixture names them. Averages that it lacks begin with
    /// the networks.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn load_networks(&self, state: &StateDict) -> Result<(), StateError> {
        self.networks()
            .into_iter()
            .try_for_each(|(name, network)| load_state(network, &format!("{name}/"), state))?;
        let Some(averages) = &self.averages else {
            return Ok(());
        };
        let [(name, _), _] = averages.networks();
        match state.keys().any(|key| key.starts_with(name)) {
            true => averages
                .networks()
                .into_iter()
                .try_for_each(|(name, network)| load_state(network, &format!("{name}/"), state)),
            false => {
                averages.ema.iter().for_each(Ema::restart);
                Ok(())
            }
        }
    }

    /// Takes up all that [`CycleGan::state`] left after `steps` steps.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn load_state(&mut self, state: &StateDict, steps: u64) -> Result<(), StateError> {
        self.load_networks(state)?;
        self.steps = steps;
        self.generators.load_state(state, "adam_G/", steps)?;
        self.discriminators.load_state(state, "adam_D/", steps)?;
        for (name, pool) in [("pool_A", &mut self.fakes_a), ("pool_B", &mut self.fakes_b)] {
            let images = (0..).map_while(|i| state.get(&format!("{name}/{i}")).cloned());
            pool.restore(images.collect());
        }
        Ok(())
    }

    /// Makes ready for pictures of a side: fakes of another, in the image pools, are forgotten.
    pub fn change_size(&mut self, side: usize) {
        self.fakes_a.keep_size(side);
        self.fakes_b.keep_size(side);
    }

    /// Fills the image pools, as steps do in time, with an image of each domain.
    ///
    /// # Errors
    /// A fault of the device.
    pub(crate) fn fill_pools(&mut self, [a, b]: [&Tensor; 2]) -> Result<()> {
        self.fakes_a.fill(&a.to_precision(self.precision)?)?;
        self.fakes_b.fill(&b.to_precision(self.precision)?)
    }

    fn averages(&self) -> impl Iterator<Item = (&'static str, &dyn Module)> {
        self.averages.iter().flat_map(Averages::networks)
    }

    fn networks(&self) -> [(&'static str, &dyn Module); 4] {
        [
            ("G_A", &self.g_a),
            ("G_B", &self.g_b),
            ("D_A", &*self.d_a),
            ("D_B", &*self.d_b),
        ]
    }
}

impl Averages {
    fn new(config: &Config, weights: &mut Weights<'_>, [a, b]: [&Generator; 2]) -> Result<Self> {
        let [from, to] = config.channels();
        let g_a = generator(config, [from, to], weights)?;
        let g_b = generator(config, [to, from], weights)?;
        let ema = [Ema::new(config.ema, a, &g_a), Ema::new(config.ema, b, &g_b)];
        Ok(Averages { g_a, g_b, ema })
    }

    fn update(&self, step: u64) -> Result<()> {
        self.ema.iter().try_for_each(|ema| ema.update(step))
    }

    fn networks(&self) -> [(&'static str, &dyn Module); 2] {
        [("G_A_ema", &self.g_a), ("G_B_ema", &self.g_b)]
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

/// A batch of noise of each domain, as training sees pictures, to measure with.
///
/// # Errors
/// When the device has no room.
pub fn noise(config: &Config, device: &Device) -> Result<[Tensor; 2]> {
    let noise = |channels| {
        let shape = [config.batch, channels, config.size, config.size];
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|i: usize| (i as f32 * 12.9898).sin())
            .collect();
        Tensor::from_slice(&values, shape, device)
    };
    let [a, b] = config.channels();
    Ok([noise(a)?, noise(b)?])
}

/// The terms that both generators are trained on.
struct GeneratorObjective {
    gan_a: Tensor,
    gan_b: Tensor,
    cycle_a: Tensor,
    cycle_b: Tensor,
    idt_a: Tensor,
    idt_b: Tensor,
}

impl GeneratorObjective {
    fn total(&self) -> Result<Tensor> {
        let Self {
            gan_a,
            gan_b,
            cycle_a,
            cycle_b,
            idt_a,
            idt_b,
        } = self;
        gan_a
            .add(gan_b)?
            .add(cycle_a)?
            .add(cycle_b)?
            .add(idt_a)?
            .add(idt_b)
    }

    /// The values alone: what they were computed from is freed.
    fn detach(self) -> Self {
        GeneratorObjective {
            gan_a: self.gan_a.detach(),
            gan_b: self.gan_b.detach(),
            cycle_a: self.cycle_a.detach(),
            cycle_b: self.cycle_b.detach(),
            idt_a: self.idt_a.detach(),
            idt_b: self.idt_b.detach(),
        }
    }

    fn with_discriminators(self, d_a: &Tensor, d_b: &Tensor) -> Losses<Tensor> {
        Losses {
            G_A: self.gan_a,
            G_B: self.gan_b,
            cycle_A: self.cycle_a,
            cycle_B: self.cycle_b,
            idt_A: self.idt_a,
            idt_B: self.idt_b,
            D_A: d_a.detach(),
            D_B: d_b.detach(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DiscriminatorKind, Preset, Upsampling};

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
        assert!(outcome.losses.cycle_A.is_nan());
        assert!(outcome.gradient_norms.iter().all(|norm| norm.is_nan()));
        assert_eq!(values(&model), before);
        for _ in 0..6 {
            let outcome = model.step(&good, &good, 1e-3).unwrap().read().unwrap();
            let numbers = outcome.named().map(|(_, value)| *value);
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
            let fake = model.sample(&good, &good).unwrap().fake_b;
            fake.to_vec().unwrap()
        };
        for _ in 0..5 {
            model.step(&good, &good, 1e-2).unwrap();
        }
        let in_training = no_grad(|| model.g_a.forward(&good)).unwrap();
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
                let numbers = numbers.named().map(|(_, value)| *value);
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
            sampled.fake_b.to_vec().unwrap()
        };
        assert_eq!(sample(), sample());
        let in_training = |seed| {
            let fake = training(seed, || model.g_a.forward(&a)).unwrap();
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
            assert!(outcome.read().unwrap().losses.idt_A.is_finite());
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
