//! The thread that writes: takes the appends that wait, commits them as one group, answers them.

use std::{
    sync::mpsc::{self, TryRecvError},
    thread,
    time::{Duration, Instant},
};

use domain::Position;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::watch;

use super::{
    PendingAppend, SqliteEventStoreOptions,
    appender::{Appender, SharedEpoch, Statements},
    checkpoint::{self, Checkpointer},
    errors::GroupFailure,
    known_streams::KnownStreams,
    recent::RecentEvents,
    stream_index::RecentStreams,
};
use crate::{
    event_store::{Append, AppendError, Appended},
    log_limit::LogLimit,
    measurements::{
        COMMIT_APPENDS, COMMIT_FAILURES, COMMIT_QUEUE, COMMIT_SECONDS, Counter, Gauge, Histogram, number,
    },
};

/// Bounds of one transaction: a long queue is answered in several groups.
const GROUP_APPENDS_MAX: usize = 2_048;
const GROUP_BYTES_MAX: usize = 4 << 20;
/// Time limit for holding back appends that no caller waits for. In unit tests, longer than any of them lasts.
const HOLD_MAX: Duration = if cfg!(test) { Duration::from_mins(5) } else { Duration::from_millis(5) };

/// Owns the only connection that writes events.
pub(super) struct Writer {
    connection: Connection,
    checkpointer: Checkpointer,
    appender: Appender,
    jobs: mpsc::Receiver<PendingAppend>,
    head: watch::Sender<Option<Position>>,
    measured: Measured,
}

/// What the writer measures of its commits.
struct Measured {
    commits: Histogram,
    appends: Histogram,
    queued: Gauge,
    failures: Counter,
}

impl Measured {
    fn new() -> Self {
        Self {
            commits: COMMIT_SECONDS.with([]),
            appends: COMMIT_APPENDS.with([]),
            queued: COMMIT_QUEUE.with([]),
            failures: COMMIT_FAILURES.with([]),
        }
    }
}

impl Writer {
    /// Returns the writer, and a watch on the position of the last committed event.
    pub(super) fn new(
        connection: Connection,
        checkpointer: Checkpointer,
        jobs: mpsc::Receiver<PendingAppend>,
        options: SqliteEventStoreOptions,
    ) -> rusqlite::Result<(Self, watch::Receiver<Option<Position>>)> {
        let appender = Appender::new(&connection, options)?;
        let (head, watcher) = watch::channel(appender.committed_position());
        let measured = Measured::new();
        Ok((Self { connection, checkpointer, appender, jobs, head, measured }, watcher))
    }

    pub(super) fn known_streams(&self) -> KnownStreams {
        self.appender.known_streams().clone()
    }

    pub(super) fn recent_streams(&self) -> RecentStreams {
        self.appender.stream_index().recent().clone()
    }

    pub(super) fn recent_events(&self) -> RecentEvents {
        self.appender.recent_events().clone()
    }

    pub(super) fn epoch(&self) -> SharedEpoch {
        self.appender.epoch().clone()
    }

    /// Runs until every sender of jobs is dropped, then moves the write-ahead log into the file.
    pub(super) fn run(mut self) {
        let mut group = Vec::new();
        while let Ok(first) = self.jobs.recv() {
            self.take_group(first, &mut group);
            self.measured.queued.decrement(number(group.len()));
            self.write(&mut group);
        }
        self.checkpointer.finish(&self.connection);
    }

    /// Takes the appends that wait. If no caller waits for any of them, an awaited append follows soon. Then
    /// holds the group for at most [`HOLD_MAX`], because each separate commit costs one disk flush.
    ///
    /// [`SqliteEventStore`](super::SqliteEventStore) unparks this thread for an awaited append. The others do not wake
    /// it: on a busy processor, each would interrupt the thread that sends them.
    fn take_group(&self, first: PendingAppend, group: &mut Vec<PendingAppend>) {
        let mut bytes = size(&first.append);
        let mut awaited = first.awaited;
        group.push(first);
        let begun = Instant::now();
        while group.len() < GROUP_APPENDS_MAX && bytes < GROUP_BYTES_MAX {
            let next = match self.jobs.try_recv() {
                Ok(next) => next,
                Err(TryRecvError::Empty) if !awaited && begun.elapsed() < HOLD_MAX => {
                    thread::park_timeout(HOLD_MAX.saturating_sub(begun.elapsed()));
                    continue;
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            };
            bytes += size(&next.append);
            awaited |= next.awaited;
            group.push(next);
        }
    }

    /// Commits a group and answers it, in order.
    pub(super) fn write(&mut self, group: &mut Vec<PendingAppend>) {
        match self.commit(group) {
            Ok(outcomes) => {
                self.appender.committed();
                let position = self.appender.committed_position();
                self.head.send_if_modified(|head| std::mem::replace(head, position) != position);
                for (pending, outcome) in group.drain(..).zip(outcomes) {
                    pending.answer(outcome);
                }
                if let Err(error) = self.checkpointer.after_commit(&self.connection) {
                    checkpoint::report(&error);
                }
            }
            Err(failure) => {
                // A full disk fails thousands of groups in a second.
                static FAILURES: LogLimit = LogLimit::new(Duration::from_secs(1));
                self.measured.failures.increment(1);
                self.appender.rolled_back();
                if let Some(omitted) = FAILURES.pass() {
                    tracing::error!(
                        error = %failure.source(),
                        appends = group.len(),
                        lines.omitted = omitted,
                        "Cannot write to the event store; the appends of this group fail"
                    );
                }
                let error = AppendError::from(failure);
                for pending in group.drain(..) {
                    pending.answer(Err(error.clone()));
                }
                // On a full disk this can make room: SQLite reuses pages of the write-ahead log once they are
                // moved.
                self.checkpointer.request();
            }
        }
    }

    fn commit(
        &mut self,
        group: &[PendingAppend],
    ) -> Result<Vec<Result<Appended, AppendError>>, GroupFailure> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(GroupFailure::BeforeCommit)?;
        let outcomes = apply(&mut self.appender, &transaction, group).map_err(GroupFailure::BeforeCommit)?;
        let begun = Instant::now();
        transaction.commit().map_err(GroupFailure::AtCommit)?;
        self.measured.commits.record(begun.elapsed());
        self.measured.appends.record(number(group.len()));
        Ok(outcomes)
    }
}

fn size(append: &Append) -> usize {
    append.events.iter().map(|event| event.data.len() + event.metadata.len()).sum()
}

fn apply(
    appender: &mut Appender,
    transaction: &Transaction<'_>,
    group: &[PendingAppend],
) -> rusqlite::Result<Vec<Result<Appended, AppendError>>> {
    let mut statements = Statements::prepare(transaction)?;
    let outcomes = group
        .iter()
        .map(|pending| appender.apply(&mut statements, &pending.append))
        .collect::<rusqlite::Result<Vec<_>>>()?;
    appender.move_streams_into_index(transaction)?;
    Ok(outcomes)
}
