//! Inception-v3 (Szegedy et al. 2015): the one that FID and KID are published with, TensorFlow's of 2015-12-05 in
//! the form of pytorch-fid, and torchvision's. They differ in how they pool.

use exchange::Weights;
use tensor::ops::{Activation, PadMode};
use tensor::{Device, Tensor};

use crate::Look;
use crate::file::{File, Filters};

const WHAT: &str = "an Inception-v3";
const EPSILON: f64 = 1e-3;
/// What FID's network was trained to tell, and torchvision's.
const CLASSES: [(usize, Kind); 2] = [(1008, Kind::Fid), (1000, Kind::Torchvision)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Averages leave out what is outside of the picture; the last block takes the largest instead.
    Fid,
    /// Averages count zeros outside of the picture.
    Torchvision,
}

/// An Inception-v3 without its classifier.
pub struct Inception {
    kind: Kind,
    blocks: Vec<Block<Layer>>,
}

/// Branches side by side, whose outputs are joined; each is a way of one layer after another.
type Block<L> = Vec<Vec<L>>;

/// What happens to a tensor; `F` are filters and their bias, `A` are filters that average.
enum Step<F, A> {
    /// A convolution and a relu, with zeros around the picture so that its size stays if stride is 1, or without.
    Convolve {
        filters: F,
        kernel: [usize; 2],
        stride: usize,
        is_padded: bool,
    },
    /// Two convolutions of the same, joined.
    Fork(Vec<Step<F, A>>),
    /// Means of 3×3, the size stays.
    Average(A),
    /// The largest of 3×3, the size stays.
    Largest,
    /// The largest of 3×3, every other one.
    Thin,
}

type Named = Step<&'static str, ()>;
type Layer = Step<[Tensor; 2], Tensor>;

const fn one(filters: &'static str) -> Named {
    padded(filters, [1, 1])
}

const fn padded(filters: &'static str, kernel: [usize; 2]) -> Named {
    Step::Convolve {
        filters,
        kernel,
        stride: 1,
        is_padded: true,
    }
}

const fn bare(filters: &'static str, stride: usize) -> Named {
    Step::Convolve {
        filters,
        kernel: [3, 3],
        stride,
        is_padded: false,
    }
}

/// The blocks with their names, as torchvision has them.
fn plan(kind: Kind) -> Vec<(&'static str, Block<Named>)> {
    let stem = vec![vec![
        bare("Conv2d_1a_3x3", 2),
        bare("Conv2d_2a_3x3", 1),
        padded("Conv2d_2b_3x3", [3, 3]),
        Step::Thin,
        one("Conv2d_3b_1x1"),
        bare("Conv2d_4a_3x3", 1),
        Step::Thin,
    ]];
    let a = || {
        vec![
            vec![one("branch1x1")],
            vec![one("branch5x5_1"), padded("branch5x5_2", [5, 5])],
            vec![
                one("branch3x3dbl_1"),
                padded("branch3x3dbl_2", [3, 3]),
                padded("branch3x3dbl_3", [3, 3]),
            ],
            vec![Step::Average(()), one("branch_pool")],
        ]
    };
    let b = vec![
        vec![bare("branch3x3", 2)],
        vec![
            one("branch3x3dbl_1"),
            padded("branch3x3dbl_2", [3, 3]),
            bare("branch3x3dbl_3", 2),
        ],
        vec![Step::Thin],
    ];
    let c = || {
        vec![
            vec![one("branch1x1")],
            vec![
                one("branch7x7_1"),
                padded("branch7x7_2", [1, 7]),
                padded("branch7x7_3", [7, 1]),
            ],
            vec![
                one("branch7x7dbl_1"),
                padded("branch7x7dbl_2", [7, 1]),
                padded("branch7x7dbl_3", [1, 7]),
                padded("branch7x7dbl_4", [7, 1]),
                padded("branch7x7dbl_5", [1, 7]),
            ],
            vec![Step::Average(()), one("branch_pool")],
        ]
    };
    let d = vec![
        vec![one("branch3x3_1"), bare("branch3x3_2", 2)],
        vec![
            one("branch7x7x3_1"),
            padded("branch7x7x3_2", [1, 7]),
            padded("branch7x7x3_3", [7, 1]),
            bare("branch7x7x3_4", 2),
        ],
        vec![Step::Thin],
    ];
    let e = |pooling: Named| {
        vec![
            vec![one("branch1x1")],
            vec![
                one("branch3x3_1"),
                Step::Fork(vec![
                    padded("branch3x3_2a", [1, 3]),
                    padded("branch3x3_2b", [3, 1]),
                ]),
            ],
            vec![
                one("branch3x3dbl_1"),
                padded("branch3x3dbl_2", [3, 3]),
                Step::Fork(vec![
                    padded("branch3x3dbl_3a", [1, 3]),
                    padded("branch3x3dbl_3b", [3, 1]),
                ]),
            ],
            vec![pooling, one("branch_pool")],
        ]
    };
    let last = match kind {
        Kind::Fid => Step::Largest,
        Kind::Torchvision => Step::Average(()),
    };
    vec![
        ("", stem),
        ("Mixed_5b.", a()),
        ("Mixed_5c.", a()),
        ("Mixed_5d.", a()),
        ("Mixed_6a.", b),
        ("Mixed_6b.", c()),
        ("Mixed_6c.", c()),
        ("Mixed_6d.", c()),
        ("Mixed_6e.", c()),
        ("Mixed_7a.", d),
        ("Mixed_7b.", e(Step::Average(()))),
        ("Mixed_7c.", e(last)),
    ]
}

