use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use cyclegan::{Generator, Model};
use serde::{Deserialize, Serialize};

use crate::amount::Memory;
use crate::clip::FrameRate;

/// Learns to turn one kind of picture into another without paired examples.
///
/// Without a command it trains; without options, the demo preset on the demo faces.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub train: TrainArgs,
}

#[derive(Subcommand)]
pub enum Command {
    /// Train a model (what happens without a command)
    Train(Box<TrainArgs>),
    /// Say how much memory training would take, and what would fit
    Plan(Box<TrainArgs>),
    /// Translate pictures with a trained model
    Translate(TranslateArgs),
    /// Make a run of generators that another program trained (.pth, .safetensors)
    Import(ImportArgs),
    /// Write a run's generator for other programs (.safetensors, .pth, .onnx)
    Export(ExportArgs),
    /// Say how good a run's translations are: KID, FID, LPIPS
    Evaluate(EvaluateArgs),
    /// List the devices that --device takes
    Devices,
    /// List runs: how far they are, and whether they go on
    Runs(RunsArgs),
    /// Show a run in a browser while it trains, and translate pictures with it
    Watch(WatchArgs),
    /// Write the page that `watch` shows into a file that needs nothing else
    Report(ReportArgs),
    /// Mark a checkpoint, so that it is kept when newer ones come
    Keep(KeepArgs),
    /// Measure training steps and translation: how long would this machine take?
    Bench(BenchArgs),
}

/// Options of a training run. Those in `options` can stand in the `--config` file too.
#[derive(Args, Clone)]
pub struct TrainArgs {
    /// TOML file with options, by the names below with underscores; flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Go on with the run in this folder from its newest checkpoint. Options given beside it change the
    /// run from there on, where they can
    #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "out"])]
    pub resume: Option<PathBuf>,
    /// Show no progress
    #[arg(long, short)]
    pub quiet: bool,
    #[command(flatten)]
    pub options: Options,
}

