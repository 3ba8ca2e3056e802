//! What the pages of the query API know of the platform, and how they reach the command API.

use std::{net::SocketAddr, sync::Arc};

use infra::sealing::SecretKeys;
use query_api::pages::{Auditor, CommandApiAccess, Measurements, PagesOptions, Platform, Provider};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::{ServeConfig, StartError, audit::LogAuditor, parts::url_to};
use crate::config::{BusUrl, EventStoreUrl, PaymentProviderUrl, ReadModelsUrl, Role};

/// `command_address` is set if this process has a command API. `stop` ends what pages have started.
pub(super) async fn options(
    config: &ServeConfig,
    command_address: Option<SocketAddr>,
    measurements: Option<Measurements>,
    stop: CancellationToken,
) -> Result<PagesOptions, StartError> {
    let given = config.command_url.as_ref().map(|url| url.as_str().to_owned());
    // With a certificate, the command API has a name that this process does not know.
    let own = command_address.filter(|_| config.edge.tls.is_none()).map(url_to);
    let commands = given.or(own).map(|url| CommandApiAccess { url });
    let (platform, keys) = (platform(config), keys(config).await?);
    let auditor: Option<Arc<dyn Auditor>> = Some(Arc::new(LogAuditor::new(config, stop)));
    Ok(PagesOptions { platform, measurements, commands, auditor, keys })
}

/// Without a file of keys, sessions end with this process.
async fn keys(config: &ServeConfig) -> Result<SecretKeys, StartError> {
    if let Some(path) = config.secrets_key_file.clone() {
        return Ok(spawn_blocking(move || SecretKeys::read(&path)).await??);
    }
    SecretKeys::of_this_process().or_else(|error| {
        tracing::error!(%error, "This machine gives no random numbers; nobody can log in to the pages");
        Ok(SecretKeys::default())
    })
}

fn platform(config: &ServeConfig) -> Platform {
    let charges = config.roles.has(Role::CommandApi) || config.roles.has(Role::ProcessManager);
    Platform {
        roles: config.roles.iter().map(|role| role.to_string()).collect(),
        event_store: match config.event_store {
            EventStoreUrl::Sqlite(_) => "SQLite file",
            EventStoreUrl::EventStoreDb(_) => "EventStoreDB",
        },
        bus: match config.bus {
            BusUrl::Direct => "direct",
            BusUrl::Kafka(_) => "Kafka",
        },
        read_models: match (&config.read_models, &config.read_models_replica) {
            (ReadModelsUrl::Sqlite(_), _) => "SQLite file",
            (ReadModelsUrl::Postgres(_), None) => "Postgres",
            (ReadModelsUrl::Postgres(_), Some(_)) => "Postgres, read from a replica",
        },
        provider: match config.provider.payment_provider {
            _ if !charges => Provider::Elsewhere,
            PaymentProviderUrl::None => Provider::None,
            PaymentProviderUrl::Sandbox | PaymentProviderUrl::SandboxAt(_) => Provider::Sandbox,
            PaymentProviderUrl::Stripe => Provider::Stripe,
        },
    }
}
