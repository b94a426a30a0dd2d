use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::{Add, AddAssign};
use std::sync::Arc;

use crate::tensor::Storage;
use crate::{Device, Error, Precision, Result, Shape, Tensor, cpu};

/// A tensor's shape and its values as an operation sees them.
#[derive(Clone, Copy)]
pub struct Array<T> {
    /// The extents.
    pub shape: Shape,
    /// The values.
    pub data: T,
}

/// An input on the processor.
pub type CpuArray<'a> = Array<&'a cpu::Buffer>;

/// An input or output on the GPU.
pub type GpuArray<'a> = Array<&'a gpu::Buffer>;

/// One operation: everything the rest of the engine asks of it.
pub trait Op: Debug + Send + Sync + 'static {
    /// The name in reports and errors.
    fn name(&self) -> &'static str;

    /// The output's shape.
    ///
    /// # Errors
    /// Why the inputs are refused.
    fn shape(&self, inputs: &[Shape]) -> Result<Shape>;

    /// How a GPU stores the output, given how it stores the inputs: as the first, unless the operation says
    /// otherwise. The processor has single precision alone.
    fn precision(&self, inputs: &[Precision]) -> Precision {
        inputs[0]
    }

    /// Computes every value of `out`, whose content is undefined before, on the processor.
    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>);

    /// Whether [`Op::cpu`] takes buffers beside its output. Then a dry run calls it, with inputs and an
    /// output that have shapes but no values, for it to take those buffers and compute nothing.
    fn workspace(&self) -> bool {
        false
    }

    /// Records the kernels that compute every value of `out`, whose content is undefined before.
    ///
    /// # Errors
    /// A shape beyond the adapter's limits, or a fault of the device.
    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()>;

    /// The gradients of those inputs that need one, as tensor expressions.
    ///
    /// # Errors
    /// Those of the expressions, or [`Error::NotDifferentiable`].
    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>>;

    /// Which values [`Op::backward`] reads; shapes it always may. The tape frees the others early.
    fn reads(&self) -> Reads {
        Reads::Both
    }

    /// What the operation costs: its arithmetic, and the memory traffic it can't do without.
    fn cost(&self, inputs: &[Shape], out: Shape) -> Cost {
        Cost::bandwidth(inputs, out)
    }
}

/// The values that a gradient is computed from, beside that of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// None.
    Nothing,
    /// The operation's inputs.
    Inputs,
    /// Its output.
    Output,
    /// All of them.
    Both,
}

/// What an operation's gradient is computed from.
pub struct Backward<'a> {
    /// The operation's inputs; only with values where [`Op::reads`] says so.
    pub inputs: &'a [Tensor],
    /// Its output, likewise.
    pub out: &'a Tensor,
    /// The gradient with respect to its output.
    pub grad: &'a Tensor,
    /// Which inputs need a gradient.
    pub needs: &'a [bool],
}

impl Backward<'_> {
    /// The gradient of input `i`, computed if it is needed.
    ///
    /// # Errors
    /// Those of the expression.
    pub fn gradient(
        &self,
        i: usize,
        expression: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Option<Tensor>> {
        if self.needs[i] {
            expression().map(Some)
        } else {
            Ok(None)
        }
    }
}

/// Arithmetic and memory traffic of an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Floating-point operations; a multiplication with an addition counts two.
    pub flops: f64,
    /// Bytes read and written when everything is touched once.
    pub bytes: f64,
}

impl Cost {
    /// An operation bound by memory: each input read and the output written once, an operation a value.
    pub fn bandwidth(inputs: &[Shape], out: Shape) -> Cost {
        let values = inputs.iter().map(Shape::len).sum::<usize>() + out.len();
        Cost {
            flops: out.len() as f64,
            bytes: 4.0 * values as f64,
        }
    }

    /// The same traffic with another count of operations.
    pub fn with_flops(self, flops: f64) -> Cost {
        Cost { flops, ..self }
    }
}

