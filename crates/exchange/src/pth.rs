//! PyTorch's files: a pickle that describes tensors, and the bytes of their storages. Today they are entries of
//! a ZIP archive, stored as they are; until PyTorch 1.6 they followed one another.

use std::collections::HashMap;
use std::io::{self, Cursor, Write};
use std::path::Path;

use nn::Module;
use tensor::Tensor;
use zip::read::{ArchiveOffset, Config};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::pickle::{Dict, Pickle, View};
use crate::{Array, Error, Weights, write_whole};

/// What files of the old format begin with, as PyTorch pickles it: 0x1950a86a20f9469cfc6c.
const MAGIC: &[u8] = b"l\xfc\x9cF\xf9 j\xa8P\x19";
/// The version of that format.
const VERSION: &[u8] = &1001i16.to_le_bytes();

/// Keys under which training programs keep a generator's weights, those that count more first.
const NETWORKS: [&str; 12] = [
    "",
    "params_ema",
    "params",
    "state_dict",
    "model_state_dict",
    "model",
    "net_g",
    "netG",
    "net_G",
    "generator",
    "net",
    "G",
];

/// Reads today's format.
pub(crate) fn read_zip(bytes: &[u8]) -> Result<Weights, String> {
    let damaged = |error: &dyn ToString| {
        format!(
            "{}; it may have been damaged or cut short: copy it again",
            error.to_string()
        )
    };
    if promises_too_much(bytes) {
        return Err("it says that it has more entries than it has room for".into());
    }
    // An archive's beginning is looked for otherwise, and found in the wrong place where its first entry's name has
    // 30 characters: its header is then as long as the records at the end.
    let config = Config {
        archive_offset: ArchiveOffset::Known(0),
    };
    let archive = ZipArchive::with_config(config, Cursor::new(bytes));
    let mut archive = archive.map_err(|error| damaged(&error))?;
    let mut entries = HashMap::new();
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).map_err(|error| damaged(&error))?;
        let name = entry.name().map_err(|error| damaged(&error))?.into_owned();
        if entry.compression() != CompressionMethod::Stored {
            return Err(format!(
                "its entry {name:?} is compressed, which PyTorch's are not"
            ));
        }
        // To the end, where the checksum is looked at.
        io::copy(&mut entry, &mut io::sink()).map_err(|error| damaged(&error))?;
        let start = entry
            .data_start()
            .ok_or("it has an entry without a place")?;
        let content = usize::try_from(start).ok().and_then(|start| {
            let len = usize::try_from(entry.size()).ok()?;
            bytes.get(start..)?.get(..len)
        });
        let content = content.ok_or_else(|| format!("its entry {name:?} ends too early"))?;
        entries.insert(name, content);
    }
    let mut roots = entries.keys().filter_map(|name| {
        let root = name.strip_suffix("data.pkl")?;
        (root.is_empty() || root.ends_with('/')).then(|| root.to_owned())
    });
    let root = roots
        .next()
        .ok_or("it is a ZIP archive, but none of PyTorch's: there is no data.pkl")?;
    if roots.next().is_some() {
        return Err("it has more than one data.pkl".into());
    }
    if entries
        .get(&format!("{root}byteorder"))
        .is_some_and(|order| *order != b"little")
    {
        return Err("it was written on a big-endian machine".into());
    }
    let (pickle, _) = Pickle::read(entries[&format!("{root}data.pkl")])?;
    let storage = |key: &str| entries.get(&format!("{root}data/{key}")).copied();
    arrays(&the_network(pickle.dicts()?)?, bytes.len(), storage)
}

/// Whether a record of a large archive's end says that there are more entries than the archive has room for: the
/// library makes room for them before it looks.
fn promises_too_much(bytes: &[u8]) -> bool {
    const LEAST_ENTRY: u64 = 46;
    let len = bytes.len() as u64;
    bytes.windows(40).any(|record| {
        let number = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&record[at..at + 8]);
            u64::from_le_bytes(number)
        };
        // Such bytes may be among the weights, but hardly with a length that could be one.
        record.starts_with(b"PK\x06\x06") && number(4) <= len && number(32) > len / LEAST_ENTRY
    })
}

