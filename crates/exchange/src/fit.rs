//! Which of our networks a state dict belongs to, and which of its tensors is which of ours.

use std::collections::{BTreeMap, BTreeSet};

use cyclegan::{Config, DiscriminatorKind, GeneratorKind, Stream, Upsampling};
use nn::{Module, Norm, StateDict, Weights as Drawn};
use tensor::{Device, Shape, Tensor};

use crate::{Array, Weights};

/// What is known of a generator before its tensors are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Its architecture.
    pub generator: Option<GeneratorKind>,
    /// What normalises in it.
    pub norm: Option<Norm>,
}

/// A state dict that belongs to one of our networks.
pub struct Fitted {
    /// The configuration that was given, with the network's architecture, width and norm.
    pub config: Config,
    /// The tensors under our names, on the processor.
    pub state: StateDict,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Why a state dict belongs to none of our networks.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misfit(String);

/// Finds the generator that tensors belong to: its architecture, where that is not asked for, the channels of its
/// first layer, and whether its norms have weights. All else is as in `base`.
///
/// Tensors go by their names, whatever stands before these, if that is the same before all (`module.`). Where
/// names are others they are taken in their order, if every one has the shape that its place asks for.
///
/// # Errors
/// When no generator fits, with the first tensor that does not, or more than one.
pub fn generator(weights: &Weights, base: &Config, asked: Asked) -> Result<Fitted, Misfit> {
    let kinds = match asked.generator {
        Some(kind) => vec![kind],
        None => vec![
            GeneratorKind::Resnet9blocks,
            GeneratorKind::Resnet6blocks,
            GeneratorKind::Unet256,
            GeneratorKind::Unet128,
        ],
    };
    // Without any norm there are the same tensors as with norms that have none, but in files of the reference,
    // whose convolutions lack their biases then; our own files tell.
    let told = || serde_json::from_value(weights.metadata.get("norm")?.as_str().into()).ok();
    let norm = asked.norm.or_else(told);
    let norms = match norm {
        Some(norm) => vec![norm],
        None => vec![Norm::Instance, Norm::InstanceAffine, Norm::Batch],
    };
    let may_lack_biases = norm.is_none_or(|norm| norm == Norm::None);
    let mut candidates = Vec::new();
    for &generator in &kinds {
        for &norm in &norms {
            for upsampling in [Upsampling::Transposed, Upsampling::Resize] {
                let config = Config {
                    generator,
                    norm,
                    upsampling,
                    ..base.clone()
                };
                candidates.push(Candidate::new(Part::Generator, config)?);
            }
        }
        if may_lack_biases {
            for upsampling in [Upsampling::Transposed, Upsampling::Resize] {
                let config = Config {
                    generator,
                    upsampling,
                    ..base.clone()
                };
                candidates.push(Candidate::without_biases(Part::Generator, config)?);
            }
        }
    }
    let fitted = fit(weights, &candidates)?;
    let tracks = weights
        .arrays
        .iter()
        .any(|array| array.name.ends_with("running_var"));
    if tracks && norm.is_none() && fitted.config.norm == Norm::InstanceAffine {
        return Err(Misfit(
            "its norms have weights and running statistics, as batch norm has, which is not instance norm; \
             if they do normalise every picture by itself, say so by --norm instance_affine"
                .into(),
        ));
    }
    Ok(fitted)
}

/// Finds the discriminator that tensors belong to, as [`generator`] does; its norm is that of `base`.
///
/// # Errors
/// As [`generator`].
pub fn discriminator(weights: &Weights, base: &Config) -> Result<Fitted, Misfit> {
    use DiscriminatorKind::{Basic, NLayers, Pixel};
    let kinds = [
        (Basic, 3),
        (Pixel, 3),
        (NLayers, 1),
        (NLayers, 2),
        (NLayers, 4),
        (NLayers, 5),
    ];
    let mut candidates = Vec::new();
    for (discriminator, n_layers) in kinds {
        let config = Config {
            discriminator,
            n_layers,
            ..base.clone()
        };
        if base.norm == Norm::None {
            candidates.push(Candidate::without_biases(
                Part::Discriminator,
                config.clone(),
            )?);
        }
        candidates.push(Candidate::new(Part::Discriminator, config)?);
    }
    fit(weights, &candidates)
}

impl From<tensor::Error> for Misfit {
    fn from(error: tensor::Error) -> Self {
        Misfit(error.to_string())
    }
}

/// The name that options have for it.
fn shown(option: impl serde::Serialize) -> String {
    let value = serde_json::to_value(option).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// Names and extents of a network's parameters, in the order of its construction.
type Layout = Vec<(String, Vec<usize>)>;

fn layout(part: Part, config: &Config) -> tensor::Result<Layout> {
    let mut rng = cyclegan::rng(config.seed, Stream::Weights, 0);
    let mut weights = Drawn {
        init: nn::Init::Normal,
        gain: 1.0,
        rng: &mut rng,
        device: &Device::Cpu,
    };
    let network: Box<dyn Module> = match part {
        Part::Generator => Box::new(cyclegan::generator(
            config,
            config.channels(),
            &mut weights,
        )?),
        Part::Discriminator => Box::new(cyclegan::discriminator(
            config,
            config.output_nc,
            &mut weights,
        )?),
    };
    let mut layout = Layout::new();
    network.visit("", &mut |name, param| {
        layout.push((name.to_owned(), param.shape().dims().to_vec()));
    });
    Ok(layout)
}

/// A part of a `CycleGAN`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Generator,
    Discriminator,
}

/// A network that tensors may belong to, of any width.
struct Candidate {
    part: Part,
    config: Config,
    /// Whether it has no norms, and no biases where they would be: what the reference makes of `--norm none`.
    lacks_biases: bool,
    /// At widths of one and of two; extents grow in proportion.
    layouts: [Layout; 2],
}

/// How far tensors fit, and what is wrong with the next.
struct Difference {
    fitting: usize,
    reason: String,
}

impl Candidate {
    fn new(part: Part, config: Config) -> tensor::Result<Self> {
        let mut candidate = Candidate {
            part,
            config,
            lacks_biases: false,
            layouts: [Layout::new(), Layout::new()],
        };
        candidate.layouts = [
            layout(part, &candidate.at(1))?,
            layout(part, &candidate.at(2))?,
        ];
        Ok(candidate)
    }

