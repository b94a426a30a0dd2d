//! State dicts: tensors by name, in safetensors files.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use sha2::{Digest, Sha256};
use tensor::{Device, Shape, Tensor};

use crate::Module;

/// Tensors by name.
pub type StateDict = BTreeMap<String, Tensor>;

/// Why a state could not be read, written or taken up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file system said no.
    #[error("{} could not be {action}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        action: &'static str,
        /// What it said.
        source: io::Error,
    },

    /// Not a safetensors file, damaged, or cut short.
    #[error(
        "{} is no whole safetensors file ({reason}); it may have been damaged or cut short while it \
         was written or copied: take another checkpoint", path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// A tensor that the network has and the file lacks.
    #[error(
        "the tensor {0} is missing; the file belongs to a network with other options \
         (generator, ngf, norm …)"
    )]
    Missing(String),

    /// A tensor of another shape than the network's.
    #[error(
        "the tensor {name} is {found}, but the network's is {expected}; the file belongs to a \
         network with other options (generator, ngf, norm …)"
    )]
    Shape {
        /// Its name.
        name: String,
        /// The file's shape.
        found: Shape,
        /// The network's shape.
        expected: Shape,
    },

    /// The device or a shape failed.
    #[error(transparent)]
    Tensor(#[from] tensor::Error),
}

/// The values of all parameters under their names, `prefix` in front.
pub fn state_dict(module: &dyn Module, prefix: &str) -> StateDict {
    let mut state = StateDict::new();
    module.visit(prefix, &mut |name, param| {
        state.insert(name.to_owned(), param.get().detach());
    });
    state
}

/// Replaces all parameters by those of a state dict. Names that the module does not have are
/// passed over; nothing changes unless everything fits.
///
/// # Errors
/// When a tensor is missing or of another shape.
pub fn load_state(module: &dyn Module, prefix: &str, state: &StateDict) -> Result<(), StateError> {
    let mut found = Vec::new();
    module.visit(prefix, &mut |name, param| {
        found.push(get(state, name, param.shape()).map(|value| (param.clone(), value)));
    });
    for (param, value) in found.into_iter().collect::<Result<Vec<_>, _>>()? {
        param.set(&value);
    }
    Ok(())
}

/// The tensor of a name and an expected shape.
pub(crate) fn get(state: &StateDict, name: &str, expected: Shape) -> Result<Tensor, StateError> {
    let value = state
        .get(name)
        .ok_or_else(|| StateError::Missing(name.to_owned()))?;
    if value.shape() != expected {
        let (name, found) = (name.to_owned(), value.shape());
        return Err(StateError::Shape {
            name,
            found,
            expected,
        });
    }
    Ok(value.clone())
}

/// The key under which a file's metadata hold its checksum.
pub const CHECKSUM: &str = "sha256";

/// In place of the checksum while it is computed.
const NO_CHECKSUM: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Longest header that is read, as in the safetensors library.
const LONGEST_HEADER: u64 = 100_000_000;

/// A state laid out as a safetensors file, with a checksum over all of it in its metadata. Tensors leave
/// their device one after another, as the file is written.
pub struct StateFile<'a> {
    /// The header with its length in front, and zeros for the checksum.
    header: Vec<u8>,
    /// Where in it the checksum goes.
    checksum_at: usize,
    /// In the order of the file.
    tensors: Vec<&'a Tensor>,
}

