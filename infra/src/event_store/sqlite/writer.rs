//! The thread that writes: takes whatever waits, commits it as one group, answers.

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use domain::Position;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use tokio::sync::watch;

use super::{
    Options,
    appender::{Appender, SharedEpoch, Statements},
    checkpoint::Checkpointer,
    known_streams::KnownStreams,
    recent::RecentEvents,
    stream_index::RecentStreams,
};
use crate::event_store::{Append, AppendError, Appended, Done};

/// Bounds of one transaction, so that a long queue is answered bit by bit.
const GROUP_APPENDS_MAX: usize = 2_048;
const GROUP_BYTES_MAX: usize = 4 << 20;
/// How long appends that nobody waits for are held back.
const HOLD_MAX: Duration = Duration::from_millis(5);

/// An append whose outcome somebody waits for. It is answered in any case, also when the writer panics.
pub(super) struct Pending {
    append: Append,
    done: Option<Done>,
    awaited: bool,
}

impl Pending {
    pub(super) fn new(append: Append, done: Done, awaited: bool) -> Self {
        Self { append, done: Some(done), awaited }
    }

    pub(super) fn answer(mut self, outcome: Result<Appended, AppendError>) {
        if let Some(done) = self.done.take() {
            done(outcome);
        }
    }

    fn bytes(&self) -> usize {
        self.append.events.iter().map(|event| event.data.len() + event.metadata.len()).sum()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done(Err(AppendError::OutcomeUnknown("the event store's writer has stopped".into())));
        }
    }
}

/// Owns the one connection that writes.
pub(super) struct Writer {
    connection: Connection,
    checkpointer: Checkpointer,
    appender: Appender,
    jobs: mpsc::Receiver<Pending>,
    head: watch::Sender<Option<Position>>,
}

impl Writer {
    /// The writer, and where to see the position of the last event committed.
    pub(super) fn new(
        connection: Connection,
        checkpointer: Checkpointer,
        jobs: mpsc::Receiver<Pending>,
        options: Options,
    ) -> rusqlite::Result<(Self, watch::Receiver<Option<Position>>)> {
        let appender = Appender::new(&connection, options)?;
        let (head, watcher) = watch::channel(appender.committed_position());
        Ok((Self { connection, checkpointer, appender, jobs, head }, watcher))
    }

    pub(super) fn known_streams(&self) -> KnownStreams {
        self.appender.known_streams().clone()
    }

    pub(super) fn recent_streams(&self) -> RecentStreams {
        self.appender.stream_index().recent().clone()
    }

    pub(super) fn recent(&self) -> RecentEvents {
        self.appender.recent().clone()
    }

    pub(super) fn epoch(&self) -> SharedEpoch {
        self.appender.epoch().clone()
    }

    /// Works until every sender of jobs is gone, then folds the write-ahead log into the file.
    pub(super) fn run(mut self) {
        let mut group = Vec::new();
        while let Ok(first) = self.jobs.recv() {
            self.take_group(first, &mut group);
            self.write(&mut group);
        }
        self.checkpointer.finish(&self.connection);
    }

    /// Takes what waits. Where nobody waits for any of it, the next append that somebody waits for is on its way:
    /// committing the steps of a flow one by one would cost a disk write each.
    fn take_group(&self, first: Pending, group: &mut Vec<Pending>) {
        let mut bytes = first.bytes();
        let mut awaited = first.awaited;
        group.push(first);
        let held_until = Instant::now() + HOLD_MAX;
        while group.len() < GROUP_APPENDS_MAX && bytes < GROUP_BYTES_MAX {
            let next = match self.jobs.try_recv() {
                Ok(next) => next,
                Err(_) if awaited => break,
                Err(_) => {
                    let left = held_until.saturating_duration_since(Instant::now());
                    let Ok(next) = self.jobs.recv_timeout(left) else { break };
                    next
                }
            };
            bytes += next.bytes();
            awaited |= next.awaited;
            group.push(next);
        }
    }

    /// Commits a group and answers it, in order.
    pub(super) fn write(&mut self, group: &mut Vec<Pending>) {
        match self.commit(group) {
            Ok(outcomes) => {
                self.appender.committed();
                let position = self.appender.committed_position();
                self.head.send_if_modified(|head| std::mem::replace(head, position) != position);
                for (pending, outcome) in group.drain(..).zip(outcomes) {
                    pending.answer(outcome);
                }
                if let Err(error) = self.checkpointer.after_commit(&self.connection) {
                    tracing::warn!(%error, "The event store's write-ahead log could not be moved; it grows until it can");
                }
            }
            Err(failure) => {
                self.appender.rolled_back();
                tracing::error!(error = %failure.source(), appends = group.len(), "Appends to the event store failed");
                let error = failure.into_append_error();
                for pending in group.drain(..) {
                    pending.answer(Err(error.clone()));
                }
                // On a full disk this can make room: once moved, the log's pages are used again.
                self.checkpointer.request();
            }
        }
    }

    fn commit(&mut self, group: &[Pending]) -> Result<Vec<Result<Appended, AppendError>>, Failure> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(Failure::BeforeCommit)?;
        let outcomes = apply(&mut self.appender, &transaction, group).map_err(Failure::BeforeCommit)?;
        transaction.commit().map_err(Failure::AtCommit)?;
        Ok(outcomes)
    }
}

fn apply(
    appender: &mut Appender,
    transaction: &Transaction<'_>,
    group: &[Pending],
) -> rusqlite::Result<Vec<Result<Appended, AppendError>>> {
    let mut statements = Statements::prepare(transaction)?;
    let outcomes = group
        .iter()
        .map(|pending| appender.apply(&mut statements, &pending.append))
        .collect::<rusqlite::Result<Vec<_>>>()?;
    appender.tidy(transaction)?;
    Ok(outcomes)
}

/// Why a whole group failed.
#[derive(Debug)]
enum Failure {
    BeforeCommit(rusqlite::Error),
    AtCommit(rusqlite::Error),
}

impl Failure {
    fn source(&self) -> &rusqlite::Error {
        match self {
            Self::BeforeCommit(source) | Self::AtCommit(source) => source,
        }
    }

    /// An I/O error at commit may be a failed flush of a complete write-ahead log: after a crash right now it
    /// could be found there. In all other cases nothing was written.
    fn into_append_error(self) -> AppendError {
        match self {
            Self::AtCommit(source) if source.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) => {
                AppendError::OutcomeUnknown(source.to_string().into())
            }
            Self::BeforeCommit(source) | Self::AtCommit(source) => {
                AppendError::Unavailable(source.to_string().into())
            }
        }
    }
}
