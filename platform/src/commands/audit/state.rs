//! `orderly audit state`: the state of one stream, now or at an earlier time.

use std::{sync::Arc, vec};

use clap::Args;
use domain::{
    Decider, RecordedEvent, Revision, StreamName, Timestamp, exchange::ExchangeDecider, order::OrderDecider,
    payment::PaymentDecider, receipt::ReceiptDecider, stock::StockDecider,
};
use infra::event_store::{EventLog, ReadError};
use projectors::event::guarded;
use serde::Serialize;
use serde_json::Value;

use super::{Failure, Output, PAGE_EVENTS};

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

/// The state of a stream at one revision.
#[derive(Serialize)]
struct StateEntry {
    stream: StreamName,
    revision: Revision,
    /// When its latest event was recorded.
    recorded_at: Timestamp,
    state: Value,
}

pub(super) async fn state(log: Arc<dyn EventLog>, options: StateOptions) -> Result<(), Failure> {
    let entry = match options.stream {
        StreamName::Stock(_) => folded::<StockDecider>(log, &options).await?,
        StreamName::Order(_) => folded::<OrderDecider>(log, &options).await?,
        StreamName::Payment(_) => folded::<PaymentDecider>(log, &options).await?,
        StreamName::Receipt(_) => folded::<ReceiptDecider>(log, &options).await?,
        StreamName::Exchange(_) => folded::<ExchangeDecider>(log, &options).await?,
    };
    let mut output = Output::new();
    output.line(serde_json::to_string_pretty(&entry)?)?;
    output.finish()
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

pub(super) fn no_such_stream(stream: &StreamName) -> Failure {
    Failure::new(format!("there is no stream {stream}"))
}

/// Reads a stream event by event; fetches one page at a time.
pub(super) struct StreamReader {
    log: Arc<dyn EventLog>,
    stream: StreamName,
    from: Revision,
    page: vec::IntoIter<RecordedEvent>,
}

impl StreamReader {
    pub fn new(log: Arc<dyn EventLog>, stream: StreamName) -> Self {
        Self { log, stream, from: 0, page: Vec::new().into_iter() }
    }

    pub async fn next(&mut self) -> Result<Option<RecordedEvent>, ReadError> {
        if self.page.as_slice().is_empty() {
            self.page = self.log.read_stream(&self.stream, self.from, PAGE_EVENTS).await?.into_iter();
        }
        let event = self.page.next();
        self.from = event.as_ref().map_or(self.from, |event| event.revision + 1);
        Ok(event)
    }
}
