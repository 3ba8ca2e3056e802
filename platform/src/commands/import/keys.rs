//! The idempotency keys of imports: what makes two rows of two files the same order.

use std::{fmt, fmt::Write as _, str::FromStr};

use sha2::{Digest, Sha256};

/// Most characters of a name as it is in a key. A key has at most 255, and prefix and suffix need room.
const NAME_CHARS_MAX: usize = 120;

/// Where records come from, such as a shop or a marketplace. Its record numbers are its own: the same number in
/// two files of one source is the same record, and in two sources it is two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source(String);

impl Source {
    pub fn new(name: &'static str) -> Self {
        Self(name.to_owned())
    }

    pub fn keys(&self) -> Keys {
        Keys(format!("import/{}", self.0))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if (1..=64).contains(&name.len()) && name.bytes().all(is_plain) {
            Ok(Self(name.to_owned()))
        } else {
            Err("expected 1 to 64 letters, digits, hyphens, underscores and full stops".to_owned())
        }
    }
}

/// The keys of one source, or of one file that an earlier version imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys(String);

impl Keys {
    /// Versions that imported only Online Retail files used the content of the file in place of the source. So
    /// `--source` with this id names the orders of such an import.
    pub fn of_earlier_import(file_id: &str) -> Self {
        Self(format!("import/{file_id}"))
    }

    /// The key of a record. Keys of steps begin with it.
    pub fn record(&self, number: &str) -> String {
        format!("{}/{}", self.0, in_key(number))
    }

    /// The key of a part of all stock that a file needs, in the versions of [`Keys::of_earlier_import`]. Parts
    /// count from 1.
    pub fn stock_part(&self, part: usize) -> String {
        format!("{}/receipts/{part}", self.0)
    }

    /// What receipts name as their reference in these versions.
    pub fn stock_reference(&self) -> &str {
        &self.0
    }
}

/// A name as a part of a key. It contains no `/`, which separates the parts. A long name becomes its hash.
pub fn in_key(name: &str) -> String {
    let text = percent_encoded(name);
    if text.len() <= NAME_CHARS_MAX { text } else { format!("%{}", hex_of(name.as_bytes())) }
}

/// A name as a segment of a path. Letters, digits, `-`, `_` and `.` stay; other bytes become `%` and two hex digits.
pub fn percent_encoded(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02x}");
        }
    }
    text
}

/// SHA-256 in hex.
pub fn hex_of(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_earlier_versions_are_those_of_a_source_with_the_id_of_the_file() {
        let id = "0123456789abcdef0123456789abcdef";
        let keys = Keys::of_earlier_import(id);
        assert_eq!(keys, id.parse::<Source>().unwrap().keys());
        assert_eq!(keys.record("536365"), format!("import/{id}/536365"));
        assert_eq!(keys.stock_part(1), format!("import/{id}/receipts/1"));
    }

    #[test]
    fn names_become_different_parts_of_keys_of_visible_characters() {
        let long = "x".repeat(121);
        let names = ["INV-2024_1.5", "a/b", "a%2fb", "Rücksendung 7", "\"1\"", &long, &long[1..]];
        let parts: Vec<String> = names.iter().map(|name| in_key(name)).collect();
        assert_eq!(parts[..2], ["INV-2024_1.5", "a%2fb"]);
        for (index, part) in parts.iter().enumerate() {
            assert!(
                part.len() <= NAME_CHARS_MAX && part.bytes().all(|byte| byte.is_ascii_graphic()),
                "{part}"
            );
            assert!(!part.contains(['/', '"']) && !parts[..index].contains(part), "{part}");
        }
    }

    #[test]
    fn a_source_has_plain_characters_only() {
        for name in ["", "a/b", "a b", "ü", &"x".repeat(65)] {
            assert!(name.parse::<Source>().is_err(), "{name}");
        }
    }
}