/// Everything that a configuration file can hold. Absent means: as the file or the preset says.
#[derive(Args, Clone, Default, Serialize)]
pub struct Options {
    /// Starting point for all other options: what two processor cores learn in ten minutes, or
    /// the reference's numbers [default: demo]
    #[arg(long, value_parser = PossibleValuesParser::new(["demo", "paper"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// What is trained: cyclegan (a generator each way, and there and back finds the same picture), cut (one
    /// generator, whose patches stay like what was in their place), or fastcut (the same with less to compute)
    /// [default: cyclegan]
    #[arg(long, value_parser = PossibleValuesParser::new(["cyclegan", "cut", "fastcut"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Folder with trainA and trainB (and testA, testB for samples) [default: the demo faces]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// Train on one style of the drawings: those in trainB/style-NAME (and testB/style-NAME)
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub style: Option<String>,
    /// Which of the data's domains is the run's A: with BtoA trainB is, and trainA its B
    #[arg(long, value_parser = PossibleValuesParser::new(["AtoB", "BtoA"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// Take only the first N pictures of each domain; 0: all
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_dataset_size: Option<usize>,
    /// Folder for the run's results [default: runs/PRESET, or the next free runs/PRESET-N]
    #[arg(long, value_name = "RUN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out: Option<PathBuf>,
    /// best (a real GPU, else the processor), cpu, gpu, or part of an adapter's name or backend;
    /// see `trainer devices` [default: best]
    #[arg(long, value_name = "NAME", env = "HENSHIN_DEVICE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Don't measure which of a GPU's kernels are fastest: take the same ones at every run
    #[arg(long = "no-autotune", num_args = 0, default_missing_value = "false")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autotune: Option<bool>,
    /// Steps between sample sheets
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_every: Option<u64>,
    /// Steps between checkpoints
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_every: Option<u64>,
    /// Checkpoints to keep
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_checkpoints: Option<usize>,
    /// Keep the checkpoints at multiples of N steps beyond that, too (as `trainer keep` does with single
    /// ones); 0: none
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_every: Option<u64>,
    /// After a step whose losses or gradients are no finite numbers: skip it, leaving the networks as they
    /// are; roll back to the last checkpoint and pass over the step when it comes again; or stop
    /// [default: skip]
    #[arg(long, value_parser = PossibleValuesParser::new(["skip", "rollback", "stop"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_nan: Option<String>,
    /// Write event files for TensorBoard into RUN/tensorboard: every step's numbers, and the sample sheets
    /// [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensorboard: Option<bool>,
    /// Steps between evaluations: KID, FID and LPIPS of the test pictures' translations, A to B, and back, with
    /// the network of --features; the best checkpoint is kept. 0: none [default: 0]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_every: Option<u64>,
    /// Weights of the network that --eval-every measures with, as `trainer evaluate` takes them
    #[arg(long, value_name = "FILE", env = "HENSHIN_FEATURES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<PathBuf>,
    /// Weights of the network by which --eval-every tells people apart, as `trainer evaluate` takes them
    /// [default: none]
    #[arg(long, value_name = "FILE", env = "HENSHIN_IDENTITY")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<PathBuf>,
    /// The most pictures of each kind that --eval-every takes, spread evenly over those there are
    /// [default: 64]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_pictures: Option<usize>,
    /// The figure by which --eval-every tells the best checkpoint, that with the least of it [default: kid]
    #[arg(long, value_parser = PossibleValuesParser::new(
        ["kid", "fid", "lpips_cycle", "l1_cycle", "identity"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best: Option<String>,

    /// Train the same networks on small pictures first and on larger ones later: SIZE:STEPS or
    /// SIZE:STEPS:BATCH for each stage, as in 64:4000,128:4000,256:8000. Stands for --steps and --epochs;
    /// --size and --load-size only say in which proportion pictures are cropped; "" for none
    #[arg(long, value_name = "STAGES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stages: Option<String>,
    /// Steps of the run; 0: as many as --epochs make
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Epochs of the run (sets --steps to 0)
    #[arg(long, value_name = "N", conflicts_with = "steps")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u64>,
    /// How the learning rate falls: linear (over --decay), step (to a tenth every --lr-decay-iters), plateau
    /// (to a fifth when the generators' objective stays as it is), cosine
    #[arg(long, value_parser = PossibleValuesParser::new(["linear", "step", "plateau", "cosine"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr_policy: Option<String>,
    /// With --lr-policy step: epochs between falls, or steps where the run is given in steps
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr_decay_iters: Option<u64>,
    /// With --lr-policy linear: share of the run at its end over which the learning rate falls
    #[arg(long, value_name = "SHARE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay: Option<f32>,
    /// How pictures are brought to the size that training sees: resized to a square of --load-size, or to
    /// that width in proportion, or not; then cropped to --size at random, or not
    #[arg(long, value_parser = PossibleValuesParser::new(
        ["resize_and_crop", "crop", "scale_width", "scale_width_and_crop", "none"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preprocess: Option<String>,
    /// Side of the pictures that training sees, in pixels
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// Side that pictures are resized to before the random crop; 0: 286/256 of the size
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_size: Option<usize>,
    /// Take the pictures of both domains in the order of their names, instead of shuffled and at random
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial_batches: Option<bool>,
    /// Mirror pictures at random
    #[arg(long, value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flip: Option<bool>,
    /// Turn pictures at random by up to so many degrees, either way
    #[arg(long, value_name = "DEGREES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotate: Option<f32>,
    /// Scale pictures at random by 1 - SHARE to 1 + SHARE
    #[arg(long, value_name = "SHARE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zoom: Option<f32>,
    /// Multiply brightness, contrast and saturation at random by 1 - X to 1 + X each
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<f32>,
    /// Pictures of each domain in a step
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    /// single, or mixed: half precision between a network's layers, which takes half the memory on GPUs
    /// that have it [default: single]
    #[arg(long, value_parser = PossibleValuesParser::new(["single", "mixed"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
    /// Compute what is inside of the generators again in the backward pass, instead of keeping it: much
    /// less memory, more time, the same results [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_activations: Option<bool>,
    /// Seed of everything random
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,

    /// Channels of domain A's pictures: 3, or 1 for shades of grey
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_nc: Option<usize>,
    /// Channels of domain B's pictures
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_nc: Option<usize>,
    /// The generators' architecture
    #[arg(long, value_parser = PossibleValuesParser::new(
        ["resnet_6blocks", "resnet_9blocks", "unet_128", "unet_256"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator: Option<String>,
    /// Channels of the generators' first layer
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ngf: Option<usize>,
    /// How the generators come back to the pictures' size: transposed (convolutions), or resize (and
    /// convolve), which leaves no checkerboard
    #[arg(long, value_parser = PossibleValuesParser::new(["transposed", "resize"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upsampling: Option<String>,
    /// The discriminators' architecture
    #[arg(long, value_parser = PossibleValuesParser::new(["basic", "n_layers", "pixel"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discriminator: Option<String>,
    /// Channels of the discriminators' first layer
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ndf: Option<usize>,
    /// Layers of the n_layers discriminator
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_layers: Option<usize>,
    /// Strided layers of a second discriminator of each domain, which sees more of a picture at once; 0: none
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub global_layers: Option<usize>,
    /// Divide the discriminators' weights by their largest singular values: steadier where they win
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spectral_norm: Option<bool>,
    /// Normalisation after convolutions
    #[arg(long, value_parser = PossibleValuesParser::new(["instance", "instance_affine", "batch", "none"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm: Option<String>,
    /// Normalisation in the generators' second half: the same, or adalin (instance and layer norm mixed by
    /// learnt shares), which lets shapes change more
    #[arg(long, value_parser = PossibleValuesParser::new(["same", "adalin"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoder_norm: Option<String>,
    /// Have generators leave out half of the values between some layers in training
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<bool>,
    /// How weights are drawn
    #[arg(long, value_parser = PossibleValuesParser::new(
        ["normal", "xavier", "kaiming", "orthogonal"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// The scale that weights are drawn with
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_gain: Option<f32>,
    /// Adversarial loss
    #[arg(long, value_parser = PossibleValuesParser::new(["lsgan", "vanilla", "wgangp", "hinge"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gan_mode: Option<String>,
    /// Weight of the gradient penalty, with --gan-mode wgangp
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lambda_gp: Option<f32>,
    /// Weight of the R1 penalty on how steep discriminators are at real pictures; 0: none
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lambda_r1: Option<f32>,
    /// Weight of the cycle A → B → A
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lambda_a: Option<f32>,
    /// Weight of the cycle B → A → B
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lambda_b: Option<f32>,
    /// Weight of the identity loss, relative to the cycle's
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lambda_identity: Option<f32>,
    /// CUT: weight of the likeness of patches before and after
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lambda_nce: Option<f32>,
    /// CUT: ask for the likeness of patches in domain B's pictures, too, of which the generator has to make
    /// themselves
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nce_idt: Option<bool>,
    /// CUT: patches of a picture that are compared in each layer
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nce_patches: Option<usize>,
    /// CUT: what likenesses are divided by
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nce_temperature: Option<f32>,
    /// CUT: features that patches are compared by
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nce_features: Option<usize>,
    /// CUT: in half of the steps, at random, translate pictures mirrored, and compare them mirrored back
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flip_equivariance: Option<bool>,
    /// Weight of the distance of fakes from real pictures in what discriminators see; 0: none
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lambda_feature_matching: Option<f32>,
    /// Weights of a VGG16 or VGG19 (.pth or .safetensors) for --lambda-perceptual and --lambda-style
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perceptual: Option<PathBuf>,
    /// Weight of how far what that network sees in a translation is from what it sees in the picture; 0: none
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lambda_perceptual: Option<f32>,
    /// Weight of how far the style that it sees in a translation is from that of real pictures; 0: none
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lambda_style: Option<f32>,
    /// Fakes that each image pool keeps
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_size: Option<usize>,
    /// Augmentation of what the discriminators see, for sets of few pictures: color, translation and
    /// cutout, or some of them, with commas between; "" for none
    #[arg(long, value_name = "KINDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diffaugment: Option<String>,
    /// Adam's learning rate
    #[arg(long, value_name = "X", alias = "lr")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f32>,
    /// Adam's first decay
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta1: Option<f32>,
    /// Adam's second decay
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta2: Option<f32>,
    /// Shorten gradients whose norm is longer, those of both generators (or both discriminators) taken
    /// together; 0: never
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f32>,
    /// Keep a moving average of the generators, of which so much stays each step (say 0.999), and make
    /// pictures with that; 0: no
    #[arg(long, value_name = "SHARE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<f32>,
}

/// The device of a command that is not a run.
#[derive(Args)]
pub struct DeviceArg {
    /// As in training
    #[arg(
        id = "device",
        long = "device",
        value_name = "NAME",
        env = "HENSHIN_DEVICE",
        default_value = "best"
    )]
    pub name: String,
    /// As in training
    #[arg(long)]
    pub no_autotune: bool,
}

#[derive(Args)]
pub struct TranslateArgs {
    /// The run's folder, or one of its checkpoints
    pub run: PathBuf,
    /// A picture, a folder of pictures, an animation (GIF, WebP, PNG) or a video; - for standard input
    #[arg(long, value_name = "FILE|DIR")]
    pub input: PathBuf,
    /// Folder for the results (PNG, of the inputs' sizes; numbered frames of a clip), or a file: .png for a
    /// picture, .gif, .apng, .mp4, .m4v, .mov, .mkv or .webm for a clip or a folder of frames; - for standard
    /// output
    #[arg(long, value_name = "DIR|FILE")]
    pub output: PathBuf,
    /// From which kind of picture to which
    #[arg(long, value_enum, default_value = "AtoB")]
    pub direction: Direction,
    /// The checkpoint after so many steps, or the best that training kept [default: the newest]
    #[arg(long, value_name = "N|best")]
    pub step: Option<Step>,
    /// Translate in tiles of N×N pixels and what the generator sees around them; the result is the same
    /// [default: the whole picture where it fits into --memory, else tiles as large as do]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub tile: Option<u32>,
    /// Make translations of frames that follow each other steady: the share of what was shown before, from 0
    /// (none) to less than 1, where the input stands still
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    pub smooth: f32,
    /// Frames a second, as in 25, 23.976 or 30000/1001: to take of a video, or to show of an animation or a
    /// folder of frames [default: the input's; 25 for a folder]
    #[arg(long, value_name = "N")]
    pub fps: Option<FrameRate>,
    /// Find the faces of photographs, translate each as training saw them, and paste them back; a clip's frame
    /// in which none is found stays as it is
    #[arg(long, conflicts_with = "tile")]
    pub faces: bool,
    /// With --faces: the side that faces are translated at, in pixels [default: training's]
    #[arg(long, value_name = "N", requires = "faces", value_parser = clap::value_parser!(u32).range(8..=4096))]
    pub face_size: Option<u32>,
    /// About how much memory a picture's translation may take, as in 2GB or 800MB [default: half of what
    /// is free, or 4GB on a GPU and where that can't be told]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Memory>,
    #[command(flatten)]
    pub device: DeviceArg,
    /// Show no progress
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Args)]
pub struct EvaluateArgs {
    /// The run's folder, or one of its checkpoints
    pub run: PathBuf,
    /// Folder with testA and testB, trainA and trainB [default: what the run was trained on]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Weights of the network that KID, FID and LPIPS are measured with: a VGG16 of stlpips-pytorch (with
    /// LPIPS) or torchvision (without, as all others), an EfficientNet-Lite0, or an Inception-v3 of
    /// pytorch-fid or torchvision
    #[arg(long, value_name = "FILE", env = "HENSHIN_FEATURES")]
    pub features: Option<PathBuf>,
    /// Weights of the network that tells people apart, face-api.js's face_recognition_model.bin with its manifest
    /// beside it: how far the descriptors of pictures are from those of their translations
    #[arg(long, value_name = "FILE", env = "HENSHIN_IDENTITY")]
    pub identity: Option<PathBuf>,
    /// Side of the pictures that the network sees; figures at different ones can't be compared [default: 128
    /// for a VGG16, 224 for an EfficientNet-Lite0, 299 for an Inception-v3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(32..=1024))]
    pub size: Option<u32>,
    /// From which kind of picture to which
    #[arg(long, value_enum, default_value = "AtoB")]
    pub direction: Direction,
    /// The checkpoint after so many steps, or the best that training kept [default: the newest]
    #[arg(long, value_name = "N|best")]
    pub step: Option<Step>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub device: DeviceArg,
    /// Show no progress
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Args)]
pub struct ImportArgs {
    /// The generator's weights: a .pth file of PyTorch's, or .safetensors. A folder: the reference's
    /// latest_net_G_A.pth and latest_net_G_B.pth in it, with their discriminators, as far as there are any
    #[arg(value_name = "FILE|DIR")]
    pub file: PathBuf,
    /// Its architecture [default: found by its tensors]
    #[arg(long, value_parser = PossibleValuesParser::new(
        ["resnet_6blocks", "resnet_9blocks", "unet_128", "unet_256"]))]
    pub generator: Option<String>,
    /// What normalises in it [default: instance norm, with weights if it has some]
    #[arg(long, value_parser = PossibleValuesParser::new(["instance", "instance_affine", "none"]))]
    pub norm: Option<String>,
    /// Which way it translates [default: AtoB, unless its name ends in net_G_B]
    #[arg(long, value_enum)]
    pub direction: Option<Direction>,
    /// The weights of the generator of the other direction [default: a fresh one]
    #[arg(long, value_name = "FILE")]
    pub back: Option<PathBuf>,
    /// Folder for the run
    #[arg(long, alias = "out", value_name = "RUN")]
    pub output: PathBuf,
    /// TOML file with options for training on [default: the reference's]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Args)]
