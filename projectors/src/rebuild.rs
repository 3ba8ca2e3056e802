//! Makes all read models anew from the log, and puts them in the place of the old ones.

use std::sync::Arc;

use domain::Position;
use infra::{
    event_source::layout::SourceLayout,
    event_store::{EventLog, ReadError},
    read_models::{ReadModelError, audit::Rebuild},
};

use crate::{
    log::{Progress, fold_log},
    verify::{Verification, compare},
};

/// What a rebuild is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Folding(Progress),
    Writing,
    Verifying,
    Publishing,
}

/// What was rebuilt.
#[derive(Debug, Clone, Copy)]
pub struct Rebuilt {
    pub position: Option<Position>,
    /// Rows in all read models.
    pub rows: u64,
    /// Streams that are parked: events of theirs cannot be applied.
    pub parked: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    ReadModels(#[from] ReadModelError),
    /// The rows were not put in place.
    #[error("{} rows were not written as the log gives them", .0.differences)]
    Differs(Box<Verification>),
}

/// Folds the log to its end, writes the rows, reads them back and compares, and only then publishes them. Projectors
/// go on from where the partitions ended when the rebuild began: what was delivered since then is passed over where
/// the rows have it.
pub async fn rebuild(
    log: &dyn EventLog,
    layout: &Arc<dyn SourceLayout>,
    target: &dyn Rebuild,
    progress: &(dyn Fn(Step) + Send + Sync),
) -> Result<Rebuilt, RebuildError> {
    // Before the log is read: an event that is in a partition by now is in the log, and will be in the rows.
    let ends = layout.last_positions().await?;
    let positions: Vec<_> = layout.partitions().into_iter().zip(ends).collect();
    let folding = |at| progress(Step::Folding(at));
    let rows = Arc::new(fold_log(log, layout, None, &folding).await?);
    progress(Step::Writing);
    let staged = target.stage(&positions, Arc::clone(&rows)).await?;
    progress(Step::Verifying);
    let found = compare(Arc::clone(&rows), staged.stored().await?).await?;
    if found.differences > 0 {
        return Err(RebuildError::Differs(Box::new(found)));
    }
    progress(Step::Publishing);
    staged.publish().await?;
    Ok(Rebuilt { position: rows.position, rows: found.rows, parked: rows.parked.len() })
}
