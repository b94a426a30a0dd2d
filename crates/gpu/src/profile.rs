//! How long kernels take.

use crate::Result;
use crate::recorder::Recorder;
use std::collections::BTreeMap;
use std::time::Duration;

/// Time of all runs of one kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelTime {
    /// The kernel's name.
    pub name: &'static str,
    /// How often it ran.
    pub calls: usize,
    /// For how long in all.
    pub total: Duration,
}

/// Times dispatches by the device's timestamps, each in a pass of its own.
#[derive(Debug)]
pub(crate) struct Profiler {
    /// Nanoseconds a tick.
    period: f64,
    /// Submitted, not yet read back.
    batches: Vec<Batch>,
    times: BTreeMap<&'static str, (usize, Duration)>,
}

#[derive(Debug)]
struct Batch {
    names: Vec<&'static str>,
    /// Begin and end of each, in ticks.
    ticks: wgpu::Buffer,
}

impl Profiler {
    /// `None` where the device has no timestamps.
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Option<Self> {
        let timestamps = device.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        timestamps.then(|| Profiler {
            period: queue.get_timestamp_period().into(),
            batches: Vec::new(),
            times: BTreeMap::new(),
        })
    }

    /// Encodes a pass for each name, with its timestamps.
    pub fn batch(
        &mut self,
        device: &wgpu::Device,
        encoder: &mut wgpu::CommandEncoder,
        names: Vec<&'static str>,
        encode: impl Fn(usize, &mut wgpu::ComputePass<'_>),
    ) {
        let count = 2 * names.len() as u32;
        let queries = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("profile"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        for (i, name) in names.iter().enumerate() {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: Some(name),
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &queries,
                    beginning_of_pass_write_index: Some(2 * i as u32),
                    end_of_pass_write_index: Some(2 * i as u32 + 1),
                }),
            });
            encode(i, &mut pass);
        }
        let buffer = |usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("profile"),
                size: u64::from(count) * 8,
                usage,
                mapped_at_creation: false,
            })
        };
        let resolved = buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
        let ticks = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        encoder.resolve_query_set(&queries, 0..count, &resolved, 0);
        encoder.copy_buffer_to_buffer(&resolved, 0, &ticks, 0, u64::from(count) * 8);
        self.batches.push(Batch { names, ticks });
    }

    /// Empties the profile, slowest kernel first. `recorder` must have finished its work.
    pub fn take(&mut self, recorder: &Recorder) -> Result<Vec<KernelTime>> {
        for Batch { names, ticks } in std::mem::take(&mut self.batches) {
            ticks.map_async(wgpu::MapMode::Read, .., |_| ());
            recorder.wait(None)?;
            let view = ticks
                .get_mapped_range(..)
                .map_err(|error| recorder.error(error))?;
            let values: Vec<u64> = bytemuck::pod_collect_to_vec(&view);
            for (name, ticks) in names.into_iter().zip(values.chunks_exact(2)) {
                // Some drivers' clocks step back now and then.
                let ticks = ticks[1].saturating_sub(ticks[0]) as f64;
                let (calls, total) = self.times.entry(name).or_default();
                *calls += 1;
                *total += Duration::from_nanos((ticks * self.period) as u64);
            }
        }
        let mut times: Vec<_> = std::mem::take(&mut self.times)
            .into_iter()
            .map(|(name, (calls, total))| KernelTime { name, calls, total })
            .collect();
        times.sort_by_key(|time| std::cmp::Reverse(time.total));
        Ok(times)
    }
}
