//! Collects dispatches and sends them to the device many at a time.

use crate::pipeline::{Checks, Pipeline, Pipelines, binding_numbers};
use crate::profile::Profiler;
use crate::{Buffer, Error, Limits, Precision, Result};
use shaders::{Binding, Kernel};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// One run of a kernel.
#[derive(Debug, Clone, Copy)]
pub struct Dispatch<'a> {
    /// What runs.
    pub kernel: &'static Kernel,
    /// Values for some of its `override` constants; each set of values is compiled once.
    pub overrides: &'a [(&'static str, f64)],
    /// The bytes of its `Params`, `kernel.params_size` of them.
    pub params: &'a [u8],
    /// Its storage buffers in binding order. One that is written may appear only once.
    pub buffers: &'a [&'a Buffer],
    /// Workgroups in x, y and z; with a zero among them nothing runs. See [`fold`].
    pub groups: [u32; 3],
}

/// Lays a one-dimensional job of many workgroups out in two dimensions, since devices take
/// 65,535 in one. There may be a few workgroups too many: `flat_index` of `lib/index.wgsl`
/// gives each invocation its place, which the kernel compares with the length of the job.
pub fn fold(groups: u64) -> [u32; 3] {
    const MOST: u64 = 65_535;
    let rows = groups.div_ceil(MOST).max(1);
    // More than 65,535 rows is more than a device holds; `dispatch` refuses them.
    let clamp = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    [clamp(groups.div_ceil(rows)), clamp(rows), 1]
}

/// Dispatches of one submission: enough to spread the cost of a submission, few enough that the
/// device starts early and no watchdog takes it for hung.
const DISPATCHES_PER_SUBMISSION: usize = 64;

/// Submissions that may wait for the device; further ones wait for the oldest. Bounds what a
/// program that runs ahead of its device holds on to.
const SUBMISSIONS_IN_FLIGHT: usize = 8;

/// Bytes of the uniform buffer for each dispatch: one alignment of dynamic offsets, at most.
const SLOT: usize = shaders::limits::MAX_PARAMS as usize;

/// A dispatch that is recorded, not yet encoded. Its bind group keeps its buffers alive.
#[derive(Debug)]
struct Command {
    kernel: &'static Kernel,
    pipeline: Arc<Pipeline>,
    bindings: wgpu::BindGroup,
    groups: [u32; 3],
}

/// What has gone wrong behind the scenes, told by wgpu's callbacks.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    lost: OnceLock<String>,
    error: Mutex<Option<String>>,
}

impl Faults {
    fn watch(device: &wgpu::Device) -> Arc<Self> {
        let faults = Arc::new(Faults::default());
        let watcher = faults.clone();
        device.set_device_lost_callback(move |reason, message| {
            let _ = watcher.lost.set(match message.as_str() {
                "" => format!("{reason:?}"),
                _ => message,
            });
        });
        let watcher = faults.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let mut first = watcher.error.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| error.to_string());
        }));
        faults
    }
}

/// The device and everything that talks to it, behind one lock: GL contexts belong to one
/// thread at a time, and commands of several threads must not interleave within a recording.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    /// Name of the device in errors.
    name: String,
    faults: Arc<Faults>,
    pipelines: Pipelines,
    commands: Vec<Command>,
    /// Parameters of `commands`, a slot each.
    params: Vec<u8>,
    /// Where they are on the device. One buffer serves all submissions: its next contents are
    /// written by the queue, after the last submission has read it.
    uniforms: wgpu::Buffer,
    in_flight: VecDeque<wgpu::SubmissionIndex>,
    /// How long to wait for a submission.
    patience: Duration,
    pub profiler: Option<Profiler>,
}

impl Recorder {
    pub fn new(
        name: String,
        device: wgpu::Device,
        queue: wgpu::Queue,
        checks: Checks,
        patience: Duration,
    ) -> Self {
        let uniforms = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("params"),
            size: (DISPATCHES_PER_SUBMISSION * SLOT) as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Recorder {
            name,
            faults: Faults::watch(&device),
            pipelines: Pipelines::new(checks),
            commands: Vec::with_capacity(DISPATCHES_PER_SUBMISSION),
            params: Vec::with_capacity(DISPATCHES_PER_SUBMISSION * SLOT),
            uniforms,
            in_flight: VecDeque::new(),
            patience,
            profiler: None,
            device,
            queue,
        }
    }

