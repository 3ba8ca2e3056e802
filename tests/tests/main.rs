//! One test binary over the whole platform.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod architecture_doc;
mod event_store_contract;
mod executor;
mod interleavings;
mod projectors;
mod query_api;
mod support;
