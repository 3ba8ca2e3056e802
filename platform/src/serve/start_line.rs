//! What a process is and where it listens, for the log and for standard output.

use std::{fmt, net::SocketAddr};

use infra::{http::Version, telemetry::LogFormat};
use serde_json::{Map, Value, json};

use super::ServeConfig;
use crate::{
    VERSION,
    config::{PaymentProviderUrl, Role},
};

/// A process as its operator sees it at the start. Shows no secret.
#[derive(Debug, Clone)]
pub struct StartLine {
    version: Version,
    roles: Vec<Role>,
    event_store: String,
    bus: String,
    read_models: String,
    payment_provider: PaymentProviderUrl,
    addresses: Addresses,
    is_encrypted: bool,
}

/// Where a process listens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Addresses {
    pub command_api: Option<SocketAddr>,
    pub query_api: Option<SocketAddr>,
    pub sandbox: Option<SocketAddr>,
    pub admin: Option<SocketAddr>,
}

impl Addresses {
    /// The names in a text and in JSON, in the order of both.
    fn all(&self) -> [(&'static str, &'static str, Option<SocketAddr>); 4] {
        [
            ("command API", "command_api", self.command_api),
            ("query API", "query_api", self.query_api),
            ("sandbox", "sandbox", self.sandbox),
            ("admin", "admin", self.admin),
        ]
    }
}

fn read_models(config: &ServeConfig) -> String {
    match &config.read_models_replica {
        Some(replica) => format!("{}, queries from {replica}", config.read_models),
        None => config.read_models.to_string(),
    }
}

impl StartLine {
    pub fn new(config: &ServeConfig, addresses: Addresses) -> Self {
        Self {
            version: VERSION,
            roles: config.roles.iter().collect(),
            event_store: config.event_store.to_string(),
            bus: config.bus.to_string(),
            read_models: read_models(config),
            payment_provider: config.provider.payment_provider.clone(),
            addresses,
            is_encrypted: config.edge.tls.is_some(),
        }
    }

    /// The URL of a server.
    fn url(&self, name: &str, address: SocketAddr) -> String {
        let scheme = match name {
            "command_api" | "query_api" if self.is_encrypted => "https",
            _ => "http",
        };
        format!("{scheme}://{address}")
    }

    /// Logs the start, before the first store is opened: a store that does not answer delays what follows.
    pub(super) fn log_start(&self) {
        let Version { version, commit } = self.version;
        tracing::info!(
            version, commit, roles = self.roles(), event_store = self.event_store, bus = self.bus,
            read_models = self.read_models, payment_provider = %self.payment_provider,
            "Orderly is starting"
        );
    }

    /// Logs the addresses, and warns of a sandbox that others can reach.
    pub(super) fn log_up(&self) {
        let shown = |address: Option<SocketAddr>| address.map(tracing::field::display);
        let Addresses { command_api, query_api, sandbox, admin } = self.addresses;
        tracing::info!(
            version = self.version.version,
            commit = self.version.commit,
            roles = self.roles(),
            command_api = shown(command_api),
            query_api = shown(query_api),
            sandbox = shown(sandbox),
            admin = shown(admin),
            "Orderly is up"
        );
        let is_public =
            |address: Option<SocketAddr>| address.is_some_and(|address| !address.ip().is_loopback());
        let takes_payments = match self.payment_provider {
            PaymentProviderUrl::Sandbox | PaymentProviderUrl::SandboxAt(_) => is_public(command_api),
            PaymentProviderUrl::None | PaymentProviderUrl::Stripe => false,
        };
        if takes_payments || is_public(sandbox) {
            tracing::warn!(
                "The sandbox is the payment provider of a process that other machines can reach: it moves no money. Set \
                 ORDERLY_PAYMENT_PROVIDER to stripe or none in production"
            );
        }
    }

    /// The text for standard output.
    pub fn banner(&self, format: LogFormat) -> String {
        match format {
            LogFormat::Text => self.to_string(),
            LogFormat::Json => self.json().to_string(),
        }
    }