/// Reads the format that PyTorch wrote until 1.6: four pickles (a magic number, a version, what machine it was,
/// the tensors), a list of the storages' names, and each storage with its length before it.
pub(crate) fn read_legacy(bytes: &[u8]) -> Result<Weights, String> {
    let (magic, rest) = Pickle::read(bytes)?;
    if !magic.is_number(MAGIC) {
        return Err("it is a pickle, but not one that torch.save wrote".into());
    }
    let (version, rest) = Pickle::read(rest)?;
    if !version.is_number(VERSION) {
        return Err("it is of a version of PyTorch's format that nobody knows".into());
    }
    let (machine, rest) = Pickle::read(rest)?;
    if machine.bool("little_endian") != Some(true) {
        return Err("it was written on a big-endian machine".into());
    }
    let (pickle, rest) = Pickle::read(rest)?;
    let (keys, mut rest) = Pickle::read(rest)?;
    let keys = keys.strings().ok_or("it has no list of storages")?;
    // How many bytes a storage's values take, the pickle alone says.
    let sizes: HashMap<&str, usize> = pickle
        .storages()
        .map(|storage| (storage.key, storage.kind.size()))
        .collect();
    let mut storages = HashMap::new();
    for key in keys {
        let too_early = || format!("its storage {key:?} ends too early");
        let (len, after) = rest.split_first_chunk::<8>().ok_or_else(too_early)?;
        let len = usize::try_from(u64::from_le_bytes(*len)).ok();
        let size = sizes.get(key);
        let size = size.ok_or_else(|| format!("its storage {key:?} belongs to no tensor"))?;
        let len = len.and_then(|len| len.checked_mul(*size));
        let storage;
        (storage, rest) = len
            .and_then(|len| after.split_at_checked(len))
            .ok_or_else(too_early)?;
        storages.insert(key, storage);
    }
    let storage = |key: &str| storages.get(key).copied();
    arrays(&the_network(pickle.dicts()?)?, bytes.len(), storage)
}

/// The state dict among a file's dictionaries.
fn the_network(mut dicts: Vec<Dict<'_>>) -> Result<Dict<'_>, String> {
    let paths = || {
        let paths: Vec<String> = dicts
            .iter()
            .map(|dict| format!("{:?}", dict.path))
            .collect();
        paths.join(", ")
    };
    let known = NETWORKS
        .iter()
        .find_map(|name| dicts.iter().position(|dict| dict.path == *name));
    match (known, dicts.len()) {
        (Some(at), _) => Ok(dicts.swap_remove(at)),
        (None, 1) => Ok(dicts.remove(0)),
        (None, 0) => Err(
            "there are no tensors in it; save weights by torch.save(net.state_dict(), FILE)".into(),
        ),
        (None, _) => Err(format!(
            "it holds several networks, {}; save the one that is meant by itself",
            paths().chars().take(200).collect::<String>()
        )),
    }
}

/// The values of all tensors of a file of `len` bytes.
fn arrays<'a>(
    dict: &Dict<'_>,
    len: usize,
    storage: impl Fn(&str) -> Option<&'a [u8]>,
) -> Result<Weights, String> {
    // Tensors may share storages, but not so often that a small file becomes large.
    let mut left = 2 * len;
    let arrays = dict.tensors.iter().map(|(name, view)| {
        let bytes = storage(view.storage.key).ok_or_else(|| {
            format!(
                "{name} has no values: there is no storage {:?}",
                view.storage.key
            )
        })?;
        let values = values(view, bytes, &mut left).map_err(|reason| format!("{name} {reason}"))?;
        Ok(Array {
            name: (*name).to_owned(),
            shape: view.shape.clone(),
            values,
        })
    });
    Ok(Weights {
        arrays: arrays.collect::<Result<_, String>>()?,
        in_order: true,
        metadata: HashMap::new(),
    })
}

