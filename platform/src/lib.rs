//! The composition root: settings, the parts that they choose, and the commands of the `orderly` binary.

pub mod commands;
pub mod config;
mod progress;
pub mod serve;
mod stores;
