//! The door to a device.

use crate::adapter::{self, AdapterInfo, Choice};
use crate::buffer::{Buffer, Copying, Pending, Precision};
use crate::heaps;
#[cfg(feature = "testing")]
use crate::inject::{self, Fault};
use crate::pipeline::Checks;
use crate::pool::{self, Memory, Pool, Raw};
use crate::profile::{KernelTime, Profiler};
use crate::recorder::{self, Dispatch, Recorder};
use crate::tuner::{Timed, Tuner, Tuning};
use crate::{Error, Result};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// One adapter's device and queue, with a pool of buffers and a recording of dispatches.
///
/// Dispatches are recorded and submitted in order, many at a time; [`Context::download`],
/// [`Context::upload`] and [`Context::flush`] submit what is recorded. Clones are handles to
/// the same device and may be used from any thread.
///
/// Errors of the driver arrive late: a call may report what an earlier one caused. After
/// [`Error::DeviceLost`] every call fails so.
#[derive(Debug, Clone)]
pub struct Context(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    info: AdapterInfo,
    limits: Limits,
    memory_limit: Option<u64>,
    /// Of the device's own memory, where it tells.
    heap: Option<u64>,
    tuner: Tuner,
    /// None in a dry run.
    recorder: Option<Mutex<Recorder>>,
    /// Apart from the recorder, because buffers are dropped while others record. Where both are
    /// locked, the recorder is first.
    pool: Mutex<Pool>,
}

/// How to open a device.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether kernels check what they index.
    pub checks: Checks,
    /// Most bytes that buffers may take together; `None`: what the device has.
    pub memory_limit: Option<u64>,
    /// How [`Context::choose`] chooses.
    pub tuning: Tuning,
    /// How long the device may take for what it was given; then it counts as hung. `None`: ten minutes.
    pub patience: Option<Duration>,
}

/// A submission is some hundred kernels at most: software adapters take seconds for that.
const PATIENCE: Duration = Duration::from_secs(600);

/// What a device can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that one storage binding can have.
    pub binding_bytes: u64,
    /// Bytes of workgroup memory.
    pub workgroup_memory: u32,
    /// Invocations of a workgroup.
    pub invocations_per_workgroup: u32,
    /// Invocations of a workgroup in x, y and z.
    pub workgroup_size: [u32; 3],
    /// Workgroups of a dispatch in each dimension.
    pub groups_per_dimension: u32,
    /// Storage buffers of a kernel.
    pub storage_buffers: u32,
    /// Smallest and largest subgroup; of use only with `subgroups`.
    pub subgroup_size: (u32, u32),
    /// Whether WGSL's subgroup operations work.
    pub subgroups: bool,
    /// Whether buffers can be in half precision.
    pub f16: bool,
    /// Whether kernels are timed by the device itself.
    pub timestamps: bool,
}

impl PartialEq for Context {
    /// Whether it is the same device, opened once.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Context {
    /// Opens the best adapter of a choice.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], [`Error::NoHardware`] or [`Error::UnknownAdapter`] where the choice
    /// leaves none, [`Error::Open`] where the driver refuses all that it leaves.
    pub fn open(choice: &Choice) -> Result<Self> {
        Self::open_with(choice, &Options::default())
    }

    /// As [`Context::open`], with options.
    pub fn open_with(choice: &Choice, options: &Options) -> Result<Self> {
        let adapters = adapter::enumerate();
        let infos: Vec<&AdapterInfo> = adapters.iter().map(|(info, _)| info).collect();
        let mut refused = None;
        for index in adapter::select(&infos, choice)? {
            let (info, adapter) = &adapters[index];
            match Self::open_adapter(info.clone(), adapter, options) {
                Ok(context) => return Ok(context),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        Err(refused.unwrap_or(Error::NoAdapter))
    }

    fn open_adapter(info: AdapterInfo, adapter: &wgpu::Adapter, options: &Options) -> Result<Self> {
        let wanted =
            wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP;
        let request = adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("henshin"),
            required_features: adapter.features() & wanted,
            required_limits: adapter.limits(),
            ..Default::default()
        });
        let (device, queue) = pollster::block_on(request).map_err(|error| Error::Open {
            adapter: info.to_string(),
            reason: error.to_string(),
        })?;
        let limits = Limits::of(&device);
        let heap = heaps::largest(&device);
        let patience = options.patience.unwrap_or(PATIENCE);
        let recorder = Recorder::new(info.to_string(), device, queue, options.checks, patience);
        recorder.check()?;
        let tuner = Tuner::new(options.tuning.clone(), &format!("{info} ({})", info.driver));
        Ok(Context(Arc::new(Shared {
            info,
            tuner,
            limits,
            memory_limit: options.memory_limit,
            heap,
            recorder: Some(Mutex::new(recorder)),
            pool: Mutex::default(),
        })))
    }

