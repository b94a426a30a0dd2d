//! What networks are built of and trained with: layers, initialisation, adversarial losses, Adam,
//! learning-rate schedules, and state dicts in safetensors under PyTorch's names.

mod adam;
mod gan_loss;
mod graph;
mod init;
mod layers;
mod loss_scale;
mod module;
mod schedule;
mod state;
mod tiled;

pub use adam::{Adam, AdamConfig};
pub use gan_loss::{GanLoss, GanMode};
pub use graph::{Graph, Named, NotTraced, Operation, Step, Value};
pub use init::{Init, Weights};
pub use layers::{Conv2d, ConvTranspose2d, InstanceNorm, Norm, ReflectionPad2d, Sequential};
pub use loss_scale::LossScale;
pub use module::{Checkpointed, Module, Param, parameters};
pub use schedule::Linear;
pub use state::{
    CHECKSUM, StateDict, StateError, StateFile, StateReader, load_file, load_state, save_file,
    state_dict,
};
pub use tiled::{Area, TiledNorms};

pub use tensor::ops::Activation;
