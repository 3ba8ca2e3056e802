mod architecture_doc;
//! One test binary over the whole platform.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod query_api;
