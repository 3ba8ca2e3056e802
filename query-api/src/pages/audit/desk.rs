//! The runs over the whole log that pages have started: one at a time, and the last of each kind.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::Timestamp;
use infra::clock::Clock;

use super::auditor::{Auditor, ExportWanted, Exported, Progress, TotalsThen, Verified};

/// What a person has asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Task {
    Verify,
    Totals(Timestamp),
    Export(ExportWanted),
}

/// What a run has found.
#[derive(Debug)]
pub(super) enum Answer {
    Verified(Verified),
    Totals(TotalsThen),
    Exported(Exported),
}

impl Task {
    async fn work(self, auditor: &dyn Auditor, progress: &Progress) -> Result<Answer, String> {
        match self {
            Self::Verify => auditor.verify(progress).await.map(Answer::Verified),
            Self::Totals(at) => auditor.totals(at, progress).await.map(Answer::Totals),
            Self::Export(wanted) => auditor.export(&wanted, progress).await.map(Answer::Exported),
        }
    }
}

#[derive(Debug)]
pub(super) struct Run {
    pub task: Task,
    /// Who has started it.
    pub by: String,
    pub begun_at: Timestamp,
    pub progress: Progress,
}

/// A run that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub run: Arc<Run>,
    pub at: Timestamp,
    pub result: Result<Answer, String>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Runs {
    pub running: Option<Arc<Run>>,
    pub verified: Option<Arc<Ended>>,
    pub totals: Option<Arc<Ended>>,
    /// The next export deletes its files.
    pub exported: Option<Arc<Ended>>,
}

impl Runs {
    fn end(&mut self, ended: Ended) {
        let last = match ended.run.task {
            Task::Verify => &mut self.verified,
            Task::Totals(_) => &mut self.totals,
            Task::Export(_) => &mut self.exported,
        };
        *last = Some(Arc::new(ended));
        self.running = None;
    }
}

/// Another run is under way.
#[derive(Debug)]
pub(super) struct Busy;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::pages) struct Desk {
    auditor: Arc<dyn Auditor>,
    runs: Arc<Mutex<Runs>>,
}

impl Desk {
    pub fn new(auditor: Arc<dyn Auditor>) -> Self {
        Self { auditor, runs: Arc::default() }
    }

    pub(super) fn runs(&self) -> Runs {
        self.lock().clone()
    }

    /// Begins a run, which goes on when its caller goes away.
    pub(super) fn start(&self, task: Task, by: String, clock: &Clock) -> Result<(), Busy> {
        let run = Arc::new(Run { task, by, begun_at: clock.now(), progress: Progress::default() });
        let mut runs = self.lock();
        if runs.running.is_some() {
            return Err(Busy);
        }
        tracing::info!(task = ?run.task, by = run.by, "A run over the whole log begins");
        runs.running = Some(Arc::clone(&run));
        drop(runs);
        let (desk, clock) = (self.clone(), clock.clone());
        tokio::spawn(async move {
            let (auditor, of) = (Arc::clone(&desk.auditor), Arc::clone(&run));
            // In a task of its own, so that a panic is a failed run.
            let working = tokio::spawn(async move { of.task.work(&*auditor, &of.progress).await });
            let result = working.await.unwrap_or_else(|error| Err(error.to_string()));
            match &result {
                Ok(_) => tracing::info!(task = ?run.task, "A run over the whole log has ended"),
                Err(error) => tracing::warn!(task = ?run.task, error, "A run over the whole log has failed"),
            }
            let at = clock.now();
            desk.lock().end(Ended { run, at, result });
        });
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
