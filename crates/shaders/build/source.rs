//! Finds kernels, pastes imports in, and remembers which file each line came from.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// Something wrong with a shader, at a place in the file that a person wrote.
#[derive(Debug)]
pub struct Error {
    /// Path from the repository root: `shaders/conv/conv2d.wgsl`.
    pub file: String,
    /// Line and column, from 1; 0 where the error is about the whole file.
    pub line: usize,
    pub column: usize,
    pub message: String,
    /// The line of source, for the reader's eye.
    pub excerpt: Option<String>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Error {
            file,
            line,
            column,
            message,
            excerpt,
        } = self;
        match line {
            0 => write!(f, "{file}: error: {message}")?,
            _ => write!(f, "{file}:{line}:{column}: error: {message}")?,
        }
        if let Some(excerpt) = excerpt {
            // Tabs are kept, so that the caret stands under its column.
            let indent: String = excerpt
                .chars()
                .take(column.saturating_sub(1))
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            write!(f, "\n{line:5} | {excerpt}\n      | {indent}^")?;
        }
        Ok(())
    }
}

impl Error {
    /// An error about a whole file, given by its path under `shaders/`.
    pub fn in_file(path: &str, message: impl fmt::Display) -> Self {
        Error {
            file: format!("shaders/{path}"),
            line: 0,
            column: 0,
            message: message.to_string(),
            excerpt: None,
        }
    }
}

/// The names of all kernels under `root`, sorted: `conv/conv2d`. `lib/` holds snippets.
pub fn kernels(root: &Path) -> Result<Vec<String>, Error> {
    fn walk(folder: &Path, prefix: &str, names: &mut Vec<String>) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let file_name = entry.file_name();
            let file_name = file_name.to_string_lossy();
            let name = format!("{prefix}{file_name}");
            if entry.file_type()?.is_dir() {
                if name != "lib" {
                    walk(&entry.path(), &format!("{name}/"), names)?;
                }
            } else if let Some(stem) = name.strip_suffix(".wgsl") {
                names.push(stem.to_owned());
            }
        }
        Ok(())
    }
    let mut names = Vec::new();
    walk(root, "", &mut names).map_err(|error| Error::in_file("", error))?;
    names.sort();
    // Folders become modules and files constants.
    let plain = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase())
            && part
                .chars()
                .all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'))
    };
    match names.iter().find(|name| !name.split('/').all(plain)) {
        Some(name) => Err(Error::in_file(
            &format!("{name}.wgsl"),
            "name it in lower case letters, digits and `_`: it becomes a Rust constant",
        )),
        None => Ok(names),
    }
}

/// A kernel's WGSL after its imports.
#[derive(Debug)]
pub struct Source {
    /// `conv/conv2d`
    pub name: String,
    /// The whole text.
    pub text: String,
    /// The comment at the head of the kernel's own file.
    pub docs: Vec<String>,
    files: Vec<String>,
    /// File (index into `files`) and line (from 1) of each line of `text`.
    origins: Vec<(usize, usize)>,
}

impl Source {
    /// Reads `root/name.wgsl` and what it imports.
    pub fn load(root: &Path, name: &str) -> Result<Self, Error> {
        let mut source = Source {
            name: name.to_owned(),
            text: String::new(),
            docs: Vec::new(),
            files: Vec::new(),
            origins: Vec::new(),
        };
        let path = format!("{name}.wgsl");
        let text = fs::read_to_string(root.join(&path)).map_err(|e| Error::in_file(&path, e))?;
        source.docs = text
            .lines()
            .map_while(|line| line.strip_prefix("//"))
            .map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned())
            .collect();
        source.paste(root, &path, &text, &mut vec![path.clone()])?;
        Ok(source)
    }

    /// Appends `text`, the contents of `path`; `open` are the files being pasted, outermost first.
    fn paste(
        &mut self,
        root: &Path,
        path: &str,
        text: &str,
        open: &mut Vec<String>,
    ) -> Result<(), Error> {
        let file = self.files.len();
        self.files.push(path.to_owned());
        for (index, line) in text.lines().enumerate() {
            let error = |message: String| Error {
                line: index + 1,
                column: 1,
                excerpt: Some(line.to_owned()),
                ..Error::in_file(path, message)
            };
            let Some(directive) = line.trim_start().strip_prefix('#') else {
                self.text.push_str(line);
                self.text.push('\n');
                self.origins.push((file, index + 1));
                continue;
            };
            let Some(import) = directive.strip_prefix("import ").map(str::trim) else {
                return Err(error("only `#import lib/….wgsl` is known here".into()));
            };
            if !import.starts_with("lib/") || !import.ends_with(".wgsl") {
                return Err(error(format!(
                    "cannot import `{import}`: expected `lib/….wgsl`"
                )));
            }
            if open.iter().any(|path| path == import) {
                return Err(error(format!(
                    "import cycle: {} → {import}",
                    open.join(" → ")
                )));
            }
            if self.files.iter().any(|path| path == import) {
                continue; // pasted already
            }
            let text = fs::read_to_string(root.join(import))
                .map_err(|cause| error(format!("cannot read shaders/{import}: {cause}")))?;
            open.push(import.to_owned());
            self.paste(root, import, &text, open)?;
            open.pop();
        }
        Ok(())
    }

    /// An error at a byte offset of `text`.
    pub fn error_at(&self, offset: usize, message: impl fmt::Display) -> Error {
        let before = &self.text[..offset.min(self.text.len())];
        let row = before.matches('\n').count();
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let (file, line) = self.origins.get(row).copied().unwrap_or((0, 0));
        Error {
            file: format!("shaders/{}", self.files[file]),
            line,
            column: before[start..].chars().count() + 1,
            message: message.to_string(),
            excerpt: self.text.lines().nth(row).map(str::to_owned),
        }
    }

    /// An error about the kernel as a whole.
    pub fn error(&self, message: impl fmt::Display) -> Error {
        Error::in_file(&self.files[0], message)
    }
}
