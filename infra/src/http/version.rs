//! What runs: the answer of `GET /version`.

use serde::Serialize;
use utoipa::ToSchema;

/// The version of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Version {
    /// The version of Orderly.
    #[schema(example = "0.1.0")]
    pub version: &'static str,
    /// The commit that the program was built from, or `unknown` if it was built outside of git.
    #[schema(example = "5733ed4c1a2b")]
    pub commit: &'static str,
}

/// The version of a program that does not know its commit.
impl Default for Version {
    fn default() -> Self {
        Self { version: env!("CARGO_PKG_VERSION"), commit: "unknown" }
    }
}
