use crate::Shape;

/// Why an operation could not be done.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Inputs that an operation does not take.
    #[error("{op} does not take {}: {reason}", Shapes(inputs))]
    Inputs {
        /// The operation.
        op: &'static str,
        /// What it was given.
        inputs: Vec<Shape>,
        /// What it takes.
        reason: String,
    },

    /// Data whose length is not that of its shape.
    #[error("{given} values were given for the shape {shape}, which holds {}", shape.len())]
    Length {
        /// Number of values.
        given: usize,
        /// The shape.
        shape: Shape,
    },

    /// More than four dimensions.
    #[error("a tensor has at most four dimensions, not {0}")]
    Rank(usize),

    /// A product of extents that no number holds.
    #[error("a tensor of the extents {0:?} has more values than can be counted")]
    Extents(Vec<usize>),

    /// Inputs on different devices.
    #[error("{op} was given tensors on different devices; move them to one with `to`")]
    DeviceMismatch {
        /// The operation.
        op: &'static str,
    },

    /// A gradient of something that has none.
    #[error("{0} cannot be differentiated")]
    NotDifferentiable(&'static str),

    /// A gradient of something that is no number.
    #[error(
        "gradients are taken of a single value, not of a tensor {0}; take `mean` or `sum` first"
    )]
    NotScalar(Shape),

    /// No fault: who runs the operations has learned what it wanted of them.
    #[error("stopped on purpose, with nothing computed")]
    Stopped,

    /// A device name that means nothing.
    #[error(transparent)]
    Gpu(#[from] gpu::Error),
}

/// The result of a tensor operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

struct Shapes<'a>(&'a [Shape]);

impl std::fmt::Display for Shapes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, shape) in self.0.iter().enumerate() {
            write!(f, "{}{shape}", if i == 0 { "" } else { " and " })?;
        }
        Ok(())
    }
}
