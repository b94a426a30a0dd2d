use nn::{AdamConfig, Cosine, GanMode, Init, Linear, Norm, Stepwise, Weights};
use rand::rngs::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tensor::{Device, Precision};

use crate::{DiffAugment, Stages};

/// Everything that determines a run but its data and its device. It is stored in every checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What is trained, and for what.
    pub method: Method,
    /// Channels of domain A's pictures: 3, or 1 for shades of grey.
    pub input_nc: usize,
    /// Channels of domain B's pictures.
    pub output_nc: usize,
    /// How pictures are brought to the size that training sees.
    pub preprocess: Preprocess,
    /// Side of the square pictures that training sees, in pixels; where they are not cropped, of those that
    /// memory is planned for.
    pub size: usize,
    /// Side that pictures are resized to before a random crop of `size`; 0: the reference's
    /// proportion, 286 for 256.
    pub load_size: usize,
    /// Take the pictures of both domains in the order of their names, instead of shuffled and at random.
    pub serial_batches: bool,
    /// Mirror pictures at random.
    pub flip: bool,
    /// Turn pictures at random by up to so many degrees, either way.
    pub rotate: f32,
    /// Scale pictures at random by 1 − `zoom` to 1 + `zoom`.
    pub zoom: f32,
    /// Multiply brightness, contrast and saturation at random by 1 − `jitter` to 1 + `jitter` each.
    pub jitter: f32,
    /// Pictures of each domain in a step.
    pub batch: usize,
    /// Stages of one size each. Their sizes, steps and batches count then; `steps` and `epochs` are 0, and
    /// `size` and `load_size` are only a proportion.
    pub stages: Stages,
    /// Steps of the run; 0: as many as `epochs` make.
    pub steps: u64,
    /// Epochs of the run, where `steps` is 0. An epoch shows every picture of the larger domain.
    pub epochs: u64,
    /// How the learning rate falls.
    pub lr_policy: LrPolicy,
    /// For `lr_policy = "step"`: epochs, or steps where the run is given in steps, until it falls again.
    pub lr_decay_iters: u64,
    /// For `lr_policy = "linear"`: the share of the run at its end over which the learning rate falls to
    /// zero.
    pub decay: f32,
    /// What the values between a network's layers are stored in.
    pub precision: Stored,
    /// Compute what is inside of the generators again in the backward pass, instead of keeping it: less
    /// memory, more time, the same results.
    pub checkpoint_activations: bool,
    /// Seed of weights, data order, augmentation and pools.
    pub seed: u64,

    /// The generators' architecture.
    pub generator: GeneratorKind,
    /// Channels of the generators' first layer.
    pub ngf: usize,
    /// How the generators come back to the size of their pictures.
    pub upsampling: Upsampling,
    /// The discriminators' architecture.
    pub discriminator: DiscriminatorKind,
    /// Channels of the discriminators' first layer.
    pub ndf: usize,
    /// Strided layers of the `n_layers` discriminator.
    pub n_layers: usize,
    /// Strided layers of a second discriminator of each domain, which sees more of a picture at once; 0: none.
    pub global_layers: usize,
    /// Divide the discriminators' weights by their largest singular values.
    pub spectral_norm: bool,
    /// What normalises after convolutions.
    pub norm: Norm,
    /// What normalises on the generators' way from style to picture.
    pub decoder_norm: DecoderNorm,
    /// Have generators leave out values in training.
    pub dropout: bool,
    /// How weights are drawn.
    pub init: Init,
    /// The scale they are drawn with.
    pub init_gain: f32,

    /// What the discriminators' answers are measured by.
    pub gan_mode: GanMode,
    /// Weight of the gradient penalty, for `gan_mode = "wgangp"`.
    pub lambda_gp: f32,
    /// Weight of the R1 penalty on the discriminators' slopes at real pictures; 0: none.
    pub lambda_r1: f32,
    /// Weight of the cycle A → B → A.
    pub lambda_a: f32,
    /// Weight of the cycle B → A → B.
    pub lambda_b: f32,
    /// Weight of the identity loss, relative to the cycle's.
    pub lambda_identity: f32,
    /// CUT: weight of the likeness of patches before and after.
    pub lambda_nce: f32,
    /// CUT: ask for the likeness of patches of domain B's pictures, too, of which the generator has to make
    /// themselves.
    pub nce_idt: bool,
    /// CUT: patches of a picture that are compared in each layer.
    pub nce_patches: usize,
    /// CUT: what likenesses are divided by.
    pub nce_temperature: f32,
    /// CUT: features that patches are compared by.
    pub nce_features: usize,
    /// CUT: in half of the steps, at random, translate pictures mirrored, and compare them mirrored back.
    pub flip_equivariance: bool,
    /// Weight of the distance of fakes from real pictures in what discriminators see; 0: none.
    pub lambda_feature_matching: f32,
    /// Weight of how far what a network sees in a translation is from what it sees in the picture; 0: none.
    pub lambda_perceptual: f32,
    /// Weight of how far the style that a network sees in a translation is from that of real pictures; 0: none.
    pub lambda_style: f32,
    /// Fakes that each image pool keeps.
    pub pool_size: usize,
    /// How pictures are augmented before discriminators see them.
    pub diffaugment: DiffAugment,

    /// Adam's learning rate.
    pub learning_rate: f32,
    /// Adam's first decay.
    pub beta1: f32,
    /// Adam's second decay.
    pub beta2: f32,
    /// Gradients of longer norm, both generators' or both discriminators' parameters taken together, are
    /// brought to it; 0: none are.
    pub clip_norm: f32,
    /// Keep a moving average of the generators' parameters, of which so much stays each step, and make
    /// pictures with that; 0: no.
    pub ema: f32,
}

