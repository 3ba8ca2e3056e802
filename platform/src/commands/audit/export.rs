//! `orderly audit export`: the events, orders, payments and stock movements of a period as files for an auditor.
//!
//! Everything comes from the log. The directory appears under its name when it is complete.

mod manifest;
mod rows;
mod table;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use clap::{Args, ValueEnum};
use domain::{RecordedEvent, StreamName, Timestamp, stock::StockLevels};
use infra::event_store::EventLog;
use projectors::{
    as_of::{Faults, FoldedStream, StreamState, Visitor, visit},
    replay::Workspace,
};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use self::{
    manifest::Sums,
    rows::{OrderRow, PaymentRow, StockMovement, write_event},
    table::Table,
};
pub use self::{
    manifest::{Manifest, Period},
    table::FileEntry,
};
use super::{
    Failure, Output,
    totals::{read, refuse},
};
use crate::progress::ProgressDisplay;

/// The file that describes the others.
pub const MANIFEST: &str = "manifest.json";

#[derive(Debug, Args)]
pub struct ExportOptions {
    /// A new directory, or an empty one.
    directory: PathBuf,

    /// The begin of the period, inclusive, for example 2026-01-01T00:00:00Z. By default: the begin of the log.
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,

    /// The end of the period, exclusive. By default: now.
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,

    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
}

/// The format of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Csv,
    /// One JSON object per line.
    Jsonl,
}

impl Format {
    fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

pub(super) async fn export(log: &dyn EventLog, options: ExportOptions) -> Result<(), Failure> {
    let ExportOptions { directory, from, to, format } = options;
    let to = to.unwrap_or_else(Timestamp::now);
    let place = Place::new(&directory)?;
    let workspace = Workspace::new(place.temporary.path().to_owned());
    let progress = ProgressDisplay::start("events read", 0);
    let report = |done, total| progress.set(done, total);
    let (manifest, faults) = write(log, &workspace, Period { from, to }, format, &report).await?;
    drop(progress);
    spawn_blocking(move || place.complete()).await??;
    let mut output = Output::new();
    for file in &manifest.files {
        output.line(format_args!("{}  {} rows  sha256 {}", file.name, file.rows, file.sha256))?;
    }
    output.finish()?;
    refuse(&faults)
}

/// Writes the files of an export into the directory of `workspace`, the manifest last.
pub async fn write(
    log: &dyn EventLog,
    workspace: &Workspace,
    period: Period,
    format: Format,
    report: super::Report<'_>,
) -> Result<(Manifest, Faults), Failure> {
    let from = period.from.unwrap_or(Timestamp::MIN);
    if from >= period.to {
        return Err(Failure::new("the end of the period is exclusive and must be later than its begin"));
    }
    let directory = workspace.directory.clone();
    let events = Arc::new(Mutex::new(EventsTable::create(&directory, format)?));
    let take = {
        let events = Arc::clone(&events);
        move |event: &RecordedEvent| {
            if event.recorded_at < from {
                return Ok(());
            }
            events.lock().unwrap_or_else(PoisonError::into_inner).add(event)
        }
    };
    let mut by_stream = read(log, period.to, workspace, report, take).await?;
    let (position, store_id) = (by_stream.last, log.store_id());
    let writing = spawn_blocking(move || {
        let mut tables = Tables::create(&directory, format, from)?;
        let faults = visit(&mut by_stream, &mut tables)?;
        drop(by_stream);
        let events = Arc::into_inner(events).ok_or_else(|| io::Error::other("the events are still read"))?;
        let events = events.into_inner().unwrap_or_else(PoisonError::into_inner).finish()?;
        let files = [vec![events], tables.finish()?].concat();
        let manifest = Manifest::new(store_id, period, position, files, &faults);
        let mut file = File::create_new(directory.join(MANIFEST))?;
        serde_json::to_writer_pretty(&mut file, &manifest)?;
        file.sync_all()?;
        Ok::<_, io::Error>((manifest, faults))
    });
    Ok(writing.await??)
}

/// Where the export is written, and where it belongs.
struct Place {
    temporary: TempDir,
    directory: PathBuf,
}

impl Place {
    fn new(directory: &Path) -> Result<Self, Failure> {
        let refused = |why: &str| Failure::new(format!("{} {why}", directory.display()));
        match fs::read_dir(directory).map(|mut entries| entries.next().is_none()) {
            Ok(true) => {}
            Ok(false) => return Err(refused("is not empty; name a new directory")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(refused(&format!("cannot be used: {error}"))),
        }
        let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let temporary = tempfile::Builder::new().prefix(".orderly-export-").tempdir_in(parent);
        let temporary = temporary
            .map_err(|error| Failure::new(format!("cannot write in {}: {error}", parent.display())))?;
        Ok(Self { temporary, directory: directory.to_owned() })
    }

    /// Gives the directory its name.
    fn complete(self) -> io::Result<()> {
        File::open(self.temporary.path())?.sync_all()?;
        // Replaces an empty directory only.
        fs::rename(self.temporary.path(), &self.directory)?;
        // Nothing is left to delete.
        let _ = self.temporary.keep();
        Ok(())
    }
}

/// The table of events, in the order of the log.
struct EventsTable {
    table: Table,
    sums: Sums,
}

impl EventsTable {
    fn create(directory: &Path, format: Format) -> io::Result<Self> {
        Ok(Self { table: Table::create(directory, "events", format)?, sums: Sums::new() })
    }

