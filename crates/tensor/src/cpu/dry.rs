//! Dry runs: code that runs without data, for what memory it takes. Buffers have no memory then and are
//! counted by a pool with the real one's size classes; operations compute nothing. Those that take memory
//! beside their output run as far as they take it ([`crate::Op::workspace`]).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use gpu::Memory;
use rayon::prelude::*;

/// Counts what buffers take, and keeps count of what is free.
#[derive(Default)]
struct Pool {
    free: HashMap<usize, usize>,
    memory: Memory,
}

thread_local! {
    static POOL: RefCell<Option<Arc<Mutex<Pool>>>> = const { RefCell::new(None) };
    /// How many threads run, in a real run, what this one runs once.
    static AT_ONCE: Cell<usize> = const { Cell::new(1) };
}

/// A dry buffer's memory: so many pieces of a class, which go back when it is dropped.
pub(super) struct Share {
    pool: Arc<Mutex<Pool>>,
    class: usize,
    pieces: usize,
}

fn lock(pool: &Mutex<Pool>) -> MutexGuard<'_, Pool> {
    pool.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Whether this thread is in a dry run.
pub(crate) fn is_on() -> bool {
    POOL.with_borrow(Option::is_some)
}

/// Runs `f` dry, from no memory at all.
pub(crate) fn run<T>(f: impl FnOnce() -> T) -> T {
    /// Restores the state on unwinding too.
    struct Restore(Option<Arc<Mutex<Pool>>>, usize);
    impl Drop for Restore {
        fn drop(&mut self) {
            POOL.set(self.0.take());
            AT_ONCE.set(self.1);
        }
    }
    let _restore = Restore(POOL.replace(Some(Arc::default())), AT_ONCE.replace(1));
    f()
}

/// What the dry run that this thread is in has counted.
pub(super) fn memory() -> Option<Memory> {
    POOL.with_borrow(|pool| pool.as_ref().map(|pool| lock(pool).memory))
}

/// Memory of `class` values, if this thread is in a dry run.
pub(super) fn take(class: usize) -> Option<Share> {
    let pool = POOL.with_borrow(Clone::clone)?;
    let pieces = AT_ONCE.get();
    {
        let pool = &mut *lock(&pool);
        for _ in 0..pieces {
            let free = pool.free.entry(class).or_default();
            let pooled = *free > 0;
            *free = free.saturating_sub(1);
            pool.memory.lend(4 * class as u64, pooled);
        }
    }
    Some(Share {
        pool,
        class,
        pieces,
    })
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut pool = lock(&self.pool);
        *pool.free.entry(self.class).or_default() += self.pieces;
        pool.memory.give_back(4 * (self.class * self.pieces) as u64);
    }
}

/// Does tasks on all cores. In a dry run the first stands for all that run at once; it should be one of
/// those that take the most.
pub(super) fn each(tasks: usize, work: impl Fn(usize) + Send + Sync) {
    if !is_on() {
        return (0..tasks).into_par_iter().for_each(work);
    }
    if tasks == 0 {
        return;
    }
    // Inside of a task all threads are taken.
    let outer = AT_ONCE.get();
    if outer == 1 {
        AT_ONCE.set(tasks.min(rayon::current_num_threads()));
    }
    work(0);
    AT_ONCE.set(outer);
}

/// What tasks make, all of which is kept; on all cores.
pub(super) fn collect<T: Send>(tasks: usize, make: impl Fn(usize) -> T + Send + Sync) -> Vec<T> {
    match is_on() {
        true => (0..tasks).map(make).collect(),
        false => (0..tasks).into_par_iter().map(make).collect(),
    }
}

/// Both, on two cores where there are.
pub(super) fn join<A: Send, B: Send>(
    a: impl FnOnce() -> A + Send,
    b: impl FnOnce() -> B + Send,
) -> (A, B) {
    match is_on() {
        true => (a(), b()),
        false => rayon::join(a, b),
    }
}