    /// A stand-in without a device, for what memory a program would take: the same limits and choices, and
    /// buffers that are counted as this one's are but have no memory. Kernels don't run there; what is
    /// read is zeros.
    pub fn dry(&self) -> Self {
        let shared = &self.0;
        Context(Arc::new(Shared {
            info: shared.info.clone(),
            limits: shared.limits,
            memory_limit: None,
            heap: shared.heap,
            tuner: shared.tuner.dry(),
            recorder: None,
            pool: Mutex::default(),
        }))
    }

    /// Whether this is a stand-in, see [`Context::dry`].
    pub fn is_dry(&self) -> bool {
        self.0.recorder.is_none()
    }

    /// The adapter.
    pub fn info(&self) -> &AdapterInfo {
        &self.0.info
    }

    /// What the device can do.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Bytes of the device's own memory, which for one on the processor is the system's; `None` where
    /// the driver doesn't tell, which on Vulkan it does.
    pub fn heap(&self) -> Option<u64> {
        self.0.heap
    }

    /// Most elements of a buffer.
    pub fn max_buffer_len(&self) -> usize {
        usize::try_from(self.0.limits.binding_bytes / 4).unwrap_or(usize::MAX)
    }

    /// A buffer of `len` elements with undefined contents.
    ///
    /// # Errors
    /// [`Error::BufferTooLarge`] over [`Context::max_buffer_len`]; [`Error::OutOfMemory`] where
    /// there is no room, even without the pool's free buffers.
    pub fn alloc(&self, len: usize) -> Result<Buffer> {
        self.alloc_in(Precision::Single, len)
    }

    /// As [`Context::alloc`], with elements of a precision.
    ///
    /// # Errors
    /// [`Error::NoHalf`] for half precision on a device without [`Limits::f16`], too.
    pub fn alloc_in(&self, precision: Precision, len: usize) -> Result<Buffer> {
        let shared = &self.0;
        if precision == Precision::Half && !shared.limits.f16 {
            return Err(Error::NoHalf {
                device: shared.info.to_string(),
            });
        }
        let limit = shared.limits.binding_bytes;
        let requested = (len as u64).saturating_mul(precision.bytes());
        if requested > limit {
            let device = shared.info.to_string();
            return Err(Error::BufferTooLarge {
                requested,
                limit,
                device,
            });
        }
        let class = pool::size_class(requested, limit);
        let mut recorder = shared.checked_recorder()?;
        #[cfg(feature = "testing")]
        if recorder.is_some() && inject::is_due(Fault::OutOfMemory) {
            return Err(shared.out_of_memory(requested));
        }
        let pooled = shared.pool().take(class);
        let raw = match (pooled, &mut recorder) {
            (Some(raw), _) => raw,
            (None, recorder) => {
                let raw = match recorder {
                    Some(recorder) => Raw::Device(shared.make(recorder, class, requested)?),
                    None => Raw::Dry,
                };
                shared.pool().lend(class);
                raw
            }
        };
        Ok(Buffer::new(raw, len, precision, class, shared.clone()))
    }

    /// A buffer with a copy of `data`. Submits what is recorded.
    ///
    /// # Errors
    /// As [`Context::alloc`].
    pub fn upload(&self, data: &[f32]) -> Result<Buffer> {
        let buffer = self.alloc(data.len())?;
        let Some(mut recorder) = self.0.checked_recorder()? else {
            return Ok(buffer);
        };
        // The queue writes before its next submission, not where dispatches are recorded: what
        // is recorded may still use the pooled memory, and has to be on its way first.
        recorder.submit()?;
        recorder
            .queue
            .write_buffer(buffer.raw(), 0, bytemuck::cast_slice(data));
        recorder.check()?;
        Ok(buffer)
    }