/// What a view shows of a storage's bytes, as long as there are that many values `left`.
fn values(view: &View<'_>, bytes: &[u8], left: &mut usize) -> Result<Vec<f32>, &'static str> {
    const PAST_END: &str = "reaches past the end of its storage";
    let (kind, storage) = (view.storage.kind, &view.storage);
    let size = kind.size();
    let whole = |from: usize, len: usize| {
        let (from, len) = (from.checked_mul(size)?, len.checked_mul(size)?);
        bytes.get(from..)?.get(..len)
    };
    let bytes = whole(storage.offset, storage.len).ok_or("has a storage that ends too early")?;
    let product = view
        .shape
        .iter()
        .try_fold(1usize, |len, &extent| len.checked_mul(extent));
    let len = product.ok_or(PAST_END)?;
    *left = left
        .checked_sub(len)
        .ok_or("shares its storage with too many others")?;
    if len == 0 {
        return Ok(Vec::new());
    }
    let along = view.shape.iter().zip(&view.strides);
    let last = along.clone().try_fold(view.offset, |at, (extent, stride)| {
        at.checked_add(stride.checked_mul(extent - 1)?)
    });
    if last.ok_or(PAST_END)? >= storage.len {
        return Err(PAST_END);
    }
    if is_row_by_row(view) {
        let from = view.offset * size;
        return Ok(kind.values(&bytes[from..][..len * size]));
    }
    let mut gathered = Vec::with_capacity(len * size);
    let mut index = vec![0; view.shape.len()];
    let mut at = view.offset;
    for _ in 0..len {
        gathered.extend_from_slice(&bytes[at * size..][..size]);
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            at += view.strides[axis];
            if index[axis] < view.shape[axis] {
                break;
            }
            at -= view.strides[axis] * view.shape[axis];
            index[axis] = 0;
        }
    }
    Ok(kind.values(&gathered))
}

fn is_row_by_row(view: &View<'_>) -> bool {
    let mut next = 1;
    let mut along = view.shape.iter().zip(&view.strides).rev();
    along.all(|(&extent, &stride)| {
        let fits = extent == 1 || stride == next;
        next *= extent;
        fits
    })
}

/// Writes a network's state dict as `torch.save` does, so that `torch.load(FILE, weights_only=True)` reads it.
/// Names and order are PyTorch's.
///
/// # Errors
/// When the file can't be written or a device fails.
pub fn write(path: &Path, network: &dyn Module) -> Result<(), Error> {
    let mut state = Vec::new();
    network.visit("", &mut |name, param| {
        state.push((name.to_owned(), param.get()));
    });
    // Read first: a device that fails is no fault of the disk.
    let values = state.iter().map(|(_, tensor)| tensor.to_vec());
    let values = values.collect::<tensor::Result<Vec<_>>>()?;
    write_whole(path, |file| {
        let mut archive = ZipWriter::new(file);
        // PyTorch maps storages into memory at such places.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .with_alignment(64);
        let mut entry = |name: &str, content: &[u8]| -> io::Result<()> {
            let large = content.len() as u64 >= u64::from(u32::MAX);
            archive.start_file(format!("archive/{name}"), options.large_file(large))?;
            archive.write_all(content)
        };
        entry("data.pkl", &pickled(&state))?;
        entry("byteorder", b"little")?;
        for (i, values) in values.iter().enumerate() {
            entry(&format!("data/{i}"), &little_endian(values))?;
        }
        entry("version", b"3\n")?;
        archive.finish()?;
        Ok(())
    })
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// The pickle of a state dict whose storages go by their numbers, of protocol 2.
fn pickled(state: &[(String, Tensor)]) -> Vec<u8> {
    let mut out = b"\x80\x02ccollections\nOrderedDict\n)R(".to_vec();
    let text = |out: &mut Vec<u8>, text: &str| {
        out.push(b'X');
        out.extend((text.len() as u32).to_le_bytes());
        out.extend(text.as_bytes());
    };
    let number = |out: &mut Vec<u8>, number: usize| {
        // Four bytes for what fits, else a whole number of eight, which Python reads with its sign.
        match i32::try_from(number) {
            Ok(number) => {
                out.push(b'J');
                out.extend(number.to_le_bytes());
            }
            Err(_) => {
                out.extend([0x8a, 8]);
                out.extend((number as u64).to_le_bytes());
            }
        }
    };
    for (i, (name, tensor)) in state.iter().enumerate() {
        let shape = tensor.shape();
        text(&mut out, name);
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend(b"ctorch\nFloatStorage\n");
        text(&mut out, &i.to_string());
        text(&mut out, "cpu");
        number(&mut out, shape.len());
        out.extend(b"tQ");
        number(&mut out, 0);
        out.push(b'(');
        shape
            .dims()
            .iter()
            .for_each(|&extent| number(&mut out, extent));
        out.extend(b"t(");
        let dims = shape.dims();
        let stride = |axis: usize| dims[axis + 1..].iter().product();
        (0..dims.len()).for_each(|axis| number(&mut out, stride(axis)));
        // requires_grad, and no hooks.
        out.extend(b"t\x89ccollections\nOrderedDict\n)RtR");
    }
    out.extend(b"u.");
    out
}
