use nn::{GanLoss, GanMode, Module, Norm, Weights, gradient_penalty, r1_penalty};
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use tensor::ops::Loss;
use tensor::{Result, Tensor, no_grad};

use crate::model::forward_both;
use crate::{Config, DiffAugment, Discriminator, DiscriminatorKind, ImagePool, discriminator};

/// A discriminator, or a local and a global one, the fakes that they remember, and what they and their
/// generator are measured by.
pub struct Adversary {
    names: [&'static str; 2],
    domain: usize,
    judges: Vec<Discriminator>,
    fakes: ImagePool,
    gan_loss: GanLoss,
    lambda_gp: f32,
    lambda_r1: f32,
    lambda_feature_matching: f32,
    /// Whether a network may see two batches as one: what its norms see would be another thing.
    joined: bool,
    diff_augment: DiffAugment,
}

/// What a generator is told of its pictures.
pub(crate) struct Verdict {
    /// The adversarial loss.
    pub gan: Tensor,
    /// The weighted distance from real pictures in what discriminators see, where that counts.
    pub features: Option<Tensor>,
}

impl Adversary {
    /// A fresh discriminator of pictures of a domain, 0 for A, 1 for B, and a global one where the
    /// configuration has it, by their names in checkpoints.
    ///
    /// # Errors
    /// When the device has no room.
    pub(crate) fn new(
        names: [&'static str; 2],
        domain: usize,
        config: &Config,
        weights: &mut Weights<'_>,
    ) -> Result<Self> {
        let channels = config.channels()[domain];
        let mut judges = vec![discriminator(config, channels, weights)?];
        if config.global_layers > 0 {
            let global = Config {
                discriminator: DiscriminatorKind::NLayers,
                n_layers: config.global_layers,
                ..config.clone()
            };
            judges.push(discriminator(&global, channels, weights)?);
        }
        Ok(Adversary {
            names,
            domain,
            judges,
            fakes: ImagePool::new(config.pool_size),
            gan_loss: GanLoss(config.gan_mode),
            lambda_gp: match config.gan_mode {
                GanMode::Wgangp => config.lambda_gp,
                _ => 0.0,
            },
            lambda_r1: config.lambda_r1,
            lambda_feature_matching: config.lambda_feature_matching,
            joined: config.norm != Norm::Batch,
            diff_augment: config.diffaugment,
        })
    }

    /// What a generator is told of its pictures, beside real ones, as `seen` has them augmented.
    pub(crate) fn verdict(
        &self,
        fake: &Tensor,
        real: &Tensor,
        seen: &mut ChaCha8Rng,
    ) -> Result<Verdict> {
        let fake = self.diff_augment.augment(fake, seen)?;
        if self.lambda_feature_matching == 0.0 {
            let gan = self.mean(|judge| self.gan_loss.of_generator(&judge.forward(&fake)?))?;
            let features = None;
            return Ok(Verdict { gan, features });
        }
        let real = self.diff_augment.augment(real, seen)?;
        let mut seen_of_fakes = Vec::new();
        let gan = self.mean(|judge| {
            let (answers, features) = judge.forward_with_features(&fake)?;
            seen_of_fakes.push(features);
            self.gan_loss.of_generator(&answers)
        })?;
        let mut seen_of_fakes = seen_of_fakes.iter();
        let distance = self.mean(|judge| {
            let (_, real) = no_grad(|| judge.forward_with_features(&real))?;
            feature_distance(seen_of_fakes.next().expect("one a judge"), &real)
        })?;
        let features = distance.scale(self.lambda_feature_matching)?;
        Ok(Verdict {
            gan,
            features: Some(features),
        })
    }

    /// ½·(real + fake), and of penalties where there are such; of pictures as `seen` has them augmented, the
    /// fakes partly earlier ones.
    pub(crate) fn loss(
        &mut self,
        real: &Tensor,
        fake: &Tensor,
        pool: &mut ChaCha8Rng,
        seen: &mut ChaCha8Rng,
    ) -> Result<Tensor> {
        // A pool must not hand out in later steps what went wrong in this one.
        let fake = self.fakes.query(&fake.finite_or_zero()?, pool)?;
        let real = self.diff_augment.augment(real, seen)?;
        let fake = self.diff_augment.augment(&fake, seen)?;
        self.mean(|judge| self.loss_of(judge, &real, &fake, seen))?
            .scale(0.5)
    }

    fn loss_of(
        &self,
        judge: &Discriminator,
        real: &Tensor,
        fake: &Tensor,
        seen: &mut ChaCha8Rng,
    ) -> Result<Tensor> {
        let [on_real, on_fake] = forward_both(judge, [real, fake], self.joined)?;
        let on_real = self.gan_loss.on_real(&on_real)?;
        let on_fake = self.gan_loss.on_fake(&on_fake)?;
        let mut loss = on_real.add(&on_fake)?;
        if self.lambda_gp > 0.0 {
            let shares: Vec<f32> = (0..real.shape().nchw()[0]).map(|_| seen.random()).collect();
            let penalty = gradient_penalty(judge, real, fake, &shares)?;
            loss = loss.add(&penalty.scale(self.lambda_gp)?)?;
        }
        if self.lambda_r1 > 0.0 {
            let penalty = r1_penalty(judge, real)?;
            loss = loss.add(&penalty.scale(self.lambda_r1)?)?;
        }
        Ok(loss)
    }

    /// The mean of something over the discriminators.
    fn mean(&self, mut of: impl FnMut(&Discriminator) -> Result<Tensor>) -> Result<Tensor> {
        let mut sum = of(&self.judges[0])?;
        for judge in &self.judges[1..] {
            sum = sum.add(&of(judge)?)?;
        }
        match self.judges.len() {
            1 => Ok(sum),
            all => sum.scale(1.0 / all as f32),
        }
    }

    /// Names and networks.
    pub(crate) fn networks(&self) -> impl Iterator<Item = (&'static str, &dyn Module)> {
        let judges = self.judges.iter().map(|judge| judge as &dyn Module);
        self.names.into_iter().zip(judges)
    }

    /// The domain whose pictures it judges: 0 for A, 1 for B.
    pub(crate) fn domain(&self) -> usize {
        self.domain
    }

    /// The name of its fakes in checkpoints.
    pub(crate) fn pool_name(&self) -> &'static str {
        ["pool_A", "pool_B"][self.domain]
    }

    /// The fakes that it remembers.
    pub(crate) fn fakes(&self) -> &ImagePool {
        &self.fakes
    }

    /// The fakes that it remembers, to be changed.
    pub(crate) fn fakes_mut(&mut self) -> &mut ImagePool {
        &mut self.fakes
    }
}

/// How far what a discriminator sees of fakes is from what it sees of real pictures: the mean square of the
/// difference of each channel's mean over pictures and places, in the mean over layers (Salimans et al., 2016).
fn feature_distance(fake: &[Tensor], real: &[Tensor]) -> Result<Tensor> {
    let mut sum = Tensor::zeros([], fake[0].device())?;
    for (fake, real) in fake.iter().zip(real) {
        let mean = [1, fake.shape().nchw()[1], 1, 1];
        let [fake, real] = [fake.mean_to(mean)?, real.mean_to(mean)?];
        sum = sum.add(&fake.loss(Loss::Mse, &real)?)?;
    }
    sum.scale(1.0 / fake.len() as f32)
}