    /// The contents of a buffer, once everything recorded so far has run.
    pub fn download(&self, buffer: &Buffer) -> Result<Vec<f32>> {
        self.download_later(buffer)?.wait()
    }

    /// Starts a download of the contents that the dispatches recorded so far give a buffer.
    /// Later ones, or dropping it, don't change what arrives. Submits what is recorded.
    pub fn download_later(&self, buffer: &Buffer) -> Result<Pending> {
        let shared = &self.0;
        let (len, precision) = (buffer.len(), buffer.precision());
        let Some(mut recorder) = shared.checked_recorder()? else {
            return Ok(Pending {
                len,
                precision,
                copy: None,
            });
        };
        if !buffer.belongs_to(shared) {
            return Err(recorder.error("a download of another device's buffer"));
        }
        let bytes = buffer.bytes();
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging = match recorder.create_buffer(bytes, usage)? {
            Some(staging) => staging,
            None => {
                shared.trim(&mut recorder)?;
                recorder
                    .create_buffer(bytes, usage)?
                    .ok_or_else(|| shared.out_of_memory(bytes))?
            }
        };
        let submission = recorder.submit_with(|encoder| {
            encoder.copy_buffer_to_buffer(buffer.raw(), 0, &staging, 0, bytes);
        })?;
        let mapped = Arc::new(OnceLock::new());
        let result = mapped.clone();
        staging.map_async(wgpu::MapMode::Read, .., move |outcome| {
            let _ = result.set(outcome);
        });
        Ok(Pending {
            len,
            precision,
            copy: Some(Copying {
                shared: shared.clone(),
                staging,
                submission,
                mapped,
            }),
        })
    }

    /// Records a run of a kernel. It starts with the next submission, after everything that was
    /// recorded before it.
    ///
    /// # Errors
    /// [`Error::Dispatch`] where parameters, buffers, overrides or workgroups don't fit.
    pub fn dispatch(&self, dispatch: Dispatch<'_>) -> Result<()> {
        let mut recorder = self.0.checked_recorder()?;
        if let Some(i) = dispatch
            .buffers
            .iter()
            .position(|buffer| !buffer.belongs_to(&self.0))
        {
            let reason = format!("buffer {i} is on another device; expected {}", self.0.info);
            return Err(Error::Dispatch {
                kernel: dispatch.kernel.name,
                reason,
            });
        }
        match &mut recorder {
            Some(recorder) => {
                #[cfg(feature = "testing")]
                if inject::is_due(Fault::Lost) {
                    recorder.device.destroy();
                }
                recorder.dispatch(&dispatch, &self.0.limits)
            }
            None => recorder::check(&dispatch, &self.0.limits),
        }
    }

