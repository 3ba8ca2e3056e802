//! Roles: the parts of Orderly that one process runs, and which of them may run in processes of their own.

use std::{collections::BTreeSet, fmt};

use clap::ValueEnum;

use super::{BusUrl, EventStoreUrl, PaymentProviderUrl, ReadModelsUrl};

/// A part of Orderly that a process can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Role {
    /// Accepts commands over HTTP.
    CommandApi,
    /// Runs the reactions that follow events, and timers.
    ProcessManager,
    /// Publishes events to Kafka.
    Relay,
    /// Keeps the read models up to date.
    Projectors,
    /// Answers queries over HTTP.
    QueryApi,
    /// Sends events to their subscribers.
    Webhooks,
    /// A payment provider for tests; moves no money.
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

/// The roles of one process. Its constructors refuse combinations that cannot work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles(BTreeSet<Role>);

/// A combination of roles that one process cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RolesError {
    #[error(
        "ORDERLY_ROLES: {given} cannot run without {missing}: an embedded event store (ORDERLY_EVENT_STORE=sqlite:…) has \
         one owning process, and these roles write to it or follow it. {hint}"
    )]
    Apart { given: String, missing: String, hint: &'static str },
    #[error(
        "ORDERLY_ROLES: relay publishes to Kafka, but ORDERLY_BUS is `direct`: set ORDERLY_BUS to kafka://HOST:PORT, or \
         remove relay"
    )]
    RelayWithoutKafka,
    #[error(
        "ORDERLY_ROLES: webhooks cannot run without command-api: with embedded read models (ORDERLY_READ_MODELS=sqlite:…) \
         the process of command-api keeps the subscriptions in a file. With ORDERLY_READ_MODELS=postgres://… webhooks \
         may run in a process of their own"
    )]
    WebhooksApart,
}

impl Roles {
    /// `requested` is empty for the default: every role that applies to these stores.
    pub fn new(
        requested: &[Role],
        event_store: &EventStoreUrl,
        bus: &BusUrl,
        payment_provider: &PaymentProviderUrl,
    ) -> Result<Self, RolesError> {
        let relay_applies = match bus {
            BusUrl::Direct => false,
            BusUrl::Kafka(_) => true,
        };
        let sandbox_applies = match payment_provider {
            PaymentProviderUrl::Sandbox => true,
            PaymentProviderUrl::None | PaymentProviderUrl::SandboxAt(_) | PaymentProviderUrl::Stripe => false,
        };
        let mut roles: BTreeSet<Role> = requested.iter().copied().collect();
        if roles.is_empty() {
            roles.extend(Role::value_variants());
            if !relay_applies {
                roles.remove(&Role::Relay);
            }
            if !sandbox_applies {
                roles.remove(&Role::Sandbox);
            }
        }
        if !relay_applies && roles.contains(&Role::Relay) {
            return Err(RolesError::RelayWithoutKafka);
        }
        if event_store.has_one_owner() {
            check_owner(&roles, bus)?;
        }
        Ok(Self(roles))
    }

    /// Refuses webhooks without the command API if the read models are embedded: subscriptions are then in a
    /// file of the command API's process.
    pub fn with_read_models(self, read_models: &ReadModelsUrl) -> Result<Self, RolesError> {
        if read_models.has_one_owner() && self.has(Role::Webhooks) && !self.has(Role::CommandApi) {
            return Err(RolesError::WebhooksApart);
        }
        Ok(self)
    }

    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    pub fn iter(&self) -> impl Iterator<Item = Role> {
        self.0.iter().copied()
    }
}

/// Refuses a process that has some but not all roles of the owner of an embedded event store, or that follows
/// the store without owning it.
fn check_owner(roles: &BTreeSet<Role>, bus: &BusUrl) -> Result<(), RolesError> {
    let (owner_roles, follower_roles, hint): (&[Role], &[Role], _) = match bus {
        BusUrl::Direct => (
            &[Role::CommandApi, Role::ProcessManager, Role::Projectors],
            &[Role::Webhooks],
            "With ORDERLY_BUS=direct only query-api may run apart; with kafka://… projectors may, too",
        ),
        BusUrl::Kafka(_) => (
            &[Role::CommandApi, Role::ProcessManager, Role::Relay],
            &[],
            "Only projectors and query-api may run apart; with ORDERLY_EVENT_STORE=esdb://… every role may",
        ),
    };
    let (given, missing): (BTreeSet<Role>, BTreeSet<Role>) =
        owner_roles.iter().partition(|role| roles.contains(role));
    let refuse = |given: &BTreeSet<Role>| {
        Err(RolesError::Apart { given: names(given), missing: names(&missing), hint })
    };
    if !given.is_empty() && !missing.is_empty() {
        return refuse(&given);
    }
    // A follower may be left out, but it cannot follow a file that another process owns.
    let followers: BTreeSet<Role> =
        follower_roles.iter().copied().filter(|role| roles.contains(role)).collect();
    if given.is_empty() && !followers.is_empty() {
        return refuse(&followers);
    }
    Ok(())
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
