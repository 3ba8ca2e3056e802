//! The payment sandbox: a payment provider that moves no money and fails as its script says.
//!
//! [`Sandbox`] is the provider itself, an HTTP server with a ledger. [`SandboxProvider`] is the adapter of
//! the payment provider port. The two speak HTTP, also within one process.

mod account;
mod books;
mod client;
mod http_client;
mod ledger;
mod notices;
pub mod resource;
mod script;
pub mod secret_file;
mod server;
mod service;

pub use self::{
    client::{NAME, SandboxProvider},
    ledger::LedgerOpenError,
    script::{InvalidScript, SandboxScript},
    service::{Sandbox, SandboxOptions},
};
