//! `orderly import stock`: corrects the stock of each SKU of a file to its counted units.
//!
//! A correction is an adjustment by the difference between count and stock. The platform executes it only at the
//! revision at which the stock was read, so a sale at the same moment is not lost.

use std::{path::PathBuf, time::Duration, time::Instant};

use clap::Args;
use domain::{Revision, Sku};
use futures::{StreamExt, stream};
use indicatif::HumanCount;
use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{
    QuerySettings, TableOptions, TargetOptions,
    client::{CommandClient, Known, PostError, Refusal},
    keys::{Source, in_key, percent_encoded},
    rejects::Rejects,
    report::{Count, FileReport, Refusals},
    sales_file::HeldBack,
    stock_file::{self, StockFile},
};
use crate::{commands::Failure, progress::ProgressDisplay};

/// Times that a correction is decided again because the stock has changed meanwhile.
const ATTEMPTS_MAX: usize = 20;
/// The query API is some milliseconds behind.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub struct StockOptions {
    /// Table with the columns `sku` and `count`: the units on hand, those reserved for orders included.
    file: PathBuf,

    #[command(flatten)]
    table: TableOptions,

    #[command(flatten)]
    target: TargetOptions,

    #[command(flatten)]
    query: QuerySettings,
}

#[derive(Serialize)]
struct AdjustmentBody {
    delta: i64,
    reason: &'static str,
}

impl AdjustmentBody {
    fn by(delta: i64) -> Self {
        Self { delta, reason: "count" }
    }
}

/// The levels of a SKU, from either API.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Levels {
    on_hand: u32,
    revision: Revision,
}

/// One SKU of the file.
struct Counted<'a> {
    sku: &'a Sku,
    units: u32,
    path: String,
    key: String,
}

impl Counted<'_> {
    /// The key of the correction that is sent last, and only if no other was refused. So a file with a known last
    /// correction was imported in whole, and SKUs without a correction had their count already.
    fn last_key(&self) -> String {
        format!("{}/last", self.key)
    }
}

enum Outcome {
    Corrected { delta: i64 },
    Agrees,
    Before,
}

struct StockImport {
    command: CommandClient,
    query: CommandClient,
    concurrency: usize,
}

/// Fails if a request was refused.
pub async fn run(options: StockOptions) -> Result<(), Failure> {
    let started = Instant::now();
    let StockOptions { file: path, table, target, query } = options;
    let import = StockImport {
        command: target.client()?,
        query: query.client(&target)?,
        concurrency: target.concurrency.into(),
    };
    import.command.check().await?;
    let mut rejects = Rejects::new(target.rejects_path(&path));
    let reading = path.clone();
    let (file, rejects) = tokio::task::spawn_blocking(move || {
        stock_file::read(&reading, table.dialect(), &table.columns, &mut rejects).map(|file| (file, rejects))
    })
    .await?
    .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    let rejected = rejects.finish()?;
    if !target.skip_bad_rows {
        rejected.refuse(&path, "counts")?;
    }
    let source = target.source.clone().unwrap_or_else(|| Source::new("stock"));
    let prefix = source.keys().record(&file.content_id);
    let counts = import.counts(&file, &prefix).await?;
    let mut report = StockReport {
        file: FileReport {
            started,
            id: file.content_id.clone(),
            source: source.to_string(),
            encoding: Some(file.encoding),
            rows: file.rows,
            trimmed: file.trimmed,
            rejected,
            held_back: HeldBack::default(),
        },
        skus: Count::default(),
        agreed: 0,
        added: 0,
        removed: 0,
        refusals: Refusals::default(),
    };
    import.correct(counts, &mut report).await?;
    print!("{report}");
    match report.refusals.count() {
        0 => Ok(()),
        count => Err(Failure::new(format!("{count} corrections were refused"))),
    }
}

/// The SKUs of a file: those that an earlier run has corrected, and the others.
struct Counts<'a> {
    before: u64,
    open: Vec<Counted<'a>>,
}

