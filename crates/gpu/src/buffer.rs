//! Device memory, and reading it back.

use crate::Result;
use crate::context::Shared;
use crate::pool::Raw;
use std::sync::{Arc, OnceLock};

/// How a buffer's elements are stored. Kernels compute in single precision whichever it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// `f32`
    #[default]
    Single,
    /// `f16`: half the memory, eleven bits of precision and nothing over 65,504.
    Half,
}

impl Precision {
    /// Bytes of an element.
    pub fn bytes(self) -> u64 {
        match self {
            Precision::Single => 4,
            Precision::Half => 2,
        }
    }
}

/// A handle to floating-point elements on a device. Clones share them; on the last drop the memory goes
/// back to the pool of its [`Context`](crate::Context), where later buffers find it.
///
/// Contents are undefined until written. A binding spans the length rounded up to four
/// elements or more, so that a kernel may see a buffer as `vec4`s to its end: kernels take lengths
/// from their parameters, not from `arrayLength`.
#[derive(Debug, Clone)]
pub struct Buffer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Taken out on drop.
    raw: Option<Raw>,
    len: usize,
    precision: Precision,
    class: u64,
    shared: Arc<Shared>,
}

impl Buffer {
    pub(crate) fn new(
        raw: Raw,
        len: usize,
        precision: Precision,
        class: u64,
        shared: Arc<Shared>,
    ) -> Self {
        Buffer(Arc::new(Inner {
            raw: Some(raw),
            len,
            precision,
            class,
            shared,
        }))
    }

    /// How many elements it has.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// How its elements are stored.
    pub fn precision(&self) -> Precision {
        self.0.precision
    }

    /// Bytes that its elements take, as copies count them: by fours.
    pub(crate) fn bytes(&self) -> u64 {
        (self.0.len.max(1) as u64 * self.0.precision.bytes()).next_multiple_of(4)
    }

    pub(crate) fn raw(&self) -> &wgpu::Buffer {
        match self.0.raw.as_ref().expect("taken only by drop") {
            Raw::Device(raw) => raw,
            Raw::Dry => unreachable!("a dry context records and copies nothing"),
        }
    }

    pub(crate) fn binding(&self) -> wgpu::BufferBinding<'_> {
        let size = self.bytes().next_multiple_of(16);
        wgpu::BufferBinding {
            buffer: self.raw(),
            offset: 0,
            size: wgpu::BufferSize::new(size),
        }
    }

    /// Whether both are handles to the same memory.
    pub(crate) fn is(&self, other: &Buffer) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn belongs_to(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.0.shared, shared)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(raw) = self.raw.take() {
            self.shared.pool().give_back(self.class, raw);
        }
    }
}

/// A download that is under way; the device works on meanwhile.
#[derive(Debug)]
#[must_use = "the download is lost without `wait`"]
pub struct Pending {
    pub(crate) len: usize,
    pub(crate) precision: Precision,
    /// None in a dry run.
    pub(crate) copy: Option<Copying>,
}

/// A copy on its way to memory that the program can see.
#[derive(Debug)]
pub(crate) struct Copying {
    pub(crate) shared: Arc<Shared>,
    pub(crate) staging: wgpu::Buffer,
    pub(crate) submission: wgpu::SubmissionIndex,
    pub(crate) mapped: Arc<OnceLock<Result<(), wgpu::BufferAsyncError>>>,
}

impl Pending {
    /// Blocks until the data is here; zeros in a dry run.
    pub fn wait(self) -> Result<Vec<f32>> {
        let Some(copy) = self.copy else {
            return Ok(vec![0.0; self.len]);
        };
        let recorder = copy.shared.recorder();
        recorder.wait(Some(copy.submission))?;
        match copy.mapped.get() {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(recorder.error(error)),
            None => return Err(recorder.error("a read-back did not finish")),
        }
        let view = copy
            .staging
            .get_mapped_range(..)
            .map_err(|error| recorder.error(error))?;
        let mut data: Vec<f32> = match self.precision {
            Precision::Single => bytemuck::pod_collect_to_vec(&view),
            Precision::Half => view
                .as_chunks()
                .0
                .iter()
                .map(|&bytes| half::f16::from_le_bytes(bytes).to_f32())
                .collect(),
        };
        data.truncate(self.len);
        Ok(data)
    }
}
