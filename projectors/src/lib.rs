//! Projections: from events to the rows of the read models.
//!
//! [`fold`] applies events to rows, one file per subject, the same for every database. [`runner`] folds
//! batches as they arrive; [`replay`] folds the whole log; [`rebuild`] writes the rows of such a fold, and
//! [`verify`] compares rows with it; [`retry`] resumes a parked stream on request, and `resume` requests this for
//! streams that another version has parked. [`as_of`] folds the log for audits, without read models.

// A projection must name every event. A wildcard would skip a new event silently.
#![deny(clippy::wildcard_enum_match_arm)]

pub mod as_of;
pub mod by_stream;
mod cache;
mod digest;
pub mod event;
pub mod fold;
mod measured;
pub mod rebuild;
pub mod replay;
mod resume;
pub mod retry;
pub mod runner;
pub mod verify;