/// What is trained, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// A generator each way: who goes there and back finds the same picture (Zhu et al., 2017).
    CycleGan,
    /// One generator: patches stay like those in their place before (Park et al., 2020).
    Cut,
    /// The same with less to compute: no identity, and a heavier likeness.
    FastCut,
}

impl Method {
    /// The columns of a sample sheet.
    pub fn columns(self) -> &'static [&'static str] {
        match self {
            Method::CycleGan => &["real A", "fake B", "A again", "real B", "fake A", "B again"],
            Method::Cut | Method::FastCut => &["real A", "fake B", "real B", "idt B"],
        }
    }

    /// Which domains are translated, and the columns that show it: before, and after.
    pub fn translations(self) -> &'static [(&'static str, [usize; 2])] {
        match self {
            Method::CycleGan => &[("A", [0, 1]), ("B", [3, 4])],
            Method::Cut | Method::FastCut => &[("A", [0, 1])],
        }
    }

    /// Pairs of columns that are worth to be held against each other, the foremost first.
    pub fn pairs(self) -> &'static [[usize; 2]] {
        match self {
            Method::CycleGan => &[[0, 1], [3, 4], [0, 2], [3, 5], [1, 4]],
            Method::Cut | Method::FastCut => &[[0, 1], [2, 3], [1, 2]],
        }
    }
}

/// A named configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// What two processor cores learn in ten minutes.
    Demo,
    /// The reference's numbers.
    Paper,
}

/// How pictures are brought to the size that training sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preprocess {
    /// Resized to `load_size`×`load_size`, whatever their proportions, then cropped at random.
    ResizeAndCrop,
    /// Cropped at random as they are.
    Crop,
    /// Resized to the width `load_size`, in proportion.
    ScaleWidth,
    /// Resized to the width `load_size`, in proportion, then cropped at random.
    ScaleWidthAndCrop,
    /// As they are, but for sides that are multiples of what the generator takes.
    None,
}

impl Preprocess {
    /// Whether all that training sees is of one size.
    pub fn crops(self) -> bool {
        !matches!(self, Preprocess::ScaleWidth | Preprocess::None)
    }
}

