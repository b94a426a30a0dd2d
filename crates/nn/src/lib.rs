//! What networks are built of and trained with: layers, initialisation, adversarial losses, Adam,
//! learning-rate schedules, and state dicts in safetensors under PyTorch's names.

mod adam;
mod batch_norm;
mod contrast;
mod ema;
mod gan_loss;
mod graph;
mod init;
mod layers;
mod loss_scale;
mod mixed_norm;
mod module;
mod penalty;
mod schedule;
mod spectral;
mod state;
mod tiled;
mod training;

pub use adam::{Adam, AdamConfig};
pub use batch_norm::BatchNorm;
pub use contrast::patch_nce;
pub use ema::Ema;
pub use gan_loss::{GanLoss, GanMode};
pub use graph::{Graph, Named, NotTraced, Operation, Step, Value};
pub use init::{Init, Weights};
pub use layers::{
    Conv2d, ConvTranspose2d, Dropout, Norm, NormLayer, ReflectionPad2d, ResizeConv2d, Sequential,
};
pub use loss_scale::LossScale;
pub use mixed_norm::{Lin, MixedNorm};
pub use module::{Checkpointed, Module, Param, parameters};
pub use penalty::{gradient_penalty, r1_penalty};
pub use schedule::{Cosine, Linear, Plateau, Stepwise};
pub use state::{
    CHECKSUM, StateDict, StateError, StateFile, StateReader, load_file, load_state, save_file,
    state_dict,
};
pub use tiled::{Area, TiledNorms};
pub use training::training;

pub use tensor::ops::Activation;
