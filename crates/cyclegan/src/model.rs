use std::ops::Index;

use nn::{
    Adam, LossScale, Module, Param, StateDict, StateError, load_state, parameters, state_dict,
    training,
};
use rand::Rng;
use rand::rngs::ChaCha8Rng;
use tensor::{Device, Precision, Reading, Result, Tensor};

use crate::{
    Adversary, Averaged, Config, Cut, CycleGan, Generator, Method, Perception, Stream, rng,
};

/// What is trained: networks with the step that trains them.
pub trait Model: Send {
    /// What the method's paper has a step be: losses, and networks moved along their gradients. For
    /// [`Model::step`].
    ///
    /// # Errors
    /// When the networks can't take the pictures' size, or the device fails.
    fn train(
        &mut self,
        real_a: &Tensor,
        real_b: &Tensor,
        learning_rate: f32,
    ) -> Result<Outcome<Tensor>>;

    /// One training step on a batch of each domain. Networks whose gradients are not finite stay as they are.
    ///
    /// # Errors
    /// When the networks can't take the pictures' size, or the device fails.
    fn step(
        &mut self,
        real_a: &Tensor,
        real_b: &Tensor,
        learning_rate: f32,
    ) -> Result<Outcome<Tensor>> {
        let optimisers = self.optimisers();
        let [real_a, real_b] = optimisers.stored([real_a, real_b])?;
        let dropout = optimisers.rng(Stream::Dropout).next_u32();
        let outcome = training(dropout, || self.train(&real_a, &real_b, learning_rate))?;
        self.optimisers_mut().steps += 1;
        for generator in self.generators() {
            generator.update(self.optimisers().steps)?;
        }
        Ok(outcome)
    }

    /// The columns of a sample sheet ([`Method::columns`]) for a batch of each domain; without gradients.
    ///
    /// # Errors
    /// When the networks can't take the pictures' size, or the device fails.
    fn sample(&self, real_a: &Tensor, real_b: &Tensor) -> Result<Vec<Tensor>>;

    /// Has the generators trained by what a network sees, too, where the configuration gives that a weight.
    fn train_by(&mut self, perception: Perception);

    /// The generators: that from A to B, and, where there is one, that from B to A.
    fn generators(&self) -> Vec<&Averaged>;

    /// The discriminators.
    fn adversaries(&self) -> Vec<&Adversary>;

    /// The discriminators, to change what they remember.
    fn adversaries_mut(&mut self) -> Vec<&mut Adversary>;

    /// What else is trained, by name.
    fn heads(&self) -> Vec<(&'static str, &dyn Module)> {
        Vec::new()
    }

    /// What trains the networks.
    fn optimisers(&self) -> &Optimisers;

    /// What trains the networks, to be changed.
    fn optimisers_mut(&mut self) -> &mut Optimisers;

    /// The generator from A to B to make pictures with: the average over steps where there is one.
    fn a_to_b(&self) -> &Generator {
        self.generators()[0].in_use()
    }

    /// The generator from B to A to make pictures with, where the method has one.
    fn b_to_a(&self) -> Option<&Generator> {
        Some(self.generators().get(1)?.in_use())
    }

    /// Parameters of each network that is trained.
    fn parameter_counts(&self) -> Vec<(&'static str, usize)> {
        let count = |(name, network): (&'static str, &dyn Module)| {
            let all = parameters(network);
            (name, all.iter().map(|param| param.shape().len()).sum())
        };
        self.networks().into_iter().map(count).collect()
    }

    /// Steps taken.
    fn steps(&self) -> u64 {
        self.optimisers().steps
    }

    /// How the generators' and the discriminators' losses are scaled, in mixed precision.
    fn loss_scales(&self) -> Option<[LossScale; 2]> {
        let scale = |adam: &Adam| adam.loss_scale().copied();
        let Optimisers {
            generators,
            discriminators,
            ..
        } = self.optimisers();
        Some([scale(generators)?, scale(discriminators)?])
    }

    /// Lets a step go by without taking it.
    fn pass_over(&mut self) {
        let optimisers = self.optimisers_mut();
        optimisers.steps += 1;
        optimisers.generators.pass_over();
        optimisers.discriminators.pass_over();
    }

    /// Everything that training goes on from: networks as `G_A/…`, averages as `G_A_ema/…`, moments as
    /// `adam_G/…`, pools as `pool_A/…`.
    ///
    /// # Errors
    /// A fault of the device.
    fn state(&self) -> Result<StateDict> {
        let mut state = StateDict::new();
        let averages = self.generators().into_iter();
        let averages = averages.filter_map(|generator| generator.average());
        for (name, network) in self.networks().into_iter().chain(averages) {
            state.extend(state_dict(network, &format!("{name}/")));
        }
        let optimisers = self.optimisers();
        state.extend(optimisers.generators.state("adam_G/")?);
        state.extend(optimisers.discriminators.state("adam_D/")?);
        for adversary in self.adversaries() {
            let images = adversary.fakes().images().iter().enumerate();
            let name = adversary.pool_name();
            state.extend(images.map(|(i, image)| (format!("{name}/{i}"), image.clone())));
        }
        Ok(state)
    }