pub struct ExportArgs {
    /// The run's folder, or one of its checkpoints
    pub run: PathBuf,
    /// What to write [default: by the ending of --output]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// The generator of which direction
    #[arg(long, value_enum, default_value = "AtoB")]
    pub direction: Direction,
    /// The checkpoint after so many steps, or the best that training kept [default: the newest]
    #[arg(long, value_name = "N|best")]
    pub step: Option<Step>,
    /// The file
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
}

/// A format that other programs read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tensors under the reference's names
    Safetensors,
    /// A state dict that PyTorch loads
    Pth,
    /// The network for ONNX runtimes
    Onnx,
}

#[derive(Args)]
pub struct RunsArgs {
    /// The folder that the runs are in, or a run's
    #[arg(default_value = "runs")]
    pub folder: PathBuf,
}

#[derive(Args)]
pub struct KeepArgs {
    /// The run's folder
    pub run: PathBuf,
    /// The checkpoint after so many steps [default: the newest]
    #[arg(long, value_name = "N")]
    pub step: Option<u64>,
}

#[derive(Args)]
pub struct WatchArgs {
    /// The run's folder
    pub run: PathBuf,
    /// The port to listen on; 0: one that the system chooses [default: 6116, or the next free one]
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
    /// The address to listen on. With another than 127.0.0.1 everybody who reaches it sees the run
    #[arg(long, value_name = "A", default_value = "127.0.0.1")]
    pub address: IpAddr,
    /// What pictures are translated on, as in training; the processor leaves a GPU to the trainer
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    pub device: String,
}

