//! Ports to the outside world, and their adapters.
//!
//! Every port is a trait with a contract suite under `tests/`, and every adapter passes it. Business rules
//! are not here but in `domain`.

pub mod auth;
pub mod clock;
pub mod event_row;
pub mod event_source;
pub mod event_store;
pub mod external_sort;
pub mod health;
pub mod http;
mod http_client;
pub mod kafka;
pub mod log_guard;
pub mod log_limit;
pub mod measurements;
pub mod operations;
mod partition;
pub mod payment_provider;
pub mod postgres;
pub mod private_files;
pub mod read_models;
pub mod relay;
pub mod sealing;
pub mod signature;
pub mod snapshots;
pub mod sqlite;
pub mod telemetry;
pub mod tls;
pub mod traces;