    /// A network without norms whose inner convolutions have no biases: it has the tensors that one with batch
    /// norm has beside those of the norms.
    fn without_biases(part: Part, config: Config) -> tensor::Result<Self> {
        let with = |norm| Config {
            norm,
            ..config.clone()
        };
        let mut candidate = Self::new(part, with(Norm::None))?;
        let batch = Self::new(part, with(Norm::Batch))?;
        let has: BTreeSet<&str> = batch.layouts[0]
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        for layout in &mut candidate.layouts {
            layout.retain(|(name, _)| has.contains(name.as_str()));
        }
        candidate.lacks_biases = true;
        Ok(candidate)
    }

    /// The configuration with a width.
    fn at(&self, width: usize) -> Config {
        let config = self.config.clone();
        match self.part {
            Part::Generator => Config {
                ngf: width,
                ..config
            },
            Part::Discriminator => Config {
                ndf: width,
                ..config
            },
        }
    }

    /// As options name it.
    fn shown(&self, width: usize) -> String {
        let Config {
            generator,
            discriminator,
            n_layers,
            norm,
            ..
        } = &self.config;
        let norm = shown(norm);
        match self.part {
            Part::Generator => format!("{} with ngf {width} and norm {norm}", shown(generator)),
            Part::Discriminator => format!(
                "{} with ndf {width}, {n_layers} layers and norm {norm}",
                shown(discriminator)
            ),
        }
    }

    /// Names and extents at a width.
    fn tensors(&self, width: usize) -> impl Iterator<Item = (&str, Vec<usize>)> {
        let [one, two] = &self.layouts;
        one.iter().zip(two).map(move |((name, one), (_, two))| {
            let extents = one.iter().zip(two);
            let extents = extents.map(|(&one, &two)| {
                one.saturating_add((two - one).saturating_mul(width.saturating_sub(1)))
            });
            (name.as_str(), extents.collect())
        })
    }

