//! `orderly keys`: makes, lists, replaces and ends the API keys of callers.
//!
//! Works beside a running server, which notices a change within 5 seconds.

use std::{ops::RangeInclusive, time::Duration};

use clap::{Args, Subcommand};
use domain::Timestamp;
use infra::{
    auth::{
        Principal, Scope, Scopes,
        api_key::{ApiKeySecret, KeyId},
    },
    operations::api_keys::{API_KEYS_MAX, AddKeyOutcome, ApiKey, ApiKeys},
};
use jiff::SignedDuration;

use super::{Failure, empty_table};
use crate::{
    config::{ReadModelsUrl, Settings, parse_duration},
    stores,
};

/// From a second to ten years.
const LIFETIME: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(10 * 365 * 24);
/// From nothing to 90 days.
const GRACE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(90 * 24);

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key, and print its secret once.
    Create(CreateOptions),
    /// Print every key without its secret.
    List,
    /// Make a key that replaces another one of the same principal, and print its secret once.
    Rotate(RotateOptions),
    /// End keys at once.
    Revoke {
        #[arg(value_name = "KEY", required = true)]
        ids: Vec<KeyId>,
    },
}

#[derive(Debug, Args)]
pub struct CreateOptions {
    /// Name of the caller. Keys of one principal share their idempotency keys.
    #[arg(long, value_name = "NAME", value_parser = Principal::of_keys)]
    principal: Principal,

    /// What the caller may do: orders:write, payments:write, refunds:write, stock:write, catalogue:write,
    /// prices:write, read, audit, admin.
    #[arg(long = "scopes", value_name = "SCOPE,…", value_delimiter = ',', required = true)]
    scopes: Vec<Scope>,

    /// Time until the key expires, for example `90d` [default: never]
    #[arg(long, value_name = "DURATION", value_parser = |text: &str| parse_duration(text, &LIFETIME))]
    expires_in: Option<Duration>,
}

#[derive(Debug, Args)]
pub struct RotateOptions {
    /// The key to replace.
    #[arg(value_name = "KEY")]
    id: KeyId,

    /// Time for which the replaced key stays valid.
    #[arg(long, value_name = "DURATION", default_value = "24h",
        value_parser = |text: &str| parse_duration(text, &GRACE))]
    grace: Duration,

    /// Time until the new key expires [default: the lifetime of the replaced key]
    #[arg(long, value_name = "DURATION", value_parser = |text: &str| parse_duration(text, &LIFETIME))]
    expires_in: Option<Duration>,
}

pub async fn run(settings: &Settings, command: KeysCommand) -> Result<(), Failure> {
    let read_models = settings.read_models();
    match read_models {
        // The first key may be made before the first start.
        ReadModelsUrl::Sqlite(_) => stores::make_data_dir(&settings.data_dir)?,
        ReadModelsUrl::Postgres(_) => {}
    }
    let keys = stores::open_operations(&read_models, None, &settings.data_dir)?.api_keys;
    match command {
        KeysCommand::Create(options) => create(&*keys, options).await,
        KeysCommand::List => list(&*keys).await,
        KeysCommand::Rotate(options) => rotate(&*keys, options).await,
        KeysCommand::Revoke { ids } => revoke(&*keys, &ids).await,
    }
}

async fn create(keys: &dyn ApiKeys, options: CreateOptions) -> Result<(), Failure> {
    let is_first = keys.keys(None).await?.is_empty();
    let scopes = Scopes::of(options.scopes);
    let lifetime = options.expires_in.map(SignedDuration::try_from).transpose()?;
    let (secret, key) = new_key(options.principal, scopes, lifetime)?;
    added(keys.add(&key).await?, &key)?;
    show(&secret, &key);
    if is_first {
        eprintln!("This is the first key: restart the servers, and they refuse callers without a key.");
    }
    Ok(())
}

