//! Servers that replace real ones in tests and fail on demand: [`eventstoredb`] and [`stripe`].

pub mod eventstoredb;
pub mod stripe;