/// How the learning rate falls in a run; see the schedules of [`nn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrPolicy {
    /// [`nn::Linear`]
    Linear,
    /// [`nn::Stepwise`]
    Step,
    /// [`nn::Plateau`] of the generators' objective
    Plateau,
    /// [`nn::Cosine`] over the whole run
    Cosine,
}

/// What values are stored in; they are computed in `f32` in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stored {
    /// All in `f32`.
    Single,
    /// Pictures, what layers make of them and the gradients of that in `f16`; parameters, their gradients
    /// and losses in `f32`. For GPUs.
    Mixed,
}

impl Stored {
    /// That of pictures.
    pub fn of_pictures(self) -> Precision {
        match self {
            Stored::Single => Precision::Single,
            Stored::Mixed => Precision::Half,
        }
    }
}

/// The generators there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the reference's names
pub enum GeneratorKind {
    #[serde(rename = "resnet_6blocks")]
    Resnet6blocks,
    #[serde(rename = "resnet_9blocks")]
    Resnet9blocks,
    #[serde(rename = "unet_128")]
    Unet128,
    #[serde(rename = "unet_256")]
    Unet256,
}

/// How generators come back to the size of their pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upsampling {
    /// By transposed convolutions, as the reference does.
    Transposed,
    /// By nearest neighbours and convolutions, which leave no checkerboard.
    Resize,
}

/// What normalises in the second half of a generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecoderNorm {
    /// What does in the first half.
    Same,
    /// Instance and layer norm mixed by learnt shares: AdaLIN in the second half of the residual blocks, LIN
    /// behind upsampling (Kim et al., 2020, U-GAT-IT, without its attention).
    AdaLin,
}

/// The discriminators there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiscriminatorKind {
    /// A 70×70 `PatchGAN`.
    Basic,
    /// A `PatchGAN` of `n_layers` layers.
    NLayers,
    /// A `PixelGAN`, which judges single pixels.
    Pixel,
}

/// The largest size that is trained.
const MOST_SIZE: usize = 4096;

/// A configuration that can't be trained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option} = {given} does not work: {reason}")]
pub struct ConfigError {
    option: &'static str,
    given: String,
    reason: String,
}

impl GeneratorKind {
    /// Its residual blocks, if it has such.
    pub(crate) fn blocks(self) -> Option<usize> {
        match self {
            GeneratorKind::Resnet6blocks => Some(6),
            GeneratorKind::Resnet9blocks => Some(9),
            GeneratorKind::Unet128 | GeneratorKind::Unet256 => None,
        }
    }

    /// Sides of pictures must be multiples of this, for the network to end at the size it began with.
    pub fn multiple_of(self) -> usize {
        match self {
            GeneratorKind::Resnet6blocks | GeneratorKind::Resnet9blocks => 4,
            GeneratorKind::Unet128 => 128,
            GeneratorKind::Unet256 => 256,
        }
    }

    /// Sides of pictures must be no shorter: the residual blocks, at a quarter of the size, reflect
    /// one pixel and normalise over the rest; the U-Net goes down to one pixel.
    pub fn at_least(self) -> usize {
        match self {
            GeneratorKind::Resnet6blocks | GeneratorKind::Resnet9blocks => 8,
            GeneratorKind::Unet128 => 128,
            GeneratorKind::Unet256 => 256,
        }
    }
}

