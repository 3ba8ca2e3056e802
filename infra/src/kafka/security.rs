//! How clients and brokers prove to each other who they are: TLS and SASL.

use std::{fmt, path::PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use rdkafka::ClientConfig;
use reqwest::Url;

use super::token::TokenEndpoint;
use crate::http_client;

/// The characters that have a meaning in a URL's parameters.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'&').add(b'#');

/// The part of a `kafka://` URL about security. `Debug` hides the password.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KafkaSecurity {
    tls: Option<Tls>,
    sasl: Option<Sasl>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Tls {
    /// Certificates (PEM) of the authorities that are trusted. `None`: those that this machine trusts.
    ca_file: Option<PathBuf>,
    /// The certificate of the client, and its key (PEM).
    client: Option<(PathBuf, PathBuf)>,
}

#[derive(Clone, PartialEq, Eq)]
enum Sasl {
    Password { mechanism: Mechanism, user: String, password: String },
    Token(Box<TokenEndpoint>),
}

impl Sasl {
    fn new(
        mechanism: Mechanism,
        user: String,
        password: String,
        token_url: Option<Url>,
        scope: Option<String>,
    ) -> Result<Self, String> {
        if mechanism != Mechanism::OauthBearer {
            return Ok(Self::Password { mechanism, user, password });
        }
        let url = token_url.ok_or("sasl=oauthbearer needs token_url=URL, where the issuer gives tokens")?;
        Ok(Self::Token(Box::new(TokenEndpoint { url, scope, client_id: user, client_secret: password })))
    }

    fn mechanism(&self) -> Mechanism {
        match self {
            Self::Password { mechanism, .. } => *mechanism,
            Self::Token(_) => Mechanism::OauthBearer,
        }
    }
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { mechanism, user, password: _ } => f
                .debug_struct("Password")
                .field("mechanism", mechanism)
                .field("user", user)
                .finish_non_exhaustive(),
            Self::Token(endpoint) => endpoint.fmt(f),
        }
    }
}

/// How a client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mechanism {
    /// Sends the password.
    Plain,
    /// Proves that it has the password.
    ScramSha256,
    ScramSha512,
    /// Sends a token of an issuer.
    OauthBearer,
}

impl Mechanism {
    const ALL: [Self; 4] = [Self::Plain, Self::ScramSha256, Self::ScramSha512, Self::OauthBearer];

    /// The name in the URL, and in lower case that of Kafka.
    const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::ScramSha256 => "scram-sha-256",
            Self::ScramSha512 => "scram-sha-512",
            Self::OauthBearer => "oauthbearer",
        }
    }

    /// What a client sends readably, so that the connection must be encrypted.
    const fn sends(self) -> Option<&'static str> {
        match self {
            Self::Plain => Some("password"),
            Self::OauthBearer => Some("token"),
            Self::ScramSha256 | Self::ScramSha512 => None,
        }
    }
}

/// The parameters of a URL about security, as they are read.
#[derive(Debug, Default)]
pub(super) struct SecurityParameters {
    tls: Option<bool>,
    ca_file: Option<PathBuf>,
    certificate_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    mechanism: Option<Mechanism>,
    token_url: Option<Url>,
    token_scope: Option<String>,
}

