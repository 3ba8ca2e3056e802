//! The commands of the binary besides `serve`.

pub mod audit;
pub mod backup;
pub mod bench;
pub mod import;
pub mod projections;

mod stores;

use std::fmt;

/// Why a command failed, for the person who gave it. Shown once, by `main`.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Not an [`std::error::Error`] itself, so that `?` turns every error into one.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
