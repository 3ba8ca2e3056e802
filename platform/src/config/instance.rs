//! The name of a process among those of the same roles.

use std::{fmt, str::FromStr};

/// A name that a process keeps over its restarts. Kafka then keeps its partitions meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceName(String);

impl InstanceName {
    /// Kafka's own limit is 249 characters; a number follows the name.
    const LENGTH_MAX: usize = 200;

    /// The name of one of several consumers of this process.
    pub fn of_consumer(&self, number: usize) -> String {
        format!("{self}.{number}")
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for InstanceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if (1..=Self::LENGTH_MAX).contains(&text.len()) && text.chars().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("expected 1 to {} characters of A-Z a-z 0-9 - . _", Self::LENGTH_MAX))
    }
}
