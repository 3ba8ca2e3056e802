//! The commands of the binary, without `serve`.

pub mod audit;
pub mod backup;
pub mod bench;
mod child;
pub mod completions;
pub mod config;
pub mod demo;
pub mod dev;
pub mod health;
mod history;
pub mod import;
pub mod keys;
pub mod openapi;
pub mod payments;
pub mod projections;
pub mod reactions;
pub mod repair;
pub mod restore;

use std::fmt;

use comfy_table::{Table, presets::NOTHING};

/// Why a command failed, as text for its caller. Only `main` prints it.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// `Failure` is not a [`std::error::Error`], so this conversion covers every error and `?` works on all of
/// them.
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

fn empty_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    table
}
