//! Reads the whole log for the page of audits, as the commands of `orderly audit` do.
//!
//! Each run opens the stores anew and read-only, so it takes no connection from the requests and the roles.

use async_trait::async_trait;
use domain::Timestamp;
use projectors::{as_of, replay::Workspace};
use query_api::pages::{
    Auditor, CurrencySums, ExportFormat, ExportWanted, Exported, ExportedFile, Progress, TotalsThen, Verified,
};
use tokio_util::sync::CancellationToken;

use super::ServeConfig;
use crate::{
    commands::{
        Failure,
        audit::{
            export::{self, Format, MANIFEST, Period},
            totals,
            verify::{self, Told},
        },
    },
    config::{BusUrl, EventStoreUrl, ReadModelsUrl},
    stores,
};

/// Bytes that a run sorts at a time: less than a command, because the process has other work.
const SORTED_BYTES_MAX: usize = 32 << 20;
/// Differences that a page shows.
const FINDINGS_MAX: usize = 100;

/// The stores of a process.
#[derive(Debug)]
pub(super) struct LogAuditor {
    event_store: EventStoreUrl,
    bus: BusUrl,
    read_models: ReadModelsUrl,
    stop: CancellationToken,
}

impl LogAuditor {
    /// Runs end at `stop`.
    pub fn new(config: &ServeConfig, stop: CancellationToken) -> Self {
        Self {
            event_store: config.event_store.clone(),
            bus: config.bus.clone(),
            read_models: config.read_models.clone(),
            stop,
        }
    }

    fn workspace(&self) -> Workspace {
        let (memory_bytes_max, stop) = (SORTED_BYTES_MAX, self.stop.clone());
        Workspace { memory_bytes_max, stop, ..stores::workspace(&self.read_models) }
    }

    async fn write(&self, wanted: &ExportWanted, progress: &Progress) -> Result<Exported, Failure> {
        let parent = self.workspace().directory;
        let directory = tempfile::Builder::new().prefix(".orderly-export-").tempdir_in(parent)?;
        let workspace = Workspace { directory: directory.path().to_owned(), ..self.workspace() };
        let format = match wanted.format {
            ExportFormat::Csv => Format::Csv,
            ExportFormat::Jsonl => Format::Jsonl,
        };
        let period = Period { from: wanted.from, to: wanted.to };
        let log = stores::open_log(&self.event_store).await?;
        let report = |done, of| progress.set(done, of);
        let (manifest, faults) = export::write(&*log, &workspace, period, format, &report).await?;
        let file = |file: export::FileEntry| ExportedFile {
            name: file.name,
            rows: Some(file.rows),
            bytes: file.bytes,
            sha256: Some(file.sha256),
        };
        let mut files: Vec<_> = manifest.files.into_iter().map(file).collect();
        let bytes = directory.path().join(MANIFEST).metadata()?.len();
        files.push(ExportedFile { name: MANIFEST.to_owned(), rows: None, bytes, sha256: None });
        Ok(Exported { directory, files, fault: totals::told(&faults) })
    }

    async fn add_up(&self, at: Timestamp, progress: &Progress) -> Result<TotalsThen, Failure> {
        let log = stores::open_log(&self.event_store).await?;
        let report = |done, of| progress.set(done, of);
        let mut found = totals::find(&*log, &self.workspace(), vec![at], &report).await?;
        let as_of::Totals { orders, currencies, skus, on_hand, reserved } =
            found.totals.pop().unwrap_or_default();
        let currency = |(currency, sums): (String, as_of::CurrencyTotals)| CurrencySums {
            currency,
            orders: sums.orders,
            total: sums.total,
            owed: sums.owed,
            captured: sums.captured,
            refunded: sums.refunded,
            disputed: sums.disputed,
        };
        Ok(TotalsThen {
            events: found.events,
            orders: orders.into_iter().map(|(status, count)| (status.to_owned(), count)).collect(),
            currencies: currencies.into_iter().map(currency).collect(),
            skus,
            on_hand,
            reserved,
            fault: totals::told(&found.faults),
        })
    }
}

#[async_trait]
impl Auditor for LogAuditor {
    async fn verify(&self, progress: &Progress) -> Result<Verified, String> {
        let Self { event_store, bus, read_models, .. } = self;
        let workspace = self.workspace();
        let report = |done, of| progress.set(done, of);
        let comparing = verify::compare(event_store, bus, read_models, &workspace, &report);
        let found = comparing.await.map_err(|failure| failure.to_string())?;
        let Told { mut findings, summary, faults } = Told::of(&found);
        let findings_total = findings.len();
        findings.truncate(FINDINGS_MAX);
        Ok(Verified { summary, findings, findings_total, faults })
    }

    async fn totals(&self, at: Timestamp, progress: &Progress) -> Result<TotalsThen, String> {
        self.add_up(at, progress).await.map_err(|failure| failure.to_string())
    }

    async fn export(&self, wanted: &ExportWanted, progress: &Progress) -> Result<Exported, String> {
        self.write(wanted, progress).await.map_err(|failure| failure.to_string())
    }
}
