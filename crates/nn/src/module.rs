use std::sync::{Arc, RwLock};

use tensor::{Result, Shape, Tensor};

/// A tensor that training replaces. Cloning copies the handle.
#[derive(Clone)]
pub struct Param(Arc<RwLock<Tensor>>);

impl Param {
    /// A parameter with its first value.
    pub fn new(value: &Tensor) -> Self {
        Param(Arc::new(RwLock::new(value.with_grad())))
    }

    /// The value, which gradients can be asked for.
    pub fn get(&self) -> Tensor {
        self.0
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }

    /// Replaces the value.
    pub fn set(&self, value: &Tensor) {
        let mut current = self
            .0
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        debug_assert_eq!(current.shape(), value.shape());
        *current = value.with_grad();
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
}

impl Module for tensor::ops::Activation {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.activation(*self)
    }
}

/// All parameters, in the order of construction.
pub fn parameters(module: &dyn Module) -> Vec<Param> {
    let mut all = Vec::new();
    module.visit("", &mut |_, param| all.push(param.clone()));
    all
}
