//! The HTTP kit of both APIs: error answers and their documentation, path ids, parameters, pages, the server.

pub mod access;
pub mod answers;
pub mod body;
pub mod code;
pub mod conditional;
pub mod cors;
pub mod document;
pub mod hosts;
mod measured;
pub mod paging;
pub mod parameters;
pub mod path;
pub mod peer;
pub mod problem;
pub mod rate_limit;
mod request_log;
pub mod server;
pub mod site;
pub mod slots;
pub mod stores;
pub mod tables;
pub mod tls;
pub mod version;
pub mod vocabulary;

use domain::Revision;
use http::HeaderValue;

pub use access::{Gate, GuardedRoutes};
pub use answers::{Failure, ProblemSource, Problems};
pub use code::Code;
pub use document::Document;
pub use hosts::AllowedHosts;
pub use problem::{FieldError, Problem};
pub use server::{ServerOptions, listen, serve};
pub use version::Version;

/// A revision as an `ETag`.
pub fn etag(revision: Revision) -> HeaderValue {
    HeaderValue::try_from(format!("\"{revision}\"")).expect("digits and quotes are visible ASCII")
}
