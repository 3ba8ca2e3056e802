//! The command side: executes commands on aggregates rebuilt from the event store, answers them over HTTP,
//! and runs the reactions to their events.

pub mod backlog;
pub mod checkout;
pub mod error;
pub mod executor;
pub mod http;
pub mod idempotency;
mod pages;
pub mod process_manager;
pub mod reconciliation;

pub use checkout::Checkout;
pub use executor::ExecutorOptions;
pub use http::{CommandApi, CommandApiOptions, WebhookAdmin, openapi, router};
pub use process_manager::ProcessManager;
