//! `orderly bench`: drives a server over HTTP and checks that the read models hold every acknowledged order.
//! Each part runs beside its baseline. `docs/benchmarks.md` explains the figures.

mod append;
mod buyer;
mod client;
mod dataset;
pub mod echo;
mod hot;
mod load;
mod queries;
mod read_back;
mod rebuild;
mod report;
mod server;
mod setup;
mod spread;
mod tables;
mod usage;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};

use self::{dataset::Dataset, report::BenchReport, server::Target, setup::BenchSetup};
use super::Failure;
use crate::config::{ApiUrl, CallerSettings, Settings, parse_duration};

/// Orders of the short history.
const SHORT_HISTORY_ORDERS: u64 = 10_000;

/// Each kind of query runs for a fifth of a load's duration, because there are 16 kinds.
const QUERY_DURATION_DIVISOR: u32 = 5;

#[derive(Debug, Args)]
pub struct BenchOptions {
    /// Part to measure.
    #[arg(value_enum, default_value = "all")]
    part: Part,

    /// Clients that place orders. Each has one request under way.
    #[arg(
        long,
        value_name = "N",
        default_value = "64",
        value_parser = clap::value_parser!(u16).range(1..=1_024)
    )]
    clients: u16,

    /// Duration of each load, for example 10s or 1m.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = load_duration)]
    duration: Duration,

    /// Orders of the long history, for `queries` and `rebuild`.
    #[arg(
        long,
        value_name = "N",
        default_value = "100000",
        value_parser = clap::value_parser!(u64).range(1_000..=10_000_000)
    )]
    orders: u64,

    /// Parent of the temporary data directories. The speed of its disk is part of the result.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,

    /// Also write the figures as JSON. `-` is standard output; the tables then go to standard error.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Drive this running server instead of starting one. The benchmark fills it with orders.
    #[arg(long, env = "ORDERLY_COMMAND_URL", value_name = "URL", requires = "query_url")]
    command_url: Option<ApiUrl>,

    /// The query API of the same server.
    #[arg(long, env = "ORDERLY_QUERY_URL", value_name = "URL", requires = "command_url")]
    query_url: Option<ApiUrl>,

    /// The admin address of the same server (its `ORDERLY_ADMIN_LISTEN`): `spread` then prints the server's calls to
    /// EventStoreDB and its processor time.
    #[arg(long, env = "ORDERLY_ADMIN_URL", value_name = "URL", requires = "command_url")]
    admin_url: Option<ApiUrl>,

    #[command(flatten)]
    caller: CallerSettings,

    /// Allow a running server on another machine.
    #[arg(long)]
    allow_remote: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Orders over a thousand SKUs, at full speed and at fixed rates.
    Spread,
    /// Orders on one SKU, then a sell-out.
    Hot,
    /// Latency of queries over a short and a long history.
    Queries,
    /// A rebuild of all read models.
    Rebuild,
    /// All parts; with a running server, `spread` and `hot`.
    All,
}

fn load_duration(text: &str) -> Result<Duration, String> {
    parse_duration(text, &(Duration::from_secs(1)..=Duration::from_hours(1)))
}

impl Part {
    /// True if the part generates a history in a new data directory. [`Part::All`] leaves such parts out if a
    /// server is running.
    fn needs_a_new_server(self) -> bool {
        match self {
            Self::Queries | Self::Rebuild => true,
            Self::Spread | Self::Hot | Self::All => false,
        }
    }
}

/// Measures the chosen parts. Stops its servers and deletes its files, also on Ctrl-C.
pub async fn run(settings: &Settings, options: BenchOptions) -> Result<(), Failure> {
    let running = match (&options.command_url, &options.query_url) {
        (Some(command), Some(query)) => {
            let urls = (command, query, options.admin_url.as_ref());
            Some(Target::running(urls, &options.caller, options.allow_remote).await?)
        }
        _ => None,
    };
    if running.is_some() && options.part.needs_a_new_server() {
        return Err(Failure::new(
            "queries and rebuild generate their own history and cannot use a running server: \
             remove --command-url and --query-url (ORDERLY_COMMAND_URL, ORDERLY_QUERY_URL)",
        ));
    }
    let BenchOptions { clients, duration, orders, dir, .. } = &options;
    let bench = BenchSetup {
        clients: (*clients).into(),
        duration: *duration,
        orders: *orders,
        dir: dir.clone(),
        running,
        event_store: settings.event_store(),
    };
    let report = tokio::select! {
        report = measure(&bench, options.part) => report?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            return Err(Failure::new("interrupted"));
        }
    };
    print(&report, options.json.as_deref())
}

async fn measure(bench: &BenchSetup, part: Part) -> Result<BenchReport, Failure> {
    let is_wanted = |this: Part| part == this || part == Part::All;
    let mut report = BenchReport {
        version: env!("CARGO_PKG_VERSION"),
        cores: std::thread::available_parallelism()?.get(),
        clients: bench.clients,
        load_duration_s: bench.duration.as_secs_f64(),
        spread: None,
        hot: None,
        rebuild: Vec::new(),
        queries: Vec::new(),
    };
    if is_wanted(Part::Spread) {
        report.spread = Some(spread::run(bench).await?);
    }
    if is_wanted(Part::Hot) {
        let spread = report.spread.as_ref().map(|spread| spread.spread);
        report.hot = Some(hot::run(bench, spread).await?);
    }
    if bench.running.is_none() && (is_wanted(Part::Queries) || is_wanted(Part::Rebuild)) {
        measure_histories(bench, is_wanted(Part::Queries), &mut report).await?;
    }
    Ok(report)
}

/// Queries need read models, so measuring queries also measures the rebuild.
async fn measure_histories(
    bench: &BenchSetup,
    with_queries: bool,
    report: &mut BenchReport,
) -> Result<(), Failure> {
    let is_compared = with_queries && bench.orders > SHORT_HISTORY_ORDERS;
    let short = is_compared.then_some(SHORT_HISTORY_ORDERS);
    for orders in short.into_iter().chain([bench.orders]) {
        let dataset = Dataset::make(bench, orders).await?;
        report.rebuild.push(rebuild::run(&dataset).await?);
        if with_queries {
            report.queries.push(queries::run(&dataset, bench.duration / QUERY_DURATION_DIVISOR).await?);
        }
    }
    Ok(())
}

fn print(report: &BenchReport, json: Option<&Path>) -> Result<(), Failure> {
    match json {
        Some(path) if path == Path::new("-") => {
            eprintln!("{report}");
            println!("{}", serde_json::to_string_pretty(report)?);
        }
        Some(path) => {
            println!("{report}");
            std::fs::write(path, serde_json::to_vec_pretty(report)?)?;
        }
        None => println!("{report}"),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
