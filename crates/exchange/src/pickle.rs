//! Pickles of tensors, and of nothing else.
//!
//! A pickle is a program for a machine with a stack, which may call any function of Python. This machine
//! knows the handful that a state dict takes, computes what they would give by itself, and refuses all
//! others by name. Nothing of a file is ever run.

use std::collections::{HashMap, HashSet};

use crate::Kind;

/// Why something was refused.
pub type Result<T> = std::result::Result<T, String>;

/// The most values that a pickle may make: a state dict takes about twenty for each tensor.
const MOST_VALUES: usize = 1_000_000;
/// The most dimensions of a tensor.
const MOST_DIMENSIONS: usize = 8;

/// The place of a value in [`Pickle::values`].
pub type Ref = usize;

/// The values that a pickle made, which refer to one another by their places: so there is nothing that
/// recurs, and what a file repeats is stored once.
pub struct Pickle<'a> {
    values: Vec<Value<'a>>,
    root: Ref,
}

enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float,
    /// A whole number beyond [`Value::Int`], in its bytes.
    Long(&'a [u8]),
    Str(&'a str),
    Tuple(Vec<Ref>),
    List(Vec<Ref>),
    Dict(Vec<(Ref, Ref)>),
    Global(Global),
    Storage(Storage<'a>),
    Tensor(Tensor),
}

/// What a pickle may name.
#[derive(Clone, Copy)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Kind),
}

/// A stretch of values outside of the pickle.
#[derive(Clone, Copy)]
pub struct Storage<'a> {
    /// The name of the bytes.
    pub key: &'a str,
    /// What they hold.
    pub kind: Kind,
    /// The first of the values that it begins with.
    pub offset: usize,
    /// How many they are.
    pub len: usize,
}

/// A view of a storage.
struct Tensor {
    storage: Ref,
    offset: usize,
    size: Ref,
    stride: Ref,
}

/// A tensor as a pickle describes it.
pub struct View<'a> {
    /// Where its values are.
    pub storage: Storage<'a>,
    /// The place of its first in the storage.
    pub offset: usize,
    /// Extents.
    pub shape: Vec<usize>,
    /// From a value to the next along each dimension.
    pub strides: Vec<usize>,
}

/// A dictionary with tensors in it.
pub struct Dict<'a> {
    /// The keys that lead to it, with points between them; empty for the outermost.
    pub path: String,
    /// Names and tensors in the order of the file.
    pub tensors: Vec<(&'a str, View<'a>)>,
}

impl<'a> Pickle<'a> {
    /// Reads the pickle that bytes begin with; gives what comes after it, too.
    ///
    /// # Errors
    /// When it is damaged, too large, or asks for anything but tensors.
    pub fn read(bytes: &'a [u8]) -> Result<(Self, &'a [u8])> {
        let mut machine = Machine {
            rest: bytes,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            made: 0,
        };
        while machine.step()? {}
        let root = machine.pop()?;
        let pickle = Pickle {
            values: machine.values,
            root,
        };
        Ok((pickle, machine.rest))
    }

