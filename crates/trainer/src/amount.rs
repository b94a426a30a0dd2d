//! Amounts of memory as users write them.

use std::fmt;
use std::str::FromStr;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory(pub u64);

const UNITS: [(&str, u64); 7] = [
    ("KIB", 1 << 10),
    ("MIB", 1 << 20),
    ("GIB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

impl FromStr for Memory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let upper = text.trim().to_uppercase();
        let unit = UNITS
            .iter()
            .find_map(|&(name, bytes)| Some((upper.strip_suffix(name)?, bytes)));
        let number = unit.and_then(|(number, bytes)| {
            let number: f64 = number.trim().parse().ok()?;
            Some(number * bytes as f64)
        });
        match number {
            Some(bytes) if bytes.is_finite() && bytes >= 1.0 => Ok(Memory(bytes as u64)),
            _ => Err("give a number and a unit, as in 2GB, 800MB or 1.5GiB".into()),
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}MB", self.0.div_ceil(1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("2GB", 2_000_000_000),
            ("1.5 GiB", 3 << 29),
            ("800mb", 800_000_000),
            ("12B", 12),
        ] {
            assert_eq!(text.parse(), Ok(Memory(bytes)));
        }
        for text in ["", "2", "GB", "-1GB", "nanGB", "0B", "2 horses"] {
            assert!(text.parse::<Memory>().is_err(), "{text}");
        }
    }
}
