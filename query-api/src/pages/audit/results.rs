//! What runs over the whole log are doing, and what they have found.

use domain::Currency;
use jiff::SignedDuration;
use maud::{Markup, html};

use super::{
    auditor::{Exported, ExportedFile, TotalsThen, Verified},
    desk::{Answer, Ended, Run, Runs, Task},
};
use crate::pages::{
    format::{Tone, age, chip, count, decimal, time},
    view::View,
};

/// The script asks for the progress as often.
const REFRESHED_EVERY_MS: u32 = 1_000;

/// What a run costs, in words.
const COST: &str = "One run at a time reads the whole log once, beside the other work: up to two processors, 100 MB of \
                    memory, and until it ends about as much disk space as the log. Orders can take longer meanwhile: on \
                    a busy machine, run ";

/// The run under way, if there is one.
pub(super) fn running(view: &View, runs: &Runs) -> Markup {
    let every = runs.running.as_ref().map(|_| REFRESHED_EVERY_MS);
    html! {
        section.panel #run data-live data-every=[every] {
            h2 { "Now" }
            @match &runs.running {
                None => p.muted data-announce { "No run is under way." },
                Some(run) => (progress(view, run)),
            }
            p.muted { (COST) code { "nice orderly audit" } "." }
        }
    }
}

fn progress(view: &View, run: &Run) -> Markup {
    let (done, of) = run.progress.get();
    html! {
        p data-announce { (chip("under way", Tone::Busy)) " " (what(view, run.task)) }
        @if of == 0 { p { "Begins to read the log." } }
        @else {
            progress max=(of) value=(done) aria-label="Events that were read" {}
            p {
                (count(done)) " of " (count(of)) " events read"
                @if done >= of { "; they are folded and compared now" }
                "."
            }
        }
        p.muted { "Started by " (run.by) " " (age(run.begun_at, view.now)) " ago. It goes on when you leave this page." }
    }
}

fn what(view: &View, task: Task) -> Markup {
    html! {
        @match task {
            Task::Verify => "Verification of the read models",
            Task::Totals(at) => { "Sums as of " (time(at, view)) },
            Task::Export(wanted) => {
                "Export of the events "
                @if let Some(from) = wanted.from { "from " (time(from, view)) " " }
                "before " (time(wanted.to, view)) " as " (wanted.format.as_str())
            },
        }
    }
}

/// The last run of a kind. `id`: of its part of the page.
pub(super) fn last(id: &str, view: &View, ended: Option<&Ended>) -> Markup {
    html! {
        div.stack id=(id) data-live {
            @if let Some(ended) = ended {
                @match &ended.result {
                    Err(why) => p.notice.bad {
                        "The run has failed: " (why) ". The command does the same on any machine that reaches the stores."
                    },
                    Ok(Answer::Verified(verified)) => (verification(verified)),
                    Ok(Answer::Totals(totals)) => (sums(totals)),
                    Ok(Answer::Exported(exported)) => (files(exported)),
                }
                p.muted {
                    (what(view, ended.run.task)) ", by " (ended.run.by) ", ended " (time(ended.at, view)) " after "
                    (lasted(ended.at.duration_since(ended.run.begun_at)))
                }
            }
        }
    }
}

fn lasted(duration: SignedDuration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        seconds => format!("{} s", count(seconds.unsigned_abs())),
    }
}

fn verification(verified: &Verified) -> Markup {
    let left_out = verified.findings_total - verified.findings.len();
    html! {
        @if verified.faults.is_empty() {
            p.notice.good { strong { "No difference. " } (verified.summary) "." }
        } @else {
            div.notice.bad {
                ul { @for fault in &verified.faults { li { (fault) } } }
                p { (verified.summary) "." }
            }
            div.box role="region" aria-label="Differences" tabindex="0" {
                ul.findings { @for finding in &verified.findings { li.wrap { code { (finding) } } } }
            }
            @if left_out > 0 {
                p.muted { (count(left_out)) " more: " code { "orderly audit verify" } " prints them." }
            }
        }
    }
}

fn sums(totals: &TotalsThen) -> Markup {
    html! {
        @if let Some(fault) = &totals.fault { p.notice.bad { (fault) } }
        div.box role="region" aria-label="Sums by currency" tabindex="0" {
            table {
                caption.visually-hidden { "Sums by currency" }
                thead {
                    tr {
                        th { "Currency" } th.number { "Orders" } th.number { "Total" } th.number { "Owed" }
                        th.number { "Captured" } th.number { "Refunded" } th.number { "Disputed" }
                    }
                }
                tbody {
                    @for sums in &totals.currencies {
                        @let currency: Option<Currency> = sums.currency.parse().ok();
                        tr {
                            td { (sums.currency) }
                            td.number { (decimal(sums.orders, None)) }
                            @for amount in [sums.total, sums.owed, sums.captured, sums.refunded, sums.disputed] {
                                td.number { (decimal(amount, currency)) }
                            }
                        }
                    }
                }
            }
        }
        dl.facts {
            dt { "Orders" }
            dd {
                @for (index, (status, orders)) in totals.orders.iter().enumerate() {
                    @if index > 0 { ", " }
                    (decimal(*orders, None)) " " (status.replace('_', " "))
                }
            }
            dt { "Events" } dd { (count(totals.events)) }
            dt { "Stock" }
            dd {
                (decimal(totals.skus, None)) " SKUs, " (decimal(totals.on_hand, None)) " units on hand, "
                (decimal(totals.reserved, None)) " reserved"
            }
        }
    }
}

fn files(exported: &Exported) -> Markup {
    html! {
        @if let Some(fault) = &exported.fault { p.notice.bad { (fault) } }
        div.box role="region" aria-label="Files" tabindex="0" {
            table {
                caption.visually-hidden { "Files of the export" }
                thead { tr { th { "File" } th.number { "Rows" } th.number { "Bytes" } th { "SHA-256" } } }
                tbody { @for file in &exported.files { (line(file)) } }
            }
        }
        p.muted { "This process keeps the files until its end or its next export." }
    }
}

fn line(file: &ExportedFile) -> Markup {
    html! {
        tr {
            td { a href={ "/audit/export/" (file.name) } download { (file.name) } }
            td.number { @if let Some(rows) = file.rows { (count(rows)) } }
            td.number { (count(file.bytes)) }
            td.id { (file.sha256.as_deref().unwrap_or_default()) }
        }
    }
}
