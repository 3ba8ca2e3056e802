//! `orderly audit history`: the events of a stream, or those that concern a SKU, a customer, a chain of commands or an
//! actor.

mod scope;

use std::{
    io::{self, Write},
    sync::Arc,
};

use clap::Args;
use domain::{EventId, RecordedEvent, Revision, Sku, StreamName, Timestamp};
use infra::event_store::{EventLog, EventMark};
use projectors::replay::ReadProgress;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use self::scope::Scope;
use super::{
    Failure, Output, PAGE_EVENTS,
    state::{StreamReader, no_such_stream},
};
use crate::progress::ProgressDisplay;

/// Selects events. All filters must match; at least one is needed.
#[derive(Debug, Args)]
#[group(id = "selection", multiple = true, required = true)]
pub struct HistorySelection {
    /// `stock-SKU`, `order-UUID`, `payment-UUID`, `receipt-UUID` or `exchange-UUID`.
    stream: Option<StreamName>,

    /// The stream of this SKU.
    #[arg(long, value_parser = Sku::new, conflicts_with = "stream")]
    sku: Option<Sku>,

    /// The orders of this customer, with their payments, stock and exchanges.
    #[arg(long, value_name = "ID")]
    customer: Option<String>,

    /// The events of one chain of commands.
    #[arg(long, value_name = "UUID")]
    correlation: Option<Uuid>,

    /// The events of commands of this principal, or for this person.
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
}

#[derive(Debug, Args)]
pub struct HistoryOptions {
    #[command(flatten)]
    selection: HistorySelection,

    /// Leave out events recorded before this time, for example 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,

    /// Leave out events recorded at this time or later.
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,

    /// Print one JSON object per event.
    #[arg(long)]
    json: bool,
}

pub(super) async fn history(log: Arc<dyn EventLog>, options: HistoryOptions) -> Result<(), Failure> {
    let HistoryOptions { selection, from, to, json } = options;
    let HistorySelection { stream, sku, customer, correlation, actor } = selection;
    let stream = stream.or(sku.map(StreamName::Stock));
    let names_stream = stream.is_none();
    let mut printed = Printed { output: Output::new(), damage: None, found: false, json, names_stream };
    let mut scope = Scope { customer: customer.map(scope::Customer::new), correlation, actor };
    let is_in_time = |event: &RecordedEvent| {
        from.is_none_or(|from| event.recorded_at >= from) && to.is_none_or(|to| event.recorded_at < to)
    };
    match &stream {
        // The log shows which orders are the customer's.
        Some(stream) if scope.customer.is_none() => {
            let mut events = StreamReader::new(log, stream.clone());
            let mut exists = false;
            while let Some(event) = events.next().await? {
                exists = true;
                if scope.includes(&event) && is_in_time(&event) {
                    printed.print(&event)?;
                }
                if printed.output.is_closed() {
                    return Ok(());
                }
            }
            if !exists {
                return Err(no_such_stream(stream));
            }
        }
        _ => {
            let is_of_stream = |event: &RecordedEvent| stream.as_ref().is_none_or(|one| event.stream == *one);
            let matches =
                |event: &RecordedEvent| scope.includes(event) && is_in_time(event) && is_of_stream(event);
            each_of_log(&*log, to, &mut printed, matches).await?;
        }
    }
    printed.finish()
}

/// Prints the events of the whole log that match. Reads it from the beginning: an order of a customer can be older than
/// the events that are sought.
async fn each_of_log(
    log: &dyn EventLog,
    to: Option<Timestamp>,
    printed: &mut Printed,
    mut matches: impl FnMut(&RecordedEvent) -> bool,
) -> Result<(), Failure> {
    let until = log.last_position().await?.unwrap_or(0);
    let progress = ProgressDisplay::start("events read", 0);
    let (mut mark, mut events): (Option<EventMark>, u64) = (None, 0);
    loop {
        let page = match &mark {
            Some(mark) => log.read_after(mark, PAGE_EVENTS).await?,
            None => log.read_all(None, PAGE_EVENTS).await?,
        };
        let Some(last) = page.last() else { return Ok(()) };
        events += page.len() as u64;
        let read = ReadProgress { events, position: last.position };
        progress.set(events, read.events_until(until));
        mark = Some(last.into());
        let is_over = to.is_some_and(|to| last.recorded_at >= to) || last.position >= until;
        for event in page.iter().filter(|event| matches(event)) {
            printed.print(event)?;
        }
        if is_over || printed.output.is_closed() {
            return Ok(());
        }
    }
}

/// What was printed.
struct Printed {
    output: Output,
    damage: Option<domain::DecodeError>,
    found: bool,
    json: bool,
    names_stream: bool,
}

impl Printed {
    fn print(&mut self, event: &RecordedEvent) -> Result<(), Failure> {
        self.found = true;
        self.damage = self.damage.take().or(event.check().err());
        let (json, names_stream) = (self.json, self.names_stream);
        self.output.write(|output| {
            if json {
                write_json(output, event, names_stream)
            } else {
                write_line(output, event, names_stream)
            }
        })
    }

    fn finish(self) -> Result<(), Failure> {
        self.output.finish()?;
        match self.damage {
            Some(damage) => Err(damage.into()),
            None if self.found => Ok(()),
            None => Err(Failure::new("no event matches")),
        }
    }
}

/// An event for auditors. Shows data and metadata exactly as stored.
#[derive(Serialize)]
struct HistoryEntry<'a> {
    /// Left out if all events are of one stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
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

fn write_json(output: &mut impl Write, event: &RecordedEvent, names_stream: bool) -> io::Result<()> {
    let entry = HistoryEntry {
        stream: names_stream.then(|| event.stream.to_string()),
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

fn write_line(output: &mut impl Write, event: &RecordedEvent, names_stream: bool) -> io::Result<()> {
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
    if names_stream {
        write!(output, "{:>10}  {:<45}  ", event.position, event.stream.to_string())?;
    }
    writeln!(
        output,
        "{revision:>6}  {recorded_at:.6}  {type_name:<27}  {command:<28}  {cause:<42}  {actor:<23}  {data}"
    )
}