    /// Takes up the networks alone, as a checkpoint or fixture names them. Averages that it lacks begin with
    /// the networks.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    fn load_networks(&self, state: &StateDict) -> Result<(), StateError> {
        for (name, network) in self.networks() {
            load_state(network, &format!("{name}/"), state)?;
        }
        let generators = self.generators().into_iter();
        let mut generators = generators.peekable();
        let first = generators.peek().and_then(|generator| generator.average());
        let has_averages =
            first.is_some_and(|(name, _)| state.keys().any(|key| key.starts_with(name)));
        generators.try_for_each(|generator| match (generator.average(), has_averages) {
            (Some((name, network)), true) => load_state(network, &format!("{name}/"), state),
            _ => {
                generator.restart();
                Ok(())
            }
        })
    }

    /// Takes up all that `state` left after `steps` steps.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    fn load_state(&mut self, state: &StateDict, steps: u64) -> Result<(), StateError> {
        self.load_networks(state)?;
        let optimisers = self.optimisers_mut();
        optimisers.steps = steps;
        optimisers.generators.load_state(state, "adam_G/", steps)?;
        optimisers
            .discriminators
            .load_state(state, "adam_D/", steps)?;
        for adversary in self.adversaries_mut() {
            let name = adversary.pool_name();
            let images = (0..).map_while(|i| state.get(&format!("{name}/{i}")).cloned());
            adversary.fakes_mut().restore(images.collect());
        }
        Ok(())
    }

    /// Makes ready for pictures of a side: fakes of another, in the image pools, are forgotten.
    fn change_size(&mut self, side: usize) {
        for adversary in self.adversaries_mut() {
            adversary.fakes_mut().keep_size(side);
        }
    }

    /// Fills the image pools, as steps do in time, with an image of each domain.
    ///
    /// # Errors
    /// A fault of the device.
    fn fill_pools(&mut self, images: [&Tensor; 2]) -> Result<()> {
        let precision = self.optimisers().precision;
        for adversary in self.adversaries_mut() {
            let image = images[adversary.domain()].to_precision(precision)?;
            adversary.fakes_mut().fill(&image)?;
        }
        Ok(())
    }

    /// All that is trained, by the names that checkpoints have.
    fn networks(&self) -> Vec<(&'static str, &dyn Module)> {
        let generators = self.generators().into_iter();
        let adversaries = self.adversaries().into_iter();
        generators
            .map(Averaged::trained)
            .chain(adversaries.flat_map(Adversary::networks))
            .chain(self.heads())
            .collect()
    }
}

/// Makes the model of a configuration's method, with fresh networks drawn from its seed. Losses of what a network
/// sees are left out until [`Model::train_by`] gives one.
///
/// # Errors
/// When the device has no room.
pub fn model(config: &Config, device: &Device) -> Result<Box<dyn Model>> {
    Ok(match config.method {
        Method::CycleGan => Box::new(CycleGan::new(config, device)?),
        Method::Cut | Method::FastCut => Box::new(Cut::new(config, device)?),
    })
}

/// What trains generators and discriminators, and how far it got.
pub struct Optimisers {
    /// Of the generators, and of what is trained with them.
    pub(crate) generators: Adam,
    /// Of the discriminators.
    pub(crate) discriminators: Adam,
    /// Steps taken.
    pub(crate) steps: u64,
    /// The run's seed.
    seed: u64,
    /// What pictures, and all that is computed from them, are stored in.
    pub(crate) precision: Precision,
}

impl Optimisers {
    /// Those of a configuration.
    ///
    /// # Errors
    /// When the device has no room, or no half precision where that is asked for.
    pub(crate) fn new(
        config: &Config,
        generators: Vec<Param>,
        discriminators: Vec<Param>,
        device: &Device,
    ) -> Result<Self> {
        let precision = config.precision.of_pictures();
        // A device without half precision should say so before anything else is done.
        Tensor::zeros([], device)?.to_precision(precision)?;
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
        Ok(Optimisers {
            generators: optimiser(generators)?,
            discriminators: optimiser(discriminators)?,
            steps: 0,
            seed: config.seed,
            precision,
        })
    }

    /// What a step draws for a purpose.
    pub(crate) fn rng(&self, stream: Stream) -> ChaCha8Rng {
        rng(self.seed, stream, self.steps)
    }

    /// Pictures in the precision that the run is computed in.
    pub(crate) fn stored(&self, pictures: [&Tensor; 2]) -> Result<[Tensor; 2]> {
        let [a, b] = pictures;
        Ok([
            a.to_precision(self.precision)?,
            b.to_precision(self.precision)?,
        ])
    }
}

