//! CycleGAN (Zhu, Park, Isola & Efros, 2017): translation between two kinds of pictures without
//! paired examples. Networks, names and constants are those of the public PyTorch implementation,
//! so weights travel both ways.

mod config;
mod diff_augment;
mod discriminator;
mod generator;
mod image_pool;
pub mod memory;
mod seeds;
mod stages;
mod step;
mod tiles;
mod unet;

pub use config::{
    Config, ConfigError, DiscriminatorKind, GeneratorKind, LrPolicy, Preprocess, Preset, Stored,
    Upsampling,
};
pub use diff_augment::{DiffAugment, UnknownAugmentation};
pub use discriminator::discriminator;
pub use generator::{Generator, generator};
pub use image_pool::ImagePool;
pub use seeds::{Stream, rng};
pub use stages::{Stage, Stages, UnknownStage};
pub use step::{CycleGan, Losses, Outcome, OutcomeReading, Translation, noise};
pub use tiles::{Tile, TiledGenerator, Tiling};
