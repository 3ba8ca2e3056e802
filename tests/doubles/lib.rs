//! Servers that replace real ones in tests, and fail on demand: [`eventstoredb`], [`stripe`] and [`collector`].

pub mod collector;
pub mod eventstoredb;
pub mod port;
pub mod stripe;
