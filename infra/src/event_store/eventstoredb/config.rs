//! The address of the server.

mod fields;

use std::{fmt, path::Path, str::FromStr, sync::Arc};

use eventstore::ClientSettings;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tempfile::TempPath;

use super::{errors::EventStoreDbOpenError, trust};

/// An `esdb://` connection string, in the syntax of all EventStoreDB clients.
#[derive(Clone)]
pub struct EventStoreDbConfig {
    settings: ClientSettings,
    user: Option<String>,
    /// A file that the settings name, deleted with its last user.
    _ca_file: Option<Arc<TempPath>>,
}

/// The text is not a connection string. It may contain a password, so the error does not repeat it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a connection string; expected esdb://host:2113, with ?tls=false if the server has no certificate. Write \
     special characters of the user and the password percent-encoded, such as %40 for @ and %2F for /"
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

    /// Reads the file with the authorities, as a connection does.
    pub fn check_certificates(&self) -> Result<(), EventStoreDbOpenError> {
        trust::prepared(self.clone()).map(drop)
    }

    /// The user of the connection string.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Makes the client library trust the certificates of this file, instead of those of the machine.
    pub(super) fn trusting(self, file: &Path, temporary: Option<TempPath>) -> Result<Self, InvalidUrl> {
        let mut fields = fields::of(&self.settings).map_err(|_| InvalidUrl)?;
        fields.insert("tls_ca_file".to_owned(), json!(file));
        let settings = fields::into_settings(fields).map_err(|_| InvalidUrl)?;
        Ok(Self { settings, user: self.user, _ca_file: temporary.map(Arc::new) })
    }
}

impl FromStr for EventStoreDbConfig {
    type Err = InvalidUrl;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let settings: ClientSettings = url.parse().map_err(|_| InvalidUrl)?;
        if settings.hosts().is_empty() {
            return Err(InvalidUrl);
        }
        // The library sends the user and the password as they stand in the URL.
        let mut fields = fields::of(&settings).map_err(|_| InvalidUrl)?;
        let mut user = None;
        if let Some(Value::Object(credentials)) = fields.get_mut("default_user_name") {
            for value in credentials.values_mut() {
                *value = json!(decoded(value).ok_or(InvalidUrl)?);
            }
            user = credentials.get("login").and_then(Value::as_str).map(str::to_owned);
        }
        let settings = fields::into_settings(fields).map_err(|_| InvalidUrl)?;
        Ok(Self { settings, user, _ca_file: None })
    }
}

fn decoded(encoded: &Value) -> Option<String> {
    Some(percent_decode_str(encoded.as_str()?).decode_utf8().ok()?.into_owned())
}

impl fmt::Debug for EventStoreDbConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStoreDbConfig").field("servers", &self.servers()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