    /// Version, stores and payment provider, a line each.
    pub fn parts(&self) -> String {
        let Version { version, commit } = self.version;
        let Self { event_store, bus, read_models, payment_provider, .. } = self;
        format!(
            "  version      {version} (commit {commit})\n  event store  {event_store}\n  bus          {bus}\n  read models  \
             {read_models}\n  payments     {payment_provider}"
        )
    }

    fn roles(&self) -> String {
        self.roles.iter().map(Role::to_string).collect::<Vec<_>>().join(", ")
    }

    fn json(&self) -> Value {
        let roles: Vec<String> = self.roles.iter().map(Role::to_string).collect();
        let addresses = self.addresses.all().into_iter();
        let addresses: Map<String, Value> = addresses
            .filter_map(|(_, name, address)| Some((name.to_owned(), json!(self.url(name, address?)))))
            .collect();
        json!({
            "message": "Orderly is up", "version": self.version.version, "commit": self.version.commit, "roles": roles,
            "event_store": self.event_store, "bus": self.bus, "read_models": self.read_models,
            "payment_provider": self.payment_provider.to_string(), "addresses": addresses,
        })
    }
}

impl fmt::Display for StartLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Orderly is up ({}); Ctrl-C stops it.", self.roles())?;
        for (name, id, address) in self.addresses.all() {
            let Some(address) = address else { continue };
            let url = self.url(id, address);
            let note = match name {
                "sandbox" => "  (moves no money)".to_owned(),
                "admin" => "/metrics".to_owned(),
                _ => format!("  (docs: {url}/docs)"),
            };
            write!(f, "\n  {name:<11}  {url}{note}")?;
        }
        write!(f, "\n{}", self.parts())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> StartLine {
        StartLine {
            version: Version { version: "1.2.3", commit: "abc" },
            roles: vec![Role::CommandApi, Role::Sandbox],
            event_store: "sqlite:data/events.db".to_owned(),
            bus: "direct".to_owned(),
            read_models: "postgres://orderly@db/orderly".to_owned(),
            payment_provider: PaymentProviderUrl::Sandbox,
            addresses: Addresses {
                command_api: Some(([127, 0, 0, 1], 8080).into()),
                sandbox: Some(([127, 0, 0, 1], 8082).into()),
                ..Addresses::default()
            },
            is_encrypted: false,
        }
    }

    #[test]
    fn the_banner_has_version_roles_addresses_and_stores() {
        let expected = "Orderly is up (command-api, sandbox); Ctrl-C stops it.
  command API  http://127.0.0.1:8080  (docs: http://127.0.0.1:8080/docs)
  sandbox      http://127.0.0.1:8082  (moves no money)
  version      1.2.3 (commit abc)
  event store  sqlite:data/events.db
  bus          direct
  read models  postgres://orderly@db/orderly
  payments     sandbox";
        assert_eq!(line().banner(LogFormat::Text), expected);
    }

    #[test]
    fn the_banner_shows_that_the_apis_are_encrypted() {
        let banner = StartLine { is_encrypted: true, ..line() }.to_string();
        assert!(banner.contains("https://127.0.0.1:8080  (docs: https://127.0.0.1:8080/docs)"), "{banner}");
        assert!(banner.contains("  http://127.0.0.1:8082"), "{banner}");
    }

    #[test]
    fn the_banner_is_one_json_object_if_the_log_is_json() {
        let banner: Value = serde_json::from_str(&line().banner(LogFormat::Json)).unwrap();
        let expected = json!({
            "message": "Orderly is up", "version": "1.2.3", "commit": "abc", "roles": ["command-api", "sandbox"],
            "event_store": "sqlite:data/events.db", "bus": "direct", "read_models": "postgres://orderly@db/orderly",
            "payment_provider": "sandbox",
            "addresses": {"command_api": "http://127.0.0.1:8080", "sandbox": "http://127.0.0.1:8082"},
        });
        assert_eq!(banner, expected);
    }
}
