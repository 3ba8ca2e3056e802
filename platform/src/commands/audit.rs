//! `orderly audit`: shows the events of a stream and its state at a given time, and checks the read models.
//!
//! Reads only. Works beside a running server.

use std::{
    io::{self, BufWriter, Write, stdout},
    sync::Arc,
    vec,
};

use clap::{Args, Subcommand};
use domain::{
    Decider, EventId, RecordedEvent, Revision, StreamName, Timestamp, exchange::ExchangeDecider,
    order::OrderDecider, payment::PaymentDecider, receipt::ReceiptDecider, stock::StockDecider,
};
use indicatif::HumanCount;
use infra::event_store::{EventLog, ReadError, sqlite};
use projectors::{event::guarded, replay::ReadProgress};
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use tokio::task::block_in_place;

use super::Failure;
use crate::{
    config::{EventStoreUrl, Settings},
    progress::ProgressDisplay,
    stores::{self, Views},
};

/// Events read from the store at a time.
const PAGE_EVENTS: usize = 1_000;

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Print every event of a stream with its time, command, cause and actor.
    History(HistoryOptions),
    /// Print the state of a stream as JSON, now or at an earlier time.
    State(StateOptions),
    /// Fold the whole log and compare the result with every row of the read models.
    Verify,
}

#[derive(Debug, Args)]
pub struct HistoryOptions {
    /// `stock-SKU`, `order-UUID`, `payment-UUID`, `receipt-UUID` or `exchange-UUID`.
    stream: StreamName,

    /// Print one JSON object per event.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct StateOptions {
    /// `stock-SKU`, `order-UUID`, `payment-UUID`, `receipt-UUID` or `exchange-UUID`.
    stream: StreamName,

    /// Count only events recorded up to this time, for example 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME", conflicts_with = "revision")]
    at: Option<Timestamp>,

    /// Count only events up to this revision.
    #[arg(long, value_name = "N")]
    revision: Option<Revision>,
}

pub async fn run(settings: &Settings, command: AuditCommand) -> Result<(), Failure> {
    match command {
        AuditCommand::History(options) => {
            history(stores::open_log(&settings.event_store()).await?, options).await
        }
        AuditCommand::State(options) => {
            state(stores::open_log(&settings.event_store()).await?, options).await
        }
        AuditCommand::Verify => verify(settings).await,
    }
}

async fn history(log: Arc<dyn EventLog>, options: HistoryOptions) -> Result<(), Failure> {
    let mut events = StreamReader::new(log, options.stream.clone());
    let mut output = BufWriter::new(stdout().lock());
    let (mut found, mut damage) = (false, None);
    while let Some(event) = events.next().await? {
        found = true;
        damage = damage.or(event.check().err());
        let written =
            if options.json { write_json(&mut output, &event) } else { write_line(&mut output, &event) };
        match written {
            // The reader of the pipe has closed it, as `head` does.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
    }
    output.flush()?;
    match damage {
        Some(damage) => Err(damage.into()),
        None if found => Ok(()),
        None => Err(no_such_stream(&options.stream)),
    }
}

fn no_such_stream(stream: &StreamName) -> Failure {
    Failure::new(format!("there is no stream {stream}"))
}

/// An event for auditors. Shows data and metadata exactly as stored.
#[derive(Serialize)]
struct HistoryEntry<'a> {
    revision: Revision,
    position: u64,
    recorded_at: Timestamp,
    event_id: EventId,
    #[serde(rename = "type")]
    type_name: &'a str,
    data: Stored<'a>,
    metadata: Stored<'a>,
}

/// Stored JSON, or the raw text if it is not valid JSON.
#[derive(Serialize)]
#[serde(untagged)]
enum Stored<'a> {
    Json(&'a RawValue),
    Text(String),
}

impl<'a> Stored<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        match serde_json::from_slice(bytes) {
            Ok(json) => Self::Json(json),
            Err(_) => Self::Text(String::from_utf8_lossy(bytes).into_owned()),
        }
    }
}

fn write_json(output: &mut impl Write, event: &RecordedEvent) -> io::Result<()> {
    let entry = HistoryEntry {
        revision: event.revision,
        position: event.position,
        recorded_at: event.recorded_at,
        event_id: event.id,
        type_name: &event.type_name,
        data: Stored::of(&event.data),
        metadata: Stored::of(&event.metadata),
    };
    serde_json::to_writer(&mut *output, &entry)?;
    writeln!(output)
}

fn write_line(output: &mut impl Write, event: &RecordedEvent) -> io::Result<()> {
    let (command, cause, actor) = match event.decode_metadata() {
        Ok(metadata) => {
            let by_key = metadata.idempotency.map(|idempotency| format!("key {:?}", idempotency.key));
            let by_event = metadata.causation_id.map(|event| format!("event {event}"));
            let actor = metadata.actor.map(|actor| match actor.person {
                Some(person) => format!("{} for {person:?}", actor.principal),
                None => actor.principal.into_owned(),
            });
            (metadata.command, by_key.or(by_event).unwrap_or_default(), actor.unwrap_or_default())
        }
        Err(error) => (error.to_string(), String::new(), String::new()),
    };
    let RecordedEvent { revision, recorded_at, type_name, .. } = event;
    let data = String::from_utf8_lossy(&event.data);
    writeln!(
        output,
        "{revision:>6}  {recorded_at:.6}  {type_name:<27}  {command:<28}  {cause:<42}  {actor:<23}  {data}"
    )
}

/// The state of a stream at one revision.
#[derive(Serialize)]
struct StateEntry {
    stream: StreamName,
    revision: Revision,
    /// When its latest event was recorded.
    recorded_at: Timestamp,
    state: Value,
}

