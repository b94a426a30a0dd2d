use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::op::{CpuArray, GpuArray, Op, Reads};
use crate::{Array, Device, Error, Precision, Result, Shape, cpu, tape};

/// An immutable array of numbers with its place on the tape. Cloning copies the handle.
///
/// Values are computed in `f32`, and stored so but for those that [`Tensor::to_precision`] leads to.
#[derive(Clone)]
pub struct Tensor(Arc<Inner>);

struct Inner {
    id: u64,
    shape: Shape,
    precision: Precision,
    device: Device,
    storage: Arc<Storage>,
    requires_grad: bool,
    node: Option<Arc<Node>>,
}

/// Where the values are.
pub(crate) enum Storage {
    Cpu(cpu::Buffer),
    Gpu(gpu::Buffer),
    /// Nowhere: the tape knows the tensor, but no gradient reads its values.
    Freed,
}

/// How a tensor was computed.
pub(crate) struct Node {
    pub op: Arc<dyn Op>,
    /// Without their values, where the operation's gradient does not read them.
    pub inputs: Vec<Tensor>,
    /// The output's values, where it reads those.
    out: Option<Arc<Storage>>,
}

impl Tensor {
    pub(crate) fn new(shape: Shape, device: Device, storage: Storage) -> Self {
        let precision = match &storage {
            Storage::Gpu(buffer) => buffer.precision(),
            Storage::Cpu(_) | Storage::Freed => Precision::Single,
        };
        Self::build(shape, precision, device, Arc::new(storage), false, None)
    }

