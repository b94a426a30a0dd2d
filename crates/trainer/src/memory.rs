//! Whether a run fits: what it takes, what the device has, and what would fit instead. `trainer plan`.

use std::fmt;

use anyhow::{Context, Result, bail};
use cyclegan::memory::{self, MemoryPlan};
use cyclegan::{Config, Stage};
use gpu::Kind;
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};
use tensor::Device;

use crate::amount::Memory;
use crate::cli::TrainArgs;
use crate::data::Pictures;
use crate::perception::Sight;
use crate::run_dir::RunDir;
use crate::settings::Settings;
use crate::train::Ending;
use crate::{data, demo, devices, report};

/// What the program comes to take beside its tensors and pictures after it was planned, with the threads'
/// stacks and what the allocator keeps: measured.
const GROWTH: u64 = 6 << 20;

/// For tests, and to leave room for others: what the device is taken to have, as in 512MiB or 6GiB.
const STATED: &str = "HENSHIN_DEVICE_MEMORY";

/// What a device has to give.
#[derive(Clone, Copy, Debug)]
struct Room {
    /// None where nobody tells.
    bytes: Option<u64>,
    /// What the program itself takes, where it and its pictures lie in the same memory.
    program: Option<u64>,
}

impl Room {
    fn of(device: &Device) -> Result<Self> {
        let own = match device {
            Device::Cpu => None,
            Device::Gpu(gpu) => {
                let info = gpu.info();
                let shared = info.is_software || info.kind == Kind::Integrated;
                (!shared).then(|| gpu.heap())
            }
        };
        let (bytes, program) = match own {
            Some(heap) => (heap, None),
            None => {
                let (free, program) = system();
                (Some(free + program), Some(program + GROWTH))
            }
        };
        let bytes = stated()?.or(bytes);
        Ok(Room { bytes, program })
    }
}

/// Bytes of the system's memory that are free or can be freed, within the limit that a container sets; and
/// those that the program has.
fn system() -> (u64, u64) {
    let mut system = System::new();
    system.refresh_memory();
    let free = system.available_memory();
    let limits = system.cgroup_limits();
    // Its free memory leaves out what files are cached in, which gives way.
    let free = limits.map_or(free, |limits| {
        free.min(limits.total_memory.saturating_sub(limits.rss))
    });
    (free, resident().unwrap_or(0))
}

/// Bytes of memory that the program has now.
pub fn resident() -> Option<u64> {
    let pid = sysinfo::get_current_pid().ok()?;
    let mut system = System::new();
    let memory = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, memory);
    Some(system.process(pid)?.memory())
}

/// What [`STATED`] says.
fn stated() -> Result<Option<u64>> {
    let Ok(text) = std::env::var(STATED) else {
        return Ok(None);
    };
    match text.parse::<Memory>() {
        Ok(Memory(bytes)) => Ok(Some(bytes)),
        Err(what) => bail!("{STATED} is \"{text}\"; {what}"),
    }
}

/// What a translation may take unless told otherwise: half of what there is.
///
/// # Errors
/// When what is stated is no amount.
pub fn for_translation(device: &Device) -> Result<Memory> {
    const UNKNOWN: u64 = 8_000_000_000;
    Ok(Memory(Room::of(device)?.bytes.unwrap_or(UNKNOWN) / 2))
}

/// What a stage of a run takes.
#[derive(Clone, Copy, Debug)]
struct Need {
    model: MemoryPlan,
    /// Decoded pictures, and batches made ahead.
    pictures: u64,
}

impl Need {
    fn of(model: MemoryPlan, lens: [usize; 2], config: &Config) -> Self {
        Need {
            model,
            pictures: data::memory(lens, config),
        }
    }

    /// Bytes of the memory that `room` is in.
    fn total(&self, room: Room) -> u64 {
        let parts = self.parts(room).into_iter();
        parts.map(|(_, bytes)| bytes).sum()
    }

    /// Its parts with their names; without what lies elsewhere.
    fn parts(&self, room: Room) -> Vec<(&'static str, u64)> {
        let MemoryPlan {
            weights,
            optimiser,
            activations,
            pools,
            checkpoint,
        } = self.model;
        let mut parts = vec![
            ("weights", weights),
            ("optimiser", optimiser),
            ("activations", activations),
            ("image pools", pools),
        ];
        if let Some(program) = room.program {
            parts.extend([
                ("pictures", self.pictures),
                ("checkpoints", checkpoint),
                ("program", program),
            ]);
        }
        parts
    }
}

/// What a run takes and its device has.
pub struct RunPlan {
    need: Need,
    room: Room,
}

impl RunPlan {
    /// What was really taken, as far as can be told.
    pub fn measured(&self, device: &Device) -> String {
        let measured = match device {
            Device::Cpu => of_process(),
            Device::Gpu(_) => None,
        };
        let (measured, planned) = match measured {
            Some(process) => (process, self.need.total(self.room)),
            None => (device.memory().taken, self.need.model.total()),
        };
        let [measured, planned] = [measured, planned].map(report::bytes);
        format!("{measured} at the most, planned {planned}")
    }
}

