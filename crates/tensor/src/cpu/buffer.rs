//! Buffers that are used again: a training step asks for the same sizes every time, and fresh
//! memory costs a page fault every 4 KiB.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard};

use bytemuck::{Pod, Zeroable, cast_slice, cast_slice_mut};
use gpu::Memory;

use super::dry;

/// A line of the cache: memory starts with one, so that no vector spans two.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Line([f32; LINE]);

const LINE: usize = 16;

/// Zeros that follow every buffer's values: kernels may read so far past the end.
pub(super) const SLACK: usize = 128;

/// `len` values of pooled memory, and what was derived from them.
///
/// In a dry run it has a length and counts as if it had memory, but derefs to no values.
pub struct Buffer {
    memory: Vec<Line>,
    len: usize,
    /// Whose memory it is, where that is not the pool's.
    dry: Option<dry::Share>,
    derived: Mutex<Vec<(Derivation, Arc<Buffer>)>>,
}

/// Names a form that values were brought into: how, and for which extents.
pub(crate) type Derivation = (&'static str, [usize; 8]);

/// Free memory by its number of values, and how many bytes there are of what.
#[derive(Default)]
struct Pool {
    free: Option<HashMap<usize, Vec<Vec<Line>>>>,
    memory: Memory,
}

static POOL: Mutex<Pool> = Mutex::new(Pool {
    free: None,
    memory: Memory {
        in_use: 0,
        pooled: 0,
        peak: 0,
        taken: 0,
    },
});

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Rounds up to one of four sizes an octave, so that similar shapes share.
fn size_class(len: usize) -> usize {
    let step = (len.max(64).next_power_of_two() / 8).max(16);
    len.max(1).next_multiple_of(step)
}

impl Buffer {
    /// A buffer whose content is undefined (though never uninitialised).
    pub fn new(len: usize) -> Self {
        let class = size_class(len + SLACK);
        let dry = dry::take(class);
        let memory = match dry {
            Some(_) => Vec::new(),
            None => take(class, len),
        };
        Buffer {
            memory,
            len,
            dry,
            derived: Mutex::default(),
        }
    }

    /// How many values it has, in a dry run, too.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it was made in a dry run and so has no memory.
    pub(crate) fn is_dry(&self) -> bool {
        self.dry.is_some()
    }

    /// The first value; the last is followed by [`SLACK`] zeros.
    pub(super) fn as_ptr_with_slack(&self) -> *const f32 {
        self.memory.as_ptr().cast()
    }

    /// A copy of the given values.
    pub fn from_slice(values: &[f32]) -> Self {
        let mut buffer = Self::new(values.len());
        if !buffer.is_dry() {
            buffer.copy_from_slice(values);
        }
        buffer
    }

    /// A copy of its values; zeros in a dry run.
    pub(crate) fn values(&self) -> Vec<f32> {
        match self.dry {
            Some(_) => vec![0.0; self.len],
            None => self.to_vec(),
        }
    }

    /// These values in another form, which is kept as long as they are: a step uses a weight, packed
    /// for its kernel, several times.
    pub(crate) fn derive(&self, how: Derivation, make: impl FnOnce() -> Buffer) -> Arc<Buffer> {
        let lock = || self.derived.lock().unwrap_or_else(|p| p.into_inner());
        if let Some((_, kept)) = lock().iter().find(|(kept, _)| *kept == how) {
            return kept.clone();
        }
        let made = Arc::new(make());
        lock().push((how, made.clone()));
        made
    }
}

/// Memory of a class for `len` values and the zeros after them, from the pool or new.
fn take(class: usize, len: usize) -> Vec<Line> {
    let mut pool = pool();
    let free = pool
        .free
        .get_or_insert_default()
        .get_mut(&class)
        .and_then(Vec::pop);
    pool.memory.lend(4 * class as u64, free.is_some());
    drop(pool);
    let mut memory = free.unwrap_or_else(|| vec![Line::zeroed(); class / LINE]);
    cast_slice_mut(&mut memory)[len..len + SLACK].fill(0.0f32);
    memory
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.is_dry() {
            return;
        }
        let memory = std::mem::take(&mut self.memory);
        let mut pool = pool();
        pool.memory.give_back(size_of_val(&memory[..]) as u64);
        pool.free
            .get_or_insert_default()
            .entry(memory.len() * LINE)
            .or_default()
            .push(memory);
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        let len = if self.is_dry() { 0 } else { self.len };
        &cast_slice(&self.memory)[..len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        let derived = self.derived.get_mut();
        derived.unwrap_or_else(|p| p.into_inner()).clear();
        let len = if self.dry.is_some() { 0 } else { self.len };
        &mut cast_slice_mut(&mut self.memory)[..len]
    }
}

/// Bytes in live buffers and in the pool; in a dry run, those that it counts.
pub fn memory() -> Memory {
    dry::memory().unwrap_or_else(|| pool().memory)
}

/// Gives the pool's free memory back to the system.
pub fn trim() {
    let mut pool = pool();
    let free = pool.free.take();
    pool.memory.pooled = 0;
    drop(pool);
    drop(free);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_classes_waste_less_than_a_quarter() {
        for len in [1, 63, 64, 65, 1000, 1024, 1025, 12_288, 1_000_003] {
            let class = size_class(len);
            assert!(
                class >= len && class <= (len + len / 4).max(64),
                "{len} -> {class}"
            );
            assert_eq!(size_class(class), class, "a class is its own class");
        }
    }

    #[test]
    fn freed_memory_is_used_again() {
        let buffer = Buffer::new(987_654);
        let address = buffer.as_ptr();
        drop(buffer);
        assert_eq!(Buffer::new(987_653).as_ptr(), address);
    }

    #[test]
    fn what_was_derived_lasts_until_the_values_change() {
        let mut buffer = Buffer::from_slice(&[1.0, 2.0]);
        let doubled = |from: &Buffer| Buffer::from_slice(&[2.0 * from[0], 2.0 * from[1]]);
        let how = ("doubled", [0; 8]);
        let first = buffer.derive(how, || doubled(&buffer));
        let again = buffer.derive(how, || unreachable!("it is kept"));
        assert!(Arc::ptr_eq(&first, &again));
        buffer[0] = 5.0;
        assert_eq!(buffer.derive(how, || doubled(&buffer))[0], 10.0);
    }
}