async fn rotate(keys: &dyn ApiKeys, options: RotateOptions) -> Result<(), Failure> {
    let found = keys.keys(None).await?.into_iter().find(|key| key.id == options.id);
    let replaced = found.ok_or_else(|| Failure::new(format!("there is no key {}", options.id)))?;
    let lifetime = match (options.expires_in, replaced.expires_at) {
        (Some(given), _) => Some(SignedDuration::try_from(given)?),
        (None, Some(end)) => Some(end.duration_since(replaced.created_at)),
        (None, None) => None,
    };
    let (secret, key) = new_key(replaced.principal.clone(), replaced.scopes, lifetime)?;
    let until = key.created_at + SignedDuration::try_from(options.grace)?;
    added(keys.replace(&replaced.id, until, &key).await?, &replaced)?;
    show(&secret, &key);
    eprintln!("Key {} ends at {until:.0}.", replaced.id);
    Ok(())
}

/// Times have microseconds, as they are stored.
fn new_key(
    principal: Principal,
    scopes: Scopes,
    lifetime: Option<SignedDuration>,
) -> Result<(ApiKeySecret, ApiKey), Failure> {
    let secret = ApiKeySecret::generate().map_err(|error| Failure::new(error.to_string()))?;
    let created_at = Timestamp::from_microsecond(Timestamp::now().as_microsecond())?;
    let key = ApiKey {
        id: secret.id().clone(),
        principal,
        scopes,
        secret_hash: secret.hash(),
        created_at,
        expires_at: lifetime.map(|lifetime| created_at.checked_add(lifetime)).transpose()?,
        revoked_at: None,
        last_used_at: None,
    };
    Ok((secret, key))
}

fn added(outcome: AddKeyOutcome, key: &ApiKey) -> Result<(), Failure> {
    match outcome {
        AddKeyOutcome::Added => Ok(()),
        AddKeyOutcome::TooMany => {
            Err(Failure::new(format!("{API_KEYS_MAX} keys are valid; revoke some first")))
        }
        AddKeyOutcome::NoSuchKey => Err(Failure::new(format!("key {} has ended; create a new one", key.id))),
    }
}

/// Only the secret goes to standard output, so a script can store it.
fn show(secret: &ApiKeySecret, key: &ApiKey) {
    let ApiKey { id, principal, scopes, .. } = key;
    eprintln!("Key {id} of {principal} ({scopes}). Store its secret now: it is not shown again.");
    println!("{}", secret.reveal());
}

async fn list(keys: &dyn ApiKeys) -> Result<(), Failure> {
    let all = keys.keys(None).await?;
    if all.is_empty() {
        println!("There is no key.");
        return Ok(());
    }
    let now = Timestamp::now();
    let time = |time: Option<Timestamp>| time.map_or_else(|| "never".to_owned(), |time| format!("{time:.0}"));
    let mut table = empty_table(&["KEY", "PRINCIPAL", "SCOPES", "CREATED", "EXPIRES", "LAST USED", "STATUS"]);
    for key in all {
        let status = match (key.revoked_at, key.is_valid_at(now)) {
            (Some(at), _) => format!("revoked {at:.0}"),
            (None, false) => "expired".to_owned(),
            (None, true) => "valid".to_owned(),
        };
        table.add_row([
            key.id.to_string(),
            key.principal.to_string(),
            key.scopes.to_string(),
            format!("{:.0}", key.created_at),
            time(key.expires_at),
            time(key.last_used_at),
            status,
        ]);
    }
    println!("{table}");
    Ok(())
}

async fn revoke(keys: &dyn ApiKeys, ids: &[KeyId]) -> Result<(), Failure> {
    let mut unknown = Vec::new();
    for id in ids {
        if keys.revoke(id, Timestamp::now()).await? {
            eprintln!("Key {id} is revoked. Running servers refuse it within 5 seconds.");
        } else {
            unknown.push(format!("key {id} does not exist, or is revoked already"));
        }
    }
    if unknown.is_empty() { Ok(()) } else { Err(Failure::new(unknown.join("\n"))) }
}