    fn build(
        shape: Shape,
        precision: Precision,
        device: Device,
        storage: Arc<Storage>,
        requires_grad: bool,
        node: Option<Arc<Node>>,
    ) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Tensor(Arc::new(Inner {
            id,
            shape,
            precision,
            device,
            storage,
            requires_grad,
            node,
        }))
    }

    /// A tensor of the given values, row-major.
    ///
    /// # Errors
    /// When the number of values is not that of the shape, or the device has no room.
    pub fn from_slice(values: &[f32], shape: impl Into<Shape>, device: &Device) -> Result<Self> {
        let shape = shape.into();
        if values.len() != shape.len() {
            return Err(Error::Length {
                given: values.len(),
                shape,
            });
        }
        let storage = match device {
            Device::Cpu => Storage::Cpu(cpu::Buffer::from_slice(values)),
            Device::Gpu(gpu) => Storage::Gpu(gpu.upload(values)?),
        };
        Ok(Self::new(shape, device.clone(), storage))
    }

    /// A tensor of the values that `values` gives, row-major; a dry run doesn't ask for them.
    ///
    /// # Errors
    /// As [`Tensor::from_slice`].
    pub fn from_values(
        shape: impl Into<Shape>,
        device: &Device,
        values: impl FnOnce() -> Vec<f32>,
    ) -> Result<Self> {
        let shape = shape.into();
        if !device.is_dry() {
            return Self::from_slice(&values(), shape, device);
        }
        let storage = match device {
            Device::Cpu => Storage::Cpu(cpu::Buffer::new(shape.len())),
            Device::Gpu(gpu) => Storage::Gpu(gpu.alloc(shape.len())?),
        };
        Ok(Self::new(shape, device.clone(), storage))
    }

    /// A tensor of one value everywhere.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn full(shape: impl Into<Shape>, value: f32, device: &Device) -> Result<Self> {
        let shape = shape.into();
        let storage = match device {
            Device::Cpu => {
                let mut buffer = cpu::Buffer::new(shape.len());
                buffer.fill(value);
                Storage::Cpu(buffer)
            }
            Device::Gpu(gpu) => {
                let buffer = gpu.alloc(shape.len())?;
                crate::ops::fill(gpu, &buffer, shape.len(), value)?;
                Storage::Gpu(buffer)
            }
        };
        Ok(Self::new(shape, device.clone(), storage))
    }

    /// A tensor of zeros.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn zeros(shape: impl Into<Shape>, device: &Device) -> Result<Self> {
        Self::full(shape, 0.0, device)
    }

    /// The extents.
    pub fn shape(&self) -> Shape {
        self.0.shape
    }

    /// How its values are stored.
    pub fn precision(&self) -> Precision {
        self.0.precision
    }

    /// Where it lives.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// The values, row-major; waits for the device.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        self.read_later()?.wait()
    }

    /// Starts to read the values without waiting for the device: what is asked of it next can begin
    /// meanwhile.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn read_later(&self) -> Result<Reading> {
        Ok(match (&*self.0.storage, self.device()) {
            (Storage::Cpu(buffer), _) => Reading::Here(buffer.values()),
            (Storage::Gpu(buffer), Device::Gpu(gpu)) => Reading::Coming {
                values: gpu.download_later(buffer)?,
                len: self.shape().len(),
            },
            (Storage::Gpu(_), Device::Cpu) => unreachable!("a GPU buffer"),
            (Storage::Freed, _) => unreachable!("only the tape holds tensors without values"),
        })
    }

    /// The value of a tensor that holds just one; waits for the device.
    ///
    /// # Errors
    /// When it holds more, or the device fails.
    pub fn item(&self) -> Result<f32> {
        match self.to_vec()?[..] {
            [value] => Ok(value),
            _ => Err(Error::NotScalar(self.shape())),
        }
    }

    /// The same values on another device, off the tape.
    ///
    /// # Errors
    /// When that device has no room, or one fails.
    pub fn to(&self, device: &Device) -> Result<Self> {
        if self.device() == device {
            return Ok(self.detach());
        }
        Self::from_slice(&self.to_vec()?, self.shape(), device)
    }

    /// The same values off the tape: gradients stop here.
    pub fn detach(&self) -> Self {
        Self::build(
            self.shape(),
            self.precision(),
            self.device().clone(),
            self.0.storage.clone(),
            false,
            None,
        )
    }

    /// The same values as a tensor that gradients can be asked for, as a parameter is.
    pub fn with_grad(&self) -> Self {
        Self::build(
            self.shape(),
            self.precision(),
            self.device().clone(),
            self.0.storage.clone(),
            true,
            None,
        )
    }

    /// The same values under another shape. Shares storage.
    pub(crate) fn view(&self, shape: Shape) -> Self {
        debug_assert_eq!(shape.len(), self.shape().len());
        Self::build(
            shape,
            self.precision(),
            self.device().clone(),
            self.0.storage.clone(),
            false,
            None,
        )
    }

    /// Whether gradients can flow through it.
    pub fn requires_grad(&self) -> bool {
        self.0.requires_grad
    }

    /// Puts the operation that computed this tensor on the tape, if any input is on it.
    pub(crate) fn record(self, op: Arc<dyn Op>, inputs: &[&Tensor]) -> Self {
        if !tape::recording() || !inputs.iter().any(|input| input.requires_grad()) {
            return self;
        }
        let reads = op.reads();
        let keep = |&input: &&Tensor| match reads {
            Reads::Inputs | Reads::Both => input.clone(),
            Reads::Output | Reads::Nothing => input.with_storage(Arc::new(Storage::Freed)),
        };
        let inputs = inputs.iter().map(keep).collect();
        let out = matches!(reads, Reads::Output | Reads::Both).then(|| self.0.storage.clone());
        let node = Arc::new(Node { op, inputs, out });
        let Inner {
            shape,
            precision,
            device,
            storage,
            ..
        } = &*self.0;
        let (device, storage) = (device.clone(), storage.clone());
        Self::build(*shape, *precision, device, storage, true, Some(node))
    }

    /// The same tensor, its place on the tape included, with its values elsewhere.
    fn with_storage(&self, storage: Arc<Storage>) -> Self {
        Tensor(Arc::new(Inner {
            id: self.0.id,
            shape: self.0.shape,
            precision: self.0.precision,
            device: self.0.device.clone(),
            storage,
            requires_grad: self.0.requires_grad,
            node: self.0.node.clone(),
        }))
    }

    /// The same tensor with the values that its operation's gradient reads, if it does.
    pub(crate) fn with_kept_values(&self) -> Self {
        match self.node().and_then(|node| node.out.as_ref()) {
            Some(storage) => self.with_storage(storage.clone()),
            None => self.clone(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    pub(crate) fn shared_node(&self) -> Option<Arc<Node>> {
        self.0.node.clone()
    }

    pub(crate) fn node(&self) -> Option<&Node> {
        self.0.node.as_deref()
    }

    pub(crate) fn cpu_array(&self) -> CpuArray<'_> {
        let Storage::Cpu(buffer) = &*self.0.storage else {
            unreachable!("`apply` checked the device, and gradients read what `Op::reads` says")
        };
        Array {
            shape: self.shape(),
            data: buffer,
        }
    }

    pub(crate) fn gpu_array(&self) -> GpuArray<'_> {
        let Storage::Gpu(buffer) = &*self.0.storage else {
            unreachable!("`apply` checked the device, and gradients read what `Op::reads` says")
        };
        Array {
            shape: self.shape(),
            data: buffer,
        }
    }
}

/// Values on their way from a device, see [`Tensor::read_later`].
pub enum Reading {
    /// They have arrived.
    Here(Vec<f32>),
    /// The device will send them.
    Coming {
        /// More than asked for, as buffers are rounded up.
        values: gpu::Pending,
        /// How many are wanted.
        len: usize,
    },
}

impl Reading {
    /// The values, row-major.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn wait(self) -> Result<Vec<f32>> {
        match self {
            Reading::Here(values) => Ok(values),
            Reading::Coming { values, len } => {
                let mut values = values.wait()?;
                values.truncate(len);
                Ok(values)
            }
        }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} on {})", self.shape(), self.device())
    }
}