impl<'a> StateFile<'a> {
    /// Lays out tensors and metadata.
    ///
    /// # Errors
    /// Names or metadata that no such file can hold.
    pub fn new(state: &'a StateDict, mut metadata: HashMap<String, String>) -> io::Result<Self> {
        metadata.insert(CHECKSUM.to_owned(), NO_CHECKSUM.to_owned());
        let mut end = 0;
        let infos = state.iter().map(|(name, tensor)| {
            let start = end;
            end += 4 * tensor.shape().len();
            let info = TensorInfo {
                dtype: Dtype::F32,
                shape: tensor.shape().dims().to_vec(),
                data_offsets: (start, end),
            };
            (name.clone(), info)
        });
        let layout = Metadata::new(Some(metadata), infos.collect()).map_err(io::Error::other)?;
        // Through a value, whose keys are sorted: the same state makes the same file.
        let mut json = serde_json::to_vec(&serde_json::to_value(&layout)?)?;
        // Tensors begin at a multiple of eight bytes.
        json.resize(json.len().next_multiple_of(8), b' ');
        let header = [&(json.len() as u64).to_le_bytes()[..], &json].concat();
        let checksum_at = place_of_checksum(&header, NO_CHECKSUM)
            .ok_or_else(|| io::Error::other("metadata that contain a checksum"))?;
        Ok(StateFile {
            header,
            checksum_at,
            tensors: state.values().collect(),
        })
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        let values: usize = self.tensors.iter().map(|tensor| tensor.shape().len()).sum();
        (self.header.len() + 4 * values) as u64
    }

    /// Writes the file: a temporary one beside `path` first, which is synced and then renamed, so that what
    /// is at `path` is always whole, even after a power failure.
    ///
    /// # Errors
    /// When it can't be written or a device fails; then nothing new is left behind.
    pub fn write(&self, path: &Path) -> Result<(), StateError> {
        let partial = path.with_extension("partial");
        let io_error = |source| StateError::Io {
            path: path.to_owned(),
            action: "written",
            source,
        };
        let done = self.write_to(&partial, &io_error).and_then(|()| {
            fs::rename(&partial, path)
                .and_then(|()| sync_folder(path))
                .map_err(io_error)
        });
        if done.is_err() {
            // What could not be finished must not stay; a second failure adds nothing.
            let _ = fs::remove_file(&partial);
        }
        done
    }

    fn write_to(
        &self,
        path: &Path,
        io_error: &dyn Fn(io::Error) -> StateError,
    ) -> Result<(), StateError> {
        let mut file = fs::File::create(path).map_err(io_error)?;
        let mut hash = Sha256::new();
        hash.update(&self.header);
        file.write_all(&self.header).map_err(io_error)?;
        for tensor in &self.tensors {
            let values = tensor.to_vec()?;
            let bytes: &[u8] = bytemuck::cast_slice(&values);
            hash.update(bytes);
            file.write_all(bytes).map_err(io_error)?;
        }
        let finish = || {
            file.seek(SeekFrom::Start(self.checksum_at as u64))?;
            file.write_all(hex(hash).as_bytes())?;
            file.sync_all()
        };
        finish().map_err(io_error)
    }
}

/// Makes a new name in a folder survive a power failure. Only Unix has, and needs, a way to ask for it.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