impl Config {
    /// The configuration of a preset.
    pub fn preset(preset: Preset) -> Config {
        let paper = Config {
            method: Method::CycleGan,
            input_nc: 3,
            output_nc: 3,
            preprocess: Preprocess::ResizeAndCrop,
            size: 256,
            load_size: 286,
            serial_batches: false,
            flip: true,
            rotate: 0.0,
            zoom: 0.0,
            jitter: 0.0,
            batch: 1,
            stages: Stages::default(),
            steps: 0,
            epochs: 200,
            lr_policy: LrPolicy::Linear,
            lr_decay_iters: 50,
            decay: 0.5,
            precision: Stored::Single,
            checkpoint_activations: false,
            seed: 1,
            generator: GeneratorKind::Resnet9blocks,
            ngf: 64,
            upsampling: Upsampling::Transposed,
            discriminator: DiscriminatorKind::Basic,
            ndf: 64,
            n_layers: 3,
            global_layers: 0,
            spectral_norm: false,
            norm: Norm::Instance,
            decoder_norm: DecoderNorm::Same,
            dropout: false,
            init: Init::Normal,
            init_gain: 0.02,
            gan_mode: GanMode::Lsgan,
            lambda_gp: 10.0,
            lambda_r1: 0.0,
            lambda_a: 10.0,
            lambda_b: 10.0,
            lambda_identity: 0.5,
            lambda_nce: 1.0,
            nce_idt: true,
            nce_patches: 256,
            nce_temperature: 0.07,
            nce_features: 256,
            flip_equivariance: false,
            lambda_feature_matching: 0.0,
            lambda_perceptual: 0.0,
            lambda_style: 0.0,
            pool_size: 50,
            diffaugment: DiffAugment::default(),
            learning_rate: 2e-4,
            beta1: 0.5,
            beta2: 0.999,
            clip_norm: 0.0,
            ema: 0.0,
        };
        match preset {
            Preset::Paper => paper,
            Preset::Demo => Config {
                size: 64,
                load_size: 70,
                steps: 4500,
                lr_decay_iters: 1125,
                generator: GeneratorKind::Resnet6blocks,
                ngf: 32,
                ndf: 32,
                ..paper
            },
        }
    }

    /// The same for a method, with what its paper's code sets otherwise than CycleGAN's; but weights are drawn
    /// as for CycleGAN. With the paper's (xavier, at 0.02) the first pictures are nearly flat, the first
    /// gradient is two thousand times as long as those after it, and Adam remembers that for thousands of steps.
    pub fn with_method(self, method: Method) -> Config {
        let cut = Config {
            pool_size: 0,
            epochs: 400,
            ..self.clone()
        };
        // Of a run in steps the decay stays a preset's own.
        let fast_decay = match self.steps {
            0 => 0.25,
            _ => self.decay,
        };
        Config {
            method,
            ..match method {
                Method::CycleGan => self,
                Method::Cut => cut,
                Method::FastCut => Config {
                    epochs: 200,
                    decay: fast_decay,
                    lambda_nce: 10.0,
                    nce_idt: false,
                    flip_equivariance: true,
                    ..cut
                },
            }
        }
    }

    /// Whether a network that sees is needed for the generators' training.
    pub fn perceives(&self) -> bool {
        self.lambda_perceptual > 0.0 || self.lambda_style > 0.0
    }

    /// How its networks' weights are drawn.
    pub(crate) fn weights<'a>(&self, rng: &'a mut ChaCha8Rng, device: &'a Device) -> Weights<'a> {
        Weights {
            init: self.init,
            gain: self.init_gain,
            rng,
            device,
        }
    }

    /// Channels of the pictures of both domains.
    pub fn channels(&self) -> [usize; 2] {
        [self.input_nc, self.output_nc]
    }

    /// The side that pictures are resized to before cropping.
    pub fn load_size(&self) -> usize {
        match self.load_size {
            0 => (self.size * 286).div_ceil(256),
            given => given,
        }
    }