    /// Whatever went wrong since the last call. A lost device stays lost.
    pub fn check(&self) -> Result<()> {
        let device = self.name.clone();
        if let Some(reason) = self.faults.lost.get() {
            return Err(Error::DeviceLost {
                device,
                reason: reason.clone(),
            });
        }
        match self
            .faults
            .error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            Some(reason) => Err(Error::Device { device, reason }),
            None => Ok(()),
        }
    }

    /// An error of the device.
    pub fn error(&self, reason: impl ToString) -> Error {
        // A lost device makes everything fail in its own words.
        self.check().err().unwrap_or_else(|| Error::Device {
            device: self.name.clone(),
            reason: reason.to_string(),
        })
    }

    /// A new buffer, or `None` where there is no memory for it.
    pub fn create_buffer(
        &self,
        size: u64,
        usage: wgpu::BufferUsages,
    ) -> Result<Option<wgpu::Buffer>> {
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage,
            mapped_at_creation: false,
        });
        let out_of_memory = pollster::block_on(scope.pop()).is_some();
        self.check()?;
        Ok((!out_of_memory).then_some(buffer))
    }

    /// Records a dispatch, and submits when there are enough of them.
    pub fn dispatch(&mut self, dispatch: &Dispatch<'_>, limits: &Limits) -> Result<()> {
        let Dispatch {
            kernel,
            overrides,
            params,
            buffers,
            groups,
        } = *dispatch;
        let refuse = |reason| Error::Dispatch {
            kernel: kernel.name,
            reason,
        };
        check(dispatch, limits)?;
        if groups.contains(&0) {
            return Ok(());
        }
        let bit =
            |(i, buffer): (usize, &&Buffer)| u32::from(buffer.precision() == Precision::Half) << i;
        let half = buffers.iter().enumerate().map(bit).sum();
        let pipeline = self.pipelines.get(&self.device, kernel, half, overrides);
        let pipeline = match pipeline {
            Ok(pipeline) => pipeline,
            Err(reason) => {
                self.check()?;
                return Err(refuse(reason));
            }
        };
        let uniform = (kernel.params_size > 0).then(|| wgpu::BufferBinding {
            buffer: &self.uniforms,
            offset: 0,
            // GL pads uniform blocks to 16 bytes.
            size: wgpu::BufferSize::new(kernel.params_size.next_multiple_of(16).into()),
        });
        let storage = buffers.iter().map(|buffer| buffer.binding());
        let entries: Vec<_> = binding_numbers(kernel)
            .zip(uniform.into_iter().chain(storage))
            .map(|((binding, _), buffer)| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(buffer),
            })
            .collect();
        let bindings = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(kernel.name),
            layout: &pipeline.layout,
            entries: &entries,
        });
        self.params.extend_from_slice(params);
        self.commands.push(Command {
            kernel,
            pipeline,
            bindings,
            groups,
        });
        self.params.resize(self.commands.len() * SLOT, 0);

        if self.commands.len() == DISPATCHES_PER_SUBMISSION {
            self.submit()?;
        }
        Ok(())
    }

    /// Sends what is recorded, if anything.
    pub fn submit(&mut self) -> Result<()> {
        if self.commands.is_empty() {
            return self.check();
        }
        self.submit_with(|_| ()).map(drop)
    }

    /// Sends what is recorded, and `tail` after it.
    pub fn submit_with(
        &mut self,
        tail: impl FnOnce(&mut wgpu::CommandEncoder),
    ) -> Result<wgpu::SubmissionIndex> {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        if !self.commands.is_empty() {
            self.queue.write_buffer(&self.uniforms, 0, &self.params);
            self.params.clear();
            let commands = std::mem::take(&mut self.commands);
            match &mut self.profiler {
                Some(profiler) => {
                    let names = commands.iter().map(|command| command.kernel.name).collect();
                    profiler.batch(&self.device, &mut encoder, names, |i, pass| {
                        commands[i].encode(i, pass);
                    });
                }
                None => {
                    let mut pass = encoder.begin_compute_pass(&Default::default());
                    for (i, command) in commands.iter().enumerate() {
                        command.encode(i, &mut pass);
                    }
                }
            }
            self.commands = commands;
            self.commands.clear();
        }
        tail(&mut encoder);
        let submission = self.queue.submit([encoder.finish()]);
        self.check()?;
        self.in_flight.push_back(submission.clone());
        if self.in_flight.len() > SUBMISSIONS_IN_FLIGHT {
            let oldest = self.in_flight.pop_front();
            self.wait(oldest)?;
        }
        Ok(submission)
    }

    /// Blocks until a submission is done, or all of them.
    pub fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
        #[cfg(feature = "testing")]
        if crate::inject::is_due(crate::inject::Fault::Hung) {
            return Err(self.hung());
        }
        let wait = wgpu::PollType::Wait {
            submission_index: submission,
            timeout: Some(self.patience),
        };
        let polled = self.device.poll(wait);
        self.check()?;
        match polled {
            Ok(_) => Ok(()),
            Err(wgpu::PollError::Timeout) => Err(self.hung()),
            Err(error) => Err(self.error(error)),
        }
    }

    fn hung(&self) -> Error {
        Error::Hung {
            device: self.name.clone(),
            seconds: self.patience.as_secs(),
        }
    }

    /// Submits and blocks until everything is done.
    pub fn synchronize(&mut self) -> Result<()> {
        self.submit()?;
        self.in_flight.clear();
        self.wait(None)
    }
}