fn hex(hash: Sha256) -> String {
    let bytes = hash.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where a header holds the value of its checksum.
fn place_of_checksum(header: &[u8], checksum: &str) -> Option<usize> {
    let entry = format!("\"{CHECKSUM}\":\"{checksum}\"");
    let mut places = header.windows(entry.len()).enumerate();
    let (at, _) = places.find(|(_, window)| *window == entry.as_bytes())?;
    Some(at + entry.len() - 1 - checksum.len())
}

/// Writes tensors and metadata to a safetensors file, as [`StateFile::write`] does.
///
/// # Errors
/// When the file can't be written or the device fails.
pub fn save_file(
    path: &Path,
    state: &StateDict,
    metadata: HashMap<String, String>,
) -> Result<(), StateError> {
    let file = StateFile::new(state, metadata).map_err(|source| StateError::Io {
        path: path.to_owned(),
        action: "written",
        source,
    })?;
    file.write(path)
}

/// Reads a safetensors file of `f32` tensors with its metadata. Where these have a checksum, everything in
/// the file is held against it.
///
/// # Errors
/// When it can't be read, is not whole, or holds other than `f32` tensors.
pub fn load_file(
    path: &Path,
    device: &Device,
) -> Result<(StateDict, HashMap<String, String>), StateError> {
    let mut reader = StateReader::open(path)?;
    let state = reader.tensors(device)?;
    Ok((state, reader.metadata))
}

/// A safetensors file of which the header was read.
pub struct StateReader {
    path: PathBuf,
    file: BufReader<fs::File>,
    hash: Sha256,
    layout: Metadata,
    metadata: HashMap<String, String>,
}

impl StateReader {
    /// Reads a file's header.
    ///
    /// # Errors
    /// When it can't be read, or its header does not describe exactly what is in it.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let format = |reason: String| StateError::Format {
            path: path.to_owned(),
            reason,
        };
        let io_error = |source| read_error(path, source);
        let file = fs::File::open(path).map_err(io_error)?;
        let len = file.metadata().map_err(io_error)?.len();
        let mut file = BufReader::with_capacity(1 << 16, file);
        let mut header = [0; 8];
        file.read_exact(&mut header).map_err(io_error)?;
        let header_len = u64::from_le_bytes(header);
        // Nothing is allocated that the file has not got.
        if header_len > len.saturating_sub(8).min(LONGEST_HEADER) {
            return Err(format(format!(
                "its header should be {header_len} bytes long, the file is {len}"
            )));
        }
        let mut header = header.to_vec();
        header.resize(8 + header_len as usize, 0);
        file.read_exact(&mut header[8..]).map_err(io_error)?;
        // The library checks that tensors follow one another without gaps, and are as long as their shapes.
        let layout: Metadata =
            serde_json::from_slice(&header[8..]).map_err(|error| format(error.to_string()))?;
        let expected = header.len() as u64 + layout.data_len() as u64;
        if expected != len {
            return Err(format(format!(
                "it should be {expected} bytes long, but is {len}"
            )));
        }
        let metadata = layout.metadata().clone().unwrap_or_default();
        if let Some(checksum) = metadata.get(CHECKSUM) {
            let at = place_of_checksum(&header, checksum)
                .filter(|_| checksum.len() == NO_CHECKSUM.len())
                .ok_or_else(|| format("its checksum is none".into()))?;
            header[at..][..NO_CHECKSUM.len()].copy_from_slice(NO_CHECKSUM.as_bytes());
        }
        let mut hash = Sha256::new();
        hash.update(&header);
        Ok(StateReader {
            path: path.to_owned(),
            file,
            hash,
            layout,
            metadata,
        })
    }

    /// How many values its tensors have together.
    pub fn values(&self) -> usize {
        self.layout.data_len() / 4
    }

    /// What the file says beside its tensors.
    pub fn metadata(&self) -> &HashMap<String, String> {
        &self.metadata
    }

    /// Reads the file to its end to see whether it agrees with its checksum.
    ///
    /// # Errors
    /// When it can't be read, has no checksum, or another.
    pub fn verify(&mut self) -> Result<(), StateError> {
        let mut bytes = vec![0; 1 << 20];
        loop {
            let read = self.file.read(&mut bytes);
            match read.map_err(|source| read_error(&self.path, source))? {
                0 => break,
                len => self.hash.update(&bytes[..len]),
            }
        }
        match self.metadata.contains_key(CHECKSUM) {
            true => self.check_sum(),
            false => Err(self.format("it has no checksum".into())),
        }
    }

    /// Once all is read: holds it against the checksum, if there is one.
    fn check_sum(&mut self) -> Result<(), StateError> {
        let found = hex(std::mem::take(&mut self.hash));
        match self.metadata.get(CHECKSUM) {
            Some(checksum) if *checksum != found => {
                Err(self.format("its checksum does not agree with its content".into()))
            }
            _ => Ok(()),
        }
    }

    fn format(&self, reason: String) -> StateError {
        StateError::Format {
            path: self.path.clone(),
            reason,
        }
    }

    /// Reads all tensors onto a device, one after another.
    ///
    /// # Errors
    /// When they can't be read, aren't `f32`, or don't agree with the checksum; or the device has no room.
    fn tensors(&mut self, device: &Device) -> Result<StateDict, StateError> {
        let mut state = StateDict::new();
        for name in self.layout.offset_keys() {
            let info = self.layout.info(&name);
            let info = info.ok_or_else(|| self.format(format!("{name} is not in its header")))?;
            if info.dtype != Dtype::F32 {
                return Err(self.format(format!("{name} is {:?}, not F32", info.dtype)));
            }
            let shape = Shape::try_from(&info.shape[..])
                .map_err(|error| self.format(format!("{name}: {error}")))?;
            let mut values = vec![0.0f32; shape.len()];
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut values);
            let read = self.file.read_exact(bytes);
            read.map_err(|source| read_error(&self.path, source))?;
            self.hash.update(&*bytes);
            if cfg!(target_endian = "big") {
                bytes
                    .as_chunks_mut::<4>()
                    .0
                    .iter_mut()
                    .for_each(|value| value.reverse());
            }
            state.insert(name, Tensor::from_slice(&values, shape, device)?);
        }
        self.check_sum()?;
        Ok(state)
    }
}