/// What a network makes of two batches; computed as one where they may be `joined`.
pub(crate) fn forward_both(
    network: &dyn Module,
    batches: [&Tensor; 2],
    joined: bool,
) -> Result<[Tensor; 2]> {
    let made = of_both(batches, joined, |x| Ok(vec![network.forward(x)?]))?;
    Ok(made.map(|mut one| one.remove(0)))
}

/// What `of` gives for two batches; computed as one where they may be `joined`.
pub(crate) fn of_both(
    batches: [&Tensor; 2],
    joined: bool,
    of: impl Fn(&Tensor) -> Result<Vec<Tensor>>,
) -> Result<[Vec<Tensor>; 2]> {
    let [first, second] = batches.map(|batch| batch.shape().nchw());
    if !joined || first[1..] != second[1..] {
        return Ok([of(batches[0])?, of(batches[1])?]);
    }
    let both = of(&Tensor::concat(&batches, 0)?)?;
    let part = |start, len| both.iter().map(move |both| both.narrow(0, start, len));
    let [first, second] = [part(0, first[0]), part(first[0], second[0])];
    Ok([
        first.collect::<Result<_>>()?,
        second.collect::<Result<_>>()?,
    ])
}

/// The terms of the objective by name, weighted as they enter it: those of generators first. Discriminators'
/// begin with a D.
#[derive(Clone, Debug, PartialEq)]
pub struct Losses<T>(Vec<(&'static str, T)>);

impl<T> Losses<T> {
    /// Name and value of each term.
    pub fn named(&self) -> impl ExactSizeIterator<Item = (&'static str, &T)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }

    /// The same with more terms.
    pub(crate) fn with(mut self, more: impl IntoIterator<Item = (&'static str, T)>) -> Self {
        self.0.extend(more);
        self
    }

    /// Whether a term is of a discriminator, and not of what generators are trained for.
    pub fn is_of_discriminator(name: &str) -> bool {
        name.starts_with('D')
    }
}

impl<T> FromIterator<(&'static str, T)> for Losses<T> {
    fn from_iter<I: IntoIterator<Item = (&'static str, T)>>(terms: I) -> Self {
        Losses(terms.into_iter().collect())
    }
}

impl<T> Index<&str> for Losses<T> {
    type Output = T;

    /// # Panics
    /// When there is no such term.
    fn index(&self, name: &str) -> &T {
        let mut named = self.named();
        named
            .find_map(|(own, value)| (own == name).then_some(value))
            .unwrap_or_else(|| panic!("there is no loss {name}"))
    }
}

impl Losses<Tensor> {
    /// The sum of all terms.
    pub(crate) fn total(&self) -> Result<Tensor> {
        let mut values = self.0.iter().map(|(_, value)| value);
        let first = values.next().expect("there is a term").clone();
        values.try_fold(first, |sum, value| sum.add(value))
    }

    /// The values alone: what they were computed from is freed.
    pub(crate) fn detach(self) -> Self {
        self.0
            .into_iter()
            .map(|(name, value)| (name, value.detach()))
            .collect()
    }
}

impl Losses<f32> {
    /// A running mean: `share` of these, the rest of `new`.
    pub fn mix(&self, new: &Losses<f32>, share: f32) -> Losses<f32> {
        let both = self.named().zip(new.named());
        both.map(|((name, old), (_, new))| (name, share * old + (1.0 - share) * new))
            .collect()
    }

    /// What the generators are trained to make small.
    pub fn of_generators(&self) -> f32 {
        let terms = self.named();
        terms
            .filter(|(name, _)| !Self::is_of_discriminator(name))
            .map(|(_, value)| value)
            .sum()
    }
}

/// What a step gives to look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome<T> {
    /// The terms of the objective.
    pub losses: Losses<T>,
    /// Of the generators' parameters, with what is trained with them, and of the discriminators', before
    /// clipping. Where one is not finite, these networks were left as they are.
    pub gradient_norms: [T; 2],
}

impl<T> Outcome<T> {
    /// Name and value of everything.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &T)> {
        let names = ["gradient_norm_G", "gradient_norm_D"];
        self.losses
            .named()
            .chain(names.into_iter().zip(&self.gradient_norms))
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
        let each = each.collect::<Result<Vec<_>>>()?;
        let all = Tensor::concat(&each.iter().collect::<Vec<_>>(), 0)?;
        Ok(OutcomeReading {
            losses: self.losses.named().map(|(name, _)| name).collect(),
            values: all.read_later()?,
        })
    }
}

/// A step's outcome on its way from a device.
pub struct OutcomeReading {
    losses: Vec<&'static str>,
    /// The losses and the two norms.
    values: Reading,
}

impl OutcomeReading {
    /// The values.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn wait(self) -> Result<Outcome<f32>> {
        let values = self.values.wait()?;
        let (losses, norms) = values.split_at(self.losses.len());
        Ok(Outcome {
            losses: self
                .losses
                .into_iter()
                .zip(losses.iter().copied())
                .collect(),
            gradient_norms: [norms[0], norms[1]],
        })
    }
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
