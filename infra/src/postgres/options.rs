//! Connection options: the address, TLS, and time limits of every session.

use std::{
    fmt::{self, Write},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use percent_encoding::percent_decode_str;
use tokio_postgres::{
    Config,
    config::{Host, SslMode, TargetSessionAttrs},
};

use super::{PostgresOpenError, tls};

const APPLICATION_NAME: &str = "orderly";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Ends the connection when the peer's machine has not acknowledged sent data for this long.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
/// Probes an idle connection; a dead one is found after 15 s + 3 x 5 s.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// Settings of every connection's session. Times are in milliseconds.
const SESSION: &[(&str, &str)] = &[
    ("search_path", "orderly_read_models,orderly"),
    ("client_min_messages", "warning"),
    ("statement_timeout", "10000"),
    ("lock_timeout", "5000"),
    // A projector that stops in the middle of a commit blocks the others no longer than this.
    ("idle_in_transaction_session_timeout", "10000"),
    // A crash of the server loses the last commits. Rows and checkpoint are lost together, so the events are
    // projected again. Positions of the process manager are lost, so it repeats reactions, which is harmless.
    ("synchronous_commit", "off"),
    // Plans each statement once, to walk its index. Every statement of the adapters is written for an index,
    // and the tables grow after it was planned, so statistics and values of that moment must not choose
    // another plan.
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_material", "off"),
    ("enable_sort", "off"),
    ("jit", "off"),
];

/// Changes a session for long work on whole tables.
pub(super) const LONG_SESSION: &str = "
    SET statement_timeout = 0;
    SET idle_in_transaction_session_timeout = 0;
    SET plan_cache_mode = auto;
    SET enable_seqscan = on;
    SET enable_bitmapscan = on;
    SET enable_hashjoin = on;
    SET enable_mergejoin = on;
    SET enable_material = on;
    SET enable_sort = on;
    SET maintenance_work_mem = '256MB'";

/// The address and user of a Postgres database. `Debug` leaves out the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresOptions {
    pub(super) config: Config,
    pub(super) files: CertificateFiles,
}

/// The PEM files of TLS that a URL names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CertificateFiles {
    /// The authorities that may sign the server's certificate. `None`: those that the machine trusts.
    pub(super) roots: Option<PathBuf>,
    /// The certificate by which the server knows this client.
    pub(super) certificate: Option<PathBuf>,
    /// Its private key.
    pub(super) key: Option<PathBuf>,
}

/// Why a text is not the URL of a Postgres database. The message never quotes the text, which may hold a
/// password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error(
        "expected postgres://USER:PASSWORD@HOST:PORT/DATABASE, for example postgres://orderly@127.0.0.1:5432/orderly"
    )]
    NotPostgres,
    #[error("not a URL of a Postgres database: {0}")]
    Malformed(String),
    #[error("it names no database: add its name, as in postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    NoDatabase,
    #[error("sslrootcert, sslcert and sslkey need sslmode=require: add it, or remove them")]
    FilesWithoutTls,
    #[error("sslcert and sslkey belong together: add the other one")]
    CertificateWithoutKey,
}

impl FromStr for PostgresOptions {
    type Err = UrlError;

    /// Parses `postgres://USER:PASSWORD@HOST:PORT/DATABASE` with the parameters of libpq. Several servers,
    /// `HOST:PORT,HOST:PORT`, are tried in this order. `sslmode=require`
    /// encrypts connections, and checks the server's certificate and name against the authorities of the file
    /// `sslrootcert` or of the machine. Connections are not encrypted without it. The files `sslcert` and `sslkey` prove
    /// to the server who the client is.
    fn from_str(url: &str) -> Result<Self, UrlError> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(UrlError::NotPostgres);
        }
        // The parser would read parameters as the user and the password.
        if url.split_once('@').is_some_and(|(user, _)| user.contains('?')) {
            return Err(UrlError::Malformed("write ? before @ as %3F, and @ after ? as %40".to_owned()));
        }
        let (url, files) = take_files(url);
        let mut config: Config = url.parse().map_err(|error| UrlError::Malformed(cause(&error)))?;
        if config.get_dbname().is_none() {
            return Err(UrlError::NoDatabase);
        }
        if config.get_ssl_mode() != SslMode::Require {
            if files != CertificateFiles::default() {
                return Err(UrlError::FilesWithoutTls);
            }
            config.ssl_mode(SslMode::Disable);
        }
        if files.certificate.is_some() != files.key.is_some() {
            return Err(UrlError::CertificateWithoutKey);
        }
        if config.get_application_name().is_none() {
            config.application_name(APPLICATION_NAME);
        }
        if config.get_connect_timeout().is_none() {
            // All servers are tried within the limit of a new connection.
            let servers = config.get_hosts().len().max(config.get_hostaddrs().len()).max(1);
            config.connect_timeout(CONNECT_TIMEOUT / u32::try_from(servers).unwrap_or(u32::MAX));
        }
        config.tcp_user_timeout(TCP_USER_TIMEOUT);
        config.keepalives(true).keepalives_idle(KEEPALIVE_IDLE);
        config.keepalives_interval(KEEPALIVE_INTERVAL).keepalives_retries(KEEPALIVE_RETRIES);
        let mut session = String::new();
        for (name, value) in SESSION {
            // Writing to a string cannot fail.
            let _ = write!(session, "-c {name}={value} ");
        }
        // Options of the URL come last, so they override ours.
        session.push_str(config.get_options().unwrap_or_default());
        config.options(session.trim_end());
        Ok(Self { config, files })
    }
}