    /// The dictionaries with tensors in them, the outermost first. Only such with names for keys are looked
    /// into: an optimiser's moments go by numbers.
    ///
    /// # Errors
    /// When a tensor is described wrongly.
    pub fn dicts(&self) -> Result<Vec<Dict<'a>>> {
        let mut found = Vec::new();
        let mut seen = HashSet::from([self.root]);
        let mut open = vec![(String::new(), self.root)];
        while let Some((path, at)) = open.pop() {
            let Value::Dict(entries) = &self.values[at] else {
                continue;
            };
            let mut tensors: Vec<(&'a str, View<'a>)> = Vec::new();
            let mut inside = Vec::new();
            for &(key, value) in entries {
                match (&self.values[key], &self.values[value]) {
                    (Value::Str(name), Value::Tensor(tensor)) => {
                        tensors.push((name, self.view(tensor)?));
                    }
                    (Value::Str(name), Value::Dict(_))
                        if path.len() + name.len() < 100 && seen.insert(value) =>
                    {
                        inside.push((join(&path, name), value));
                    }
                    _ => {}
                }
            }
            if !tensors.is_empty() {
                found.push(Dict { path, tensors });
            }
            open.extend(inside.into_iter().rev());
        }
        Ok(found)
    }

    /// All storages that it speaks of, also those of no dictionary.
    pub fn storages(&self) -> impl Iterator<Item = &Storage<'a>> {
        self.values.iter().filter_map(|value| match value {
            Value::Storage(storage) => Some(storage),
            _ => None,
        })
    }

    /// The value of a name in the outermost dictionary, if that is a truth value.
    pub fn bool(&self, name: &str) -> Option<bool> {
        let Value::Dict(entries) = &self.values[self.root] else {
            return None;
        };
        let is_it = |key: Ref| matches!(self.values[key], Value::Str(key) if key == name);
        let (_, value) = entries.iter().find(|(key, _)| is_it(*key))?;
        match self.values[*value] {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The strings of a list that is all there is.
    pub fn strings(&self) -> Option<Vec<&'a str>> {
        let Value::List(items) = &self.values[self.root] else {
            return None;
        };
        let strings = items.iter().map(|item| match self.values[*item] {
            Value::Str(text) => Some(text),
            _ => None,
        });
        strings.collect()
    }

    /// The whole number that is all there is, if it is of that many bytes.
    pub fn is_number(&self, bytes: &[u8]) -> bool {
        match &self.values[self.root] {
            Value::Long(found) => *found == bytes,
            Value::Int(found) => long(bytes) == Some(*found),
            _ => false,
        }
    }

    fn view(&self, tensor: &Tensor) -> Result<View<'a>> {
        let Value::Storage(storage) = self.values[tensor.storage] else {
            return Err("a tensor without a storage".into());
        };
        let extents = |of: Ref| -> Result<Vec<usize>> {
            let Value::Tuple(items) = &self.values[of] else {
                return Err("a tensor whose shape is none".into());
            };
            if items.len() > MOST_DIMENSIONS {
                return Err(format!("a tensor of {} dimensions", items.len()));
            }
            items
                .iter()
                .map(|&item| count(&self.values, item))
                .collect()
        };
        let (shape, strides) = (extents(tensor.size)?, extents(tensor.stride)?);
        if shape.len() != strides.len() {
            return Err("a tensor with more extents than strides, or fewer".into());
        }
        Ok(View {
            storage,
            offset: tensor.offset,
            shape,
            strides,
        })
    }
}

fn join(path: &str, name: &str) -> String {
    match path.is_empty() {
        true => name.to_owned(),
        false => format!("{path}.{name}"),
    }
}

/// A whole number of a few bytes, the lowest first.
fn long(bytes: &[u8]) -> Option<i64> {
    let sign = bytes.last().map_or(0, |last| (*last as i8 >> 7) as u8);
    let mut all = [sign; 8];
    all.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(all))
}

fn count(values: &[Value<'_>], at: Ref) -> Result<usize> {
    match values[at] {
        Value::Int(number) => usize::try_from(number).map_err(|_| format!("an extent of {number}")),
        _ => Err("an extent that is no number".into()),
    }
}

struct Machine<'a> {
    rest: &'a [u8],
    values: Vec<Value<'a>>,
    stack: Vec<Ref>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<usize, Ref>,
    /// Values made, and places in lists and dictionaries filled.
    made: usize,
}