impl Inception {
    /// Whether a file holds one.
    pub fn is_in(weights: &Weights) -> bool {
        File::new(weights, WHAT).holds("Conv2d_1a_3x3.conv.weight")
    }

    /// Takes it from a file; what is wrong with that comes before any tensor is made.
    pub fn load(weights: &Weights, device: &Device) -> Result<tensor::Result<Self>, String> {
        let file = File::new(weights, WHAT);
        let kind = CLASSES.into_iter().find(|(classes, _)| {
            let fc = weights.arrays.iter().find(|array| array.name == "fc.bias");
            fc.is_some_and(|fc| fc.shape == [*classes])
        });
        let (_, kind) = kind.ok_or(
            "its fc.bias has neither the 1008 values of FID's Inception-v3 nor the 1000 of torchvision's",
        )?;
        let mut channels = 3;
        let mut blocks = Vec::new();
        for (block, branches) in plan(kind) {
            let mut found = Vec::new();
            let mut joined = 0;
            for branch in branches {
                let mut width = channels;
                let steps = branch.into_iter().map(|step| {
                    let (step, out) = step.find(&file, block, width)?;
                    width = out;
                    Ok(step)
                });
                found.push(steps.collect::<Result<Vec<_>, String>>()?);
                joined += width;
            }
            channels = joined;
            blocks.push(found);
        }
        let made = || {
            let branch = |steps: &Vec<Step<Filters, usize>>| {
                steps.iter().map(|step| step.tensors(device)).collect()
            };
            let block =
                |branches: &Block<Step<Filters, usize>>| branches.iter().map(branch).collect();
            let blocks = blocks.iter().map(block);
            Ok(Inception {
                kind,
                blocks: blocks.collect::<tensor::Result<_>>()?,
            })
        };
        Ok(made())
    }

    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Fid => "fid-inception-v3",
            Kind::Torchvision => "torchvision-inception-v3",
        }
    }

    /// What it sees in 1×3×H×W.
    pub fn look(&self, mut x: Tensor) -> tensor::Result<Look> {
        for block in &self.blocks {
            let branches = block.iter().map(|steps| {
                let mut x = x.clone();
                for step in steps {
                    x = self.apply(step, &x)?;
                }
                Ok(x)
            });
            x = joined(branches.collect())?;
        }
        let channels = x.shape().dims()[1];
        Ok(Look {
            features: x.mean_to([1, channels, 1, 1])?,
            blocks: Vec::new(),
        })
    }

    fn apply(&self, step: &Layer, x: &Tensor) -> tensor::Result<Tensor> {
        match step {
            Step::Convolve {
                filters: [weight, bias],
                kernel: [down, across],
                stride,
                is_padded,
            } => {
                let sides = [across / 2, across / 2, down / 2, down / 2];
                let x = match *is_padded && sides != [0; 4] {
                    true => &x.pad(PadMode::Zero, sides)?,
                    false => x,
                };
                let x = x.conv2d(weight, Some(bias), *stride, 0)?;
                x.activation(Activation::Relu)
            }
            Step::Fork(steps) => joined(steps.iter().map(|step| self.apply(step, x)).collect()),
            Step::Average(filters) => {
                let mean = x.depthwise_conv2d(filters, 1, 1)?;
                if self.kind == Kind::Torchvision {
                    return Ok(mean);
                }
                let &[_, _, height, width] = x.shape().dims() else {
                    unreachable!("activations are N×C×H×W");
                };
                let ones = vec![1.0; height * width];
                let ones = Tensor::from_slice(&ones, [1, 1, height, width], x.device())?;
                let share = ones.depthwise_conv2d(&filters.narrow(0, 0, 1)?, 1, 1)?;
                mean.mul(&share.reciprocal()?.expand(mean.shape())?)
            }
            Step::Largest => x.max_pool2d(3, 1, [1, 1]),
            Step::Thin => x.max_pool2d(3, 2, [0, 0]),
        }
    }
}