impl fmt::Display for RunPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = match self.room.bytes {
            Some(bytes) => report::bytes(bytes),
            None => "what the device has (its driver does not tell)".into(),
        };
        let parts = self.need.parts(self.room).into_iter();
        let parts: Vec<String> = parts
            .map(|(name, bytes)| format!("{name} {}", report::bytes(bytes)))
            .collect();
        let total = report::bytes(self.need.total(self.room));
        write!(f, "{total} of {has}: {}", parts.join(", "))
    }
}

/// What the stage of a run takes that takes the most, on domains of so many pictures.
///
/// # Errors
/// When the device has less, with what would fit.
pub fn check(
    device: &Device,
    lens: [usize; 2],
    stages: &[Stage],
    sight: &Sight,
) -> Result<RunPlan> {
    let room = Room::of(device)?;
    let mut most: Option<Need> = None;
    for Stage { config, .. } in stages {
        let need = match sight.plan(config, device) {
            Ok(model) => Need::of(model, lens, config),
            Err(error) => {
                return Err(anyhow::Error::from(error).context(format!(
                    "training at {0}×{0} with batch {1} does not work on {device}; {2}",
                    config.size,
                    config.batch,
                    advice(device, lens, config, room, sight)
                )));
            }
        };
        let total = need.total(room);
        if room.bytes.is_some_and(|bytes| total > bytes) {
            let plan = RunPlan { need, room };
            bail!(
                "training at {0}×{0} with batch {1} would take more memory than {device} has free: \
                 {plan}. {2}. {STATED} states another amount than {3}",
                config.size,
                config.batch,
                advice(device, lens, config, room, sight),
                report::bytes(room.bytes.unwrap_or_default()),
            );
        }
        if most.is_none_or(|most| most.total(room) < total) {
            most = Some(need);
        }
    }
    let need = most.context("the run has no steps")?;
    Ok(RunPlan { need, room })
}

/// What would fit.
struct Advice {
    batch: Option<usize>,
    size: Option<usize>,
    /// What it takes with `checkpoint_activations`, if that is off and it would fit.
    again: Option<u64>,
}

fn advice(device: &Device, lens: [usize; 2], config: &Config, room: Room, sight: &Sight) -> Advice {
    let total = |config: &Config, model: &MemoryPlan| Need::of(*model, lens, config).total(room);
    let fits = |config: &Config, model: &MemoryPlan| {
        room.bytes.is_none_or(|bytes| total(config, model) <= bytes)
    };
    let again = Config {
        checkpoint_activations: true,
        ..config.clone()
    };
    let planned = match config.checkpoint_activations || again.check().is_err() {
        true => None,
        false => sight.plan(&again, device).ok(),
    };
    Advice {
        batch: sight.planned(|on| memory::largest_batch(config, on, device, fits)),
        size: sight.planned(|on| memory::largest_size(config, on, device, fits)),
        again: planned
            .filter(|plan| fits(&again, plan))
            .map(|plan| total(&again, &plan)),
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.batch {
            Some(batch) => write!(f, "At this size batches of up to {batch} fit")?,
            None => f.write_str("At this size no batch fits")?,
        }
        match self.size {
            Some(size) => write!(f, ", with --batch 1 sizes of up to {size}")?,
            None => f.write_str(
                ", nor does any size with --batch 1: take smaller networks (--ngf, --ndf)",
            )?,
        }
        if let Some(bytes) = self.again {
            let bytes = report::bytes(bytes);
            write!(f, "; --checkpoint-activations makes it {bytes}, which fits")?;
        }
        Ok(())
    }
}

/// Prints what a run would take, and what would fit.
///
/// # Errors
/// With what is wrong and what to do; that a run doesn't fit is none.
pub fn run(args: &TrainArgs) -> Result<Ending> {
    let config = match &args.resume {
        Some(run) => Some(RunDir::open(run)?.config()),
        None => args.config.clone(),
    };
    let settings = Settings::resolve(config.as_deref(), &args.options)?;
    let sight = Sight::of(&settings)?;
    let Settings { run, model } = settings;
    let device = devices::open(&run.device, run.autotune, "")?;
    let data = match run.data.as_os_str().is_empty() {
        true => demo::ensure(args.quiet)?,
        false => run.data.clone(),
    };
    let pictures = Pictures::list(&data, &run)?;
    let stages = model.stages(pictures.lens());
    let room = Room::of(&device)?;
    report::result(&format!("device      {device}"));
    for Stage { config, .. } in &stages {
        let Config { size, batch, .. } = config;
        report::result(&format!("training    {size}×{size}, batch {batch}"));
        let advice = advice(&device, pictures.lens(), config, room, &sight);
        match sight.plan(config, &device) {
            Ok(model) => {
                let need = Need::of(model, pictures.lens(), config);
                for (name, bytes) in need.parts(room) {
                    report::result(&format!("  {name:<12}{:>12}", report::bytes(bytes)));
                }
                let total = report::bytes(need.total(room));
                report::result(&format!("  {:<12}{total:>12}", "together"));
            }
            Err(error) => report::result(&format!("  does not work: {error}")),
        }
        let has = room.bytes.map_or("not told".into(), report::bytes);
        report::result(&format!("  {:<12}{has:>12}", "there is"));
        report::result(&format!("  {advice}"));
    }
    Ok(Ending::Finished)
}

/// The process's peak memory in bytes, which Linux tells.
pub fn of_process() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
