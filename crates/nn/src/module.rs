use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use tensor::ops::Activation;
use tensor::{Result, Shape, Tensor};

use crate::graph::{Graph, NotTraced, Operation, Value};
use crate::training::Repeatable;

/// A tensor that training replaces. Cloning copies the handle.
#[derive(Clone)]
pub struct Param {
    value: Arc<RwLock<Tensor>>,
    trained: bool,
    /// Where training keeps the values.
    range: Option<[f32; 2]>,
}

impl Param {
    /// A parameter with its first value.
    pub fn new(value: &Tensor) -> Self {
        Param {
            value: Arc::new(RwLock::new(value.with_grad())),
            trained: true,
            range: None,
        }
    }

    /// A parameter with its first value, whose values stay from `range[0]` to `range[1]`.
    pub fn within(range: [f32; 2], value: &Tensor) -> Self {
        Param {
            range: Some(range),
            ..Param::new(value)
        }
    }

    /// What belongs to a network and its state, but is not trained.
    pub fn buffer(value: &Tensor) -> Self {
        Param {
            value: Arc::new(RwLock::new(value.detach())),
            trained: false,
            range: None,
        }
    }

    /// Whether gradients can be asked for.
    pub fn is_trained(&self) -> bool {
        self.trained
    }

    /// The value, which gradients can be asked for if it is trained.
    pub fn get(&self) -> Tensor {
        self.value
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }

    /// Replaces the value by what training found, brought to where values may be.
    ///
    /// # Errors
    /// A fault of the device.
    pub(crate) fn update(&self, value: &Tensor) -> Result<()> {
        match self.range {
            None => self.set(value),
            Some([low, high]) => {
                // max(x, low) and min(x, high), by what relu does.
                let above = value.scale_add(1.0, -low)?.activation(Activation::Relu)?;
                let room = above.scale_add(-1.0, high - low)?;
                let room = room.activation(Activation::Relu)?;
                self.set(&room.scale_add(-1.0, high)?);
            }
        }
        Ok(())
    }

    /// Replaces the value.
    pub fn set(&self, value: &Tensor) {
        let mut current = self
            .value
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        debug_assert_eq!(current.shape(), value.shape());
        *current = match self.trained {
            true => value.with_grad(),
            false => value.detach(),
        };
    }

    /// The extents.
    pub fn shape(&self) -> Shape {
        self.get().shape()
    }
}

/// A network or a part of one.
pub trait Module: Send + Sync {
    /// The output for a batch.
    ///
    /// # Errors
    /// When the network can't take the input's shape, or the device fails.
    fn forward(&self, x: &Tensor) -> Result<Tensor>;

    /// Calls `visit` with each parameter and its name in PyTorch's state dict, `prefix` in front.
    fn visit(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Param)) {
        let _ = (prefix, visit);
    }

    /// Appends what [`Module::forward`] does with `x` to a graph, and says what comes out; parameters go by
    /// the names that [`Module::visit`] gives them. Exports are made of this.
    ///
    /// # Errors
    /// When a layer does not say: the network can't be exported then.
    fn trace(&self, prefix: &str, graph: &mut Graph, x: Value) -> Result<Value, NotTraced> {
        let _ = (prefix, graph, x);
        Err(NotTraced(std::any::type_name::<Self>()))
    }
}

impl Module for tensor::ops::Activation {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.activation(*self)
    }

    fn trace(&self, _: &str, graph: &mut Graph, x: Value) -> Result<Value, NotTraced> {
        Ok(graph.push(Operation::Activation(*self), &[x]))
    }
}

/// All parameters that are trained, in the order of construction.
pub fn parameters(module: &dyn Module) -> Vec<Param> {
    let mut all = tensors(module);
    all.retain(Param::is_trained);
    all
}

/// All parameters and buffers, in the order of construction.
pub(crate) fn tensors(module: &dyn Module) -> Vec<Param> {
    let mut all = Vec::new();
    module.visit("", &mut |_, param| all.push(param.clone()));
    all
}

/// A module that keeps nothing for its gradient but its input, and is run again by the backward pass: see
/// [`tensor::checkpoint`].
pub struct Checkpointed {
    module: Arc<dyn Module>,
    parameters: Vec<Param>,
}

impl Checkpointed {
    /// The same module, so.
    pub fn new(module: impl Module + 'static) -> Self {
        Checkpointed {
            parameters: parameters(&module),
            module: Arc::new(module),
        }
    }
}

impl Module for Checkpointed {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let values: Vec<Tensor> = self.parameters.iter().map(Param::get).collect();
        let module = self.module.clone();
        let (begun, was_run) = (Repeatable::begin(), AtomicBool::new(false));
        tensor::checkpoint(x, &values, move |x| {
            match was_run.swap(true, Ordering::Relaxed) {
                false => module.forward(x),
                true => begun.again(|| module.forward(x)),
            }
        })
    }

    fn visit(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Param)) {
        self.module.visit(prefix, visit);
    }

    fn trace(&self, prefix: &str, graph: &mut Graph, x: Value) -> Result<Value, NotTraced> {
        self.module.trace(prefix, graph, x)
    }
}
