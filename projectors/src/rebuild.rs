//! Rebuilds all read models from the log, and replaces the rows in use.

use std::sync::Arc;

use domain::Position;
use infra::{
    event_source::layout::SourceLayout,
    event_store::{EventLog, ReadError},
    read_models::{ReadModelError, audit::Rebuild},
};

use crate::{
    log::{FoldProgress, fold_log},
    verify::{Verification, compare},
};

/// The step that a rebuild has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RebuildStep {
    Folding(FoldProgress),
    Writing,
    Verifying,
    Publishing,
}

/// The result of a rebuild.
#[derive(Debug, Clone, Copy)]
pub struct Rebuilt {
    pub position: Option<Position>,
    /// Rows in all read models.
    pub rows: u64,
    /// Parked streams, which have events that cannot be applied.
    pub parked: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    ReadModels(#[from] ReadModelError),
    /// The rows in use were not replaced.
    #[error("{} rebuilt rows differ from the log; the rows in use were not replaced", .0.differences)]
    Differs(Box<Verification>),
}

/// Folds the log to its end, writes the rows, reads them back and compares, and publishes them if they are
/// equal. Projectors continue from where the partitions ended when the rebuild began. They skip, by revision,
/// events that the new rows already reflect.
pub async fn rebuild(
    log: &dyn EventLog,
    layout: &Arc<dyn SourceLayout>,
    target: &dyn Rebuild,
    progress: &(dyn Fn(RebuildStep) + Send + Sync),
) -> Result<Rebuilt, RebuildError> {
    // Read before the log: an event that is in a partition now is in the log, so it will be in the rows.
    let ends = layout.last_positions().await?;
    let positions: Vec<_> = layout.partitions().into_iter().zip(ends).collect();
    let folding = |at| progress(RebuildStep::Folding(at));
    let rows = Arc::new(fold_log(log, layout, None, &[], &folding).await?);
    progress(RebuildStep::Writing);
    let staged = target.stage(&positions, Arc::clone(&rows)).await?;
    progress(RebuildStep::Verifying);
    let found = compare(Arc::clone(&rows), staged.stored().await?).await?;
    if found.differences > 0 {
        return Err(RebuildError::Differs(Box::new(found)));
    }
    progress(RebuildStep::Publishing);
    staged.publish().await?;
    Ok(Rebuilt { position: rows.position, rows: found.rows, parked: rows.parked.len() })
}
