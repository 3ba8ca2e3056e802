//! Compares every row of the read models with a fold of the whole log.

use std::{
    collections::{HashMap, HashSet},
    fmt::{self, Debug},
    io,
    sync::Arc,
};

use domain::Position;
use infra::{
    event_source::{Partition, layout::SourceLayout},
    event_store::EventLog,
    read_models::{
        ParkedStream, Projection, ReadModelError, StoredRow,
        audit::{Audit, RowReceiver, Stored},
        encoded::EncodedRow,
    },
};

use crate::{
    digest::{Bucket, Digest, RowKey, RowsHash, encoded, encoded_content, expected_rows},
    replay::{ReadProgress, Replay, ReplayError, Workspace},
};

/// Differences beyond this number are counted but not described.
const DESCRIBED_MAX: usize = 1_000;
const VALUE_CHARS_MAX: usize = 2_000;
/// Buckets of the digest whose rows are read again: a thousandth of all rows.
const EXAMINED_MAX: usize = 1_000;

/// The result of a verification.
#[derive(Debug, Default)]
pub struct Verification {
    /// The rows were compared with the log up to this position.
    pub position: Option<Position>,
    /// Rows that the log folds to.
    pub rows: u64,
    /// Rows that differ. A lower bound if there are more than 1,000.
    pub differences: u64,
    /// The first differences, at most 1,000.
    pub described: Vec<Difference>,
    /// Streams whose latest events are not in the rows. They were compared up to these events.
    pub parked: Vec<ParkedStream>,
}

/// A row that differs from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub projection: Projection,
    pub key: String,
    pub fault: RowFault,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowFault {
    Missing {
        expected: String,
    },
    NotInLog {
        stored: String,
    },
    Differs {
        stored: String,
        expected: String,
    },
    /// The row cannot be read, or contradicts its search columns or sums.
    Broken(String),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.projection, self.key)?;
        match &self.fault {
            RowFault::Missing { expected } => write!(f, "missing; expected from the log: {expected}"),
            RowFault::NotInLog { stored } => write!(f, "not in the log; stored: {stored}"),
            RowFault::Differs { stored, expected } => {
                write!(f, "stored: {stored}; expected from the log: {expected}")
            }
            RowFault::Broken(fault) => f.write_str(fault),
        }
    }
}

/// Why a verification has failed.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    ReadModels(#[from] ReadModelError),
    /// The layout does not say which events of the log that partition holds.
    #[error(
        "the read models have events of the partition {}, which ORDERLY_BUS does not have: set ORDERLY_BUS as for \
         the projectors, or run `orderly projections rebuild`",
        .0.0
    )]
    OtherLayout(Partition),
}

/// Folds each partition of the log up to the position of the read models, and compares. Works while a server
/// runs: the rows are read in one transaction.
pub async fn verify(
    log: &dyn EventLog,
    layout: &Arc<dyn SourceLayout>,
    models: &dyn Audit,
    workspace: &Workspace,
    progress: &(dyn Fn(ReadProgress) + Send + Sync),
) -> Result<Verification, VerifyError> {
    let stored = models.stored().await?;
    let until = reached(&layout.partitions(), &stored.log_positions)?;
    let parked = stored.parked.clone();
    let mut replay = Replay::read(log, layout, Some(until), parked, workspace, progress).await?;
    let expecting = move || {
        let mut expected = Expected::default();
        let folded = replay
            .fold::<Stop>(|rows| expected_rows(rows).try_for_each(|row| expected.add(row, |_, _| Ok(()))));
        settle(folded.map(|_| (replay, expected)))
    };
    let (replay, expected) = blocking(workspace, expecting).await??;
    let found = compare(replay, &expected, &stored, workspace).await?;
    Ok(Verification { parked: stored.parked, ..found })
}

/// The rows that the log folds to.
pub(crate) struct Expected {
    hash: RowsHash,
    /// Number of rows.
    rows: u64,
}

impl Default for Expected {
    fn default() -> Self {
        Self { hash: RowsHash::new(), rows: 0 }
    }
}

impl Expected {
    /// Adds a row, and calls `take` with what stores it and its content.
    pub(crate) fn add(
        &mut self,
        row: StoredRow,
        mut take: impl FnMut(EncodedRow, &[u8]) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        self.rows += 1;
        for row in encoded(row)? {
            let content = encoded_content(&row)?;
            self.hash.add(&row, &content);
            take(row, &content)?;
        }
        Ok(())
    }
}

/// Why a fold into a workspace has stopped.
pub(crate) enum Stop {
    Workspace(io::Error),
    ReadModels(ReadModelError),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Workspace(error)
    }
}

impl From<ReadModelError> for Stop {
    fn from(error: ReadModelError) -> Self {
        Self::ReadModels(error)
    }
}

/// Separates the failures of a workspace, which [`blocking`] names.
pub(crate) fn settle<T>(folded: Result<T, Stop>) -> io::Result<Result<T, ReadModelError>> {
    match folded {
        Ok(folded) => Ok(Ok(folded)),
        Err(Stop::Workspace(error)) => Err(error),
        Err(Stop::ReadModels(error)) => Ok(Err(error)),
    }
}

/// For each of `partitions`, the position up to which the rows reflect its events. If projectors followed the
/// whole log before the bus was changed, their last position counts for every partition.
fn reached(
    partitions: &[Partition],
    log_positions: &[(Partition, Option<Position>)],
) -> Result<Vec<Option<Position>>, VerifyError> {
    let of = |partition: &Partition| {
        log_positions.iter().find(|(name, _)| name == partition).and_then(|(_, position)| *position)
    };
    let whole_log = of(&Partition::whole_log());
    for (partition, position) in log_positions {
        if *position > whole_log && !partitions.contains(partition) {
            return Err(VerifyError::OtherLayout(partition.clone()));
        }
    }
    Ok(partitions.iter().map(|partition| of(partition).max(whole_log)).collect())
}