    /// The width that its first tensor says.
    fn width(first: Option<&Array>) -> usize {
        first
            .and_then(|array| array.shape.first())
            .copied()
            .unwrap_or(0)
    }

    /// What stands before the names of groups of tensors in which its first is.
    fn prefixes<'b>(&self, arrays: &[&'b Array]) -> Vec<&'b str> {
        let first = &self.layouts[0][0].0;
        let prefixes = arrays
            .iter()
            .filter_map(|array| array.name.strip_suffix(first.as_str()));
        prefixes
            .filter(|prefix| prefix.is_empty() || prefix.ends_with(['.', '/']))
            .collect()
    }

    /// Tensors by their names, after a prefix.
    fn by_name<'b>(&self, arrays: &[&'b Array], prefix: &str) -> Result<Match<'b>, Difference> {
        let group = arrays
            .iter()
            .filter_map(|array| Some((array.name.strip_prefix(prefix)?, *array)));
        let group: BTreeMap<&str, &Array> = group.collect();
        let width = Self::width(group.get(self.layouts[0][0].0.as_str()).copied());
        let mut taken = Vec::new();
        for (name, shape) in self.tensors(width) {
            let differs = |reason| Difference {
                fitting: taken.len(),
                reason,
            };
            let array = group.get(name).ok_or_else(|| {
                differs(format!(
                    "the tensor {prefix}{name} is missing, which {} has",
                    self.shown(width)
                ))
            })?;
            if array.shape != shape {
                return Err(differs(self.other_shape(array, name, &shape, width)));
            }
            taken.push((name.to_owned(), *array));
        }
        let known: BTreeSet<&str> = taken.iter().map(|(name, _)| name.as_str()).collect();
        match group.keys().find(|name| !known.contains(*name)) {
            Some(name) => Err(self.too_many(&format!("{prefix}{name}"), taken.len(), width)),
            None => Ok(Match { width, taken }),
        }
    }

    /// Tensors by their places.
    fn by_order<'b>(&self, arrays: &[&'b Array]) -> Result<Match<'b>, Difference> {
        let width = Self::width(arrays.first().copied());
        let mut taken = Vec::new();
        for (i, (name, shape)) in self.tensors(width).enumerate() {
            let differs = |reason| Difference { fitting: i, reason };
            let array = arrays.get(i).ok_or_else(|| {
                let network = self.shown(width);
                differs(format!(
                    "it ends after {i} tensors, where {network} has {name} next"
                ))
            })?;
            if array.shape != shape {
                return Err(differs(self.other_shape(array, name, &shape, width)));
            }
            taken.push((name.to_owned(), *array));
        }
        match arrays.get(taken.len()) {
            Some(array) => Err(self.too_many(&array.name, taken.len(), width)),
            None => Ok(Match { width, taken }),
        }
    }

    fn other_shape(&self, array: &Array, name: &str, shape: &[usize], width: usize) -> String {
        let (found, expected) = (extents(&array.shape), extents(shape));
        let name = match array.name.ends_with(name) {
            true => String::new(),
            false => format!("{name}, "),
        };
        format!(
            "the tensor {} is {found}, where {} has {name}{expected}",
            array.name,
            self.shown(width)
        )
    }

    fn too_many(&self, name: &str, fitting: usize, width: usize) -> Difference {
        let reason = format!(
            "the tensor {name} is one more than {} has",
            self.shown(width)
        );
        Difference { fitting, reason }
    }
}

fn extents(shape: &[usize]) -> String {
    let extents: Vec<String> = shape.iter().map(usize::to_string).collect();
    match extents.is_empty() {
        true => "a single value".into(),
        false => extents.join("×"),
    }
}

/// A network's names with the tensors that belong to them.
struct Match<'a> {
    width: usize,
    taken: Vec<(String, &'a Array)>,
}

/// Buffers of norms that a network with such norms does not have.
fn is_left_out(name: &str, norm: Norm) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    match last {
        "running_mean" | "running_var" => norm != Norm::Batch,
        "num_batches_tracked" => true,
        _ => false,
    }
}

