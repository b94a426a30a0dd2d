use std::fmt;

/// What can go wrong on a device, with what to do about it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing to compute on.
    #[error("no GPU adapter was found; {INSTALL}")]
    NoAdapter,

    /// [`Choice::Hardware`](crate::Choice::Hardware) where only the processor poses as a GPU.
    #[error(
        "no hardware GPU was found, only software rasterisers ({}); name one to use it, \
         or {INSTALL}",
        List(available)
    )]
    NoHardware {
        /// The adapters there are.
        available: Vec<String>,
    },

    /// No adapter answers to a name.
    #[error(
        "no GPU adapter matches \"{asked}\"; there are: {}. Give a part of a name, \
         a backend, or both as \"backend:name\"",
        List(available)
    )]
    UnknownAdapter {
        /// The name that was asked for.
        asked: String,
        /// The adapters there are.
        available: Vec<String>,
    },

    /// The driver refused to open its device.
    #[error("{adapter} could not be opened: {reason}; choose another device or update its driver")]
    Open {
        /// The adapter.
        adapter: String,
        /// The driver's reason.
        reason: String,
    },

    /// A buffer that no kernel could be given, refused before anything runs.
    #[error(
        "a buffer of {} was asked for, but {device} binds {} at most; \
         use a smaller --size or --batch", Bytes(*requested), Bytes(*limit)
    )]
    BufferTooLarge {
        /// Bytes asked for.
        requested: u64,
        /// Bytes that one storage binding can have.
        limit: u64,
        /// The device.
        device: String,
    },

    /// The device has no room, even after unused buffers were given back.
    #[error(
        "{device} is out of memory: {} were asked for with {} in use; \
         use a smaller --size or --batch, or end other programs that use it",
        Bytes(*requested), Bytes(*in_use)
    )]
    OutOfMemory {
        /// Bytes asked for.
        requested: u64,
        /// Bytes held by live buffers.
        in_use: u64,
        /// The device.
        device: String,
    },

    /// Half precision where the device has none.
    #[error(
        "{device} cannot compute with half precision (WebGPU's shader-f16); \
         use --precision single"
    )]
    NoHalf {
        /// The device.
        device: String,
    },

    /// The device is gone: unplugged, reset by a watchdog, or destroyed. Nothing on it survives.
    #[error(
        "{device} was lost: {reason}. Its memory is gone; start again from the last checkpoint, \
         on another device if it happens again"
    )]
    DeviceLost {
        /// The device.
        device: String,
        /// The driver's reason.
        reason: String,
    },

    /// The device does not answer.
    #[error(
        "{device} has not finished its work for {seconds} seconds; it hangs, or is far too slow for this. \
         Try another device, or a smaller --size or --batch"
    )]
    Hung {
        /// The device.
        device: String,
        /// How long it was waited for.
        seconds: u64,
    },

    /// A dispatch that does not fit its kernel or the device.
    #[error("kernel {kernel}: {reason}")]
    Dispatch {
        /// Name of the kernel.
        kernel: &'static str,
        /// What was given and what was expected.
        reason: String,
    },

    /// The driver or wgpu refused something; this is a bug of ours or of the driver.
    #[error("{device} failed: {reason}; please report this")]
    Device {
        /// The device.
        device: String,
        /// What they said.
        reason: String,
    },
}

impl Error {
    /// Whether the device itself failed, so that the same work may succeed on a fresh one: it was lost, it
    /// hangs, or it has no room, which others may give back.
    pub fn is_of_the_device(&self) -> bool {
        matches!(
            self,
            Error::DeviceLost { .. } | Error::Hung { .. } | Error::OutOfMemory { .. }
        )
    }
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What to do where there is no adapter.
pub(crate) const INSTALL: &str = "install the driver of your GPU (Debian or Ubuntu: \
    `apt install mesa-vulkan-drivers` for AMD, Intel and a software GPU; NVIDIA: its own driver)";

/// Names in a sentence.
struct List<'a>(&'a [String]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

/// A size that people can read.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        let Some(mut unit) = (self.0 as f64 / 1024.0 >= 1.0).then_some(0) else {
            return write!(f, "{} bytes", self.0);
        };
        let mut value = self.0 as f64 / 1024.0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(f, "{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        let sizes = [0, 1023, 1024, 128 << 20, 5 << 40, u64::MAX];
        let text = sizes.map(|bytes| Bytes(bytes).to_string());
        let expected = [
            "0 bytes",
            "1023 bytes",
            "1.0 KiB",
            "128.0 MiB",
            "5.0 TiB",
            "16777216.0 TiB",
        ];
        assert_eq!(text, expected);
    }
}
