//! The `kafka://…` URL: the brokers, and the settings of the topics.

use std::{fmt, str::FromStr};

use super::security::{KafkaSecurity, SecurityParameters};

/// Settings of the bus, read from a URL:
/// `kafka://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…][?prefix=orderly&partitions=12&replication=3&min_insync=2]`, and the
/// parameters of [`KafkaSecurity`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    brokers: String,
    prefix: String,
    partitions: u16,
    replication: u16,
    min_insync: u16,
    security: KafkaSecurity,
}

/// Why a text is not a bus URL. Its text shows no value of a parameter, which may be a mistyped password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{problem}; expected kafka://HOST:PORT[,HOST:PORT…], with USER:PASSWORD@ before the first host for SASL, and \
     [?prefix=NAME&partitions=N&replication=N&min_insync=N&tls=true&tls_ca_file=FILE&sasl=scram-sha-512], for example kafka://10.0.0.1:9092,10.0.0.2:9092,10.0.0.3:9092"
)]
pub struct InvalidKafkaUrl {
    problem: String,
}

impl KafkaConfig {
    pub const SCHEME: &'static str = "kafka://";
    const PARTITIONS_DEFAULT: u16 = 12;
    const PARTITIONS_MAX: u16 = 1_000;
    const REPLICATION_DEFAULT_MAX: u16 = 3;

    /// `HOST:PORT,…`: some of the brokers. Clients learn the others from them.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Prefix of the names of topics, consumer groups and the relay's transactions.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Partitions of each topic of events. It decides the partition of every stream, so it must not change.
    pub fn partitions(&self) -> u16 {
        self.partitions
    }

    /// Copies of each partition. The default is one per broker in the URL, at most three.
    pub fn replication(&self) -> u16 {
        self.replication
    }

    /// Copies that must have an event before it counts as written. The default is all but one.
    pub fn min_insync(&self) -> u16 {
        self.min_insync
    }

    /// TLS and SASL.
    pub fn security(&self) -> &KafkaSecurity {
        &self.security
    }

    /// The same brokers and settings with another prefix.
    pub fn with_prefix(&self, prefix: &str) -> Result<Self, InvalidKafkaUrl> {
        check_prefix(prefix)?;
        Ok(Self { prefix: prefix.to_owned(), ..self.clone() })
    }
}

impl FromStr for KafkaConfig {
    type Err = InvalidKafkaUrl;

    fn from_str(url: &str) -> Result<Self, InvalidKafkaUrl> {
        let rest =
            url.strip_prefix(Self::SCHEME).ok_or_else(|| invalid("it does not begin with kafka://"))?;
        let (brokers, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (credentials, brokers) = match brokers.rsplit_once('@') {
            Some((credentials, brokers)) => (Some(credentials), brokers),
            None => (None, brokers),
        };
        let brokers = brokers.trim_end_matches('/');
        let mut security = SecurityParameters::default();
        let mut brokers_named = 0u16;
        for broker in brokers.split(',') {
            brokers_named = brokers_named.saturating_add(1);
            // The error does not show the text: it may hold a password.
            if !is_broker(broker) {
                return Err(invalid(format!("broker {brokers_named} is not HOST:PORT")));
            }
        }
        let (mut prefix, mut partitions) = ("orderly", Self::PARTITIONS_DEFAULT);
        let mut replication = brokers_named.min(Self::REPLICATION_DEFAULT_MAX);
        let mut min_insync_named = None;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "prefix" => prefix = value,
                "partitions" => partitions = number(name, value, Self::PARTITIONS_MAX)?,
                "replication" => replication = number(name, value, u16::MAX)?,
                "min_insync" => min_insync_named = Some(number(name, value, u16::MAX)?),
                _ if security.take(name, value).map_err(invalid)? => {}
                _ => return Err(invalid(format!("there is no parameter {name:?}"))),
            }
        }
        check_prefix(prefix)?;
        let min_insync = min_insync_named.unwrap_or(replication.saturating_sub(1).max(1));
        if min_insync > replication {
            return Err(invalid(format!("min_insync={min_insync} is more than replication={replication}")));
        }
        Ok(Self {
            brokers: brokers.to_owned(),
            prefix: prefix.to_owned(),
            partitions,
            replication,
            min_insync,
            security: security.checked(credentials).map_err(invalid)?,
        })
    }
}

/// Without user and password.
impl fmt::Display for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { brokers, prefix, partitions, replication, min_insync, security } = self;
        write!(
            f,
            "{scheme}{brokers}?prefix={prefix}&partitions={partitions}&replication={replication}&min_insync={min_insync}{security}",
            scheme = Self::SCHEME
        )
    }
}

fn invalid(problem: impl Into<String>) -> InvalidKafkaUrl {
    InvalidKafkaUrl { problem: problem.into() }
}

fn is_broker(text: &str) -> bool {
    let is_plain = |host: &str| host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c));
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && is_plain(host) && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// Names of topics have at most 249 characters. 200 for the prefix leave room for the rest.
fn check_prefix(prefix: &str) -> Result<(), InvalidKafkaUrl> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if !(1..=200).contains(&prefix.len()) || !prefix.chars().all(allowed) {
        return Err(invalid("prefix must have 1 to 200 characters of A-Z a-z 0-9 - . _"));
    }
    Ok(())
}

fn number(name: &str, value: &str, max: u16) -> Result<u16, InvalidKafkaUrl> {
    let parsed = value.parse().ok().filter(|number| (1..=max).contains(number));
    parsed.ok_or_else(|| invalid(format!("{name} is not a number from 1 to {max}")))
}

#[cfg(test)]
mod tests;
