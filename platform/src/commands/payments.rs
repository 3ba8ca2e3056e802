//! `orderly payments`: compares recorded charges, refunds and disputes with the books of the payment provider.
//!
//! Reads the event log and asks the provider itself, also beside a running server. Only a server records, so
//! `--record` sends it commands. The operational state keeps what was found, for the page of payments.

mod provider;
mod report;

use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use command_api::reconciliation::{Compared, reconcile};
use domain::Timestamp;
use infra::{
    event_store::EventLog,
    operations::reconciliations::{Difference, Finding, Kind, Reconciliation},
    payment_provider::{PaymentProvider, Period},
};
use jiff::{civil::Date, tz::TimeZone};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use self::{provider::open_provider, report::Report};
use super::{
    Failure,
    import::client::{CommandClient, PostError},
};
use crate::{
    config::{CallerSettings, ClientUrl, ProviderSettings, ReadModelsUrl, Settings},
    stores,
};

#[derive(Debug, Subcommand)]
pub enum PaymentsCommand {
    /// Compare every charge, refund and dispute of a day with the payment provider. Exits with 1 if one differs.
    Reconcile(ReconcileOptions),
}

#[derive(Debug, Args)]
pub struct ReconcileOptions {
    /// The day, in UTC: from 00:00:00 to 23:59:59.999.
    #[arg(long, value_name = "YYYY-MM-DD")]
    day: Date,

    /// Record what only the provider knows, by commands to a running server. Never makes an order or a payment.
    #[arg(long)]
    record: bool,

    #[arg(long, value_name = "FORMAT", value_enum, default_value = "table")]
    format: Format,

    #[command(flatten)]
    provider: ProviderSettings,

    /// URL of the command API, for `--record`.
    #[arg(long, env = "ORDERLY_COMMAND_URL", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    command_url: ClientUrl,

    #[command(flatten)]
    caller: CallerSettings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Why the command does not succeed.
#[derive(Debug)]
pub enum PaymentsError {
    /// Wrong arguments or settings.
    Settings(String),
    Failed(Failure),
}

impl<F: Into<Failure>> From<F> for PaymentsError {
    fn from(failure: F) -> Self {
        Self::Failed(failure.into())
    }
}

pub async fn run(settings: &Settings, command: PaymentsCommand) -> Result<(), PaymentsError> {
    let PaymentsCommand::Reconcile(options) = command;
    let provider = open_provider(settings, &options.provider).await?;
    let log = stores::open_log(&settings.event_store()).await?;
    let report = reconcile_day(log, provider, &options).await?;
    keep(settings, &report.kept(Timestamp::now())).await;
    match options.format {
        Format::Table => print!("{report}"),
        Format::Json => println!("{}", report.json()?),
    }
    match report.differences.len() {
        0 => Ok(()),
        count => Err(Failure::new(format!(
            "{count} charges, refunds and disputes differ from the books of the payment provider"
        ))
        .into()),
    }
}

/// Keeps a comparison for the page of payments. A failure changes nothing about what was found.
async fn keep(settings: &Settings, found: &Reconciliation) {
    let read_models = settings.read_models();
    let keeping = async {
        let is_elsewhere = matches!(read_models, ReadModelsUrl::Sqlite(_)) && !settings.data_dir.is_dir();
        if is_elsewhere {
            return Err(Failure::new(format!("{} is no directory", settings.data_dir.display())));
        }
        let store = stores::open_operations(&read_models, None, &settings.data_dir)?.reconciliations;
        Ok::<_, Failure>(store.keep(found).await?)
    };
    if let Err(error) = keeping.await {
        tracing::warn!(%error, "Cannot keep the comparison; the page of payments shows an earlier one");
    }
}

async fn reconcile_day(
    log: Arc<dyn EventLog>,
    provider: Arc<dyn PaymentProvider>,
    options: &ReconcileOptions,
) -> Result<Report, PaymentsError> {
    let period = period_of(options.day)?;
    let mut result = reconcile(&*log, &*provider, period).await?;
    let mut recorded = Vec::new();
    if options.record {
        let client = CommandClient::new(&options.command_url, &options.caller, 1)?;
        recorded = record(&client, &result).await?;
        if !recorded.is_empty() {
            result = reconcile(&*log, &*provider, period).await?;
            // What still differs was not recorded: the command found nothing new, or not all of it.
            let is_left = |one: &Difference| {
                let key = |of: &Difference| (of.kind, of.payment_id, of.charge, of.reference.clone());
                result.differences.iter().any(|left| key(left) == key(one))
            };
            recorded.retain(|one| !is_left(one));
        }
    }
    let provider = provider.name();
    let Compared { sums, differences } = result;
    Ok(Report { day: options.day, period, provider, sums, differences, recorded })
}

/// A day in UTC.
fn period_of(day: Date) -> Result<Period, Failure> {
    let start = |day: Date| -> Result<Timestamp, Failure> { Ok(day.to_zoned(TimeZone::UTC)?.timestamp()) };
    Ok(Period { from: start(day)?, to: start(day.tomorrow()?)? })
}

/// Lets the server look up each charge of which the provider has more than is recorded. Returns what was sent.
async fn record(client: &CommandClient, result: &Compared) -> Result<Vec<Difference>, PostError> {
    /// The answer has the payment. The next comparison shows what was recorded.
    #[derive(Deserialize)]
    struct Answered {}
    let mut sent = Vec::new();
    for difference in &result.differences {
        let may_be_recorded = match difference.finding {
            Finding::OnlyAtProvider => true,
            // A dispute that was won takes less, and the look-up records that.
            Finding::OtherAmount => difference.kind == Kind::Dispute || difference.difference().is_positive(),
            Finding::UnknownPayment | Finding::OnlyHere | Finding::OtherCurrency => false,
        };
        let Some(reference) = difference.charge_reference.as_ref().filter(|_| may_be_recorded) else {
            continue;
        };
        let path = format!("/v1/payments/{}/look-up", difference.payment_id);
        // A new key for each run: the provider may know more than at the last one.
        let key = format!("reconcile/{}", Uuid::new_v4());
        match client.post::<Answered>(&path, &key, &json!({ "reference": reference })).await {
            Ok(_) => sent.push(difference.clone()),
            Err(PostError::Refused(refusal)) => {
                tracing::warn!(payment.id = %difference.payment_id, charge.reference = reference, %refusal,
                    "The server refuses to record what the provider knows");
            }
            Err(error @ PostError::Unreachable { .. }) => return Err(error),
        }
    }
    Ok(sent)
}
