//! Reads of a stream or of the whole log, and subscriptions.

use std::{collections::HashMap, pin::Pin, sync::Arc};

use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;
use tonic::Status;
use uuid::Uuid;

use super::{
    access::{ALL, Caller, Right},
    connections::Resets,
    counts::Calls,
    errors,
    filter::Filter,
    log::{Log, Stored},
    messages::{
        AllFrom, AllOptions, Confirmation, Direction, LogPosition, ReadContent, ReadCount, ReadEvent,
        ReadFrom, ReadOptions, ReadResponse, StreamFrom, StreamIdentifier, StreamNotFound, StreamOptions,
        UuidContent, WireEvent, WireUuid,
    },
    service::{Shared, lock},
};

/// Responses that may wait for the client.
const SENT_AHEAD_MAX: usize = 256;

pub type Responses = Pin<Box<dyn Stream<Item = Result<ReadResponse, Status>> + Send>>;

pub fn read(
    shared: &Arc<Shared>,
    options: &ReadOptions,
    caller: &Caller,
    resets: Option<Arc<Resets>>,
) -> Result<Responses, Status> {
    let text_ids = match options.uuid.and_then(|option| option.content) {
        Some(UuidContent::Text(())) => true,
        Some(UuidContent::Structured(())) => false,
        None => return Err(errors::missing("uuid_option")),
    };
    let filter = Filter::new(options.filter.as_ref())?;
    let backwards = options.direction == Direction::Backwards as i32;
    let from = options.from.as_ref().ok_or_else(|| errors::missing("stream_option"))?;
    let is_subscription = matches!(options.count, Some(ReadCount::Subscription(())));
    match from {
        _ if is_subscription => shared.count(|calls| calls.subscriptions += 1),
        ReadFrom::All(_) => shared.count(|calls| calls.all_reads += 1),
        ReadFrom::Stream(_) => shared.count(|calls| calls.stream_reads += 1),
    }
    let of_stream = match from {
        ReadFrom::All(_) => ALL.to_owned(),
        ReadFrom::Stream(options) => stream_name(options.stream.as_ref())?,
    };
    caller.check(Right::Read, &of_stream, &lock(&shared.log))?;
    match options.count.ok_or_else(|| errors::missing("count_option"))? {
        ReadCount::Subscription(()) if backwards => Err(errors::missing("read_direction")),
        ReadCount::Subscription(()) => {
            let subscription = Subscription::new(shared, from, filter, text_ids)?;
            let (responses, receiver) = mpsc::channel(SENT_AHEAD_MAX);
            tokio::spawn(subscription.run(responses));
            let received =
                stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
            Ok(received.boxed())
        }
        ReadCount::AtMost(count) => {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            let compatible = options.control.is_some_and(|control| control.compatibility >= 1);
            let log = lock(&shared.log);
            let end = shared.readable(&log);
            let contents = match from {
                ReadFrom::Stream(options) => {
                    read_stream((&log, end), options, backwards, count, compatible, text_ids)?
                }
                ReadFrom::All(options) => {
                    read_all((&log, end), options, backwards, count, &filter, text_ids)?
                }
            };
            let responses = stream::iter(contents.into_iter().map(|content| Ok(response(content))));
            Ok(responses.chain(end_of_read(shared.clone(), resets)).boxed())
        }
    }
}

/// Nothing, a little later than the last response: the server sends the end of a read apart from it. So a client
/// that breaks off a read, even behind its last event, is noticed here.
fn end_of_read(
    shared: Arc<Shared>,
    resets: Option<Arc<Resets>>,
) -> impl Stream<Item = Result<ReadResponse, Status>> {
    let delay = shared.faults.end_of_read_delay();
    shared.count(Calls::begin_read);
    let guard = UnfinishedRead { shared, resets, is_unfinished: true };
    let end = async move {
        let mut guard = guard;
        if delay.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(delay).await;
        }
        guard.is_unfinished = false;
        stream::empty()
    };
    stream::once(end).flatten()
}

/// Counts a read that its client broke off.
struct UnfinishedRead {
    shared: Arc<Shared>,
    resets: Option<Arc<Resets>>,
    is_unfinished: bool,
}