async fn state(log: Arc<dyn EventLog>, options: StateOptions) -> Result<(), Failure> {
    let entry = match options.stream {
        StreamName::Stock(_) => folded::<StockDecider>(log, &options).await?,
        StreamName::Order(_) => folded::<OrderDecider>(log, &options).await?,
        StreamName::Payment(_) => folded::<PaymentDecider>(log, &options).await?,
        StreamName::Receipt(_) => folded::<ReceiptDecider>(log, &options).await?,
        StreamName::Exchange(_) => folded::<ExchangeDecider>(log, &options).await?,
    };
    println!("{}", serde_json::to_string_pretty(&entry)?);
    Ok(())
}

async fn folded<D: Decider>(log: Arc<dyn EventLog>, options: &StateOptions) -> Result<StateEntry, Failure> {
    let is_included = |event: &RecordedEvent| {
        options.at.is_none_or(|time| event.recorded_at <= time)
            && options.revision.is_none_or(|revision| event.revision <= revision)
    };
    let mut events = StreamReader::new(log, options.stream.clone());
    let mut state = D::State::default();
    let mut latest = None;
    while let Some(event) = events.next().await?.filter(is_included) {
        let decoded = event
            .decode_as::<D::Event>()
            .map_err(|error| Failure::new(format!("revision {}: {error}", event.revision)))?;
        guarded(|| {
            D::evolve(&mut state, &decoded);
            Ok(())
        })
        .map_err(|poison| Failure::new(format!("revision {}: {poison}", event.revision)))?;
        latest = Some((event.revision, event.recorded_at));
    }
    let (revision, recorded_at) = match (latest, options.at, options.revision) {
        (None, Some(time), _) => {
            return Err(Failure::new(format!("{} had no events at {time}", options.stream)));
        }
        (None, None, _) => return Err(no_such_stream(&options.stream)),
        (Some((latest, _)), _, Some(requested)) if latest < requested => {
            return Err(Failure::new(format!("{} ends at revision {latest}", options.stream)));
        }
        (Some(latest), _, _) => latest,
    };
    // A `Value` sorts members alphabetically, so equal states print equally.
    let state = serde_json::to_value(&state)?;
    Ok(StateEntry { stream: options.stream.clone(), revision, recorded_at, state })
}

/// Checks the file of an embedded event store, and prints what is damaged. Returns the number of findings. A
/// server checks its own files.
fn check_event_store(settings: &Settings) -> Result<u64, Failure> {
    let path = match settings.event_store() {
        EventStoreUrl::Sqlite(path) => path,
        EventStoreUrl::EventStoreDb(_) => return Ok(0),
    };
    let progress = ProgressDisplay::start("events checked", 0);
    let report = sqlite::check(&path, |done, total| progress.set(done, total))?;
    drop(progress);
    for finding in &report.findings {
        println!("{finding}");
    }
    if report.unchecked > 0 {
        println!("{} events of an earlier build have no checksum", HumanCount(report.unchecked));
    }
    Ok(report.findings_total)
}

/// Prints every difference, and fails if there is one.
pub(super) async fn verify(settings: &Settings) -> Result<(), Failure> {
    let damages = block_in_place(|| check_event_store(settings))?;
    let log = stores::open_log(&settings.event_store()).await?;
    let views = Views::open(&settings.read_models()).await?;
    let until =
        views.projections.checkpoints().await?.iter().filter_map(|row| row.log_position).max().unwrap_or(0);
    let progress = ProgressDisplay::start("events read", 0);
    let report = |read: ReadProgress| progress.set(read.events, read.events_until(until));
    let layout = stores::source_layout(&settings.bus, &log);
    let workspace = stores::workspace(&settings.read_models());
    let found =
        projectors::verify::verify(log.as_ref(), &layout, views.audit.as_ref(), &workspace, &report).await?;
    drop(progress);
    for difference in &found.described {
        println!("{difference}");
    }
    let position = found.position.unwrap_or(0);
    for row in &found.parked {
        // Leaves out the reason, which an earlier program may have taken from a panic.
        println!("{}: parked at revision {}; later events are not in the rows", row.stream, row.revision);
    }
    println!("{} rows compared with the log up to position {position}", HumanCount(found.rows));
    let mut faults = Vec::new();
    if damages > 0 {
        let count = HumanCount(damages);
        faults.push(format!(
            "the event store is damaged ({count} findings): restore a backup, as docs/operating.md describes"
        ));
    }
    if found.differences > 0 {
        let count = HumanCount(found.differences);
        faults.push(format!(
            "{count} rows of the read models differ from the log: run `orderly projections rebuild`"
        ));
    }
    if !found.parked.is_empty() {
        let count = found.parked.len();
        faults.push(format!("{count} streams are parked: `orderly projections list` shows the reasons"));
    }
    if faults.is_empty() { Ok(()) } else { Err(Failure::new(faults.join("; "))) }
}

/// Reads a stream event by event; fetches one page at a time.
struct StreamReader {
    log: Arc<dyn EventLog>,
    stream: StreamName,
    from: Revision,
    page: vec::IntoIter<RecordedEvent>,
}

impl StreamReader {
    fn new(log: Arc<dyn EventLog>, stream: StreamName) -> Self {
        Self { log, stream, from: 0, page: Vec::new().into_iter() }
    }

    async fn next(&mut self) -> Result<Option<RecordedEvent>, ReadError> {
        if self.page.as_slice().is_empty() {
            self.page = self.log.read_stream(&self.stream, self.from, PAGE_EVENTS).await?.into_iter();
        }
        let event = self.page.next();
        self.from = event.as_ref().map_or(self.from, |event| event.revision + 1);
        Ok(event)
    }
}