impl Add for Cost {
    type Output = Cost;
    fn add(self, other: Cost) -> Cost {
        Cost {
            flops: self.flops + other.flops,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        *self = *self + other;
    }
}

thread_local! {
    /// What operations cost since [`costs`] began to count, by their names.
    static COSTS: RefCell<Option<BTreeMap<&'static str, Cost>>> = const { RefCell::new(None) };
}

/// Runs `f` and counts what the operations in it cost, by their names. A convolution counts by its
/// definition, however it is computed.
pub fn costs<T>(f: impl FnOnce() -> T) -> (T, BTreeMap<&'static str, Cost>) {
    let outer = COSTS.replace(Some(BTreeMap::new()));
    let result = f();
    let counted = COSTS.replace(outer).unwrap_or_default();
    (result, counted)
}

/// Runs an operation where its inputs are, and puts it on the tape if a gradient may be asked for.
///
/// # Errors
/// When the operation refuses the inputs, they are on different devices, or the device fails.
pub fn apply(op: impl Op, inputs: &[&Tensor]) -> Result<Tensor> {
    apply_shared(Arc::new(op), inputs)
}

/// As [`apply`], for an operation that is known only by its trait.
pub(crate) fn apply_shared(op: Arc<dyn Op>, inputs: &[&Tensor]) -> Result<Tensor> {
    let out = run(&*op, inputs)?;
    Ok(out.record(op, inputs))
}

/// Runs an operation without the tape.
fn run(op: &dyn Op, inputs: &[&Tensor]) -> Result<Tensor> {
    let device = inputs[0].device();
    if inputs.iter().any(|input| input.device() != device) {
        return Err(Error::DeviceMismatch { op: op.name() });
    }
    let shapes: Vec<Shape> = inputs.iter().map(|input| input.shape()).collect();
    let shape = op.shape(&shapes)?;
    COSTS.with_borrow_mut(|counted| {
        if let Some(counted) = counted {
            *counted.entry(op.name()).or_default() += op.cost(&shapes, shape);
        }
    });
    let precisions: Vec<Precision> = inputs.iter().map(|input| input.precision()).collect();
    let precision = op.precision(&precisions);
    let storage = match device {
        Device::Cpu if precision == Precision::Half => {
            return Err(Error::Gpu(gpu::Error::NoHalf {
                device: device.to_string(),
            }));
        }
        Device::Cpu => {
            let mut out = cpu::Buffer::new(shape.len());
            let arrays: Vec<CpuArray> = inputs.iter().map(|input| input.cpu_array()).collect();
            if !out.is_dry() || op.workspace() {
                op.cpu(
                    &arrays,
                    Array {
                        shape,
                        data: &mut out,
                    },
                );
            }
            Storage::Cpu(out)
        }
        Device::Gpu(gpu) => {
            let out = gpu.alloc_in(precision, shape.len())?;
            let arrays: Vec<GpuArray> = inputs.iter().map(|input| input.gpu_array()).collect();
            op.gpu(gpu, &arrays, Array { shape, data: &out })?;
            Storage::Gpu(out)
        }
    };
    Ok(Tensor::new(shape, device.clone(), storage))
}

/// An [`Error::Inputs`].
pub(crate) fn refuse<T>(
    op: &'static str,
    inputs: &[Shape],
    reason: impl Into<String>,
) -> Result<T> {
    Err(Error::Inputs {
        op,
        inputs: inputs.to_vec(),
        reason: reason.into(),
    })
}

/// The shape shared by all inputs of a pointwise operation.
pub(crate) fn same_shape(op: &'static str, inputs: &[Shape]) -> Result<Shape> {
    if inputs.iter().any(|shape| *shape != inputs[0]) {
        return refuse(op, inputs, "their shapes must be the same");
    }
    Ok(inputs[0])
}

/// The extents of an input that must have four dimensions.
pub(crate) fn nchw(op: &'static str, inputs: &[Shape], i: usize) -> Result<[usize; 4]> {
    match inputs[i].dims().try_into() {
        Ok(dims) => Ok(dims),
        Err(_) => refuse(
            op,
            inputs,
            format!("input {i} must have four dimensions (N×C×H×W)"),
        ),
    }
}