/// Runs work on temporary files on a blocking thread.
pub(crate) async fn blocking<T: Send + 'static>(
    workspace: &Workspace,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ReplayError> {
    let worked = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    worked.map_err(|source| workspace.failure(source))
}

/// Compares the stored rows with the expected rows, in both directions. Compares them as they are stored first.
/// Only if these differ, folds and reads again: to compare decoded rows, and to describe the differences.
pub(crate) async fn compare(
    replay: Replay,
    expected: &Expected,
    stored: &Stored,
    workspace: &Workspace,
) -> Result<Verification, VerifyError> {
    let mut found = Verification {
        position: replay.last_event.as_ref().map(|event| event.position),
        rows: expected.rows,
        ..Verification::default()
    };
    let mut hash = expected.hash.of_other_rows();
    let mut failure = Ok(());
    each_row(stored.encoded_rows().await?, |row| match encoded_content(&row) {
        Ok(content) => hash.add(&row, &content),
        Err(error) => failure = Err(error),
    })
    .await?;
    failure?;
    if !hash.equals(&expected.hash) {
        examine(replay, stored, workspace, &mut found).await?;
    }
    Ok(found)
}

/// Compares decoded rows, and describes how they differ.
async fn examine(
    mut replay: Replay,
    stored: &Stored,
    workspace: &Workspace,
    found: &mut Verification,
) -> Result<(), VerifyError> {
    let expecting = move || {
        let mut digest = Digest::new();
        replay.fold(|rows| {
            expected_rows(rows).for_each(|row| digest.expect(&row));
            Ok::<_, io::Error>(())
        })?;
        Ok((replay, digest))
    };
    let (mut replay, mut digest) = blocking(workspace, expecting).await?;
    each_row(stored.rows().await?, |row| match row {
        StoredRow::Broken { projection, key, fault } => found.note(projection, key, RowFault::Broken(fault)),
        row @ (StoredRow::Stock(_)
        | StoredRow::Reservation(_)
        | StoredRow::OrderStockEvent(_)
        | StoredRow::Order(_)
        | StoredRow::Payment(_)
        | StoredRow::Sales(..)
        | StoredRow::Money(..)
        | StoredRow::Count(..)) => digest.found(&row),
    })
    .await?;
    let differing = digest.differing();
    if differing.is_empty() {
        return Ok(());
    }
    let examined: HashSet<Bucket> = differing.iter().copied().take(EXAMINED_MAX).collect();
    // Each of the others has one difference at least.
    found.differences += (differing.len() - examined.len()) as u64;
    let digest = Arc::new(digest);
    let expecting = {
        let (digest, examined) = (Arc::clone(&digest), examined.clone());
        move || {
            let mut expected: HashMap<RowKey, StoredRow> = HashMap::new();
            replay.fold(|rows| {
                for row in expected_rows(rows) {
                    let key = RowKey::of(&row).filter(|key| examined.contains(&digest.bucket(key)));
                    expected.extend(key.map(|key| (key, row)));
                }
                Ok::<_, io::Error>(())
            })?;
            Ok(expected)
        }
    };
    let mut expected = blocking(workspace, expecting).await?;
    each_row(stored.rows().await?, |row| {
        let key = RowKey::of(&row).filter(|key| examined.contains(&digest.bucket(key)));
        if let Some(key) = key {
            let expected = expected.remove(&key);
            found.compare(&key, &row, expected.as_ref());
        }
    })
    .await?;
    let mut missing: Vec<(String, RowKey, StoredRow)> =
        expected.into_iter().map(|(key, row)| (key.describe(), key, row)).collect();
    missing.sort_unstable_by(|(a, ..), (b, ..)| a.cmp(b));
    for (description, key, row) in missing {
        found.note(key.projection(), description, RowFault::Missing { expected: shortened(&row) });
    }
    Ok(())
}

async fn each_row<R>(mut chunks: RowReceiver<R>, mut take: impl FnMut(R)) -> Result<(), ReadModelError> {
    while let Some(chunk) = chunks.recv().await {
        chunk?.into_iter().for_each(&mut take);
        // Hashing a chunk takes milliseconds.
        tokio::task::yield_now().await;
    }
    Ok(())
}

impl Verification {
    fn compare(&mut self, key: &RowKey, stored: &StoredRow, expected: Option<&StoredRow>) {
        let fault = match expected {
            None => RowFault::NotInLog { stored: shortened(stored) },
            Some(expected) if expected == stored => return,
            Some(expected) => RowFault::Differs { stored: shortened(stored), expected: shortened(expected) },
        };
        self.note(key.projection(), key.describe(), fault);
    }

    fn note(&mut self, projection: Projection, key: String, fault: RowFault) {
        self.differences += 1;
        if self.described.len() < DESCRIBED_MAX {
            self.described.push(Difference { projection, key, fault });
        }
    }
}

fn shortened(row: &StoredRow) -> String {
    let row: &dyn Debug = match row {
        StoredRow::Stock(row) => row,
        StoredRow::Reservation(row) => row,
        StoredRow::OrderStockEvent(event) => event,
        StoredRow::Order(row) => row,
        StoredRow::Payment(row) => row,
        StoredRow::Sales(_, sum) => sum,
        StoredRow::Money(_, sum) => sum,
        StoredRow::Count(_, count) => count,
        StoredRow::Broken { fault, .. } => fault,
    };
    let text = format!("{row:?}");
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
