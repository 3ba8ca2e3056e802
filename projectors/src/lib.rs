//! Projections: from events to the rows of the read models.
//!
//! [`fold`] applies events to rows, one file per subject, the same for every database. [`runner`] folds
//! batches as they arrive; [`rebuild`] folds the whole log; [`verify`] compares the rows with such a fold;
//! [`retry`] resumes a stream that was parked.

// A projection must name every event. A wildcard would skip a new event silently.
#![deny(clippy::wildcard_enum_match_arm)]

mod cache;
pub mod event;
pub mod fold;
pub mod log;
pub mod rebuild;
pub mod retry;
pub mod runner;
pub mod verify;