impl PostgresOptions {
    /// Connects only to a server that accepts writes: of several servers, the primary.
    pub(super) fn writing(mut self) -> Self {
        self.config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        self
    }

    /// Refuses writes, also where the server would accept them.
    pub(super) fn reading_only(mut self) -> Self {
        self.config.target_session_attrs(TargetSessionAttrs::Any);
        let session = self.config.get_options().unwrap_or_default();
        let session = format!("{session} -c default_transaction_read_only=on");
        self.config.options(session);
        self
    }

    /// Reads the files of certificates, as a connection does.
    pub fn check_certificates(&self) -> Result<(), PostgresOpenError> {
        tls::connector(self).map(drop)
    }
}

/// Prints user, servers and database, without the password.
impl fmt::Display for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        if let Some(user) = self.config.get_user() {
            write!(f, "{user}@")?;
        }
        for (index, host) in self.config.get_hosts().iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            match host {
                Host::Tcp(name) => write!(f, "{separator}{name}")?,
                Host::Unix(directory) => write!(f, "{separator}{}", directory.display())?,
            }
            // One port for each server, or one for all of them.
            let ports = self.config.get_ports();
            if let Some(port) = ports.get(index).or(ports.first()) {
                write!(f, ":{port}")?;
            }
        }
        write!(f, "/{}", self.config.get_dbname().unwrap_or_default())
    }
}

/// Splits off the parameters that tokio-postgres does not support: the rest of the URL, and the files.
fn take_files(url: &str) -> (String, CertificateFiles) {
    let mut files = CertificateFiles::default();
    let Some((address, parameters)) = url.split_once('?') else { return (url.to_owned(), files) };
    let mut kept = Vec::new();
    for parameter in parameters.split('&') {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let file = match name {
            "sslrootcert" => &mut files.roots,
            "sslcert" => &mut files.certificate,
            "sslkey" => &mut files.key,
            _ => {
                kept.push(parameter);
                continue;
            }
        };
        *file = Some(PathBuf::from(&*percent_decode_str(value).decode_utf8_lossy()));
    }
    let separator = if kept.is_empty() { "" } else { "?" };
    (format!("{address}{separator}{}", kept.join("&")), files)
}

fn cause(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        url.parse::<PostgresOptions>().unwrap_err().to_string()
    }

    #[test]
    fn a_wrong_url_is_refused_with_the_reason_and_without_its_password() {
        assert!(refusal("mysql://u:hunter2@h/d").starts_with("expected postgres://"));
        assert!(refusal("postgres://u:hunter2@h").starts_with("it names no database"));
        assert!(refusal("postgres://u:hunter2@h/d?sslrootcert=ca.pem").starts_with("sslrootcert"));
        assert!(refusal("postgres://u:hunter2@h/d?sslcert=c.pem&sslkey=k.pem").starts_with("sslrootcert"));
        assert!(refusal("postgres://u@h/d?sslmode=require&sslcert=c.pem").starts_with("sslcert and sslkey"));
        for ambiguous in
            ["postgres://u:a?b@h/d", "postgres://h/d?options=a@b", "postgres://u:?x@h/d&password=y"]
        {
            assert!(refusal(ambiguous).contains("as %3F"), "{ambiguous}");
        }
        let refusal = refusal("postgres://u:hunter2@h:hunter2/d?no_such=1");
        assert!(!refusal.contains("hunter2"), "{refusal}");
    }

    #[test]
    fn sslmode_require_encrypts_connections() {
        let plain: PostgresOptions = "postgres://u@h/d".parse().unwrap();
        assert_eq!(
            (plain.config.get_ssl_mode(), plain.files),
            (SslMode::Disable, CertificateFiles::default())
        );
        let url = "postgres://u@h/d?sslrootcert=%2Fetc%2Fca.pem&connect_timeout=3&sslmode=require";
        let encrypted: PostgresOptions = url.parse().unwrap();
        assert_eq!(encrypted.config.get_ssl_mode(), SslMode::Require);
        assert_eq!(encrypted.files.roots.as_deref(), Some(std::path::Path::new("/etc/ca.pem")));
        assert_eq!(encrypted.config.get_connect_timeout(), Some(&Duration::from_secs(3)));
    }

    #[test]
    fn passwords_are_not_printed_and_the_url_overrides_session_settings() {
        let url = "postgres://u:hunter2@h:5432/d?options=-c%20statement_timeout%3D7";
        let options: PostgresOptions = url.parse().unwrap();
        assert!(!format!("{options:?}").contains("hunter2"));
        assert!(options.config.get_options().unwrap().ends_with("jit=off -c statement_timeout=7"));
        assert_eq!(options.to_string(), "postgres://u@h:5432/d");
        let several: PostgresOptions = "postgres://u:hunter2@one:1,two:2/d".parse().unwrap();
        assert_eq!(several.to_string(), "postgres://u@one:1,two:2/d");
    }
}
