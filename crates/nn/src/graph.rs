use crate::{Activation, Module, Param};

/// What a network does, operation by operation, for those who write it in another form.
pub struct Graph {
    steps: Vec<Step>,
    output: Value,
}

/// What an operation of a [`Graph`] gives: a batch N×C×H×W.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value(usize);

/// An operation of a [`Graph`], and what it is done to.
pub struct Step {
    /// The operation.
    pub operation: Operation,
    /// What it takes.
    pub inputs: Vec<Value>,
    /// C of what it gives.
    pub channels: usize,
}

/// A parameter under its name in the state dict.
pub type Named = (String, Param);

/// The operations that networks are made of, as PyTorch defines them.
#[allow(missing_docs)] // PyTorch's names
pub enum Operation {
    /// The network's input.
    Input,
    Conv2d {
        weight: Named,
        bias: Option<Named>,
        stride: usize,
        padding: usize,
    },
    ConvTranspose2d {
        weight: Named,
        bias: Option<Named>,
        stride: usize,
        padding: usize,
        output_padding: usize,
    },
    /// With a factor and a summand a channel, if it has them.
    InstanceNorm {
        affine: Option<[Named; 2]>,
        eps: f32,
    },
    /// In use: weight, bias, running mean and running variance.
    BatchNorm {
        tensors: [Named; 4],
        eps: f32,
    },
    /// Each pixel so many times in each direction.
    UpsampleNearest(usize),
    /// So many pixels on all sides.
    ReflectionPad2d(usize),
    Activation(Activation),
    /// The sum of two values.
    Add,
    /// Values one after another along the channels.
    Concat,
}

/// A layer that does not say what it does, see [`Module::trace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the network has a layer, {0}, that can't be written as operations of another program; write its weights, as \
     .safetensors or .pth"
)]
pub struct NotTraced(pub &'static str);

impl Graph {
    /// What a network does with a batch of `channels` channels.
    ///
    /// # Errors
    /// When one of its layers does not say.
    pub fn of(module: &dyn Module, channels: usize) -> Result<Graph, NotTraced> {
        let input = Step {
            operation: Operation::Input,
            inputs: Vec::new(),
            channels,
        };
        let mut graph = Graph {
            steps: vec![input],
            output: Value(0),
        };
        graph.output = module.trace("", &mut graph, Value(0))?;
        Ok(graph)
    }

    /// Appends an operation.
    pub fn push(&mut self, operation: Operation, inputs: &[Value]) -> Value {
        let of_inputs = inputs.iter().map(|input| self.steps[input.0].channels);
        let channels = match &operation {
            Operation::Conv2d { weight, .. } => weight.1.shape().nchw()[0],
            Operation::ConvTranspose2d { weight, .. } => weight.1.shape().nchw()[1],
            Operation::Concat => of_inputs.sum(),
            _ => of_inputs.max().unwrap_or(0),
        };
        self.steps.push(Step {
            operation,
            inputs: inputs.to_vec(),
            channels,
        });
        Value(self.steps.len() - 1)
    }

    /// The operations with what they give; inputs come before what takes them, the network's first of all.
    pub fn steps(&self) -> impl Iterator<Item = (Value, &Step)> {
        let steps = self.steps.iter().enumerate();
        steps.map(|(i, step)| (Value(i), step))
    }

    /// What the network gives.
    pub fn output(&self) -> Value {
        self.output
    }
}

impl Value {
    /// Its number in the graph, counted from the input, which is 0.
    pub fn number(self) -> usize {
        self.0
    }
}
