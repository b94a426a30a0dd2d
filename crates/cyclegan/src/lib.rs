//! CycleGAN (Zhu, Park, Isola & Efros, 2017) and CUT (Park, Efros, Zhang & Zhu, 2020): translation
//! between two kinds of pictures without paired examples. Networks, names and constants are those of
//! the public PyTorch implementations, so weights travel both ways.

mod adalin;
mod adversary;
mod averaged;
mod config;
mod cut;
mod cycle_gan;
mod diff_augment;
mod discriminator;
mod generator;
mod image_pool;
pub mod memory;
mod model;
mod perceptual;
mod seeds;
mod stages;
mod tiles;
mod unet;

pub use adversary::Adversary;
pub use averaged::Averaged;
pub use config::{
    Config, ConfigError, DecoderNorm, DiscriminatorKind, GeneratorKind, LrPolicy, Method,
    Preprocess, Preset, Stored, Upsampling,
};
pub use cut::Cut;
pub use cycle_gan::CycleGan;
pub use diff_augment::{DiffAugment, UnknownAugmentation};
pub use discriminator::{Discriminator, discriminator};
pub use generator::{Generator, generator};
pub use image_pool::ImagePool;
pub use model::{Losses, Model, Optimisers, Outcome, OutcomeReading, model, noise};
pub use perceptual::{Perception, PerceptionOn, Perceptual};
pub use seeds::{Stream, rng};
pub use stages::{Stage, Stages, UnknownStage};
pub use tiles::{Tile, TiledGenerator, Tiling};
