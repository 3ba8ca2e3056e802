//! Settings of the authentication of callers.

use std::str::FromStr;

use clap::{Args, ValueEnum};
use infra::auth::{DevelopmentSecret, KeySource, TokenOptions};

use super::urls::{SecretUrlParser, UnsupportedUrl};

const DEVELOPMENT_SECRET: &str = "ORDERLY_JWT_DEVELOPMENT_SECRET";

/// How the APIs authenticate their callers.
#[derive(Debug, Clone, Args)]
pub struct AuthSettings {
    /// `auto`: callers need a key of `orderly keys create`, or a token, as soon as there is a key or an issuer.
    /// Before that, the APIs listen on this machine only. `off`: every caller may do everything.
    #[arg(long, env = "ORDERLY_AUTH", value_name = "MODE", value_enum, default_value = "auto")]
    pub auth: AuthMode,

    /// The principal that sent the commands before callers were authenticated. A retry of such a command by this
    /// principal is not carried out again. Never take the setting away.
    #[arg(long, env = "ORDERLY_AUTH_INHERITS", value_name = "PRINCIPAL")]
    pub auth_inherits: Option<String>,

    /// Issuer of tokens, the claim `iss`.
    #[arg(long, env = "ORDERLY_JWT_ISSUER", value_name = "ISSUER")]
    pub jwt_issuer: Option<String>,

    /// Audience of tokens, one of the claim `aud`.
    #[arg(long, env = "ORDERLY_JWT_AUDIENCE", value_name = "AUDIENCE")]
    pub jwt_audience: Option<String>,

    /// Key set (JWKS) of the issuer: an https:// URL or file:PATH.
    #[arg(long, env = "ORDERLY_JWT_KEYS", value_name = "URL")]
    pub jwt_keys: Option<KeySource>,

    /// Secret of tokens (HS256) in place of a key set, for development. Has no flag.
    #[arg(
        long,
        env = "ORDERLY_JWT_DEVELOPMENT_SECRET",
        value_name = "SECRET",
        value_parser = SecretUrlParser::<JwtDevelopmentSecret>::new(),
        hide_env_values = true,
        hide = true
    )]
    pub jwt_development_secret: Option<JwtDevelopmentSecret>,

    /// Claim that names the principal of a token, together with the issuer.
    #[arg(long, env = "ORDERLY_JWT_PRINCIPAL_CLAIM", value_name = "CLAIM", default_value = "sub")]
    pub jwt_principal_claim: String,
}

/// The value of `ORDERLY_JWT_DEVELOPMENT_SECRET`.
#[derive(Debug, Clone)]
pub struct JwtDevelopmentSecret(DevelopmentSecret);

impl FromStr for JwtDevelopmentSecret {
    type Err = UnsupportedUrl;

    fn from_str(text: &str) -> Result<Self, UnsupportedUrl> {
        text.parse().map(Self).map_err(|error| UnsupportedUrl::new(DEVELOPMENT_SECRET, &error))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AuthMode {
    Auto,
    Off,
}

/// The authentication of a process, checked.
#[derive(Debug, Clone)]
pub struct AuthConfig {
    pub mode: AuthMode,
    pub inherits: Option<String>,
    /// `None` if no issuer is configured.
    pub tokens: Option<(TokenOptions, TokenKeys)>,
}

/// What tokens are signed with.
#[derive(Debug, Clone)]
pub enum TokenKeys {
    OfIssuer(KeySource),
    Development(DevelopmentSecret),
}

/// Settings of authentication that are incomplete or contradict each other. Its text never shows a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthSettingsError {
    #[error(
        "{given} is set, but {missing} is not: tokens need an issuer, an audience and the keys of the issuer"
    )]
    Missing { given: &'static str, missing: &'static str },
    #[error("ORDERLY_JWT_KEYS and {DEVELOPMENT_SECRET} are both set: tokens have one kind of key")]
    TwoKinds,
    #[error(
        "ORDERLY_JWT_ISSUER: expected a text without `|`, which separates issuer and subject in a principal"
    )]
    Issuer,
}

impl AuthSettings {
    pub fn checked(&self) -> Result<AuthConfig, AuthSettingsError> {
        let keys = match (&self.jwt_keys, &self.jwt_development_secret) {
            (Some(_), Some(_)) => return Err(AuthSettingsError::TwoKinds),
            (Some(source), None) => Some(TokenKeys::OfIssuer(source.clone())),
            (None, Some(JwtDevelopmentSecret(secret))) => Some(TokenKeys::Development(secret.clone())),
            (None, None) => None,
        };
        let given = [
            ("ORDERLY_JWT_ISSUER", self.jwt_issuer.is_some()),
            ("ORDERLY_JWT_AUDIENCE", self.jwt_audience.is_some()),
            ("ORDERLY_JWT_KEYS", keys.is_some()),
        ];
        let tokens = match (&self.jwt_issuer, &self.jwt_audience, keys) {
            (None, None, None) => None,
            (Some(issuer), Some(_), Some(_)) if issuer.contains('|') => {
                return Err(AuthSettingsError::Issuer);
            }
            (Some(issuer), Some(audience), Some(keys)) => {
                let principal_claim = self.jwt_principal_claim.clone();
                let (issuer, audience) = (issuer.clone(), audience.clone());
                Some((TokenOptions { issuer, audience, principal_claim }, keys))
            }
            _ => {
                let name =
                    |is_set| given.iter().find(|(_, set)| *set == is_set).map_or("", |(name, _)| *name);
                return Err(AuthSettingsError::Missing { given: name(true), missing: name(false) });
            }
        };
        Ok(AuthConfig { mode: self.auth, inherits: self.auth_inherits.clone(), tokens })
    }
}
