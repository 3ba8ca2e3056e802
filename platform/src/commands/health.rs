//! `orderly health`: asks the process on this machine whether it is ready. For containers, whose images need no other
//! HTTP client then.

use std::{net::SocketAddr, time::Duration};

use clap::Args;

use super::Failure;
use crate::{config::Role, serve::url_to};

/// Time limit for the answer.
const ANSWERED_MAX: Duration = Duration::from_secs(3);

/// The addresses of `serve`, from the same settings.
#[derive(Debug, Args)]
pub struct HealthOptions {
    /// Ask whether the process runs, not whether it can do its roles.
    #[arg(long)]
    live: bool,

    /// Address of the command API.
    #[arg(long, env = "ORDERLY_COMMAND_LISTEN", value_name = "HOST:PORT", value_parser = crate::config::listen_address, default_value = "127.0.0.1:8080")]
    command_listen: SocketAddr,

    /// Address of the query API.
    #[arg(long, env = "ORDERLY_QUERY_LISTEN", value_name = "HOST:PORT", value_parser = crate::config::listen_address, default_value = "127.0.0.1:8081")]
    query_listen: SocketAddr,

    /// Address of the measurements. It is asked if it is set, because every process may have it.
    #[arg(long, env = "ORDERLY_ADMIN_LISTEN", value_name = "HOST:PORT", value_parser = crate::config::listen_address)]
    admin_listen: Option<SocketAddr>,

    /// Roles of the process.
    #[arg(long, env = "ORDERLY_ROLES", value_name = "ROLE,…", value_enum, value_delimiter = ',')]
    roles: Vec<Role>,
}

impl HealthOptions {
    /// `None` if the process has no address to ask.
    fn address(&self) -> Option<SocketAddr> {
        let has = |role| self.roles.is_empty() || self.roles.contains(&role);
        self.admin_listen
            .or_else(|| has(Role::CommandApi).then_some(self.command_listen))
            .or_else(|| has(Role::QueryApi).then_some(self.query_listen))
    }
}

pub async fn run(options: &HealthOptions) -> Result<(), Failure> {
    let Some(address) = options.address() else {
        return Err(Failure::new(
            "a process without an API can be asked at its ORDERLY_ADMIN_LISTEN only: set it",
        ));
    };
    let url = format!("{}/{}", url_to(address), if options.live { "livez" } else { "readyz" });
    let client = reqwest::Client::builder().timeout(ANSWERED_MAX).no_proxy().build()?;
    let answer = client.get(&url).send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    println!("{}", text.trim_end());
    if status.is_success() { Ok(()) } else { Err(Failure::new(format!("{url} answers {status}"))) }
}