/// Side by side, along the channels.
fn joined(branches: tensor::Result<Vec<Tensor>>) -> tensor::Result<Tensor> {
    let mut branches = branches?;
    match branches.len() {
        1 => Ok(branches.remove(0)),
        _ => Tensor::concat(&branches.iter().collect::<Vec<_>>(), 1),
    }
}

impl Named {
    /// Its tensors in a file, and how many channels come out of it.
    fn find(
        self,
        file: &File<'_>,
        block: &str,
        channels: usize,
    ) -> Result<(Step<Filters, usize>, usize), String> {
        Ok(match self {
            Step::Convolve {
                filters,
                kernel,
                stride,
                is_padded,
            } => {
                let [convolution, norm] =
                    ["conv", "bn"].map(|part| format!("{block}{filters}.{part}"));
                let filters = file.normalised(&convolution, &norm, channels, kernel, EPSILON)?;
                let out = filters.channels();
                let step = Step::Convolve {
                    filters,
                    kernel,
                    stride,
                    is_padded,
                };
                (step, out)
            }
            Step::Fork(steps) => {
                let found = steps
                    .into_iter()
                    .map(|step| step.find(file, block, channels));
                let found = found.collect::<Result<Vec<_>, String>>()?;
                let out = found.iter().map(|(_, out)| out).sum();
                let steps = found.into_iter().map(|(step, _)| step);
                (Step::Fork(steps.collect()), out)
            }
            Step::Average(()) => (Step::Average(channels), channels),
            Step::Largest => (Step::Largest, channels),
            Step::Thin => (Step::Thin, channels),
        })
    }
}

impl Step<Filters, usize> {
    fn tensors(&self, device: &Device) -> tensor::Result<Layer> {
        Ok(match self {
            Step::Convolve {
                filters,
                kernel,
                stride,
                is_padded,
            } => Step::Convolve {
                filters: filters.tensors(device)?,
                kernel: *kernel,
                stride: *stride,
                is_padded: *is_padded,
            },
            Step::Fork(steps) => {
                let steps = steps.iter().map(|step| step.tensors(device));
                Step::Fork(steps.collect::<tensor::Result<_>>()?)
            }
            Step::Average(channels) => {
                let filters = vec![1.0 / 9.0; 9 * channels];
                Step::Average(Tensor::from_slice(&filters, [*channels, 1, 3, 3], device)?)
            }
            Step::Largest => Step::Largest,
            Step::Thin => Step::Thin,
        })
    }
}
