use std::path::{Path, PathBuf};

use images::RgbImage;
use tensor::{Device, Tensor, no_grad};

use crate::efficientnet::EfficientNet;
use crate::inception::Inception;
use crate::vgg::Vgg;

/// Why a network can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file can't be read.
    #[error(transparent)]
    Exchange(#[from] exchange::Error),

    /// It holds something else.
    #[error("{} holds no network to make features with: {reason}", path.display())]
    Network {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// A picture that is none.
    #[error(transparent)]
    Image(#[from] images::Error),

    /// The device failed, or a picture is too small.
    #[error(transparent)]
    Tensor(#[from] tensor::Error),
}

/// A network that makes features of pictures: a VGG16, an EfficientNet-Lite0 or an Inception-v3.
pub struct Network {
    body: Body,
    device: Device,
}

enum Body {
    Vgg(Vgg),
    EfficientNet(EfficientNet),
    Inception(Inception),
}

/// What a network sees in a picture.
pub struct Look {
    /// 1×C×1×1
    pub(crate) features: Tensor,
    /// What LPIPS compares, behind each block's last relu (1×C×H×W); empty where the network can't tell it.
    pub(crate) blocks: Vec<Tensor>,
}

impl Network {
    /// Reads a network from a state dict in a format that [`exchange::read`] takes. Which one it is, is told by its
    /// tensors' names:
    ///
    /// - a VGG16 of `stlpips-pytorch` (`net.slice1.0.weight`) or torchvision (`features.0.weight`)
    /// - an EfficientNet-Lite0 of `efficientnet-lite-pytorch` (`_conv_stem.weight`)
    /// - an Inception-v3 (`Conv2d_1a_3x3.conv.weight`) of pytorch-fid, with 1008 classes, or torchvision, with 1000
    ///
    /// # Errors
    /// When the file can't be read or holds none of them, or the device has no room.
    pub fn load(path: &Path, device: &Device) -> Result<Self, Error> {
        let weights = exchange::read(path)?;
        let body = if EfficientNet::is_in(&weights) {
            EfficientNet::load(&weights, device).map(|made| made.map(Body::EfficientNet))
        } else if Inception::is_in(&weights) {
            Inception::load(&weights, device).map(|made| made.map(Body::Inception))
        } else if Vgg::is_in(&weights) {
            Vgg::load(&weights, device).map(|made| made.map(Body::Vgg))
        } else {
            Err(
                "it has none of net.slice1.0.weight (stlpips' VGG16), features.0.weight (torchvision's), \
                 _conv_stem.weight (EfficientNet-Lite0) and Conv2d_1a_3x3.conv.weight (Inception-v3)"
                    .to_owned(),
            )
        };
        let body = body.map_err(|reason| Error::Network {
            path: path.to_owned(),
            reason,
        })?;
        Ok(Network {
            body: body?,
            device: device.clone(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match &self.body {
            Body::Vgg(vgg) => vgg.name(),
            Body::EfficientNet(_) => "efficientnet-lite0",
            Body::Inception(inception) => inception.name(),
        }
    }

    /// The name of what features are, see [`Look::features`].
    pub fn layer(&self) -> String {
        let layer = match self.body {
            Body::Vgg(_) => "relu5_3:unit",
            Body::EfficientNet(_) | Body::Inception(_) => "pool",
        };
        format!("{}/{layer}", self.name())
    }

    /// Side of the pictures that it should see, in pixels, unless another is asked for: what it was trained with, but
    /// for a VGG16, which takes less and is large.
    pub fn size(&self) -> u32 {
        match self.body {
            Body::Vgg(_) => 128,
            Body::EfficientNet(_) => 224,
            Body::Inception(_) => 299,
        }
    }

    /// Whether it can tell LPIPS.
    pub fn has_heads(&self) -> bool {
        matches!(&self.body, Body::Vgg(vgg) if vgg.has_heads())
    }

    /// What it sees in a picture brought to `size`×`size` pixels: bicubic with antialiasing, not rounded to 256
    /// levels, as clean-fid does it (Parmar et al. 2022).
    ///
    /// # Errors
    /// When the size is too small (for a VGG16 about 32, for an Inception-v3 75), or the device fails.
    pub fn look_at(&self, picture: &RgbImage, size: u32) -> Result<Look, Error> {
        let (width, height) = picture.dimensions();
        let mut planes = images::to_chw(picture, 3);
        if (width, height) != (size, size) {
            let from = (height as usize, width as usize);
            planes = images::resize_f32(&planes, 3, from, (size as usize, size as usize))?;
            planes
                .iter_mut()
                .for_each(|value| *value = value.clamp(-1.0, 1.0));
        }
        self.look(&planes, [size as usize; 2])
    }

    /// What it sees in 3×height×width values in −1…1.
    ///
    /// # Errors
    /// When there are not as many, they are too few for its layers, or the device fails.
    pub fn look(&self, planes: &[f32], [height, width]: [usize; 2]) -> Result<Look, Error> {
        let mut planes = planes.to_vec();
        match self.body {
            Body::Vgg(_) => Vgg::normalise(&mut planes),
            Body::EfficientNet(_) => EfficientNet::normalise(&mut planes),
            // It takes them as they are.
            Body::Inception(_) => {}
        }
        let pixels = Tensor::from_slice(&planes, [1, 3, height, width], &self.device)?;
        Ok(no_grad(|| match &self.body {
            Body::Vgg(vgg) => vgg.look(pixels),
            Body::EfficientNet(network) => network.look(pixels),
            Body::Inception(inception) => inception.look(pixels),
        })?)
    }

    /// LPIPS of two pictures of one size; none if the network's file has no heads for it.
    ///
    /// # Errors
    /// When the device fails.
    pub fn distance(&self, a: &Look, b: &Look) -> Result<Option<f64>, Error> {
        match &self.body {
            Body::Vgg(vgg) => Ok(no_grad(|| vgg.distance(a, b))?),
            Body::EfficientNet(_) | Body::Inception(_) => Ok(None),
        }
    }
}

impl Look {
    /// The picture's features. Of an EfficientNet-Lite0 and an Inception-v3 what their last pooling gives; of a VGG16
    /// the deepest block, its channels C divided by their norm at each pixel as in LPIPS, averaged over the picture,
    /// times √C.
    ///
    /// # Errors
    /// When the device fails.
    pub fn features(&self) -> Result<Vec<f32>, Error> {
        Ok(self.features.to_vec()?)
    }
}
