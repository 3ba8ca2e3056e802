//! What both HTTP APIs share: problem answers, the server loop, health.

pub mod problem;
pub mod server;

pub use problem::{Code, FieldError, Problem};
pub use server::{ServerOptions, serve};