impl<'a> Machine<'a> {
    /// Carries out an instruction; false: it was the last.
    fn step(&mut self) -> Result<bool> {
        match self.u8()? {
            b'.' => return Ok(false),
            0x80 => match self.u8()? {
                0..=5 => {}
                version => return Err(format!("a pickle of version {version}")),
            },
            0x95 => _ = self.take(8)?,
            b'N' => self.push(Value::None)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            b'J' => {
                let number = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(number.into()))?;
            }
            b'K' => {
                let number = self.u8()?;
                self.push(Value::Int(number.into()))?;
            }
            b'M' => {
                let number = u16::from_le_bytes(self.array()?);
                self.push(Value::Int(number.into()))?;
            }
            0x8a => {
                let len = self.u8()?.into();
                let bytes = self.take(len)?;
                self.push(long(bytes).map_or(Value::Long(bytes), Value::Int))?;
            }
            b'G' => {
                self.take(8)?;
                self.push(Value::Float)?;
            }
            b'X' | b'T' => {
                let len = u32::from_le_bytes(self.array()?);
                self.text(len as usize)?;
            }
            0x8c | b'U' => {
                let len = self.u8()?;
                self.text(len.into())?;
            }
            0x8d => {
                let len = u64::from_le_bytes(self.array()?);
                self.text(usize::try_from(len).unwrap_or(usize::MAX))?;
            }
            b'(' => self.marks.push(self.stack.len()),
            b'0' => _ = self.pop()?,
            b'1' => _ = self.since_mark()?,
            b'2' => {
                let top = *self.stack.last().ok_or(EMPTY)?;
                self.stack.push(top);
            }
            b')' => self.push(Value::Tuple(Vec::new()))?,
            number @ 0x85..=0x87 => {
                let items = self.pops(usize::from(number - 0x84))?;
                self.push(Value::Tuple(items))?;
            }
            b't' => {
                let items = self.since_mark()?;
                self.push(Value::Tuple(items))?;
            }
            b']' => self.push(Value::List(Vec::new()))?,
            b'l' => {
                let items = self.since_mark()?;
                self.push(Value::List(items))?;
            }
            b'a' => {
                let items = self.pops(1)?;
                self.append(&items)?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.append(&items)?;
            }
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b's' => {
                let items = self.pops(2)?;
                self.set(&items)?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.set(&items)?;
            }
            b'q' => {
                let place = self.u8()?;
                self.remember(place.into())?;
            }
            b'r' => {
                let place = u32::from_le_bytes(self.array()?);
                self.remember(place as usize)?;
            }
            0x94 => self.remember(self.memo.len())?,
            b'h' => {
                let place = self.u8()?;
                self.recall(place.into())?;
            }
            b'j' => {
                let place = u32::from_le_bytes(self.array()?);
                self.recall(place as usize)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Global(global(module, name)?))?;
            }
            0x93 => match self.pops(2)?[..] {
                [module, name] => {
                    let global = global(self.string(module)?, self.string(name)?)?;
                    self.push(Value::Global(global))?;
                }
                _ => return Err(EMPTY.into()),
            },
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(Value::Storage(storage))?;
            }
            b'R' => {
                let arguments = self.pop()?;
                let function = self.pop()?;
                self.call(function, arguments)?;
            }
            b'b' => self.build()?,
            other => {
                return Err(format!(
                    "an instruction that no state dict has ({other:#04x})"
                ));
            }
        }
        Ok(true)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or("its pickle ends too early")?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// Text up to the end of a line.
    fn line(&mut self) -> Result<&'a str> {
        let end = self.rest.iter().position(|&byte| byte == b'\n');
        let line = self.take(end.ok_or("its pickle ends too early")?)?;
        self.take(1)?;
        utf8(line)
    }

    fn text(&mut self, len: usize) -> Result<()> {
        let text = utf8(self.take(len)?)?;
        self.push(Value::Str(text))
    }

    fn spend(&mut self, places: usize) -> Result<()> {
        self.made += places;
        match self.made <= MOST_VALUES {
            true => Ok(()),
            false => Err(format!("a pickle of more than {MOST_VALUES} values")),
        }
    }

    fn push(&mut self, value: Value<'a>) -> Result<()> {
        self.spend(1)?;
        self.stack.push(self.values.len());
        self.values.push(value);
        Ok(())
    }

    /// Takes so many values off the stack, which no mark may lie under.
    fn pops(&mut self, count: usize) -> Result<Vec<Ref>> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let from = self.stack.len().checked_sub(count);
        let from = from.filter(|from| *from >= floor).ok_or(EMPTY)?;
        Ok(self.stack.split_off(from))
    }

    fn pop(&mut self) -> Result<Ref> {
        Ok(self.pops(1)?[0])
    }

    fn since_mark(&mut self) -> Result<Vec<Ref>> {
        let mark = self.marks.pop().ok_or(EMPTY)?;
        self.spend(self.stack.len() - mark)?;
        Ok(self.stack.split_off(mark))
    }

    fn top(&mut self) -> Result<&mut Value<'a>> {
        let top = *self.stack.last().ok_or(EMPTY)?;
        Ok(&mut self.values[top])
    }

    fn append(&mut self, items: &[Ref]) -> Result<()> {
        match self.top()? {
            Value::List(list) => list.extend(items),
            _ => return Err("items of what is no list".into()),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Ref]) -> Result<()> {
        let (pairs, left) = items.as_chunks::<2>();
        match self.top()? {
            Value::Dict(dict) if left.is_empty() => {
                dict.extend(pairs.iter().map(|[key, value]| (*key, *value)));
                Ok(())
            }
            _ => Err("entries of what is no dictionary".into()),
        }
    }

    fn remember(&mut self, place: usize) -> Result<()> {
        let top = *self.stack.last().ok_or(EMPTY)?;
        self.spend(1)?;
        self.memo.insert(place, top);
        Ok(())
    }

    fn recall(&mut self, place: usize) -> Result<()> {
        let value = self.memo.get(&place);
        self.stack
            .push(*value.ok_or("it refers to a value that it never made")?);
        Ok(())
    }

    fn string(&self, at: Ref) -> Result<&'a str> {
        match self.values[at] {
            Value::Str(text) => Ok(text),
            _ => Err("a name that is no text".into()),
        }
    }

    /// What PyTorch keeps outside of the pickle: `("storage", kind, key, device, length)`, to which its first
    /// format adds `None` or `(key, offset, length)` for a part of it.
    fn storage(&self, id: Ref) -> Result<Storage<'a>> {
        let Value::Tuple(id) = &self.values[id] else {
            return Err("a storage that is described wrongly".into());
        };
        let (kind, key, len, view) = match id[..] {
            [_, kind, key, _, len] => (kind, key, len, None),
            [_, kind, key, _, len, view] => (kind, key, len, Some(view)),
            _ => return Err("a storage that is described wrongly".into()),
        };
        let Value::Global(Global::Storage(kind)) = self.values[kind] else {
            return Err("a storage of what are no numbers".into());
        };
        let (mut offset, mut len) = (0, count(&self.values, len)?);
        if let Some(Value::Tuple(view)) = view.map(|view| &self.values[view]) {
            let [_, begin, part] = view[..] else {
                return Err("a storage that is described wrongly".into());
            };
            (offset, len) = (count(&self.values, begin)?, count(&self.values, part)?);
        }
        Ok(Storage {
            key: self.string(key)?,
            kind,
            offset,
            len,
        })
    }

    fn call(&mut self, function: Ref, arguments: Ref) -> Result<()> {
        let Value::Global(function) = self.values[function] else {
            return Err("a call of what is no function".into());
        };
        let Value::Tuple(arguments) = &self.values[arguments] else {
            return Err("a call without arguments".into());
        };
        match (function, &arguments[..]) {
            (Global::OrderedDict, []) => self.push(Value::Dict(Vec::new())),
            (Global::OrderedDict, &[pairs]) => {
                let pairs = self.pairs(pairs)?;
                self.spend(pairs.len())?;
                self.push(Value::Dict(pairs))
            }
            (Global::RebuildTensor, &[storage, offset, size, stride, ..]) => {
                let offset = count(&self.values, offset)?;
                self.push(Value::Tensor(Tensor {
                    storage,
                    offset,
                    size,
                    stride,
                }))
            }
            (Global::RebuildParameter, &[tensor, ..]) => {
                self.stack.push(tensor);
                Ok(())
            }
            _ => Err("a call with other arguments than it takes".into()),
        }
    }

    /// The pairs that a list is made of, each a list or a tuple of two.
    fn pairs(&self, list: Ref) -> Result<Vec<(Ref, Ref)>> {
        let (Value::List(list) | Value::Tuple(list)) = &self.values[list] else {
            return Err("a dictionary of what is no list".into());
        };
        let pair = |at: &Ref| match &self.values[*at] {
            Value::List(pair) | Value::Tuple(pair) => match pair[..] {
                [key, value] => Ok((key, value)),
                _ => Err("a dictionary of what are no pairs".to_owned()),
            },
            _ => Err("a dictionary of what are no pairs".to_owned()),
        };
        list.iter().map(pair).collect()
    }

    /// What else an object has: of a state dict, the versions of its modules, which nobody needs here.
    fn build(&mut self) -> Result<()> {
        self.pop()?;
        match self.top()? {
            Value::Dict(_) | Value::Tensor(_) => Ok(()),
            _ => Err("attributes of what has none".into()),
        }
    }
}