impl StockImport {
    /// Looks for the corrections of an earlier run.
    async fn counts<'a>(&self, file: &'a StockFile, prefix: &str) -> Result<Counts<'a>, Failure> {
        let counted = file.counts.iter().map(|(sku, units)| Counted {
            sku,
            units: *units,
            path: format!("/v1/stock/{}", percent_encoded(sku.as_str())),
            key: format!("{prefix}/{}", in_key(sku.as_str())),
        });
        let looks = stream::iter(counted).map(async |counted| {
            let is_known = self.is_known(&counted, &counted.key).await?;
            let is_last = !is_known && self.is_known(&counted, &counted.last_key()).await?;
            Ok::<_, PostError>((counted, is_known, is_last))
        });
        let mut looks = looks.buffered(self.concurrency);
        let (mut open, mut is_whole) = (Vec::new(), false);
        while let Some(looked) = looks.next().await {
            let (counted, is_known, is_last) = looked?;
            is_whole |= is_last;
            if !is_known {
                open.push(counted);
            }
        }
        if is_whole {
            open.clear();
        }
        Ok(Counts { before: (file.counts.len() - open.len()) as u64, open })
    }

    async fn is_known(&self, counted: &Counted<'_>, key: &str) -> Result<bool, PostError> {
        let path = format!("{}/adjustments", counted.path);
        let known = self.command.look_up::<IgnoredAny>(&path, key, &AdjustmentBody::by(1)).await?;
        Ok(!matches!(known, Known::New))
    }

    async fn correct(&self, counts: Counts<'_>, report: &mut StockReport) -> Result<(), Failure> {
        report.skus.add(counts.before, true);
        let mut open = counts.open;
        let progress = ProgressDisplay::start("SKUs counted", open.len() as u64);
        let Some(last) = self.last_to_correct(&open).await? else {
            report.skus.add(open.len() as u64, false);
            report.agreed += open.len() as u64;
            return Ok(());
        };
        let last = open.remove(last);
        let corrections =
            stream::iter(&open).map(async |counted| (counted, self.correct_one(counted, &counted.key).await));
        let mut corrections = corrections.buffer_unordered(self.concurrency);
        while let Some((counted, outcome)) = corrections.next().await {
            progress.advance();
            report.add(counted, outcome)?;
        }
        let key = if report.refusals.count() == 0 { last.last_key() } else { last.key.clone() };
        let outcome = self.correct_one(&last, &key).await;
        progress.advance();
        report.add(&last, outcome)
    }

    /// One SKU whose stock differs from its count.
    async fn last_to_correct(&self, open: &[Counted<'_>]) -> Result<Option<usize>, PostError> {
        let levels = stream::iter(open)
            .map(async |counted| Ok::<_, PostError>((counted.units, self.levels(counted).await?)));
        let mut levels = levels.buffered(self.concurrency).enumerate();
        let mut last = None;
        while let Some((index, read)) = levels.next().await {
            let (units, levels) = read?;
            if levels.map_or(0, |levels| levels.on_hand) != units {
                last = Some(index);
            }
        }
        Ok(last)
    }

    async fn correct_one(&self, counted: &Counted<'_>, key: &str) -> Result<Outcome, PostError> {
        let path = format!("{}/adjustments", counted.path);
        for _ in 0..ATTEMPTS_MAX {
            let levels = self.levels(counted).await?;
            let delta = i64::from(counted.units) - levels.map_or(0, |levels| i64::from(levels.on_hand));
            if delta == 0 {
                return Ok(Outcome::Agrees);
            }
            let body = AdjustmentBody::by(delta);
            let sent = match levels {
                Some(levels) => self.command.post_at::<Levels>(&path, key, &body, levels.revision).await,
                // A SKU without a stream has no revision.
                None => self.command.post::<Levels>(&path, key, &body).await,
            };
            match sent {
                Ok(answer) if answer.replayed => return Ok(Outcome::Before),
                Ok(answer) if answer.body.on_hand == counted.units => {
                    return Ok(Outcome::Corrected { delta });
                }
                Ok(answer) => {
                    let detail = format!(
                        "the stock is {} after a first receipt at the same moment",
                        answer.body.on_hand
                    );
                    return Err(Refusal::new("count_differs", detail).into());
                }
                Err(PostError::Refused(refusal)) if refusal.code == "precondition_failed" => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(PostError::Refused(refusal)) if refusal.code == "idempotency_key_reused" => {
                    return Ok(Outcome::Before);
                }
                Err(error) => return Err(error),
            }
        }
        Err(Refusal::new("conflict", "the stock keeps changing: import the file once more").into())
    }

    /// `None` for a SKU that never had stock.
    async fn levels(&self, counted: &Counted<'_>) -> Result<Option<Levels>, PostError> {
        match self.query.get(&counted.path).await {
            Ok(levels) => Ok(Some(levels)),
            Err(PostError::Refused(refusal)) if refusal.code == "not_found" => Ok(None),
            Err(error) => Err(error),
        }
    }
}

struct StockReport {
    file: FileReport,
    skus: Count,
    /// SKUs whose stock was the count.
    agreed: u64,
    added: u64,
    removed: u64,
    refusals: Refusals,
}

impl StockReport {
    fn add(&mut self, counted: &Counted<'_>, outcome: Result<Outcome, PostError>) -> Result<(), Failure> {
        match outcome {
            Ok(Outcome::Before) => self.skus.add(1, true),
            Ok(Outcome::Agrees) => {
                self.skus.add(1, false);
                self.agreed += 1;
            }
            Ok(Outcome::Corrected { delta }) => {
                self.skus.add(1, false);
                let units = if delta > 0 { &mut self.added } else { &mut self.removed };
                *units += delta.unsigned_abs();
            }
            Err(PostError::Refused(refusal)) => self.refusals.add(counted.sku, &refusal),
            Err(unreachable @ PostError::Unreachable { .. }) => return Err(unreachable.into()),
        }
        Ok(())
    }
}

impl std::fmt::Display for StockReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file)?;
        writeln!(f, "SKUs         {}", self.skus)?;
        writeln!(f, "agreed       {}", HumanCount(self.agreed))?;
        writeln!(f, "added        {} units", HumanCount(self.added))?;
        writeln!(f, "removed      {} units", HumanCount(self.removed))?;
        write!(f, "refused      {}", self.refusals)
    }
}