    /// Refuses what can't be trained, before anything runs.
    ///
    /// # Errors
    /// The first option that does not work, with what would.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.stages.is_empty() {
            self.check_pictures()?;
        } else {
            self.check_stages()?;
        }
        if self.discriminator == DiscriminatorKind::NLayers && self.n_layers == 0 {
            return refuse("n_layers", &0, "a PatchGAN has at least one layer".into());
        }
        for (option, given) in [("ngf", self.ngf), ("ndf", self.ndf)] {
            if !(1..=1024).contains(&given) {
                return refuse(option, &given, "it must be from 1 to 1024".into());
            }
        }
        if self.stages.is_empty() && self.steps == 0 && self.epochs == 0 {
            return refuse(
                "epochs",
                &0,
                "give a number of epochs or steps to train".into(),
            );
        }
        for (option, given, most) in [
            ("rotate", self.rotate, 180.0),
            ("zoom", self.zoom, 0.9),
            ("jitter", self.jitter, 1.0),
        ] {
            if !(0.0..=most).contains(&given) {
                return refuse(option, &given, format!("it must be from 0 to {most}"));
            }
        }
        for (option, given) in [("input_nc", self.input_nc), ("output_nc", self.output_nc)] {
            if ![1, 3].contains(&given) {
                return refuse(option, &given, "pictures have 1 or 3 channels".into());
            }
        }
        let cycles = self.method == Method::CycleGan;
        if cycles && self.input_nc != self.output_nc && self.lambda_identity > 0.0 {
            let reason = "the identity loss compares pictures of both domains, which have different \
                          numbers of channels; give lambda_identity = 0";
            return refuse("lambda_identity", &self.lambda_identity, reason.into());
        }
        self.check_method()?;
        if self.decoder_norm == DecoderNorm::AdaLin {
            if self.generator.blocks().is_none() {
                let reason = "it is for generators with residual blocks; give resnet_6blocks or resnet_9blocks";
                return refuse("decoder_norm", &"adalin", reason.into());
            }
            if self.method != Method::CycleGan {
                let reason = "CUT looks at residual blocks, which are others then; give decoder_norm = \"same\"";
                return refuse("decoder_norm", &"adalin", reason.into());
            }
        }
        let penalised = self.gan_mode == GanMode::Wgangp || self.lambda_r1 > 0.0;
        if penalised && self.precision == Stored::Mixed {
            let reason = "the penalties on discriminators need gradients in full precision; give \
                          precision = \"single\"";
            return refuse("precision", &"mixed", reason.into());
        }
        if self.lr_policy == LrPolicy::Step && self.lr_decay_iters == 0 {
            return refuse(
                "lr_decay_iters",
                &0,
                "the learning rate falls after at least 1".into(),
            );
        }
        if !self.preprocess.crops() && !self.stages.is_empty() {
            let reason = "stages are of one size each, which pictures that are not cropped are not";
            return refuse("stages", &self.stages, reason.into());
        }
        let unit = [
            ("decay", self.decay),
            ("beta1", self.beta1),
            ("beta2", self.beta2),
            ("ema", self.ema),
        ];
        for (option, given) in unit {
            let below_one = option == "decay" || given < 1.0;
            if !(0.0..=1.0).contains(&given) || !below_one {
                return refuse(option, &given, "it must be between 0 and 1".into());
            }
        }
        for (option, given) in [
            ("learning_rate", self.learning_rate),
            ("lambda_gp", self.lambda_gp),
            ("lambda_r1", self.lambda_r1),
            ("lambda_a", self.lambda_a),
            ("lambda_b", self.lambda_b),
            ("lambda_identity", self.lambda_identity),
            ("lambda_nce", self.lambda_nce),
            ("lambda_feature_matching", self.lambda_feature_matching),
            ("lambda_perceptual", self.lambda_perceptual),
            ("lambda_style", self.lambda_style),
            ("init_gain", self.init_gain),
            ("clip_norm", self.clip_norm),
        ] {
            if !given.is_finite() || given < 0.0 {
                return refuse(option, &given, "it must be a number, 0 or more".into());
            }
        }
        Ok(())
    }

    /// Refuses what CUT can't be trained with.
    fn check_method(&self) -> Result<(), ConfigError> {
        if self.method == Method::CycleGan {
            return Ok(());
        }
        if self.generator.blocks().is_none() {
            let reason = "CUT compares what is inside of a generator with residual blocks; give resnet_6blocks or \
                          resnet_9blocks";
            return refuse("generator", &named(self.generator), reason.into());
        }
        if self.input_nc != self.output_nc {
            let reason = format!(
                "CUT looks at pictures of both domains with one network, and output_nc is {}; give both the same, \
                 or method = \"cyclegan\"",
                self.output_nc
            );
            return refuse("input_nc", &self.input_nc, reason);
        }
        if self.checkpoint_activations {
            let reason = "CUT compares what is inside of the generator, which has to be kept then; leave it out";
            return refuse("checkpoint_activations", &true, reason.into());
        }
        for (option, given, most) in [
            ("nce_patches", self.nce_patches, 4096),
            ("nce_features", self.nce_features, 4096),
        ] {
            if !(1..=most).contains(&given) {
                return refuse(option, &given, format!("it must be from 1 to {most}"));
            }
        }
        // Likenesses are from −1 to 1, and e to the power of their distances has to be a number.
        if !(0.03..=100.0).contains(&self.nce_temperature) {
            let reason = "it must be from 0.03 to 100".into();
            return refuse("nce_temperature", &self.nce_temperature, reason);
        }
        Ok(())
    }

    /// Refuses stages that say other than `steps` and `epochs`, and those that can't be trained.
    fn check_stages(&self) -> Result<(), ConfigError> {
        for (option, given) in [("steps", self.steps), ("epochs", self.epochs)] {
            if given != 0 {
                let reason = format!(
                    "the stages ({}) say how many steps there are; leave one of the two out \
                     (stages = \"\" for no stages)",
                    self.stages
                );
                return refuse(option, &given, reason);
            }
        }
        for stage in self.stages.planned() {
            if !(1..=1_000_000_000).contains(&stage.steps) {
                let reason = "a stage has from 1 to 1000000000 steps".into();
                return refuse("stages", stage, reason);
            }
            self.at(stage)
                .check_pictures()
                .map_err(|error| ConfigError {
                    option: "stages",
                    given: stage.to_string(),
                    reason: format!("{} = {}: {}", error.option, error.given, error.reason),
                })?;
        }
        Ok(())
    }

    /// This configuration at every size that can be trained, the smallest first, with batches of one; the
    /// loading size keeps its proportion.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = Config> {
        let step = self.generator.multiple_of();
        let at = move |size: usize| Config {
            size,
            load_size: self.load_size() * size / self.size.max(1),
            batch: 1,
            ..self.clone()
        };
        let all = (1..=MOST_SIZE / step).map(move |count| at(count * step));
        all.filter(|config| config.check_pictures().is_ok())
    }

    /// Refuses sizes and batches that the networks can't take.
    fn check_pictures(&self) -> Result<(), ConfigError> {
        let (multiple, least) = (self.generator.multiple_of(), self.generator.at_least());
        if self.size < least || !self.size.is_multiple_of(multiple) {
            let name = named(self.generator);
            let below = (self.size.min(4096) / multiple * multiple).max(least);
            let reason = format!(
                "{name} takes multiples of {multiple} from {least} on; try {below} or {}",
                below + multiple
            );
            return refuse("size", &self.size, reason);
        }
        if self.size > MOST_SIZE {
            let reason = format!("training takes at most {MOST_SIZE}");
            return refuse("size", &self.size, reason);
        }
        let least = if self.preprocess.crops() {
            self.size
        } else {
            8
        };
        if !(least..=8192).contains(&self.load_size()) {
            let reason = format!("it must be from {least} to 8192, or 0");
            return refuse("load_size", &self.load_size, reason);
        }
        if !self.preprocess.crops() && self.batch > 1 {
            let reason = "pictures that are not cropped differ in size; give batch = 1";
            return refuse("batch", &self.batch, reason.into());
        }
        // Each strided layer halves the picture; the last two take three pixels off at least two.
        let layers = match self.discriminator {
            DiscriminatorKind::Basic => 3,
            DiscriminatorKind::NLayers => self.n_layers,
            DiscriminatorKind::Pixel => 0,
        };
        let too_many = |layers: usize| layers > 10 || self.size >> layers < 3;
        if too_many(layers) {
            let reason = format!(
                "a PatchGAN of {layers} layers takes pictures of at least {}; choose fewer \
                 n_layers, a larger size, or discriminator = \"pixel\"",
                3usize << layers.min(10)
            );
            return refuse(
                "discriminator",
                &format!("{:?}", self.discriminator),
                reason,
            );
        }
        if layers > 0 && (1..=layers).contains(&self.global_layers) {
            let reason = format!(
                "the local discriminator has {layers} strided layers, and a global one should see more than that; \
                 give more, or 0 for none"
            );
            return refuse("global_layers", &self.global_layers, reason);
        }
        if too_many(self.global_layers) {
            let reason = format!(
                "a PatchGAN of so many layers takes pictures of at least {}; choose fewer, or a larger size",
                3usize << self.global_layers.min(10)
            );
            return refuse("global_layers", &self.global_layers, reason);
        }
        if !(1..=1024).contains(&self.batch) {
            return refuse("batch", &self.batch, "it must be from 1 to 1024".into());
        }
        Ok(())
    }

    /// No more values than its networks' parameters have, and no less than a fifth: whoever reads a
    /// configuration from a file can tell what it asks for before networks are made.
    pub fn least_values(&self) -> usize {
        let generator = match self.generator {
            GeneratorKind::Resnet6blocks => 6 * 288,
            GeneratorKind::Resnet9blocks => 9 * 288,
            GeneratorKind::Unet128 => 2048 + 2 * 3072,
            GeneratorKind::Unet256 => 2048 + 3 * 3072,
        };
        let patch = |layers: usize| match layers {
            0 => 0,
            1 => 32,
            2 => 32 + 128,
            more => 32 + 128 + 512 + 1024 * (more - 3),
        };
        let discriminator = match self.discriminator {
            DiscriminatorKind::Basic => patch(3),
            DiscriminatorKind::NLayers => patch(self.n_layers),
            DiscriminatorKind::Pixel => 2,
        };
        let discriminator = discriminator + patch(self.global_layers);
        let both = generator * self.ngf.pow(2) + discriminator * self.ndf.pow(2);
        match self.method {
            Method::CycleGan => 2 * both,
            Method::Cut | Method::FastCut => both,
        }
    }

    /// The run's steps where it is not given in epochs, else 0.
    fn given_steps(&self) -> u64 {
        match self.stages.is_empty() {
            true => self.steps,
            false => self.stages.steps(),
        }
    }

    /// The number of steps for domains of so many pictures.
    pub fn total_steps(&self, [a, b]: [usize; 2]) -> u64 {
        match self.given_steps() {
            0 => self.epochs.saturating_mul(self.steps_per_epoch([a, b])),
            steps => steps,
        }
    }

    /// Steps until each picture of the larger domain was seen once.
    pub fn steps_per_epoch(&self, [a, b]: [usize; 2]) -> u64 {
        a.max(b).div_ceil(self.batch) as u64
    }

    /// The learning rate in step `step`, counted from 0: by epochs as in the reference, or by steps
    /// where the run is given in steps. What a plateau makes of it is up to [`nn::Plateau`].
    pub fn learning_rate_at(&self, step: u64, domains: [usize; 2]) -> f32 {
        let (unit, units) = match self.given_steps() {
            0 => (step / self.steps_per_epoch(domains), self.epochs),
            steps => (step, steps),
        };
        let decay = (units as f64 * f64::from(self.decay)).round() as u64;
        let factor = match self.lr_policy {
            LrPolicy::Linear => {
                let constant = units - decay.min(units);
                Linear { constant, decay }.factor(unit + 1)
            }
            LrPolicy::Step => {
                let every = self.lr_decay_iters;
                Stepwise { every }.factor(unit + 1)
            }
            LrPolicy::Cosine => Cosine { units }.factor(unit + 1),
            LrPolicy::Plateau => 1.0,
        };
        self.learning_rate * factor
    }

    /// Adam's constants.
    pub fn adam(&self) -> AdamConfig {
        AdamConfig {
            beta1: self.beta1,
            beta2: self.beta2,
            eps: 1e-8,
        }
    }
}