impl Drop for UnfinishedRead {
    fn drop(&mut self) {
        self.shared.count(|calls| calls.reads_under_way -= 1);
        if self.is_unfinished {
            self.shared.count(|calls| calls.broken_off_reads += 1);
            if let Some(resets) = &self.resets {
                resets.add(self.shared.broken_off_reads_max);
            }
        }
    }
}

fn response(content: ReadContent) -> ReadResponse {
    ReadResponse { content: Some(content) }
}

fn read_stream(
    (log, end): (&Log, usize),
    options: &StreamOptions,
    backwards: bool,
    count: usize,
    compatible: bool,
    text_ids: bool,
) -> Result<Vec<ReadContent>, Status> {
    let name = stream_name(options.stream.as_ref())?;
    if log.is_tombstoned(&name) {
        return Err(errors::stream_deleted(&name));
    }
    let from = match options.from.ok_or_else(|| errors::missing("revision_option"))? {
        StreamFrom::Revision(revision) => revision,
        StreamFrom::Start(()) => 0,
        StreamFrom::End(()) => u64::MAX,
    };
    let Some((last, events)) = log.stream(&name, if backwards { 0 } else { from }, end) else {
        let not_found = StreamNotFound { stream: options.stream.clone() };
        return Ok(vec![ReadContent::StreamNotFound(not_found)]);
    };
    let content = |event| ReadContent::Event(read_event(event, text_ids));
    let mut contents: Vec<ReadContent> = if backwards {
        events.rev().filter(|event| event.revision <= from).take(count).map(content).collect()
    } else {
        events.take(count).map(content).collect()
    };
    if compatible && !backwards {
        contents.push(ReadContent::LastStreamPosition(last));
    }
    Ok(contents)
}

fn read_all(
    (log, end): (&Log, usize),
    options: &AllOptions,
    backwards: bool,
    count: usize,
    filter: &Filter,
    text_ids: bool,
) -> Result<Vec<ReadContent>, Status> {
    if let Some(AllFrom::Position(from)) = options.from
        && !log.begins_at(from.commit)
    {
        return Err(errors::invalid_position(filter.is_rule()));
    }
    let content = |event| ReadContent::Event(read_event(event, text_ids));
    let wanted = |event: &&Stored| filter.takes(event);
    let events = &log.events()[..end];
    Ok(match (options.from, backwards) {
        (Some(AllFrom::Position(from)), false) => {
            let first = events.partition_point(|event| event.position < from.commit);
            events[first..].iter().filter(wanted).take(count).map(content).collect()
        }
        (Some(AllFrom::Position(from)), true) => {
            let end = events.partition_point(|event| event.position < from.commit);
            events[..end].iter().rev().filter(wanted).take(count).map(content).collect()
        }
        (Some(AllFrom::End(())), true) => {
            events.iter().rev().filter(wanted).take(count).map(content).collect()
        }
        (Some(AllFrom::Start(())) | None, false) => {
            events.iter().filter(wanted).take(count).map(content).collect()
        }
        // A backward read from the start, or a forward read from the end, has no events.
        (Some(AllFrom::Start(())) | None, true) | (Some(AllFrom::End(())), false) => Vec::new(),
    })
}

/// Catches up with the log and then follows it. Its start, a position or a revision, is exclusive.
struct Subscription {
    shared: Arc<Shared>,
    /// The stream, or `None` for the whole log.
    stream: Option<String>,
    /// Index in the log of the next event.
    next: usize,
    filter: Filter,
    text_ids: bool,
}

impl Subscription {
    fn new(shared: &Arc<Shared>, from: &ReadFrom, filter: Filter, text_ids: bool) -> Result<Self, Status> {
        let log = lock(&shared.log);
        let (stream, next) = match from {
            ReadFrom::All(AllOptions { from }) => {
                let next = match from {
                    Some(AllFrom::Position(after)) if !log.begins_at(after.commit) => {
                        return Err(errors::invalid_position(filter.is_rule()));
                    }
                    Some(AllFrom::Position(after)) => {
                        log.events().partition_point(|event| event.position <= after.commit)
                    }
                    Some(AllFrom::End(())) => log.end(),
                    Some(AllFrom::Start(())) | None => 0,
                };
                (None, next)
            }
            ReadFrom::Stream(StreamOptions { stream, from }) => {
                let name = stream_name(stream.as_ref())?;
                let next = match from {
                    Some(StreamFrom::Revision(after)) => {
                        let of_stream = |event: &Stored| event.stream == name && event.revision > *after;
                        log.events().iter().position(of_stream).unwrap_or(log.end())
                    }
                    Some(StreamFrom::End(())) => log.end(),
                    Some(StreamFrom::Start(())) | None => 0,
                };
                (Some(name), next)
            }
        };
        let shared = shared.clone();
        Ok(Self { shared, stream, next, filter, text_ids })
    }