#[derive(Args)]
pub struct ReportArgs {
    /// The run's folder
    pub run: PathBuf,
    /// The file [default: RUN/report.html]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Args)]
pub struct BenchArgs {
    /// Where the model's options come from that are not given here
    #[arg(long, default_value = "demo", value_parser = PossibleValuesParser::new(["demo", "paper"]))]
    pub preset: String,
    /// Side of the pictures, in pixels
    #[arg(long, value_name = "N")]
    pub size: Option<usize>,
    /// Pictures of each domain in a step
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// The generators' architecture
    #[arg(long, value_name = "G")]
    pub generator: Option<String>,
    /// Channels of the generators' first layer
    #[arg(long, value_name = "N")]
    pub ngf: Option<usize>,
    /// Channels of the discriminators' first layer
    #[arg(long, value_name = "N")]
    pub ndf: Option<usize>,
    /// As in training
    #[arg(long, value_parser = PossibleValuesParser::new(["single", "mixed"]))]
    pub precision: Option<String>,
    /// Steps to measure, after two to warm up
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u64).range(1..))]
    pub steps: u64,
    #[command(flatten)]
    pub device: DeviceArg,
    /// Measure single operations at CycleGAN's shapes instead, those whose name has NAME in it
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    pub operations: Option<String>,
    /// Print JSON, a line for each measurement
    #[arg(long)]
    pub json: bool,
}

/// Which of a run's checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The best by the figure of `--best`.
    Best,
    /// That after so many steps.
    After(u64),
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "best" => Ok(Step::Best),
            _ => text
                .parse()
                .map(Step::After)
                .map_err(|_| "it is a number of steps, or best".to_owned()),
        }
    }
}

/// A number from 0 to less than 1.
fn share(text: &str) -> Result<f32, String> {
    let share = text.trim().parse().ok();
    let share = share.filter(|share| (0.0..1.0).contains(share));
    share.ok_or_else(|| "give a number from 0 to less than 1, as in 0.6".into())
}

/// From which kind of picture to which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Direction {
    /// As photographs to drawings
    #[value(name = "AtoB")]
    AtoB,
    /// As drawings to photographs
    #[value(name = "BtoA")]
    BtoA,
}

impl Direction {
    /// The generator that goes this way.
    ///
    /// # Errors
    /// When the run's method has none.
    pub fn generator(self, model: &dyn Model) -> Result<&Generator> {
        match self {
            Direction::AtoB => Ok(model.a_to_b()),
            Direction::BtoA => model.b_to_a().context(
                "the run's method trains a generator from A to B alone; leave --direction BtoA out, or train a \
                 run with --method cyclegan, or with --direction BtoA",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
