//! Stand-ins for servers that tests can break at will: see [`eventstoredb`] and [`stripe`].

pub mod eventstoredb;
pub mod stripe;
