//! The last events of the log in words, for the page of today.

use std::time::Duration;

use infra::{auth::Scope, event_store::ReadError};
use maud::{Markup, html};
use tokio::time::timeout;

use super::{
    event::{facts, lane},
    format::{event_name, short_time, stream_link},
    view::View,
};
use crate::{QueryApi, error::QueryError, log_event::Entry};

const EVENTS: usize = 12;
/// The first read can open the log. The rest of the page does not wait longer for it.
const READ_MAX: Duration = Duration::from_secs(1);

pub(super) async fn read(api: &QueryApi) -> Result<Vec<Entry>, QueryError> {
    let reading = async {
        let read = timeout(READ_MAX, async { api.log.get().await?.read_back(None, EVENTS).await });
        read.await.unwrap_or_else(|_| {
            Err(ReadError::Unavailable(format!("a read of the last events took over {READ_MAX:?}").into()))
        })
    };
    Ok(api.query(reading).await?.into_iter().map(Entry::from).collect())
}

/// What they contain is for callers with the scope `audit`, as in the feed.
pub(super) fn list(view: &View, read: &Result<Vec<Entry>, QueryError>) -> Markup {
    html! {
        @match read {
            Err(error) => {
                (log_failure(error))
                p.notice.warn { "The event log cannot be read now." }
            },
            Ok(entries) if entries.is_empty() => p.empty { "Nothing was recorded yet." },
            Ok(entries) => ol.events.short data-list { @for entry in entries { (line(view, entry)) } },
        }
    }
}

fn log_failure(error: &QueryError) -> Markup {
    tracing::warn!(%error, "Cannot read the last events; their page is shown without them");
    html! {}
}

fn line(view: &View, entry: &Entry) -> Markup {
    let row = entry.row();
    html! {
        li class={ "event " (lane(row.stream).class()) } id={ "p" (row.position) } {
            span.muted { (short_time(row.recorded_at, view)) }
            span.lane aria-hidden="true" {}
            span { (event_name(row.event_type)) }
            @if view.may(Scope::Audit) { span.facts { (facts(&row.data.to_value(), None)) } }
            span.spring {}
            (stream_link(row.stream))
        }
    }
}
