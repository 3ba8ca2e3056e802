//! Which parts of Orderly a process runs, and which of them may be apart.

use std::{collections::BTreeSet, fmt};

use clap::ValueEnum;

use super::{BusUrl, EventStoreUrl, PaymentProviderUrl, ReadModelsUrl};

/// A part of Orderly that a process can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Role {
    /// Takes commands over HTTP.
    CommandApi,
    /// Does what follows from events.
    ProcessManager,
    /// Publishes events to Kafka.
    Relay,
    /// Keep the read models up to date.
    Projectors,
    /// Answers queries over HTTP.
    QueryApi,
    /// Sends events to those who have subscribed to them.
    Webhooks,
    /// Is a payment provider, for tests.
    Sandbox,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CommandApi => "command-api",
            Self::ProcessManager => "process-manager",
            Self::Relay => "relay",
            Self::Projectors => "projectors",
            Self::QueryApi => "query-api",
            Self::Webhooks => "webhooks",
            Self::Sandbox => "sandbox",
        })
    }
}

/// The roles of one process, checked to fit together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles(BTreeSet<Role>);

/// Roles that a process cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RolesError {
    #[error(
        "ORDERLY_ROLES: {given} cannot run without {missing}: an embedded event store (ORDERLY_EVENT_STORE=sqlite:…) has \
         one owning process, and these roles write to it or follow it as it grows. {hint}"
    )]
    Apart { given: String, missing: String, hint: &'static str },
    #[error(
        "ORDERLY_ROLES: relay publishes to Kafka, and ORDERLY_BUS is `direct`: set it to kafka://HOST:PORT, or leave the \
         relay out"
    )]
    NothingToRelayTo,
    #[error(
        "ORDERLY_ROLES: webhooks cannot run without command-api: with embedded read models (ORDERLY_READ_MODELS=sqlite:…) \
         subscriptions are in a file of the process that takes them. With ORDERLY_READ_MODELS=postgres://… it may run \
         apart"
    )]
    SubscriptionsApart,
}

impl Roles {
    /// The roles that are asked for (none: all there are) on these stores.
    pub fn new(
        asked_for: &[Role],
        event_store: &EventStoreUrl,
        bus: &BusUrl,
        payment_provider: &PaymentProviderUrl,
    ) -> Result<Self, RolesError> {
        let mut roles: BTreeSet<Role> = asked_for.iter().copied().collect();
        if roles.is_empty() {
            roles.extend(Role::value_variants());
            if *bus == BusUrl::Direct {
                roles.remove(&Role::Relay);
            }
            if *payment_provider != PaymentProviderUrl::Sandbox {
                roles.remove(&Role::Sandbox);
            }
        }
        if *bus == BusUrl::Direct && roles.contains(&Role::Relay) {
            return Err(RolesError::NothingToRelayTo);
        }
        if matches!(event_store, EventStoreUrl::Sqlite(_)) {
            let (owners, hint) = owners(bus);
            let (given, missing): (BTreeSet<Role>, BTreeSet<Role>) =
                owners.iter().partition(|role| roles.contains(role));
            if !given.is_empty() && !missing.is_empty() {
                return Err(RolesError::Apart { given: names(&given), missing: names(&missing), hint });
            }
            // It may be left out, but it does not follow a file that is another process's.
            if *bus == BusUrl::Direct && given.is_empty() && roles.contains(&Role::Webhooks) {
                let given = Role::Webhooks.to_string();
                return Err(RolesError::Apart { given, missing: names(&missing), hint });
            }
        }
        Ok(Self(roles))
    }

    /// The same roles, if they fit where read models and operational state are kept, too.
    pub fn with_read_models(self, read_models: &ReadModelsUrl) -> Result<Self, RolesError> {
        let embedded = matches!(read_models, ReadModelsUrl::Sqlite(_));
        if embedded && self.has(Role::Webhooks) && !self.has(Role::CommandApi) {
            return Err(RolesError::SubscriptionsApart);
        }
        Ok(self)
    }

    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }
}

/// The roles that the process with the embedded event store has, all or none; and how to have them apart.
fn owners(bus: &BusUrl) -> (&'static [Role], &'static str) {
    match bus {
        BusUrl::Direct => (
            &[Role::CommandApi, Role::ProcessManager, Role::Projectors],
            "With ORDERLY_BUS=direct only query-api may run apart; with kafka://… projectors may, too",
        ),
        BusUrl::Kafka(_) => (
            &[Role::CommandApi, Role::ProcessManager, Role::Relay],
            "Only projectors and query-api may run apart; with ORDERLY_EVENT_STORE=esdb://… every role may",
        ),
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(Role::to_string).collect();
        f.write_str(&names.join(", "))
    }
}

fn names(roles: &BTreeSet<Role>) -> String {
    roles.iter().map(Role::to_string).collect::<Vec<_>>().join(" and ")
}
