//! `orderly import`: brings the records of files into a running platform, over HTTP.
//!
//! Every request carries an idempotency key made from the source of the file and the number of the record. So a
//! second run, also of a longer or re-saved file or after a crash, finds the earlier results and changes nothing.

mod cells;
mod changes;
pub(super) mod client;
mod columns;
mod dates;
mod decoding;
mod keys;
mod numbers;
mod orders;
mod refunds;
mod refunds_file;
pub mod rejects;
mod report;
mod sales;
pub mod sales_file;
mod stock;
mod stock_file;
mod table;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use clap::{Args, Subcommand};
use domain::Currency;
use encoding_rs::Encoding;
use jiff::tz::TimeZone;

use self::{
    changes::Changes,
    client::CommandClient,
    columns::ColumnChoice,
    dates::DateOrder,
    keys::Source,
    numbers::DecimalMark,
    orders::OrdersOptions,
    refunds_file::RefundsFile,
    rejects::{Rejected, Rejects},
    report::{FileReport, RefundsReport, SalesReport},
    sales::Import,
    sales_file::{SalesFile, SalesFormat},
    stock::StockOptions,
    table::{Dialect, Separator},
};
use super::Failure;
use crate::config::{CallerSettings, ClientUrl};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct ImportOptions {
    #[command(subcommand)]
    other: Option<OtherImport>,

    #[command(flatten)]
    sales: SalesOptions,
}

#[derive(Debug, Subcommand)]
enum OtherImport {
    /// Correct the stock of each SKU of a table to its counted units.
    Stock(StockOptions),
    /// Place the orders of a JSON Lines file: bodies of `POST /v1/orders`, each with an `id`.
    Orders(OrdersOptions),
}

#[derive(Debug, Args)]
struct SalesOptions {
    /// Table with one row per order line, plain or compressed (`.zst`). The columns of Online Retail and Online
    /// Retail II are known; `--column` names others.
    #[arg(required = true)]
    file: Option<PathBuf>,

    #[command(flatten)]
    table: TableOptions,

    /// Order of month and day in dates such as 12/1/2010, if no date of the file shows it.
    #[arg(long, value_name = "ORDER", value_enum)]
    date_order: Option<DateOrder>,

    /// Time zone of times without an offset from UTC, such as Europe/London. [default: Europe/London for the known
    /// columns of Online Retail, otherwise UTC]
    #[arg(long, value_name = "ZONE", value_parser = time_zone)]
    time_zone: Option<TimeZone>,

    /// Character before decimals, if no number of the file shows it.
    #[arg(long, value_name = "MARK", value_enum)]
    decimal: Option<DecimalMark>,

    /// Currency of all prices.
    #[arg(long, value_name = "CODE", default_value = "GBP")]
    currency: Currency,

    /// CSV file that matches the credit lines of FILE to sale lines, plain or compressed (`.zst`). These
    /// orders are shipped, and the credited units are returned and refunded.
    #[arg(long, value_name = "MATCHES")]
    refunds: Option<PathBuf>,

    /// CSV file for the rows that differ from their orders. [default: the name of FILE with `.changed.csv`]
    #[arg(long, value_name = "CHANGES")]
    changes: Option<PathBuf>,

    #[command(flatten)]
    target: TargetOptions,

    #[command(flatten)]
    query: QuerySettings,
}

/// How a table is written.
#[derive(Debug, Args)]
struct TableOptions {
    /// Character between columns, or `tab`. [default: the one that the header shows]
    #[arg(long, value_name = "CHAR")]
    separator: Option<Separator>,

    /// Encoding of the file, such as windows-1252. [default: found out]
    #[arg(long, value_name = "NAME", value_parser = encoding)]
    encoding: Option<&'static Encoding>,

    /// Header of a column, such as quantity="Qty". May be given several times.
    #[arg(long = "column", value_name = "NAME=HEADER")]
    columns: Vec<ColumnChoice>,
}

impl TableOptions {
    fn dialect(&self) -> Dialect {
        Dialect { separator: self.separator, encoding: self.encoding }
    }
}

/// Where an import goes, and under which keys.
#[derive(Debug, Args)]
struct TargetOptions {
    /// Name of the system that the file comes from. Records of one source with the same number are the same
    /// record, also in another file. [default: by the kind of the file]
    #[arg(long, value_name = "NAME")]
    source: Option<Source>,

    /// Import the other rows if some cannot be imported.
    #[arg(long)]
    skip_bad_rows: bool,

    /// CSV file for the rows that cannot be imported. [default: with --skip-bad-rows, the name of FILE with
    /// `.rejected.csv`]
    #[arg(long, value_name = "REJECTS")]
    rejects: Option<PathBuf>,

    /// Requests under way at once.
    #[arg(
        long,
        value_name = "N",
        default_value = "32",
        value_parser = clap::value_parser!(u16).range(1..=1024)
    )]
    concurrency: u16,

    /// URL of the command API.
    #[arg(long, env = "ORDERLY_COMMAND_URL", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    command_url: ClientUrl,

    #[command(flatten)]
    caller: CallerSettings,
}

impl TargetOptions {
    fn client(&self) -> Result<CommandClient, Failure> {
        Ok(CommandClient::new(&self.command_url, &self.caller, self.concurrency.into())?)
    }

