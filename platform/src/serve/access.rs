//! Opens the gate of the APIs: the keys and tokens of their callers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use infra::{
    auth::{Authenticator, KeyRing, TokenVerifier},
    clock::Clock,
    http::Gate,
    operations::api_keys::ApiKeys,
};
use tokio::time::timeout;

use super::{ServeConfig, StartError};
use crate::{
    config::{AuthMode, Role, TokenKeys},
    stores::{self, Views},
};

/// The longest wait for the store of API keys at the start.
const KEYS_READ_MAX: Duration = Duration::from_secs(5);

/// An API of this process, and where it listens.
type Listening = (&'static str, SocketAddr);

/// The gate of the APIs of this process. Refuses to let callers from other machines do everything, unless a
/// setting says so.
pub(super) async fn gate(
    config: &ServeConfig,
    views: Option<&Views>,
    clock: &Clock,
) -> Result<Gate, StartError> {
    let apis = [
        (Role::CommandApi, "ORDERLY_COMMAND_LISTEN", config.command_listen),
        (Role::QueryApi, "ORDERLY_QUERY_LISTEN", config.query_listen),
    ];
    let mut served = apis.into_iter().filter(|(role, ..)| config.roles.has(*role)).peekable();
    if served.peek().is_none() {
        return Ok(Gate::open());
    }
    let exposed: Option<Listening> = served
        .map(|(_, setting, address)| (setting, address))
        .find(|(_, address)| !address.ip().to_canonical().is_loopback());
    if config.auth.mode == AuthMode::Off {
        tracing::warn!(
            "ORDERLY_AUTH=off: the APIs do not authenticate callers, and each of them may do everything"
        );
        return Ok(Gate::open());
    }
    let tokens = tokens(config, exposed).await?;
    let keys = stores::open_operations(&config.read_models, views, &config.data_dir)?.api_keys;
    let has_keys = has_keys(&keys).await;
    let needs_keys = tokens.is_none();
    let authenticator = Authenticator::new(KeyRing::new(keys, clock.clone()), tokens);
    let authenticator = authenticator.with_heir(config.auth.inherits.clone());
    match (has_keys, exposed) {
        (Some(false), Some((setting, address))) if needs_keys => {
            Err(StartError::NotAuthenticated { setting, address })
        }
        (Some(false), None) if needs_keys => {
            tracing::warn!(
                "There is no API key and no issuer of tokens: the APIs do not authenticate callers, and listen on \
                 this machine only"
            );
            Ok(Gate::open())
        }
        (None, None) if needs_keys => Ok(Gate::guarded(authenticator.open_without_keys())),
        (Some(_) | None, _) => Ok(Gate::guarded(authenticator)),
    }
}

async fn tokens(
    config: &ServeConfig,
    exposed: Option<Listening>,
) -> Result<Option<TokenVerifier>, StartError> {
    let Some((options, keys)) = config.auth.tokens.clone() else { return Ok(None) };
    match (keys, exposed) {
        (TokenKeys::OfIssuer(source), _) => Ok(Some(TokenVerifier::of_issuer(options, source).await?)),
        (TokenKeys::Development(_), Some((setting, address))) => {
            Err(StartError::DevelopmentSecret { setting, address })
        }
        (TokenKeys::Development(secret), None) => {
            tracing::warn!("ORDERLY_JWT_DEVELOPMENT_SECRET is set: everybody who knows it can make tokens");
            Ok(Some(TokenVerifier::of_development(options, &secret)))
        }
    }
}

/// Revoked keys count: who has revoked the last key does not want callers without keys. `None` while the store does
/// not answer.
async fn has_keys(keys: &Arc<dyn ApiKeys>) -> Option<bool> {
    match timeout(KEYS_READ_MAX, keys.keys(None)).await {
        Ok(Ok(keys)) => Some(!keys.is_empty()),
        Ok(Err(error)) => {
            tracing::warn!(%error, "Cannot read the API keys; callers are refused until they can be read");
            None
        }
        Err(_) => {
            tracing::warn!("The API keys were not read in time; callers are refused until they can be read");
            None
        }
    }
}
