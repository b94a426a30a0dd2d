//! What can go wrong in a step, and be gone on from.

use std::fmt;
use std::path::PathBuf;

use nn::StateError;

use crate::settings::OnNan;

/// A fault after which a run can go on from its newest checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The device failed; a fresh one may not.
    Device,
    /// This step gave no finite numbers, and is to be passed over.
    NotFinite(u64),
}

impl Fault {
    /// The fault behind an error, if that is one to go on from.
    pub fn of(error: &anyhow::Error, on_nan: OnNan) -> Option<Fault> {
        error.chain().find_map(|cause| {
            if let Some(not_finite) = cause.downcast_ref::<NotFinite>() {
                return (on_nan == OnNan::Rollback).then_some(Fault::NotFinite(not_finite.step));
            }
            let of_tensors = match cause.downcast_ref::<StateError>() {
                Some(StateError::Tensor(error)) => Some(error),
                _ => cause.downcast_ref::<tensor::Error>(),
            };
            let error = match of_tensors {
                Some(tensor::Error::Gpu(error)) => Some(error),
                _ => cause.downcast_ref::<gpu::Error>(),
            }?;
            error.is_of_the_device().then_some(Fault::Device)
        })
    }
}

/// A step whose losses or gradients are no finite numbers.
#[derive(Clone, Debug)]
pub struct NotFinite {
    step: u64,
    what: String,
    pictures: Vec<String>,
}

impl NotFinite {
    /// Of `step`, counted from 1, in which `what` was not finite.
    pub fn new(step: u64, what: String, files: &[[PathBuf; 2]]) -> Self {
        let name = |[a, b]: &[PathBuf; 2]| format!("{} and {}", a.display(), b.display());
        NotFinite {
            step,
            what,
            pictures: files.iter().map(name).collect(),
        }
    }
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NotFinite {
            step,
            what,
            pictures,
        } = self;
        write!(
            f,
            "step {step}: no finite number is {what}; its pictures were {}. If it comes again, look at \
             them; a lower --learning-rate or --clip-norm 1 usually helps",
            pictures.join("; ")
        )
    }
}

impl std::error::Error for NotFinite {}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn faults_are_found_behind_what_was_said_of_them() {
        let lost = || gpu::Error::DeviceLost {
            device: "x".into(),
            reason: "y".into(),
        };
        let of = |error: anyhow::Error, on_nan| Fault::of(&error.context("saving"), on_nan);
        let faults = [
            of(lost().into(), OnNan::Stop),
            of(tensor::Error::from(lost()).into(), OnNan::Stop),
            of(
                StateError::from(tensor::Error::from(lost())).into(),
                OnNan::Stop,
            ),
        ];
        assert_eq!(faults, [Some(Fault::Device); 3]);
        let refused = gpu::Error::NoHalf { device: "x".into() };
        assert_eq!(of(refused.into(), OnNan::Stop), None);
        let not_finite = || NotFinite::new(7, "G_A".into(), &[]);
        assert_eq!(
            of(not_finite().into(), OnNan::Rollback),
            Some(Fault::NotFinite(7))
        );
        assert_eq!(of(not_finite().into(), OnNan::Stop), None);
        let other = Err::<(), _>(std::io::Error::other("x"))
            .context("y")
            .unwrap_err();
        assert_eq!(of(other, OnNan::Rollback), None);
    }
}
