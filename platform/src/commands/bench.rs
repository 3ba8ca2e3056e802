//! `orderly bench`: drives a server over HTTP, each part beside its baseline in the same run, and checks that what
//! the read models hold is what was acknowledged. `docs/benchmarks.md` says how to read it.

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
mod spread;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use tempfile::TempDir;

use self::{
    dataset::Dataset,
    report::Report,
    server::{Server, Target},
};
use super::Failure;
use crate::config::ApiUrl;

/// The short history that queries over a long one are compared with.
const SHORT_HISTORY_ORDERS: u64 = 10_000;

/// Each of the many kinds of queries is asked for a part of the time that a load takes.
const QUERIES_PER_LOAD: u32 = 5;

#[derive(Debug, Args)]
pub struct BenchOptions {
    /// What to measure.
    #[arg(value_enum, default_value = "all")]
    part: Part,

    /// Clients that place orders, one request under way each.
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    clients: u16,

    /// How long each load lasts, such as 10s or 1m.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = load_duration)]
    duration: Duration,

    /// Orders of the long history of `queries` and `rebuild`.
    #[arg(long, value_name = "N", default_value = "100000", value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    orders: u64,

    /// Where temporary data directories are made. Their disk is part of what is measured.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,

    /// Write the figures as JSON too; `-` is standard output, and the tables then go to standard error.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Drive this running server instead of one of its own. It is filled with orders that nobody wants.
    #[arg(long, env = "ORDERLY_COMMAND_URL", value_name = "URL", requires = "query_url")]
    command_url: Option<ApiUrl>,

    /// The query API of the same server.
    #[arg(long, env = "ORDERLY_QUERY_URL", value_name = "URL", requires = "command_url")]
    query_url: Option<ApiUrl>,

    /// Let the running server be another machine.
    #[arg(long)]
    allow_remote: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Orders over a thousand SKUs, at full and at half speed.
    Spread,
    /// Orders on one SKU, and a sell-out.
    Hot,
    /// Latency of queries over a short and a long history.
    Queries,
    /// Making all read models anew.
    Rebuild,
    All,
}

fn load_duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    let bounds = Duration::from_secs(1)..=Duration::from_hours(1);
    let duration = Duration::try_from(span).ok().filter(|duration| bounds.contains(duration));
    duration.ok_or_else(|| "expected a time from 1s to 1h".to_owned())
}

/// What all parts need to know.
struct Bench {
    clients: usize,
    duration: Duration,
    orders: u64,
    dir: PathBuf,
    running: Option<Target>,
}

impl Bench {
    /// The server to drive: a new one on a new data directory, which the caller stops, or the one that runs.
    async fn target(&self) -> Result<(Option<Server>, Target), Failure> {
        if let Some(target) = self.running {
            return Ok((None, target));
        }
        let server = Server::orderly(self.new_directory()?).await?;
        let target = server.target();
        Ok((Some(server), target))
    }

    fn new_directory(&self) -> Result<TempDir, Failure> {
        let made = tempfile::Builder::new().prefix("orderly-bench-").tempdir_in(&self.dir);
        made.map_err(|error| Failure::new(format!("--dir {}: {error}", self.dir.display())))
    }
}

/// Measures what was asked for, until done or interrupted; its servers end and its files go in either case.
pub async fn run(options: BenchOptions) -> Result<(), Failure> {
    let running = match (&options.command_url, &options.query_url) {
        (Some(command), Some(query)) => Some(Target::running(command, query, options.allow_remote).await?),
        _ => None,
    };
    if running.is_some() && matches!(options.part, Part::Queries | Part::Rebuild) {
        return Err(Failure::new(
            "queries and rebuild make a history of their own and cannot use a running server: \
             leave --command-url and --query-url (ORDERLY_COMMAND_URL, ORDERLY_QUERY_URL) out",
        ));
    }
    let BenchOptions { clients, duration, orders, dir, .. } = &options;
    let bench =
        Bench { clients: (*clients).into(), duration: *duration, orders: *orders, dir: dir.clone(), running };
    let report = tokio::select! {
        report = measure(&bench, options.part) => report?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            return Err(Failure::new("interrupted"));
        }
    };
    print(&report, options.json.as_deref())
}

async fn measure(bench: &Bench, part: Part) -> Result<Report, Failure> {
    let is_wanted = |this: Part| part == this || part == Part::All;
    let mut report = Report {
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

/// Queries need read models, so whoever asks for queries gets the rebuild's figures as well.
async fn measure_histories(bench: &Bench, with_queries: bool, report: &mut Report) -> Result<(), Failure> {
    let is_compared = with_queries && bench.orders > SHORT_HISTORY_ORDERS;
    let short = is_compared.then_some(SHORT_HISTORY_ORDERS);
    for orders in short.into_iter().chain([bench.orders]) {
        let dataset = Dataset::make(bench, orders).await?;
        report.rebuild.push(rebuild::run(&dataset).await?);
        if with_queries {
            report.queries.push(queries::run(&dataset, bench.duration / QUERIES_PER_LOAD).await?);
        }
    }
    Ok(())
}

fn print(report: &Report, json: Option<&Path>) -> Result<(), Failure> {
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
