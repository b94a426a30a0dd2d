//! The tensors of a VGG16 (Simonyan and Zisserman 2014) in a weight file, held against each other.

use exchange::{Array, Weights};

/// Convolutions of each block; between two blocks is a pooling.
pub const BLOCKS: [usize; 5] = [2, 2, 3, 3, 3];
/// The most channels of a layer; a VGG16 has 512.
const MOST_CHANNELS: usize = 4096;

/// How the file names its tensors, and with that how the network pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of the package stlpips-pytorch: max pooling that is blurred before it is thinned out, heads for LPIPS.
    ShiftTolerant,
    /// Of torchvision: plain max pooling.
    Torchvision,
}

impl Kind {
    /// That of a file.
    pub fn of(weights: &Weights) -> Option<Self> {
        [Kind::ShiftTolerant, Kind::Torchvision]
            .into_iter()
            .find(|kind| find(weights, &format!("{}.weight", kind.layers()[0])).is_some())
    }

    /// Under which the figures stand.
    pub fn name(self) -> &'static str {
        match self {
            Kind::ShiftTolerant => "stlpips-vgg16",
            Kind::Torchvision => "torchvision-vgg16",
        }
    }

    /// What the convolutions are called: by their place among all layers, of which a blurred pooling is two.
    fn layers(self) -> Vec<String> {
        let pooling = match self {
            Kind::ShiftTolerant => 2,
            Kind::Torchvision => 1,
        };
        let mut place = 0;
        let mut names = Vec::new();
        for (block, convolutions) in BLOCKS.into_iter().enumerate() {
            for _ in 0..convolutions {
                names.push(match self {
                    Kind::ShiftTolerant => format!("net.slice{}.{place}", block + 1),
                    Kind::Torchvision => format!("features.{place}"),
                });
                // With the relu behind it.
                place += 2;
            }
            place += pooling;
        }
        names
    }
}

/// A VGG16's tensors, of which each takes what the one before gives.
pub struct Vgg<'a> {
    pub kind: Kind,
    /// Weight (M×C×3×3) and bias (M) of each.
    pub convolutions: Vec<[&'a Array; 2]>,
    /// Of each block (1×C×1×1), if the file has them.
    pub heads: Option<Vec<&'a Array>>,
}

impl<'a> Vgg<'a> {
    /// Finds them in a file.
    ///
    /// # Errors
    /// What is missing or does not fit.
    pub fn find(weights: &'a Weights) -> Result<Self, String> {
        let kind = Kind::of(weights).ok_or(
            "it has neither net.slice1.0.weight (stlpips) nor features.0.weight (torchvision)",
        )?;
        let mut channels = 3;
        let mut convolutions = Vec::new();
        for layer in kind.layers() {
            let [weight, bias] = ["weight", "bias"].map(|part| format!("{layer}.{part}"));
            let (weight, bias) = (required(weights, &weight)?, required(weights, &bias)?);
            let out = weight.shape.first().copied().unwrap_or(0);
            expect(weight, &[out, channels, 3, 3])?;
            expect(bias, &[out])?;
            if !(1..=MOST_CHANNELS).contains(&out) {
                return Err(format!("{} has {out} channels", weight.name));
            }
            convolutions.push([weight, bias]);
            channels = out;
        }
        let mut last = 0;
        let heads = BLOCKS.into_iter().enumerate().map(|(block, len)| {
            last += len;
            let head = find(weights, &format!("lin{block}.model.1.weight"))?;
            Some((head, convolutions[last - 1][1].shape[0]))
        });
        let heads = match heads.collect::<Option<Vec<_>>>() {
            None => None,
            Some(heads) => {
                for (head, channels) in &heads {
                    expect(head, &[1, *channels, 1, 1])?;
                }
                Some(heads.into_iter().map(|(head, _)| head).collect())
            }
        };
        Ok(Vgg {
            kind,
            convolutions,
            heads,
        })
    }
}

fn find<'a>(weights: &'a Weights, name: &str) -> Option<&'a Array> {
    weights.arrays.iter().find(|array| array.name == name)
}

fn required<'a>(weights: &'a Weights, name: &str) -> Result<&'a Array, String> {
    find(weights, name).ok_or_else(|| format!("it lacks {name}"))
}

fn expect(array: &Array, shape: &[usize]) -> Result<(), String> {
    if array.shape != shape {
        return Err(format!(
            "{} is {:?} where a VGG16 has {shape:?}",
            array.name, array.shape
        ));
    }
    // A relu would make zeros of what comes of NaN, and nobody would see.
    match array.values.iter().all(|value| value.is_finite()) {
        true => Ok(()),
        false => Err(format!(
            "{} has values that are no finite numbers",
            array.name
        )),
    }
}