    fn rejects_path(&self, file: &Path) -> Option<PathBuf> {
        let default = || self.skip_bad_rows.then(|| beside(file, "rejected.csv"));
        self.rejects.clone().or_else(default)
    }
}

#[derive(Debug, Args)]
struct QuerySettings {
    /// URL of the query API.
    #[arg(long, env = "ORDERLY_QUERY_URL", value_name = "URL", default_value = "http://127.0.0.1:8081")]
    query_url: ClientUrl,
}

impl QuerySettings {
    fn client(&self, target: &TargetOptions) -> Result<CommandClient, Failure> {
        Ok(CommandClient::new(&self.query_url, &target.caller, target.concurrency.into())?)
    }
}

fn time_zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| "expected a name such as Europe/London or UTC".to_owned())
}

fn encoding(name: &str) -> Result<&'static Encoding, String> {
    let expected = || "expected a name such as utf-8, windows-1252, iso-8859-15 or utf-16le".to_owned();
    Encoding::for_label(name.as_bytes()).ok_or_else(expected)
}

/// A file in the current directory: the name of `file` and an ending.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.file_name().unwrap_or(file.as_os_str()).to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// Fails if something of a file is not on the platform as it is in the file.
fn outcome(refused: u64, changed: u64) -> Result<(), Failure> {
    match (refused, changed) {
        (0, 0) => Ok(()),
        (0, changed) => {
            Err(Failure::new(format!("{changed} orders differ from the file, and stay as they are")))
        }
        (refused, 0) => Err(Failure::new(format!("{refused} requests were refused"))),
        (refused, changed) => Err(Failure::new(format!(
            "{refused} requests were refused, and {changed} orders differ from the file and stay as they are"
        ))),
    }
}

/// Imports a file. Fails if a request was refused, except for the expected refusals of refunds, or if an order
/// differs from its rows.
pub async fn run(options: ImportOptions) -> Result<(), Failure> {
    match options.other {
        None => import_sales(options.sales).await,
        Some(OtherImport::Stock(options)) => stock::run(options).await,
        Some(OtherImport::Orders(options)) => orders::run(options).await,
    }
}

async fn import_sales(options: SalesOptions) -> Result<(), Failure> {
    let started = Instant::now();
    let Some(path) = options.file.clone() else { return Err(Failure::new("no file is named")) };
    let (client, query) = (options.target.client()?, options.query.client(&options.target)?);
    client.check().await?;
    let (concurrency, source) = (usize::from(options.target.concurrency), options.target.source.clone());
    let (currency, skip_bad_rows) = (options.currency, options.target.skip_bad_rows);
    let mut changes = Changes::new(options.changes.clone().unwrap_or_else(|| beside(&path, "changed.csv")));
    let reading = path.clone();
    let read = tokio::task::spawn_blocking(move || read(&reading, &options)).await??;
    let ReadFiles { sales: file, rejected, refunds } = read;
    if !skip_bad_rows {
        rejected.refuse(&path, "invoices")?;
    }

    let source = source.unwrap_or_else(|| file.kind.source());
    let import = Import::of(&file, client, source.keys(), currency).await?;
    let named = if import.is_of_earlier_version {
        format!("{} (an earlier version of Orderly imported this very file)", file.id)
    } else {
        source.to_string()
    };
    let read = FileReport {
        started,
        id: file.id.clone(),
        source: named,
        encoding: Some(file.encoding),
        rows: file.rows,
        trimmed: file.trimmed,
        rejected,
        held_back: file.held_back,
    };
    let mut report = SalesReport::new(&file, currency, read);
    let imported = import.import(&file, concurrency, &mut report).await?;
    for sale in changes.compare(&imported.different, &query, concurrency).await? {
        report.received_for(sale, true);
        report.imported(sale, true);
    }
    report.changes = changes.finish()?;
    print!("{report}");
    let mut refused = report.refused();
    if let Some(refunds) = refunds {
        let mut refunds_report = RefundsReport::new(&refunds);
        import.refund(&refunds, &imported.orders, concurrency, &mut refunds_report).await?;
        print!("{refunds_report}");
        refused += refunds_report.refused_unexpectedly();
    }
    outcome(refused, report.changes.orders)
}

struct ReadFiles {
    sales: SalesFile,
    rejected: Rejected,
    refunds: Option<RefundsFile>,
}

fn read(path: &Path, options: &SalesOptions) -> Result<ReadFiles, Failure> {
    let format = SalesFormat {
        dialect: options.table.dialect(),
        columns: options.table.columns.clone(),
        date_order: options.date_order,
        decimal: options.decimal,
        time_zone: options.time_zone.clone(),
        keeps_credits: options.refunds.is_some(),
        ..SalesFormat::new(options.currency)
    };
    let mut rejects = Rejects::new(options.target.rejects_path(path));
    let parsed = sales_file::read(path, &format, &mut rejects);
    let sales = parsed.map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    let refunds = options.refunds.as_ref().map(|path| {
        let parsed = refunds_file::read(path, &sales);
        parsed.map_err(|error| Failure::new(format!("{}: {error}", path.display())))
    });
    let refunds = refunds.transpose()?;
    Ok(ReadFiles { rejected: rejects.finish()?, refunds, sales })
}
