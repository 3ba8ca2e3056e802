//! `orderly import orders`: places the orders of a JSON Lines file, each line the body of `POST /v1/orders` with an
//! `id` of its source.
//!
//! Reads the file twice, to check all of it before the first request, and holds only a hash of each id.

use std::{
    collections::{HashMap, hash_map::Entry},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Args;
use domain::text;
use futures::{StreamExt, stream};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::{
    TargetOptions,
    changes::{Changes, ChangesFound},
    client::{Answer, CommandClient, PostError},
    keys::{Keys, Source, hex_of},
    rejects::{Rejected, Rejects, RowListError},
    report::{Count, FileReport, Refusals},
    sales_file::HeldBack,
    table::open,
};
use crate::{commands::Failure, progress::ProgressDisplay};

/// The command API's limit for a body.
const LINE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Orders that are read ahead of the requests.
const READ_AHEAD: usize = 64;

#[derive(Debug, Args)]
pub struct OrdersOptions {
    /// JSON Lines in UTF-8, plain or compressed (`.zst`): `{"id": "4711", "currency": "GBP", "lines": […], …}`.
    file: PathBuf,

    /// CSV file for the lines that differ from their orders. [default: the name of FILE with `.changed.csv`]
    #[arg(long, value_name = "CHANGES")]
    changes: Option<PathBuf>,

    #[command(flatten)]
    target: TargetOptions,
}

/// An order of the file.
#[derive(Debug)]
struct Record {
    line: u64,
    id: String,
    body: Map<String, Value>,
}

#[derive(Debug, thiserror::Error)]
enum OrdersFileError {
    #[error("the file cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is read twice, so it cannot be a pipe")]
    NoFile,
    #[error(transparent)]
    Rejects(#[from] RowListError),
}

/// Fails if a request was refused or an order differs.
pub async fn run(options: OrdersOptions) -> Result<(), Failure> {
    let started = Instant::now();
    let OrdersOptions { file: path, changes, target } = options;
    let client = target.client()?;
    client.check().await?;
    let (rejects, checking) = (Rejects::new(target.rejects_path(&path)), path.clone());
    let checked = tokio::task::spawn_blocking(move || check(&checking, rejects)).await?;
    let Checked { id, lines, orders, rejected } =
        checked.map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    if !target.skip_bad_rows {
        rejected.refuse(&path, "orders")?;
    }
    let source = target.source.clone().unwrap_or_else(|| Source::new("orders"));
    let mut report = OrdersReport {
        file: FileReport {
            started,
            id,
            source: source.to_string(),
            encoding: None,
            rows: lines,
            trimmed: 0,
            rejected,
            held_back: HeldBack::default(),
        },
        orders: Count::default(),
        changes: ChangesFound::default(),
        refusals: Refusals::default(),
    };
    let mut changes = Changes::new(changes.unwrap_or_else(|| super::beside(&path, "changed.csv")));
    let placing = Placing { client, keys: source.keys(), concurrency: target.concurrency.into() };
    placing.place(path, orders, &mut changes, &mut report).await?;
    report.changes = changes.finish()?;
    print!("{report}");
    super::outcome(report.refusals.count(), report.changes.orders)
}

struct Placing {
    client: CommandClient,
    keys: Keys,
    concurrency: usize,
}

impl Placing {
    async fn place(
        &self,
        path: PathBuf,
        orders: u64,
        changes: &mut Changes,
        report: &mut OrdersReport,
    ) -> Result<(), Failure> {
        let (sender, receiver) = mpsc::channel(READ_AHEAD);
        let reading = tokio::task::spawn_blocking(move || -> Result<(), OrdersFileError> {
            read(&path, |line| {
                // The receiver is gone if a request has failed for good.
                Ok(line.parsed.map_or(true, |record| sender.blocking_send(record).is_ok()))
            })
            .map(drop)
        });
        let progress = ProgressDisplay::start("orders placed", orders);
        let records = stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
        let placements = records.map(async |record| {
            let key = self.keys.record(&record.id);
            let placed = self.client.post::<IgnoredAny>("/v1/orders", &key, &record.body).await;
            (record, placed)
        });
        let mut outcomes = std::pin::pin!(placements.buffer_unordered(self.concurrency));
        while let Some((record, outcome)) = outcomes.next().await {
            progress.advance();
            match outcome {
                Ok(Answer { replayed, .. }) => report.orders.add(1, replayed),
                Err(PostError::Refused(refusal)) if refusal.code == "idempotency_key_reused" => {
                    changes.add(
                        record.line,
                        &record.id,
                        refusal.order_id,
                        "the line differs from its order",
                    )?;
                }
                Err(PostError::Refused(refusal)) => report.refusals.add(&record.id, &refusal),
                Err(unreachable @ PostError::Unreachable { .. }) => return Err(unreachable.into()),
            }
        }
        Ok(reading.await??)
    }
}

/// What the first reading finds.
struct Checked {
    id: String,
    lines: u64,
    orders: u64,
    rejected: Rejected,
}

fn check(path: &Path, mut rejects: Rejects) -> Result<Checked, OrdersFileError> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(OrdersFileError::NoFile);
    }
    rejects.set_headers(&["text".to_owned()]);
    let (mut lines, mut orders) = (0, 0);
    let id = read(path, |Line { number, text, parsed }| {
        lines += 1;
        match parsed {
            Ok(_) => orders += 1,
            Err(reason) => rejects.add(number, &reason, [String::from_utf8_lossy(text).as_ref()])?,
        }
        Ok(true)
    })?;
    Ok(Checked { id, lines, orders, rejected: rejects.finish()? })
}

