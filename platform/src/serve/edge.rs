//! What the servers of a process share: the certificate of the APIs, and their slots.

use std::time::Duration;

use infra::http::{ServerOptions, slots::Slots, tls::Tls};
use tokio::task::spawn_blocking;

use super::{ServeConfig, StartError};
use crate::config::{EdgeConfig, Role};

#[derive(Debug)]
pub(super) struct Edge {
    config: EdgeConfig,
    /// What every server has.
    common: ServerOptions,
    /// How long the APIs still accept connections after the signal to stop.
    drain_delay: Duration,
    /// Those of both APIs together.
    slots: Slots,
    /// The certificate of both APIs. `None`: they speak plain HTTP.
    pub tls: Option<Tls>,
}

impl Edge {
    /// Reads the certificate if it is configured and a role of this process has an API.
    pub async fn open(config: &ServeConfig) -> Result<Self, StartError> {
        let serves = config.roles.has(Role::CommandApi) || config.roles.has(Role::QueryApi);
        let tls = match config.edge.tls.clone().filter(|_| serves) {
            Some(files) => Some(spawn_blocking(move || Tls::open(files)).await??),
            None => None,
        };
        let common =
            ServerOptions { allowed_hosts: config.allowed_hosts.clone(), ..ServerOptions::default() };
        let (drain_delay, slots) = (config.drain_delay, config.edge.slots());
        Ok(Self { config: config.edge.clone(), common, drain_delay, slots, tls })
    }

    /// The options of the server of an API.
    pub fn of_api(&self, name: &'static str) -> ServerOptions {
        let (slots, tls) = (self.slots.clone(), self.tls.clone());
        let drain_delay = self.drain_delay;
        self.config.apply(ServerOptions { name, slots, tls, drain_delay, ..self.common.clone() })
    }

    /// The options of the admin address, whose clients are operators. It answers during the drain delay of the APIs, and
    /// stops after them.
    pub fn of_admin(&self) -> ServerOptions {
        ServerOptions { name: "admin", ..self.common.clone() }
    }
}
