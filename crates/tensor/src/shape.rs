use std::fmt;

use crate::{Error, Result};

/// The extent of a tensor in each of its (at most four) dimensions; images are N×C×H×W.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [usize; 4],
    rank: usize,
}

impl Shape {
    /// A single value.
    pub const SCALAR: Shape = Shape {
        dims: [1; 4],
        rank: 0,
    };

    /// The extents.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.rank]
    }

    /// The number of values.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.dims().iter().product()
    }

    /// The extents with ones put in front up to four dimensions, as broadcasting sees them.
    pub fn nchw(&self) -> [usize; 4] {
        let mut out = [1; 4];
        out[4 - self.rank..].copy_from_slice(self.dims());
        out
    }

    /// Whether a tensor of this shape can be broadcast to `to` (NumPy's rules).
    pub fn broadcasts_to(&self, to: Shape) -> bool {
        self.rank <= to.rank
            && self
                .nchw()
                .iter()
                .zip(to.nchw())
                .all(|(&from, to)| from == to || from == 1)
    }

    /// The same shape with another extent in one dimension.
    pub fn with_dim(mut self, axis: usize, extent: usize) -> Shape {
        self.dims[..self.rank][axis] = extent;
        self
    }
}

impl TryFrom<&[usize]> for Shape {
    type Error = Error;

    fn try_from(given: &[usize]) -> Result<Self> {
        let mut dims = [1; 4];
        dims.get_mut(..given.len())
            .ok_or(Error::Rank(given.len()))?
            .copy_from_slice(given);
        // Files say what they like. An extent of nothing hides how large the others are.
        given
            .iter()
            .try_fold(1usize, |len, &extent| len.checked_mul(extent.max(1)))
            .ok_or_else(|| Error::Extents(given.to_vec()))?;
        Ok(Shape {
            dims,
            rank: given.len(),
        })
    }
}

macro_rules! from_array {
    ($($rank:literal)*) => {$(
        impl From<[usize; $rank]> for Shape {
            fn from(given: [usize; $rank]) -> Self {
                let mut dims = [1; 4];
                dims[..$rank].copy_from_slice(&given);
                Shape { dims, rank: $rank }
            }
        }
    )*};
}
from_array!(0 1 2 3 4);

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rank == 0 {
            return write!(f, "(a single value)");
        }
        for (i, dim) in self.dims().iter().enumerate() {
            write!(f, "{}{dim}", if i == 0 { "" } else { "×" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_follows_numpy() {
        let image = Shape::from([2, 3, 4, 5]);
        for (from, yes) in [
            (Shape::from([1, 3, 1, 1]), true),
            (Shape::from([4, 5]), true),
            (Shape::SCALAR, true),
            (Shape::from([3]), false),
            (Shape::from([2, 1, 4, 6]), false),
        ] {
            assert_eq!(from.broadcasts_to(image), yes, "{from}");
        }
        assert!(!image.broadcasts_to(Shape::from([4, 5])));
    }

    #[test]
    fn five_dimensions_and_extents_beyond_counting_are_refused() {
        assert!(Shape::try_from(&[1usize; 5][..]).is_err());
        for extents in [[1 << 40, 1 << 40, 1], [0, 1 << 40, 1 << 40]] {
            let error = Shape::try_from(&extents[..]).unwrap_err();
            assert!(error.to_string().contains("1099511627776"), "{error}");
        }
    }
}
