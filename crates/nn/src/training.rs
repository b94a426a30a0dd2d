//! Layers that do other things in training than afterwards: dropout leaves out values, batch norm takes the
//! statistics of the batch.

use std::cell::RefCell;
use std::mem;

/// What layers know of the training under way on this thread.
#[derive(Clone, Copy)]
struct Training {
    /// Of the last dropout.
    seed: u32,
    /// Whether this forward pass was made before, and is only repeated for its gradient.
    again: bool,
}

thread_local! {
    static TRAINING: RefCell<Option<Training>> = const { RefCell::new(None) };
}

/// Calls `f` with networks in training; outside of it they are in use. What dropouts leave out follows from
/// `seed`.
pub fn training<T>(seed: u32, f: impl FnOnce() -> T) -> T {
    within(Some(Training { seed, again: false }), f)
}

fn within<T>(state: Option<Training>, f: impl FnOnce() -> T) -> T {
    /// What was before comes back, on unwinding too.
    struct Before(Option<Training>);
    impl Drop for Before {
        fn drop(&mut self) {
            TRAINING.replace(mem::take(&mut self.0));
        }
    }
    let _before = Before(TRAINING.replace(state));
    f()
}

/// Whether networks are in training.
pub(crate) fn is_under_way() -> bool {
    TRAINING.with_borrow(Option::is_some)
}

/// Whether a forward pass is made for the first time, so that what is tracked over passes counts it.
pub(crate) fn is_first() -> bool {
    TRAINING.with_borrow(|state| state.as_ref().is_some_and(|state| !state.again))
}

/// A seed for a dropout, in training.
pub(crate) fn next_seed() -> Option<u32> {
    TRAINING.with_borrow_mut(|state| {
        let state = state.as_mut()?;
        state.seed = state.seed.wrapping_add(1);
        Some(state.seed)
    })
}

/// A forward pass that can be repeated.
pub(crate) struct Repeatable(Option<Training>);

impl Repeatable {
    /// From here on.
    pub fn begin() -> Self {
        Repeatable(TRAINING.with_borrow(|state| *state))
    }

    /// Calls `f` with networks as they were at the beginning.
    pub fn again<T>(&self, f: impl FnOnce() -> T) -> T {
        within(
            self.0.map(|state| Training {
                again: true,
                ..state
            }),
            f,
        )
    }
}