fn fit(weights: &Weights, candidates: &[Candidate]) -> Result<Fitted, Misfit> {
    let takes = |norm: Norm| -> Vec<&Array> {
        let arrays = weights.arrays.iter();
        arrays
            .filter(|array| !is_left_out(&array.name, norm))
            .collect()
    };
    let mut fitting = Vec::new();
    let mut nearest: Option<((usize, bool), String)> = None;
    let mut differs = |candidate: &Candidate, difference: Difference| {
        // One without biases asks for less, and fits further than it is meant.
        if candidate.lacks_biases {
            return;
        }
        // Of two that fit as far, that of as many tensors is meant.
        let rank = (
            difference.fitting,
            candidate.layouts[0].len() == takes(candidate.config.norm).len(),
        );
        if nearest.as_ref().is_none_or(|(best, _)| rank > *best) {
            nearest = Some((rank, difference.reason));
        }
    };
    let mut are_named = false;
    for candidate in candidates {
        let arrays = takes(candidate.config.norm);
        for prefix in candidate.prefixes(&arrays) {
            are_named = true;
            match candidate.by_name(&arrays, prefix) {
                Ok(found) => fitting.push((candidate, found, Some(prefix))),
                Err(difference) => differs(candidate, difference),
            }
        }
    }
    if fitting.is_empty() && weights.in_order {
        for candidate in candidates {
            match candidate.by_order(&takes(candidate.config.norm)) {
                Ok(found) => fitting.push((candidate, found, None)),
                Err(difference) => differs(candidate, difference),
            }
        }
    }
    if fitting.len() > 1 {
        let shown = fitting.iter().map(|(candidate, found, prefix)| {
            let network = candidate.shown(found.width);
            match prefix {
                Some(prefix) if !prefix.is_empty() => format!("{network} at {prefix:?}"),
                _ => network,
            }
        });
        return Err(Misfit(format!(
            "it may be any of these: {}; save the one that is meant by itself",
            shown.collect::<Vec<_>>().join("; ")
        )));
    }
    let Some((candidate, found, prefix)) = fitting.pop() else {
        if !are_named && !weights.in_order {
            return Err(Misfit(
                "its tensors have other names than the reference's (model.1.weight …), and it keeps no order \
                 in which they could be taken; convert it from a .pth file"
                    .into(),
            ));
        }
        let reason = nearest.map_or("it has no tensors".to_owned(), |(_, reason)| reason);
        return Err(Misfit(format!("it does not fit: {reason}")));
    };
    let mut notes = Vec::new();
    if prefix.is_none() {
        let (ours, theirs) = &found.taken[0];
        notes.push(format!(
            "names are others than the reference's; tensors were taken in their order, {} as {ours} and so on",
            theirs.name
        ));
    }
    let left_out = |array: &Array| {
        is_left_out(&array.name, candidate.config.norm) && array.name.contains(".running_")
    };
    if weights.arrays.iter().any(left_out) {
        notes.push(
            "running statistics are left out: norms take those of each picture, as the reference does".into(),
        );
    }
    let config = candidate.at(found.width);
    let mut state = state(&found.taken)?;
    if candidate.lacks_biases {
        let all = layout(candidate.part, &config)?.into_iter();
        let lacking = all.filter(|(name, _)| !state.contains_key(name));
        let zeros = lacking.map(|(name, shape)| {
            let shape = Shape::try_from(&shape[..])?;
            Ok((name, Tensor::zeros(shape, &Device::Cpu)?))
        });
        let zeros = zeros.collect::<tensor::Result<Vec<_>>>()?;
        state.extend(zeros);
        notes.push("convolutions have no biases; they are zero here".into());
    }
    Ok(Fitted {
        config,
        state,
        notes,
    })
}

fn state(taken: &[(String, &Array)]) -> Result<StateDict, Misfit> {
    let tensors = taken.iter().map(|(name, array)| {
        if let Some(value) = array.values.iter().find(|value| !value.is_finite()) {
            return Err(Misfit(format!(
                "the tensor {} has values that are no numbers ({value})",
                array.name
            )));
        }
        let shape = Shape::try_from(&array.shape[..])?;
        let tensor = Tensor::from_slice(&array.values, shape, &Device::Cpu)?;
        Ok((name.clone(), tensor))
    });
    tensors.collect()
}
