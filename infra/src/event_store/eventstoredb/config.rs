//! The address of the server.

use std::{fmt, str::FromStr};

use eventstore::ClientSettings;

/// An `esdb://` connection string, in the syntax of all EventStoreDB clients.
#[derive(Clone)]
pub struct EventStoreDbConfig {
    settings: ClientSettings,
}

/// The text is not a connection string. It may contain a password, so the error does not repeat it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a connection string; expected esdb://host:2113, with ?tls=false if the server has no certificate"
)]
pub struct InvalidUrl;

impl EventStoreDbConfig {
    pub(super) fn settings(&self) -> &ClientSettings {
        &self.settings
    }

    /// The servers, without credentials.
    pub fn servers(&self) -> String {
        let hosts = self.settings.hosts().iter().map(|host| format!("{}:{}", host.host, host.port));
        hosts.collect::<Vec<_>>().join(",")
    }
}

impl FromStr for EventStoreDbConfig {
    type Err = InvalidUrl;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let settings: ClientSettings = url.parse().map_err(|_| InvalidUrl)?;
        if settings.hosts().is_empty() { Err(InvalidUrl) } else { Ok(Self { settings }) }
    }
}

impl fmt::Debug for EventStoreDbConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStoreDbConfig").field("servers", &self.servers()).finish_non_exhaustive()
    }
}
