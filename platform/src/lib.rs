//! The composition root: settings, the parts that they choose, and the commands of the `orderly` binary.

pub mod commands;
pub mod config;
pub mod openapi;
mod progress;
pub mod serve;
mod stores;

use infra::http::Version;

/// The version of this build.
pub const VERSION: Version = Version { version: env!("CARGO_PKG_VERSION"), commit: env!("ORDERLY_COMMIT") };