impl Command {
    /// Encodes the `i`th command of a recording.
    fn encode(&self, i: usize, pass: &mut wgpu::ComputePass<'_>) {
        let offset = [(i * SLOT) as u32];
        let offsets: &[u32] = if self.kernel.params_size > 0 {
            &offset
        } else {
            &[]
        };
        let [x, y, z] = self.groups;
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.bindings, offsets);
        pass.dispatch_workgroups(x, y, z);
    }
}

/// Refuses a dispatch that cannot be.
///
/// # Errors
/// [`Error::Dispatch`]
pub(crate) fn check(dispatch: &Dispatch<'_>, limits: &Limits) -> Result<()> {
    misfit(dispatch, limits).map_err(|reason| Error::Dispatch {
        kernel: dispatch.kernel.name,
        reason,
    })
}

/// Why a dispatch cannot be, if so.
fn misfit(dispatch: &Dispatch<'_>, limits: &Limits) -> Result<(), String> {
    let Dispatch {
        kernel,
        overrides,
        params,
        buffers,
        groups,
    } = *dispatch;
    if params.len() != kernel.params_size as usize {
        let (given, expected) = (params.len(), kernel.params_size);
        return Err(format!(
            "{given} bytes of parameters; its Params has {expected}"
        ));
    }
    if kernel.subgroups && !limits.subgroups {
        return Err("it takes subgroup operations, which the device lacks".into());
    }
    if buffers.len() != kernel.storage().len() {
        let (given, expected) = (buffers.len(), kernel.storage().len());
        return Err(format!("{given} buffers; it binds {expected}"));
    }
    for (i, (buffer, binding)) in buffers.iter().zip(kernel.storage()).enumerate() {
        let same = |(j, other): (usize, &&Buffer)| j != i && other.is(buffer);
        if binding == Binding::ReadWrite && buffers.iter().enumerate().any(same) {
            return Err(format!(
                "buffer {i} is written and bound twice; give the kernel a copy"
            ));
        }
        if buffer.precision() == Precision::Half && kernel.reals[i].is_none() {
            return Err(format!(
                "buffer {i} is in half precision; the kernel takes single there"
            ));
        }
    }
    for (name, value) in overrides {
        if !kernel.overrides.iter().any(|known| known.name == *name) {
            let known: Vec<_> = kernel.overrides.iter().map(|known| known.name).collect();
            return Err(format!(
                "no override \"{name}\"; there are [{}]",
                known.join(", ")
            ));
        }
        if !value.is_finite() {
            return Err(format!(
                "override {name} = {value}; expected a finite number"
            ));
        }
    }
    let most = limits.groups_per_dimension;
    if let Some(groups) = groups.into_iter().find(|&groups| groups > most) {
        return Err(format!(
            "{groups} workgroups in one dimension; the device takes {most}: use gpu::fold"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_covers_the_job_with_little_waste() {
        assert_eq!(fold(0), [0, 1, 1]);
        assert_eq!(fold(1), [1, 1, 1]);
        assert_eq!(fold(65_535), [65_535, 1, 1]);
        assert_eq!(fold(65_536), [32_768, 2, 1]);
        for groups in (1..1 << 32).step_by(123_456_789) {
            let [x, y, z] = fold(groups).map(u64::from);
            assert!(
                x <= 65_535 && y <= 65_535 + 1 && z == 1,
                "{groups}: {x} × {y}"
            );
            assert!(x * y >= groups && x * y - groups < y, "{groups}: {x} × {y}");
        }
        assert!(
            fold(u64::MAX)[1] > 65_535,
            "too many to fold, for `dispatch` to refuse"
        );
    }
}
