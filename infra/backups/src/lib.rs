//! Backups of everything that Orderly keeps in files of its own and cannot rebuild.
//!
//! A backup is a folder in a directory or in a bucket: see [`Part`] for its files. `manifest.json` is written last,
//! so a folder without one is no backup.

mod copying;
mod error;
mod kept;
mod manifest;
mod place;
mod schedule;
mod storage;

pub use self::{
    copying::{Progress, Report, Sources, take},
    error::BackupError,
    kept::Keep,
    manifest::{BackedUpLog, FileEntry, MadeBy, Manifest, Part},
    place::{InvalidPlace, Place},
    schedule::Schedule,
    storage::{Storage, Which},
};

#[cfg(test)]
mod tests;
