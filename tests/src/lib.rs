//! A stand-in for EventStoreDB that tests can break at will: see [`eventstoredb`].

pub mod eventstoredb;
