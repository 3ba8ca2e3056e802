//! Example programs that use a running platform over HTTP, webhooks and Kafka.
//!
//! Each module is one program; `bin/` holds its `main`. `platform/tests/cli/examples.rs` runs the modules
//! against the real binary.

pub mod checkout;
pub mod consume_topic;
pub mod verify_webhooks;
