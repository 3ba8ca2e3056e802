//! `orderly openapi`: prints an OpenAPI document, for programs that generate clients.

use clap::{Args, ValueEnum};

use super::{Failure, completions::print};
use crate::openapi::combined;

#[derive(Debug, Args)]
pub struct OpenapiOptions {
    /// The API whose document is printed. `all`: both APIs under one host name.
    #[arg(long, value_enum, default_value_t = ApiName::All)]
    api: ApiName,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ApiName {
    All,
    Command,
    Query,
}

pub fn run(options: &OpenapiOptions) -> Result<(), Failure> {
    let document = match options.api {
        ApiName::All => combined(),
        ApiName::Command => command_api::openapi(),
        ApiName::Query => query_api::openapi(),
    };
    print(format!("{}\n", document.pretty()).as_bytes())
}