impl SecurityParameters {
    /// Takes a parameter. False if it is not about security.
    pub(super) fn take(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let text = || (!value.is_empty()).then(|| decoded(value));
        let file = || text().map(PathBuf::from);
        match name {
            "tls" => {
                let is_on = value.parse().map_err(|_| "tls is neither true nor false".to_owned())?;
                self.tls = Some(is_on);
            }
            "tls_ca_file" => self.ca_file = file(),
            "tls_certificate_file" => self.certificate_file = file(),
            "tls_key_file" => self.key_file = file(),
            "sasl" => {
                let mechanism = Mechanism::ALL.into_iter().find(|mechanism| mechanism.name() == value);
                let names = Mechanism::ALL.map(Mechanism::name).join(", ");
                let unknown = || format!("sasl is none of {names}");
                self.mechanism = Some(mechanism.ok_or_else(unknown)?);
            }
            "token_url" => {
                let refused = "token_url is no https:// URL (http:// only for an address of this machine)";
                let url = decoded(value).parse().ok().filter(is_token_url);
                self.token_url = Some(url.ok_or_else(|| refused.to_owned())?);
            }
            "token_scope" => self.token_scope = text(),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `credentials`: the part of the URL before `@`.
    pub(super) fn checked(self, credentials: Option<&str>) -> Result<KafkaSecurity, String> {
        let client = match (self.certificate_file, self.key_file) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err("tls_certificate_file and tls_key_file belong together".to_owned()),
        };
        let has_files = self.ca_file.is_some() || client.is_some();
        if has_files && self.tls == Some(false) {
            return Err("tls=false contradicts the files of TLS".to_owned());
        }
        let is_on = self.tls.unwrap_or(has_files);
        let tls = is_on.then_some(Tls { ca_file: self.ca_file, client });
        let has_token_parameters = self.token_url.is_some() || self.token_scope.is_some();
        if has_token_parameters && self.mechanism != Some(Mechanism::OauthBearer) {
            return Err("token_url and token_scope need sasl=oauthbearer".to_owned());
        }
        let sasl = match (credentials, self.mechanism) {
            (None, None) => None,
            (None, Some(_)) => return Err("sasl needs kafka://USER:PASSWORD@HOST:PORT".to_owned()),
            (Some(_), None) => {
                let names = Mechanism::ALL.map(Mechanism::name).join(", ");
                return Err(format!("a user and a password need sasl=MECHANISM, one of {names}"));
            }
            (Some(credentials), Some(mechanism)) => {
                if let Some(secret) = mechanism.sends()
                    && tls.is_none()
                {
                    let name = mechanism.name();
                    return Err(format!("sasl={name} sends the {secret} readably, so it needs tls=true"));
                }
                let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
                if user.is_empty() || password.is_empty() {
                    return Err("the user or the password is empty".to_owned());
                }
                let (user, password) = (decoded(user), decoded(password));
                Some(Sasl::new(mechanism, user, password, self.token_url, self.token_scope)?)
            }
        };
        Ok(KafkaSecurity { tls, sasl })
    }
}

fn is_token_url(url: &Url) -> bool {
    http_client::is_private(url) && url.username().is_empty() && url.password().is_none()
}

impl KafkaSecurity {
    /// Where clients get their tokens, if they need any.
    pub(super) fn token_endpoint(&self) -> Option<&TokenEndpoint> {
        match &self.sasl {
            Some(Sasl::Token(endpoint)) => Some(endpoint),
            Some(Sasl::Password { .. }) | None => None,
        }
    }

    /// Makes a client use it. A client with tokens needs [`Tokens`](super::Tokens) too.
    pub(super) fn apply(&self, client: &mut ClientConfig) {
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => return,
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        client.set("security.protocol", protocol);
        if let Some(Tls { ca_file, client: own }) = &self.tls {
            if let Some(file) = ca_file {
                client.set("ssl.ca.location", file.to_string_lossy());
            }
            if let Some((certificate, key)) = own {
                client.set("ssl.certificate.location", certificate.to_string_lossy());
                client.set("ssl.key.location", key.to_string_lossy());
            }
        }
        if let Some(sasl) = &self.sasl {
            client.set("sasl.mechanism", sasl.mechanism().name().to_ascii_uppercase());
        }
        if let Some(Sasl::Password { mechanism: _, user, password }) = &self.sasl {
            client.set("sasl.username", user).set("sasl.password", password);
        }
    }
}

/// The parameters of the URL without user and password, each after `&`.
impl fmt::Display for KafkaSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Tls { ca_file, client }) = &self.tls {
            f.write_str("&tls=true")?;
            if let Some(file) = ca_file {
                write!(f, "&tls_ca_file={}", file.display())?;
            }
            if let Some((certificate, key)) = client {
                write!(f, "&tls_certificate_file={}&tls_key_file={}", certificate.display(), key.display())?;
            }
        }
        if let Some(sasl) = &self.sasl {
            write!(f, "&sasl={}", sasl.mechanism().name())?;
        }
        if let Some(TokenEndpoint { url, scope, .. }) = self.token_endpoint() {
            write!(f, "&token_url={}", utf8_percent_encode(url.as_str(), ENCODED))?;
            if let Some(scope) = scope {
                write!(f, "&token_scope={}", utf8_percent_encode(scope, ENCODED))?;
            }
        }
        Ok(())
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}