const EMPTY: &str = "it takes values from its stack that are not there";

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| "its pickle has text that is not UTF-8".into())
}

fn global(module: &str, name: &str) -> Result<Global> {
    let storage = || Some(Global::Storage(Kind::of_storage(name)?));
    let known = match (module, name) {
        ("collections", "OrderedDict") => Some(Global::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2") => Some(Global::RebuildTensor),
        ("torch._utils", "_rebuild_parameter") => Some(Global::RebuildParameter),
        ("torch", _) => storage(),
        _ => None,
    };
    known.ok_or_else(|| {
        let shown: String = format!("{module}.{name}").chars().take(80).collect();
        format!(
            "it asks for {shown:?}, which is no part of a tensor, and nothing of it was run; save weights \
             alone, by torch.save(net.state_dict(), FILE)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> String {
        match Pickle::read(bytes) {
            Ok(_) => panic!("it was read"),
            Err(reason) => reason,
        }
    }

    #[test]
    fn functions_are_refused_by_name() {
        for (pickle, name) in [
            (
                &b"\x80\x02cos\nsystem\nX\x04\0\0\0echo\x85R."[..],
                "os.system",
            ),
            (
                b"\x80\x02cposix\nsystem\nX\x04\0\0\0echo\x85R.",
                "posix.system",
            ),
            (
                b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.",
                "builtins.eval",
            ),
            (b"\x80\x02ctorch\nload\n.", "torch.load"),
            (b"\x80\x02ctorch.FloatStorage\nx\n.", "torch.FloatStorage.x"),
        ] {
            let reason = refused(pickle);
            assert!(reason.contains(&format!("{name:?}")), "{reason}");
        }
    }

    #[test]
    fn objects_are_refused() {
        // NEWOBJ, INST, OBJ, EXT1 and PERSID would all make some.
        for instruction in [b"\x81", b"i", b"o", b"\x82", b"P"] {
            assert!(refused(instruction).contains("no state dict"));
        }
    }

    #[test]
    fn a_dictionary_that_holds_itself_ends() {
        // d = {}; d["a"] = d; d["b"] = d
        let pickle = b"\x80\x02}q\0X\x01\0\0\0ah\0sX\x01\0\0\0bh\0s.";
        let (pickle, _) = Pickle::read(pickle).unwrap();
        assert!(pickle.dicts().unwrap().is_empty());
    }

    #[test]
    fn stacks_are_not_taken_from_below_marks() {
        for pickle in [
            &b"."[..],
            b"0",
            b"(0",
            b"N(0",
            b"N(\x85",
            b"N(s",
            b"t",
            b"h\x05",
            b"N(R",
        ] {
            refused(pickle);
        }
    }

    #[test]
    fn values_are_counted() {
        let mut endless = vec![b']'; MOST_VALUES + 1];
        endless.push(b'.');
        assert!(refused(&endless).contains("more than"));
        // A list of a thousand pairs, made into dictionaries again and again.
        let mut many = b"ccollections\nOrderedDict\nq\0(".to_vec();
        (0..1000).for_each(|_| many.extend(b"NN\x86"));
        many.extend(b"l\x85q\x01");
        (0..10_000).for_each(|_| many.extend(b"h\0h\x01R"));
        assert!(refused(&many).contains("more than"));
    }

    #[test]
    fn long_numbers_are_those_of_python() {
        for (bytes, number) in [
            (&b""[..], Some(0)),
            (b"\xff", Some(-1)),
            (b"\xff\0", Some(255)),
            (b"\0\0\0\0\0\0\0\x80", Some(i64::MIN)),
            (b"\0\0\0\0\0\0\0\0\x01", None),
        ] {
            assert_eq!(long(bytes), number);
        }
    }
}
