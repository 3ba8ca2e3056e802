//! How clients and brokers prove to each other who they are: TLS and SASL.

use std::{fmt, path::PathBuf};

use percent_encoding::percent_decode_str;
use rdkafka::ClientConfig;

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
struct Sasl {
    mechanism: Mechanism,
    user: String,
    password: String,
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sasl")
            .field("mechanism", &self.mechanism)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// How a client proves that it has its password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mechanism {
    /// Sends the password.
    Plain,
    ScramSha256,
    ScramSha512,
}

impl Mechanism {
    const ALL: [Self; 3] = [Self::Plain, Self::ScramSha256, Self::ScramSha512];

    /// The name in the URL, and in lower case that of Kafka.
    const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::ScramSha256 => "scram-sha-256",
            Self::ScramSha512 => "scram-sha-512",
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
}

impl SecurityParameters {
    /// Takes a parameter. False if it is not about security.
    pub(super) fn take(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let file = || (!value.is_empty()).then(|| PathBuf::from(decoded(value)));
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
        let sasl = match (credentials, self.mechanism) {
            (None, None) => None,
            (None, Some(_)) => return Err("sasl needs kafka://USER:PASSWORD@HOST:PORT".to_owned()),
            (Some(_), None) => {
                let names = Mechanism::ALL.map(Mechanism::name).join(", ");
                return Err(format!("a user and a password need sasl=MECHANISM, one of {names}"));
            }
            (Some(credentials), Some(mechanism)) => {
                if mechanism == Mechanism::Plain && tls.is_none() {
                    return Err("sasl=plain sends the password readably, so it needs tls=true".to_owned());
                }
                let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
                if user.is_empty() || password.is_empty() {
                    return Err("the user or the password is empty".to_owned());
                }
                Some(Sasl { mechanism, user: decoded(user), password: decoded(password) })
            }
        };
        Ok(KafkaSecurity { tls, sasl })
    }
}

impl KafkaSecurity {
    /// Makes a client use it.
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
        if let Some(Sasl { mechanism, user, password }) = &self.sasl {
            client.set("sasl.mechanism", mechanism.name().to_ascii_uppercase());
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
            write!(f, "&sasl={}", sasl.mechanism.name())?;
        }
        Ok(())
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}
