use std::path::Path;

use tensor::{Device, Precision, Tensor};

use crate::Error;
use crate::vgg::{DEVIATION, MEAN, VggWeights};

/// The weights of a VGG16 or VGG19, to train by what it sees.
pub struct Perception(VggWeights);

/// Blocks that are looked at: what is behind the deepest tells little of where things are.
const BLOCKS: usize = 4;

impl Perception {
    /// Reads them from a state dict of torchvision's `vgg16` or `vgg19`, or of `stlpips-pytorch`, in a format that
    /// [`exchange::read`] takes.
    ///
    /// # Errors
    /// When the file can't be read or holds neither.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let weights = VggWeights::of(&exchange::read(path)?);
        let weights = weights.map_err(|reason| Error::Network {
            path: path.to_owned(),
            reason,
        })?;
        Ok(Perception(weights))
    }

    /// The network's name.
    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// On a device: what it sees in N×3×H×W, or N×1×H×W in shades of grey, of −1…1, behind the last relu of each
    /// of its first four blocks. Gradients go through.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn on(
        &self,
        device: &Device,
    ) -> tensor::Result<impl Fn(&Tensor) -> tensor::Result<Vec<Tensor>> + Send + Sync + use<>> {
        let network = self.0.on(device)?;
        let of_channels = |values: [f32; 3]| Tensor::from_slice(&values, [1, 3, 1, 1], device);
        let (mean, scale) = (of_channels(MEAN)?, of_channels(DEVIATION.map(f32::recip))?);
        Ok(move |pictures: &Tensor| {
            let [n, channels, h, w] = pictures.shape().nchw();
            let pictures = pictures.to_precision(Precision::Single)?;
            let colours = match channels {
                1 => Tensor::concat(&[&pictures; 3], 1)?,
                _ => pictures,
            };
            let shape = [n, 3, h, w];
            let normalised = colours.sub(&mean.expand(shape)?)?;
            network.blocks(normalised.mul(&scale.expand(shape)?)?, BLOCKS)
        })
    }
}