/// A file that ends before its time is cut short, and no fault of the file system.
fn read_error(path: &Path, source: io::Error) -> StateError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::UnexpectedEof => StateError::Format {
            path,
            reason: "it ends too early".into(),
        },
        _ => StateError::Io {
            path,
            action: "read",
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> StateDict {
        let tensor = Tensor::from_slice(&[1.0, -2.5, 3.0], [3], &Device::Cpu).unwrap();
        StateDict::from([("a.weight".to_owned(), tensor)])
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        save_file(&path, &sample(), HashMap::from([("k".into(), "v".into())])).unwrap();
        let (state, metadata) = load_file(&path, &Device::Cpu).unwrap();
        assert_eq!(state["a.weight"].to_vec().unwrap(), [1.0, -2.5, 3.0]);
        assert_eq!(metadata["k"], "v");
        assert_eq!(
            fs::read_dir(&folder).unwrap().count(),
            1,
            "no temporary file stays"
        );
    }

    #[test]
    fn a_file_cut_short_is_named_and_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        save_file(&path, &sample(), HashMap::new()).unwrap();
        let whole = fs::read(&path).unwrap();
        for len in [0, 4, 20, whole.len() - 1] {
            fs::write(&path, &whole[..len]).unwrap();
            let error = load_file(&path, &Device::Cpu).unwrap_err().to_string();
            assert!(
                error.contains("x.safetensors") && error.contains("cut short"),
                "{error}"
            );
        }
        fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
        assert!(
            load_file(&path, &Device::Cpu).is_err(),
            "longer than its header says"
        );
    }

    #[test]
    fn a_change_of_any_byte_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        save_file(&path, &sample(), HashMap::from([("k".into(), "v".into())])).unwrap();
        let whole = fs::read(&path).unwrap();
        assert_eq!(
            whole.len() as u64,
            StateFile::new(&sample(), HashMap::from([("k".into(), "v".into())]))
                .unwrap()
                .size()
        );
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            // The key of the checksum itself may be hit, and then the file has none.
            let found = load_file(&path, &Device::Cpu);
            let has_none = found.is_ok_and(|(_, metadata)| !metadata.contains_key(CHECKSUM));
            let key = whole
                .windows(CHECKSUM.len())
                .position(|w| w == CHECKSUM.as_bytes());
            let in_key = (key.unwrap()..key.unwrap() + CHECKSUM.len()).contains(&at);
            assert!(!has_none || in_key, "byte {at}");
            if !in_key {
                assert!(load_file(&path, &Device::Cpu).is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn a_header_that_promises_more_than_there_is_allocates_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        for header in [u64::MAX, 1 << 40, 99_000_000] {
            fs::write(&path, [&header.to_le_bytes()[..], b"{}"].concat()).unwrap();
            assert!(load_file(&path, &Device::Cpu).is_err());
        }
        let huge =
            r#"{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}"#;
        let header = (huge.len() as u64).to_le_bytes();
        fs::write(&path, [&header[..], huge.as_bytes()].concat()).unwrap();
        assert!(load_file(&path, &Device::Cpu).is_err());
    }
}
