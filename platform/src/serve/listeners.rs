//! The listeners of a process. Their addresses are known before the roles that serve them start.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::{Addresses, ServeConfig, StartError};
use crate::config::Role;

/// A bound listener.
pub(super) struct BoundListener {
    pub listener: TcpListener,
    pub address: SocketAddr,
}

impl BoundListener {
    pub fn bind(setting: &'static str, address: SocketAddr) -> Result<Self, StartError> {
        let describe = |source| StartError::Listen { setting, address, source };
        let listener = infra::http::listen(address).map_err(describe)?;
        let address = listener.local_addr().map_err(describe)?;
        Ok(Self { listener, address })
    }
}

/// The listeners of this process's servers.
pub(super) struct Listeners {
    pub command_api: Option<BoundListener>,
    pub query_api: Option<BoundListener>,
    pub sandbox: Option<BoundListener>,
    pub admin: Option<BoundListener>,
}

impl Listeners {
    pub fn bind(config: &ServeConfig) -> Result<Self, StartError> {
        let bind = |role, setting, address| {
            if !config.roles.has(role) {
                return Ok(None);
            }
            BoundListener::bind(setting, address).map(Some)
        };
        let bind_admin = |address| BoundListener::bind("ORDERLY_ADMIN_LISTEN", address);
        Ok(Self {
            command_api: bind(Role::CommandApi, "ORDERLY_COMMAND_LISTEN", config.command_listen)?,
            query_api: bind(Role::QueryApi, "ORDERLY_QUERY_LISTEN", config.query_listen)?,
            sandbox: bind(Role::Sandbox, "ORDERLY_SANDBOX_LISTEN", config.provider.sandbox_listen)?,
            admin: config.admin_listen.map(bind_admin).transpose()?,
        })
    }

    pub fn addresses(&self) -> Addresses {
        let address = |listener: &Option<BoundListener>| listener.as_ref().map(|bound| bound.address);
        Addresses {
            command_api: address(&self.command_api),
            query_api: address(&self.query_api),
            sandbox: address(&self.sandbox),
            admin: address(&self.admin),
        }
    }
}