    async fn run(mut self, responses: mpsc::Sender<Result<ReadResponse, Status>>) {
        let mut growth = lock(&self.shared.log).growth();
        let ended = self.shared.faults.subscriptions_ended();
        let held = self.shared.faults.subscriptions_held();
        let confirmation = Confirmation { subscription_id: Uuid::new_v4().to_string() };
        let mut contents = vec![ReadContent::Confirmation(confirmation)];
        let mut caught_up = false;
        let (mut considered, mut last) = (0, None);
        loop {
            growth.mark_unchanged();
            let (next, at_end) = self.next_responses(&mut considered, &mut last);
            contents.extend(next);
            if at_end && !caught_up {
                // The server also does this, so that a client whose filter matches no event gets checkpoints.
                if self.filter.checkpoint_interval.is_some()
                    && let Some(position) = last
                {
                    contents.push(checkpoint(position));
                }
                contents.push(ReadContent::CaughtUp(()));
                caught_up = true;
            }
            for content in contents.drain(..) {
                if responses.send(Ok(response(content))).await.is_err() {
                    return;
                }
            }
            if at_end {
                tokio::select! {
                    biased;
                    () = held.cancelled() => return responses.closed().await,
                    changed = growth.changed() => if changed.is_err() { return },
                    () = ended.cancelled() => return,
                    () = responses.closed() => return,
                }
            }
        }
    }

    /// The next responses with the checkpoints that are due, and whether the log ends after them.
    fn next_responses(&mut self, considered: &mut usize, last: &mut Option<u64>) -> (Vec<ReadContent>, bool) {
        let log = lock(&self.shared.log);
        let end = self.shared.readable(&log);
        let mut contents = Vec::new();
        for event in log.events()[..end].iter().skip(self.next).take(SENT_AHEAD_MAX) {
            self.next += 1;
            *last = Some(event.position);
            let is_in_stream = self.stream.as_ref().is_none_or(|stream| *stream == event.stream);
            if is_in_stream && self.filter.takes(event) {
                contents.push(ReadContent::Event(read_event(event, self.text_ids)));
            }
            *considered += 1;
            if self.filter.checkpoint_interval.is_some_and(|interval| considered.is_multiple_of(interval)) {
                contents.push(checkpoint(event.position));
            }
        }
        (contents, self.next >= end)
    }
}

fn checkpoint(position: u64) -> ReadContent {
    ReadContent::Checkpoint(LogPosition { commit: position, prepare: position })
}

/// The stream name of a request.
pub fn stream_name(stream: Option<&StreamIdentifier>) -> Result<String, Status> {
    let name = stream.and_then(|stream| std::str::from_utf8(&stream.name).ok());
    let name = name.filter(|name| !name.is_empty()).ok_or_else(|| errors::missing("stream_identifier"))?;
    Ok(name.to_owned())
}

fn read_event(event: &Stored, text_ids: bool) -> ReadEvent {
    let id = Uuid::from_slice(&event.id).unwrap_or_default();
    let metadata = [
        ("type", event.type_name.clone()),
        ("content-type", event.content_type.clone()),
        ("created", event.created_ticks.to_string()),
    ];
    let recorded = WireEvent {
        id: Some(if text_ids { WireUuid::text(id) } else { WireUuid::structured(id) }),
        stream: Some(StreamIdentifier { name: event.stream.clone().into() }),
        revision: event.revision,
        prepare_position: event.position,
        commit_position: event.position,
        metadata: metadata
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect::<HashMap<_, _>>(),
        custom_metadata: event.metadata.clone(),
        data: event.data.clone(),
    };
    ReadEvent { event: Some(recorded), commit_position: Some(event.position) }
}
