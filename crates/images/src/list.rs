use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

use image::ImageFormat;
use walkdir::{DirEntry, WalkDir};

use crate::{Error, Result};

/// The image files in a folder and its sub-folders, sorted by path.
///
/// A file counts as an image by its extension, in any case (`png`, `jpg`, `jpeg`, `webp`, `gif`,
/// `bmp`, `tif`, `tiff`,
/// `tga`, `exr`, …: every one that the `image` crate knows); whether it really is one,
/// [`decode`](crate::decode) finds out. Names that begin with a dot are skipped, symbolic links are
/// followed, and loops of them are not.
///
/// # Errors
/// When the folder is missing, is no folder, cannot be read, or holds no images.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            return Err(Error::NotAFolder {
                path: folder.into(),
            });
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(Error::ReadFolder {
                path: folder.into(),
                reason: error.to_string(),
            });
        }
        Err(_) => {
            return Err(Error::NoFolder {
                path: folder.into(),
            });
        }
    }

    let mut images = Vec::new();
    for entry in WalkDir::new(folder)
        .follow_links(true)
        .into_iter()
        .filter_entry(|entry| !is_hidden(entry))
    {
        match entry {
            Ok(entry) if entry.file_type().is_file() && has_image_extension(entry.path()) => {
                images.push(entry.into_path());
            }
            Ok(_) => {}
            Err(error) if error.loop_ancestor().is_some() => {}
            Err(error) => {
                let path = error.path().unwrap_or(folder);
                let dangling = path.is_symlink();
                if dangling && has_image_extension(path) {
                    images.push(path.into()); // reading it will say what is wrong
                } else if !dangling {
                    let reason = error
                        .io_error()
                        .map_or_else(|| error.to_string(), ToString::to_string);
                    return Err(Error::ReadFolder {
                        path: path.into(),
                        reason,
                    });
                }
            }
        }
    }
    if images.is_empty() {
        return Err(Error::NoImages {
            path: folder.into(),
        });
    }
    images.sort();
    Ok(images)
}

/// The order in which people count: `frame2.png` comes before `frame10.png`.
pub fn natural_order(a: &Path, b: &Path) -> Ordering {
    let [whole_a, whole_b] = [a, b].map(|path| path.to_string_lossy());
    let [mut a, mut b] = [&*whole_a, &*whole_b];
    while !a.is_empty() && !b.is_empty() {
        let [digits_a, digits_b] = [a, b].map(|text| {
            let end = text.find(|c: char| !c.is_ascii_digit());
            text.split_at(end.unwrap_or(text.len())).0
        });
        // Numbers by their size, however many zeros they begin with; all else sign by sign.
        let (order, lens) = match digits_a.is_empty() || digits_b.is_empty() {
            false => {
                let [n, m] = [digits_a, digits_b].map(|digits| digits.trim_start_matches('0'));
                let order = n.len().cmp(&m.len()).then(n.cmp(m));
                (order, [digits_a.len(), digits_b.len()])
            }
            true => {
                let [c, d] = [a, b].map(|text| text.chars().next().unwrap_or_default());
                (c.cmp(&d), [c.len_utf8(), d.len_utf8()])
            }
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (&a[lens[0]..], &b[lens[1]..]);
    }
    a.len().cmp(&b.len()).then_with(|| whole_a.cmp(&whole_b))
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".")
}

fn has_image_extension(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| ImageFormat::from_extension(extension).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_images_in_order_whatever_their_case_and_skips_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "b.JPG",
            "a/z.png",
            "a/ü b.webp",
            "notes.txt",
            ".hidden.png",
            ".git/x.png",
            "png",
        ] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        let found = list(folder.path()).unwrap();
        let names: Vec<_> = found
            .iter()
            .map(|path| path.strip_prefix(folder.path()).unwrap())
            .collect();
        assert_eq!(
            names,
            [
                Path::new("a/z.png"),
                Path::new("a/ü b.webp"),
                Path::new("b.JPG")
            ]
        );
    }

    #[test]
    fn numbers_are_counted() {
        let sorted = [
            "a/x2y.png",
            "a/x10.png",
            "a/x010.png",
            "a10/1.png",
            "b.png",
            "ü1.png",
            "ü02.png",
        ]
        .map(Path::new);
        let mut found = sorted;
        found.reverse();
        found.sort_by(|a, b| natural_order(a, b));
        assert_eq!(
            found.map(|path| path.to_str().unwrap()),
            [
                "a/x2y.png",
                "a/x010.png",
                "a/x10.png",
                "a10/1.png",
                "b.png",
                "ü1.png",
                "ü02.png"
            ]
        );
        for a in sorted {
            for b in sorted {
                assert_eq!(natural_order(a, b), natural_order(b, a).reverse());
                assert_eq!(natural_order(a, b) == Ordering::Equal, a == b);
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn survives_loops_and_dangling_links() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.png"), b"").unwrap();
        symlink(folder.path(), folder.path().join("again")).unwrap();
        symlink("/nowhere/b.png", folder.path().join("b.png")).unwrap();
        symlink("/nowhere", folder.path().join("gone")).unwrap();
        assert_eq!(list(folder.path()).unwrap().len(), 2);
    }

    #[test]
    fn says_what_is_wrong_with_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file.txt");
        fs::write(&file, b"").unwrap();
        assert!(matches!(list(folder.path()), Err(Error::NoImages { .. })));
        assert!(matches!(list(&file), Err(Error::NotAFolder { .. })));
        assert!(matches!(
            list(&file.join("below")),
            Err(Error::NoFolder { .. })
        ));
        let message = list(&folder.path().join("missing"))
            .unwrap_err()
            .to_string();
        assert!(message.contains("missing"), "{message}");
    }
}
