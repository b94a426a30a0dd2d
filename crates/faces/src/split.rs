use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

/// How it is told which pictures belong together and must not be parted between training and test.
///
/// The first of [`Folder`](Self::Folder) and [`Name`](Self::Name) counts that yields persons at
/// all: at least four groups, none of them holding more than a quarter of the pictures, some of
/// them holding more than one. Otherwise, as in a folder of `IMG_1234.jpg`, every picture stands
/// for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grouping {
    /// Pictures in one sub-folder: `alice/1.jpg`, `alice/2.jpg`.
    Folder,
    /// Files in one folder whose names differ in the number after the last `_` or `-` only:
    /// `s01_01.png`, `s01_02.png`.
    Name,
    /// Every picture by itself.
    Picture,
}

const MIN_GROUPS: usize = 4;

/// The group of each picture, given by its path inside the source folder.
pub(crate) fn group(pictures: &[&Path]) -> (Grouping, Vec<String>) {
    for (grouping, key) in [
        (Grouping::Folder, folder_key as fn(&Path) -> String),
        (Grouping::Name, name_key),
    ] {
        let keys: Vec<_> = pictures.iter().map(|path| key(path)).collect();
        if are_persons(&keys) {
            return (grouping, keys);
        }
    }
    group_singly(pictures)
}

/// Every picture as a group of its own.
pub(crate) fn group_singly(pictures: &[&Path]) -> (Grouping, Vec<String>) {
    (
        Grouping::Picture,
        pictures
            .iter()
            .map(|path| path.to_string_lossy().into_owned())
            .collect(),
    )
}

fn folder_key(picture: &Path) -> String {
    picture
        .parent()
        .unwrap_or(Path::new(""))
        .to_string_lossy()
        .into_owned()
}

fn name_key(picture: &Path) -> String {
    let stem = picture.with_extension("");
    let stem = stem.to_string_lossy();
    match stem.rsplit_once(['_', '-']) {
        Some((person, number))
            if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) =>
        {
            person.into()
        }
        _ => stem.into_owned(),
    }
}

fn are_persons(keys: &[String]) -> bool {
    let sizes = sizes(keys);
    let largest = sizes.values().copied().max().unwrap_or(0);
    sizes.len() >= MIN_GROUPS && largest > 1 && largest * MIN_GROUPS <= keys.len()
}

fn sizes(keys: &[String]) -> BTreeMap<&str, usize> {
    let mut sizes = BTreeMap::new();
    for key in keys {
        *sizes.entry(key.as_str()).or_default() += 1;
    }
    sizes
}

/// Chooses whole groups at random until the test set holds `val` pictures, or as few more as groups
/// allow; tells for each picture whether it is one of them.
pub(crate) fn choose_test(keys: &[String], val: usize, seed: u64) -> Vec<bool> {
    let sizes = sizes(keys);
    let mut groups: Vec<_> = sizes.into_iter().collect();
    groups.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));

    let mut chosen = HashSet::new();
    let mut count = 0;
    groups.retain(|&(group, size)| {
        let fits = count + size <= val;
        if fits {
            chosen.insert(group);
            count += size;
        }
        !fits
    });
    if count < val {
        // None of the rest fits; the smallest of them oversteps least.
        chosen.extend(
            groups
                .iter()
                .min_by_key(|(_, size)| size)
                .map(|(group, _)| group),
        );
    }
    keys.iter()
        .map(|key| chosen.contains(key.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grouped(names: &[String]) -> (Grouping, Vec<String>) {
        group(&names.iter().map(Path::new).collect::<Vec<_>>())
    }

    fn names(pattern: impl Fn(usize, usize) -> String) -> Vec<String> {
        (0..5)
            .flat_map(|person| (0..6).map(move |i| (person, i)))
            .map(|(person, i)| pattern(person, i))
            .collect()
    }

    #[test]
    fn tells_persons_by_folder_or_name() {
        let (grouping, keys) = grouped(&names(|person, i| format!("s{person:02}_{i:02}.png")));
        assert_eq!(
            (grouping, keys[0].as_str(), keys[29].as_str()),
            (Grouping::Name, "s00", "s04")
        );
        let (grouping, keys) = grouped(&names(|person, i| format!("p{person}/IMG_{i}.jpg")));
        assert_eq!((grouping, keys[7].as_str()), (Grouping::Folder, "p1"));
        let (grouping, keys) =
            grouped(&names(|person, i| format!("all/George W-{person}-{i}.jpg")));
        assert_eq!(
            (grouping, keys[0].as_str()),
            (Grouping::Name, "all/George W-0")
        );
    }

    #[test]
    fn leaves_other_names_alone() {
        assert_eq!(
            grouped(&names(|person, i| format!("IMG_{person}{i}.jpg"))).0,
            Grouping::Picture
        );
        assert_eq!(
            grouped(&names(|person, i| format!("{person}{i}.png"))).0,
            Grouping::Picture
        );
        assert_eq!(
            grouped(&names(|person, i| format!("{}_{i}.png", person % 2))).0,
            Grouping::Picture
        );
        assert_eq!(grouped(&[]).0, Grouping::Picture);
    }

    #[test]
    fn chooses_whole_groups_reproducibly() {
        let (_, keys) = grouped(&names(|person, i| format!("s{person}_{i}.png")));
        for seed in 0..20 {
            let test = choose_test(&keys, 10, seed);
            assert_eq!(test, choose_test(&keys, 10, seed));
            assert_eq!(test.iter().filter(|&&chosen| chosen).count(), 12);
            for person in keys.chunks(6).zip(test.chunks(6)) {
                assert!(
                    person.1.iter().all(|chosen| *chosen == person.1[0]),
                    "{person:?}"
                );
            }
        }
        assert_ne!(choose_test(&keys, 10, 1), choose_test(&keys, 10, 2));
        assert!(choose_test(&keys, 31, 1).iter().all(|chosen| *chosen));
    }

    #[test]
    fn oversteps_as_little_as_it_can() {
        let keys: Vec<_> = [("a", 9), ("b", 9), ("c", 2), ("d", 9)]
            .iter()
            .flat_map(|&(key, size)| std::iter::repeat_n(key.to_string(), size))
            .collect();
        for seed in 0..9 {
            assert_eq!(
                choose_test(&keys, 1, seed)
                    .iter()
                    .filter(|&&chosen| chosen)
                    .count(),
                2
            );
        }
    }
}
