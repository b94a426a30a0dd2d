//! Buffers for reuse.

use std::collections::BTreeMap;

/// Bytes on a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Held by live buffers.
    pub in_use: u64,
    /// Free, kept for reuse.
    pub pooled: u64,
    /// The most that was ever in use.
    pub peak: u64,
    /// The most that was ever taken from the system: in use and pooled.
    pub taken: u64,
}

impl Memory {
    /// Counts bytes that come into use, `pooled` ones out of the pool.
    pub fn lend(&mut self, bytes: u64, pooled: bool) {
        self.in_use += bytes;
        if pooled {
            self.pooled -= bytes;
        }
        self.peak = self.peak.max(self.in_use);
        self.taken = self.taken.max(self.in_use + self.pooled);
    }

    /// Counts bytes that go back to the pool.
    pub fn give_back(&mut self, bytes: u64) {
        self.in_use -= bytes;
        self.pooled += bytes;
    }
}

/// What a buffer is made of.
#[derive(Debug)]
pub(crate) enum Raw {
    Device(wgpu::Buffer),
    /// Nothing: a dry run's buffers are only counted.
    Dry,
}

/// Free buffers by size class, and how many bytes there are of what.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: BTreeMap<u64, Vec<Raw>>,
    memory: Memory,
}

impl Pool {
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// A free buffer of a class; the one freed last, which caches may still know.
    pub fn take(&mut self, class: u64) -> Option<Raw> {
        let buffer = self.free.get_mut(&class)?.pop()?;
        self.memory.lend(class, true);
        Some(buffer)
    }

    /// Counts a buffer that was made for the pool.
    pub fn lend(&mut self, class: u64) {
        self.memory.lend(class, false);
    }

    /// Takes a buffer back.
    pub fn give_back(&mut self, class: u64, buffer: Raw) {
        self.memory.give_back(class);
        self.free.entry(class).or_default().push(buffer);
    }

    /// Empties the pool; the caller drops what comes out.
    #[must_use]
    pub fn drain(&mut self) -> Vec<Raw> {
        self.memory.pooled = 0;
        std::mem::take(&mut self.free)
            .into_values()
            .flatten()
            .collect()
    }
}

/// The size class of a buffer: `bytes` rounded up to one of four steps an octave, so that at
/// most a fifth is wasted and shapes of about the same size share. Multiples of 64, at least 256.
pub(crate) fn size_class(bytes: u64, limit: u64) -> u64 {
    if bytes <= 256 {
        return 256;
    }
    let octave = 1 << bytes.ilog2();
    bytes.next_multiple_of(octave / 4).min(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_classes_have_four_steps_an_octave() {
        let class = |bytes| size_class(bytes, u64::MAX);
        assert_eq!([0, 1, 256].map(class), [256; 3]);
        assert_eq!(
            [257, 320, 321, 512, 513].map(class),
            [320, 320, 384, 512, 640]
        );
        assert_eq!(class(100 << 20), 112 << 20);
        assert_eq!(
            size_class(100 << 20, 101 << 20),
            101 << 20,
            "the device's limit caps them"
        );
        for bytes in (1..1_000_000).step_by(997) {
            let class = class(bytes);
            assert!(class >= bytes && class % 64 == 0);
            assert!(
                bytes < 256 || class - bytes <= class / 5,
                "{bytes} in {class}"
            );
        }
    }
}