    /// Does a task in one of several ways, given by name with the best guess first, as
    /// [`Options::tuning`] has it. `run` does it the `i`th way; for a measurement it is called several
    /// times, the last time with the way that was chosen. The task's name should say all that
    /// decides how long it takes, but for the device.
    ///
    /// # Errors
    /// Those of `run`, and of the device.
    pub fn choose<E: From<Error>>(
        &self,
        task: impl FnOnce() -> String,
        ways: &[&'static str],
        mut run: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<(), E> {
        self.0.tuner.choose(task, ways, |way, timed| {
            if timed == Timed::No {
                run(way)?;
                return Ok(Duration::ZERO);
            }
            self.synchronize()?;
            let begun = Instant::now();
            run(way)?;
            self.synchronize()?;
            Ok(begun.elapsed())
        })
    }

    /// The choices of [`Context::choose`] so far, for [`Tuning::Measured`] of a later program.
    pub fn choices(&self) -> String {
        self.0.tuner.choices()
    }

    /// Submits what is recorded.
    pub fn flush(&self) -> Result<()> {
        match self.0.checked_recorder()? {
            Some(mut recorder) => recorder.submit(),
            None => Ok(()),
        }
    }

    /// Submits what is recorded and blocks until the device is done with it.
    pub fn synchronize(&self) -> Result<()> {
        match self.0.checked_recorder()? {
            Some(mut recorder) => recorder.synchronize(),
            None => Ok(()),
        }
    }

    /// Bytes in use and in the pool.
    pub fn memory(&self) -> Memory {
        self.0.pool().memory()
    }

    /// Gives the pool's free buffers back to the driver; waits for the device.
    pub fn trim(&self) -> Result<()> {
        match self.0.checked_recorder()? {
            Some(mut recorder) => self.0.trim(&mut recorder),
            None => {
                drop(self.0.pool().drain());
                Ok(())
            }
        }
    }

    /// Starts or stops timing kernels. Timed dispatches don't overlap, so a profiled run is
    /// slower than its sum. Without [`Limits::timestamps`] nothing is timed.
    pub fn profile(&self, on: bool) -> Result<()> {
        let Some(mut recorder) = self.0.checked_recorder()? else {
            return Ok(());
        };
        recorder.synchronize()?;
        recorder.profiler = match on {
            true => Profiler::new(&recorder.device, &recorder.queue),
            false => None,
        };
        Ok(())
    }

    /// The time of each kernel since [`Context::profile`] or the last call, slowest first;
    /// waits for the device. Empty where nothing is timed.
    pub fn take_profile(&self) -> Result<Vec<KernelTime>> {
        let Some(mut recorder) = self.0.checked_recorder()? else {
            return Ok(Vec::new());
        };
        recorder.synchronize()?;
        let Some(mut profiler) = recorder.profiler.take() else {
            return Ok(Vec::new());
        };
        let times = profiler.take(&recorder);
        recorder.profiler = Some(profiler);
        times
    }

    /// Destroys the device, as a driver's reset would.
    #[cfg(feature = "testing")]
    pub(crate) fn destroy(&self) {
        if self.0.recorder.is_some() {
            self.0.recorder().device.destroy();
        }
    }
}

impl Shared {
    pub fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The recorder of a context that is not dry.
    pub fn recorder(&self) -> MutexGuard<'_, Recorder> {
        let recorder = self.recorder.as_ref().expect("asked for by what it made");
        recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The recorder, unless something has gone wrong; none in a dry run.
    fn checked_recorder(&self) -> Result<Option<MutexGuard<'_, Recorder>>> {
        if self.recorder.is_none() {
            return Ok(None);
        }
        let recorder = self.recorder();
        recorder.check()?;
        Ok(Some(recorder))
    }

    /// A new buffer for the pool, if need be in place of all that the pool keeps.
    fn make(&self, recorder: &mut Recorder, class: u64, requested: u64) -> Result<wgpu::Buffer> {
        if let Some(raw) = self.create(recorder, class)? {
            return Ok(raw);
        }
        self.trim(recorder)?;
        self.create(recorder, class)?
            .ok_or_else(|| self.out_of_memory(requested))
    }

    fn out_of_memory(&self, requested: u64) -> Error {
        Error::OutOfMemory {
            requested,
            in_use: self.pool().memory().in_use,
            device: self.info.to_string(),
        }
    }

    /// A new buffer for the pool, or `None` where there is no memory for it.
    fn create(&self, recorder: &Recorder, class: u64) -> Result<Option<wgpu::Buffer>> {
        let Memory { in_use, pooled, .. } = self.pool().memory();
        if self
            .memory_limit
            .is_some_and(|limit| in_use + pooled + class > limit)
        {
            return Ok(None);
        }
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        recorder.create_buffer(class, usage)
    }

    /// Frees the pool's buffers, which the driver does once nothing that uses them is under way.
    fn trim(&self, recorder: &mut Recorder) -> Result<()> {
        recorder.submit()?;
        drop(self.pool().drain());
        recorder.synchronize()
    }
}

impl Limits {
    fn of(device: &wgpu::Device) -> Self {
        let limits = device.limits();
        let features = device.features();
        let info = device.adapter_info();
        let binding_bytes = limits
            .max_storage_buffer_binding_size
            .min(limits.max_buffer_size);
        Limits {
            // Bindings are multiples of 16 bytes.
            binding_bytes: binding_bytes & !15,
            workgroup_memory: limits.max_compute_workgroup_storage_size,
            invocations_per_workgroup: limits.max_compute_invocations_per_workgroup,
            workgroup_size: [
                limits.max_compute_workgroup_size_x,
                limits.max_compute_workgroup_size_y,
                limits.max_compute_workgroup_size_z,
            ],
            groups_per_dimension: limits.max_compute_workgroups_per_dimension,
            storage_buffers: limits.max_storage_buffers_per_shader_stage,
            subgroup_size: (info.subgroup_min_size, info.subgroup_max_size),
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            f16: features.contains(wgpu::Features::SHADER_F16),
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        }
    }
}