    fn add(&mut self, event: &RecordedEvent) -> io::Result<()> {
        let of_type = self.sums.entry(event.type_name.to_string()).or_default();
        *of_type.entry("events").or_default() += 1;
        write_event(&mut self.table, event)
    }

    fn finish(self) -> io::Result<FileEntry> {
        self.table.finish(self.sums)
    }
}

/// The tables that are folded from the events of each stream.
struct Tables {
    /// Streams without an event since then have no row.
    from: Timestamp,
    orders: Table,
    payments: Table,
    stock_ledger: Table,
    order_sums: Sums,
    payment_sums: Sums,
    stock_sums: Sums,
    /// Before the event that comes next in a stock stream.
    levels: StockLevels,
}

impl Tables {
    fn create(directory: &Path, format: Format, from: Timestamp) -> io::Result<Self> {
        let table = |name| Table::create(directory, name, format);
        Ok(Self {
            from,
            orders: table("orders")?,
            payments: table("payments")?,
            stock_ledger: table("stock_ledger")?,
            order_sums: Sums::new(),
            payment_sums: Sums::new(),
            stock_sums: Sums::new(),
            levels: StockLevels::default(),
        })
    }

    fn finish(self) -> io::Result<Vec<FileEntry>> {
        Ok(vec![
            self.orders.finish(self.order_sums)?,
            self.payments.finish(self.payment_sums)?,
            self.stock_ledger.finish(self.stock_sums)?,
        ])
    }
}

impl Visitor for Tables {
    type Error = io::Error;

    fn event(&mut self, event: &RecordedEvent, stream: &FoldedStream) -> io::Result<()> {
        let (StreamState::Stock(stock), StreamName::Stock(sku)) = (&stream.state, &stream.name) else {
            return Ok(());
        };
        let before = if stream.revision == 0 { StockLevels::default() } else { self.levels };
        self.levels = stock.levels();
        if event.recorded_at < self.from {
            return Ok(());
        }
        let movement = StockMovement::of(sku, event, before, self.levels).map_err(io::Error::other)?;
        movement.add_to(&mut self.stock_sums);
        self.stock_ledger.row(&movement)
    }

    fn end(&mut self, stream: &FoldedStream) -> io::Result<()> {
        if stream.updated_at < self.from {
            return Ok(());
        }
        match &stream.state {
            StreamState::Order(order) => {
                let row = OrderRow::of(stream, order);
                row.add_to(&mut self.order_sums);
                self.orders.row(&row)
            }
            StreamState::Payment(payment) => {
                let row = PaymentRow::of(stream, payment);
                row.add_to(&mut self.payment_sums);
                self.payments.row(&row)
            }
            StreamState::Stock(_) | StreamState::Other => Ok(()),
        }
    }
}