/// A line that is not blank.
struct Line<'a> {
    number: u64,
    text: &'a [u8],
    /// The order, or why the line has none.
    parsed: Result<Record, String>,
}

/// Gives each line that is not blank to `take`, until it returns false. Returns the first 32 hex digits of the
/// SHA-256 of the lines.
fn read(
    path: &Path,
    mut take: impl FnMut(Line<'_>) -> Result<bool, OrdersFileError>,
) -> Result<String, OrdersFileError> {
    let mut content = BufReader::new(open(path)?);
    // Lines by the hash of their id.
    let mut seen: HashMap<[u8; 16], u64> = HashMap::new();
    let mut hash = Sha256::new();
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        if content.by_ref().take(limit).read_until(b'\n', &mut text)? == 0 {
            break;
        }
        hash.update(&text);
        let is_too_long = text.len() > LINE_BYTES_MAX;
        if is_too_long {
            skip_line(&mut content)?;
        }
        let line = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text).trim_ascii();
        if line.is_empty() {
            continue;
        }
        let parsed = if is_too_long {
            Err(format!("the line has more than {LINE_BYTES_MAX} bytes"))
        } else {
            parse(number, line).and_then(|record| first_of_its_id(record, &mut seen))
        };
        if !take(Line { number, text: line, parsed })? {
            break;
        }
    }
    Ok(hex_of(&hash.finalize())[..32].to_owned())
}

/// Passes over the rest of a line without holding it.
fn skip_line(content: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = content.fill_buf()?;
        let (count, is_end) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(index) => (index + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        content.consume(count);
        if is_end {
            return Ok(());
        }
    }
}

fn parse(line: u64, text: &[u8]) -> Result<Record, String> {
    let mut body: Map<String, Value> =
        serde_json::from_slice(text).map_err(|error| format!("the line is not a JSON object: {error}"))?;
    let id = match body.remove("id") {
        Some(Value::String(id)) => id,
        Some(Value::Number(id)) if id.is_u64() => id.to_string(),
        Some(_) => return Err("id is neither a text nor a whole number".to_owned()),
        None => return Err("id is missing: it names the order in its source".to_owned()),
    };
    text::check(&id).map_err(|error| format!("id {error}"))?;
    Ok(Record { line, id, body })
}

fn first_of_its_id(record: Record, seen: &mut HashMap<[u8; 16], u64>) -> Result<Record, String> {
    let mut hash = [0; 16];
    hash.copy_from_slice(&Sha256::digest(record.id.as_bytes())[..16]);
    match seen.entry(hash) {
        Entry::Vacant(entry) => {
            entry.insert(record.line);
            Ok(record)
        }
        Entry::Occupied(entry) => Err(format!("line {} has the id {:?} too", entry.get(), record.id)),
    }
}

struct OrdersReport {
    file: FileReport,
    orders: Count,
    changes: ChangesFound,
    refusals: Refusals,
}

impl std::fmt::Display for OrdersReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file)?;
        writeln!(f, "orders       {}", self.orders)?;
        writeln!(f, "changed      {}", self.changes)?;
        write!(f, "refused      {}", self.refusals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &[u8]) -> Vec<Result<String, String>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("orders.jsonl");
        std::fs::write(&path, text).unwrap();
        let mut all = Vec::new();
        read(&path, |line| {
            all.push(line.parsed.map(|record| format!("{}: {} {:?}", record.line, record.id, record.body)));
            Ok(true)
        })
        .unwrap();
        all
    }

    #[test]
    fn each_line_is_an_order_with_its_id() {
        let text = "\u{feff}{\"id\": \"a\", \"currency\": \"GBP\"}\r\n\n{\"currency\": \"EUR\", \"id\": 7}";
        assert_eq!(
            read_all(text.as_bytes()),
            [
                Ok("1: a {\"currency\": String(\"GBP\")}".to_owned()),
                Ok("3: 7 {\"currency\": String(\"EUR\")}".to_owned())
            ]
        );
    }

    #[test]
    fn lines_without_one_order_are_refused_with_the_reason() {
        for (line, reason) in [
            ("[1]", "not a JSON object"),
            ("{\"id\": \"b\"", "not a JSON object"),
            ("{\"currency\": \"GBP\"}", "id is missing"),
            ("{\"id\": 1.5}", "neither a text nor a whole number"),
            ("{\"id\": \"\"}", "id has 1 to 500 characters"),
            ("{\"id\": \"a\"}", "line 1 has the id \"a\" too"),
        ] {
            let read = read_all(format!("{{\"id\": \"a\"}}\n{line}\n").as_bytes());
            assert!(read[0].is_ok());
            let error = read[1].as_ref().unwrap_err();
            assert!(error.contains(reason), "{error} for {line}");
        }
        let long = format!("{{\"id\": \"{}\"}}\n{{\"id\": \"a\"}}\n", "x".repeat(LINE_BYTES_MAX));
        let read = read_all(long.as_bytes());
        assert!(read[0].as_ref().unwrap_err().contains("more than"));
        assert!(read[1].is_ok());
    }
}