/// What configurations call a generator.
fn named(generator: GeneratorKind) -> String {
    toml::Value::try_from(generator).map_or(String::new(), |name| {
        name.as_str().unwrap_or_default().to_owned()
    })
}

/// What was given, as far as a message needs it.
pub(crate) fn shortened(given: &str) -> String {
    match given.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &given[..end]),
        None => given.to_owned(),
    }
}

fn refuse(option: &'static str, given: &dyn ToString, reason: String) -> Result<(), ConfigError> {
    Err(ConfigError {
        option,
        given: given.to_string(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_run() {
        let paper = Config::preset(Preset::Paper);
        paper.check().unwrap();
        let domains = [1000, 1200];
        assert_eq!(paper.total_steps(domains), 200 * 1200);
        assert_eq!(paper.learning_rate_at(0, domains), 2e-4);
        assert_eq!(paper.learning_rate_at(100 * 1200 - 1, domains), 2e-4);
        let epoch_101 = paper.learning_rate_at(100 * 1200, domains);
        assert!((epoch_101 / 2e-4 - 100.0 / 101.0).abs() < 1e-6);
    }

    #[test]
    fn presets_are_trainable_and_survive_toml() {
        for preset in [Preset::Demo, Preset::Paper] {
            let config = Config::preset(preset);
            config.check().unwrap();
            let text = toml::to_string(&config).unwrap();
            assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
        }
    }

    #[test]
    fn sizes_that_the_generator_cannot_take_are_refused_with_advice() {
        let demo = Config::preset(Preset::Demo);
        let message = Config {
            size: 66,
            load_size: 0,
            ..demo.clone()
        }
        .check()
        .unwrap_err();
        assert!(message.to_string().contains("try 64 or 68"), "{message}");
        let unet = Config {
            generator: GeneratorKind::Unet128,
            ..demo
        };
        assert!(unet.check().unwrap_err().to_string().contains("128"));
        for size in [usize::MAX, usize::MAX - 3] {
            let huge = Config {
                size,
                ..Config::preset(Preset::Paper)
            };
            assert!(huge.check().is_err());
        }
    }

    #[test]
    fn epochs_beyond_counting_are_as_many_steps_as_there_are() {
        let endless = Config {
            epochs: u64::MAX,
            ..Config::preset(Preset::Paper)
        };
        assert_eq!(endless.total_steps([5, 7]), u64::MAX);
    }

    #[test]
    fn the_least_values_are_near_those_of_the_networks() {
        let generators = [
            GeneratorKind::Resnet6blocks,
            GeneratorKind::Resnet9blocks,
            GeneratorKind::Unet128,
            GeneratorKind::Unet256,
        ];
        let discriminators = [
            (DiscriminatorKind::Basic, 0),
            (DiscriminatorKind::Pixel, 0),
            (DiscriminatorKind::NLayers, 1),
            (DiscriminatorKind::NLayers, 2),
            (DiscriminatorKind::NLayers, 5),
        ];
        for generator in generators {
            for (discriminator, n_layers) in discriminators {
                let config = Config {
                    generator,
                    discriminator,
                    n_layers,
                    ngf: 8,
                    ndf: 8,
                    ..Config::preset(Preset::Paper)
                };
                let model = crate::model(&config, &tensor::Device::Cpu).unwrap();
                let all: usize = model
                    .parameter_counts()
                    .iter()
                    .map(|(_, count)| count)
                    .sum();
                let least = config.least_values();
                assert!(
                    least <= all && all <= 5 * least,
                    "{config:?}: {least}, {all}"
                );
            }
        }
    }
}
