//! How connections to Postgres are made: where to, and how long anything may take.

use std::{fmt::Write, path::PathBuf, str::FromStr, time::Duration};

use percent_encoding::percent_decode_str;
use tokio_postgres::{Config, config::SslMode};

const APPLICATION_NAME: &str = "orderly";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Sent data that the peer's machine has not acknowledged for this long ends the connection.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection without traffic is probed, and found dead after 15 s + 3 x 5 s.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// Settings of every connection's session. Times are in milliseconds.
const SESSION: &[(&str, &str)] = &[
    ("search_path", "orderly_read_models,orderly"),
    ("client_min_messages", "warning"),
    ("statement_timeout", "10000"),
    ("lock_timeout", "5000"),
    // A projector that is stopped in the middle of a commit does not hold up the others for longer than this.
    ("idle_in_transaction_session_timeout", "10000"),
    // A crash of the server takes the last commits back. Rows and checkpoint go back together, and the events are
    // projected again; positions of the process manager go back, and it repeats reactions, which is harmless.
    ("synchronous_commit", "off"),
    // A statement is planned once, and its plan walks indexes whatever the values and the statistics of the
    // moment: each statement of the adapters is written for an index, and the tables grow after it was planned.
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_material", "off"),
    ("enable_sort", "off"),
    ("jit", "off"),
];

/// How a session for long work on whole tables differs.
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

/// Where a Postgres database is, and as whom to connect. `Debug` leaves the password out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresOptions {
    pub(super) config: Config,
    /// Whom to trust with the server's certificate; none: whom the machine trusts.
    pub(super) root_certificates: Option<PathBuf>,
}

/// Why a text is no URL of a Postgres database. Tells nothing of the text itself, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error(
        "expected postgres://USER:PASSWORD@HOST:PORT/DATABASE, for example postgres://orderly@127.0.0.1:5432/orderly"
    )]
    NotPostgres,
    #[error("not a URL of a Postgres database: {0}")]
    Malformed(String),
    #[error("it names no database: postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    NoDatabase,
    #[error("sslrootcert is of no use without sslmode=require")]
    RootWithoutTls,
}

impl FromStr for PostgresOptions {
    type Err = UrlError;

    /// Reads `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, with parameters as libpq knows them. With
    /// `sslmode=require` connections are encrypted and the server's certificate and name are checked, against the
    /// authorities of the file `sslrootcert` or of the machine; without it they are not encrypted.
    fn from_str(url: &str) -> Result<Self, UrlError> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(UrlError::NotPostgres);
        }
        let (url, root_certificates) = take_root_certificates(url);
        let mut config: Config = url.parse().map_err(|error| UrlError::Malformed(cause(&error)))?;
        if config.get_dbname().is_none() {
            return Err(UrlError::NoDatabase);
        }
        if config.get_ssl_mode() != SslMode::Require {
            if root_certificates.is_some() {
                return Err(UrlError::RootWithoutTls);
            }
            config.ssl_mode(SslMode::Disable);
        }
        if config.get_application_name().is_none() {
            config.application_name(APPLICATION_NAME);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        config.tcp_user_timeout(TCP_USER_TIMEOUT);
        config.keepalives(true).keepalives_idle(KEEPALIVE_IDLE);
        config.keepalives_interval(KEEPALIVE_INTERVAL).keepalives_retries(KEEPALIVE_RETRIES);
        let mut session = String::new();
        for (name, value) in SESSION {
            // Writing to a string cannot fail.
            let _ = write!(session, "-c {name}={value} ");
        }
        // What the URL says comes last, and so has the last word.
        session.push_str(config.get_options().unwrap_or_default());
        config.options(session.trim_end());
        Ok(Self { config, root_certificates })
    }
}

/// The URL without `sslrootcert`, which only libpq knows, and the file that this names.
fn take_root_certificates(url: &str) -> (String, Option<PathBuf>) {
    let Some((address, parameters)) = url.split_once('?') else { return (url.to_owned(), None) };
    let (mut kept, mut file) = (Vec::new(), None);
    for parameter in parameters.split('&') {
        match parameter.strip_prefix("sslrootcert=") {
            Some(path) => file = Some(PathBuf::from(&*percent_decode_str(path).decode_utf8_lossy())),
            None => kept.push(parameter),
        }
    }
    let separator = if kept.is_empty() { "" } else { "?" };
    (format!("{address}{separator}{}", kept.join("&")), file)
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
    fn a_url_that_cannot_be_used_is_refused_with_what_is_wrong_and_without_its_password() {
        assert!(refusal("mysql://u:hunter2@h/d").starts_with("expected postgres://"));
        assert!(refusal("postgres://u:hunter2@h").starts_with("it names no database"));
        assert!(refusal("postgres://u:hunter2@h/d?sslrootcert=ca.pem").starts_with("sslrootcert"));
        let refusal = refusal("postgres://u:hunter2@h:hunter2/d?no_such=1");
        assert!(!refusal.contains("hunter2"), "{refusal}");
    }

    #[test]
    fn connections_are_encrypted_where_the_url_says_so() {
        let plain: PostgresOptions = "postgres://u@h/d".parse().unwrap();
        assert_eq!((plain.config.get_ssl_mode(), plain.root_certificates), (SslMode::Disable, None));
        let url = "postgres://u@h/d?sslrootcert=%2Fetc%2Fca.pem&connect_timeout=3&sslmode=require";
        let encrypted: PostgresOptions = url.parse().unwrap();
        assert_eq!(encrypted.config.get_ssl_mode(), SslMode::Require);
        assert_eq!(encrypted.root_certificates.as_deref(), Some(std::path::Path::new("/etc/ca.pem")));
        assert_eq!(encrypted.config.get_connect_timeout(), Some(&Duration::from_secs(3)));
    }

    #[test]
    fn passwords_are_not_printed_and_the_url_has_the_last_word_on_the_session() {
        let url = "postgres://u:hunter2@h:5432/d?options=-c%20statement_timeout%3D7";
        let options: PostgresOptions = url.parse().unwrap();
        assert!(!format!("{options:?}").contains("hunter2"));
        assert!(options.config.get_options().unwrap().ends_with("jit=off -c statement_timeout=7"));
    }
}
