//! What waits in this process, what protects it, and what it keeps on disk.

use domain::Timestamp;
use infra::measurements::{
    BACKUP_BYTES, BACKUP_INTERVAL_SECONDS, BACKUP_LAST_GOOD_SECONDS, BACKUPS, BREAKER_STATE,
    COMMANDS_UNDER_WAY, COMMIT_QUEUE, DATA_DIR_FREE_BYTES, HTTP_SLOTS_IN_USE, PARKED_REACTIONS, REACTIONS,
    RELAY_FAILURES, RELAY_PUBLISHING, SQLITE_DATABASE_BYTES, SQLITE_WAL_BYTES, WEBHOOK_ENDPOINTS,
    WEBHOOK_ENDPOINTS_BEHIND, WEBHOOK_LEASES,
};
use maud::{Markup, html};

use super::{not_here, number, whole};
use crate::pages::{
    figures::Series,
    format::{Tone, age, chip, short_time},
    view::View,
};

/// The queues of the executor, of the process manager, of the relay and of the webhooks.
pub(super) fn queues(series: &Series) -> Markup {
    let relay = match series.sum(RELAY_PUBLISHING.name()) {
        None => html! { span.muted { "not in this process" } },
        Some(publishing) => html! {
            @if publishing > 0.0 { (chip("publishing", Tone::Good)) } @else { (chip("interrupted or stands by", Tone::Warn)) }
            " " (sum(series, RELAY_FAILURES.name())) " failures since the start"
        },
    };
    html! {
        dl.facts {
            dt { "Requests under way" } dd { (parts(&series.by(HTTP_SLOTS_IN_USE.name(), "kind"))) }
            dt { "Commands under way" } dd { (parts(&series.by(COMMANDS_UNDER_WAY.name(), "aggregate"))) }
            dt { "Appends that wait for the disk" } dd { (sum(series, COMMIT_QUEUE.name())) }
            dt { "Reactions in memory" } dd { (parts(&series.by(REACTIONS.name(), "state"))) }
            dt { "Parked reactions" } dd { (sum(series, PARKED_REACTIONS.name())) }
            dt { "Relay to Kafka" } dd { (relay) }
            dt { "Webhook groups being sent" } dd { (sum(series, WEBHOOK_LEASES.name())) }
            dt { "Webhook subscribers" } dd { (parts(&series.by(WEBHOOK_ENDPOINTS.name(), "state"))) }
            dt { "Subscribers with a full queue" } dd { (sum(series, WEBHOOK_ENDPOINTS_BEHIND.name())) }
        }
    }
}

/// The circuit breakers of the payment providers.
pub(super) fn breakers(series: &Series) -> Markup {
    let states: Vec<_> = series.of(BREAKER_STATE.name()).filter(|(_, is_so)| *is_so > 0.0).collect();
    html! {
        @if states.is_empty() { (not_here("Calls to a payment provider are made by the process with the role process-manager.")) }
        @else {
            dl.facts {
                @for (labels, _) in &states {
                    dt { (labels.get("provider")) }
                    dd {
                        @match labels.get("state") {
                            "closed" => { (chip("closed", Tone::Good)) " calls are sent" },
                            "half_open" => { (chip("half open", Tone::Warn)) " one call probes" },
                            state => { (chip(state, Tone::Bad)) " no calls are sent" },
                        }
                    }
                }
            }
        }
    }
}

/// The embedded files with their write-ahead logs.
pub(super) fn files(series: &Series) -> Markup {
    let files = series.by(SQLITE_DATABASE_BYTES.name(), "database");
    let wal = |file: &str| series.with(SQLITE_WAL_BYTES.name(), "database", file).unwrap_or_default();
    html! {
        @if files.is_empty() { (not_here("This process has no embedded files.")) }
        @else {
            table {
                caption.visually-hidden { "Embedded files" }
                thead { tr { th { "File" } th.number { "Size" } th.number { "Write-ahead log" } } }
                tbody {
                    @for (file, bytes) in &files {
                        tr { td { (file.replace('_', " ")) } td.number { (size(*bytes)) } td.number { (size(wal(file))) } }
                    }
                }
            }
        }
        @if let Some(free) = series.sum(DATA_DIR_FREE_BYTES.name()) { p.muted { (size(free)) " of the disk are free." } }
    }
}

/// The backups that this process makes by its schedule.
pub(super) fn backups(view: &View, series: &Series) -> Markup {
    let every = series.sum(BACKUP_INTERVAL_SECONDS.name()).filter(|every| *every > 0.0);
    let last = series.sum(BACKUP_LAST_GOOD_SECONDS.name()).filter(|last| *last > 0.0);
    let failed = series.with(BACKUPS.name(), "outcome", "failed").unwrap_or_default();
    let Some(every) = every else {
        return not_here(
            "No schedule of backups runs in this process: ORDERLY_BACKUP_URL is not set, or set elsewhere.",
        );
    };
    html! {
        dl.facts {
            dt { "Last" }
            dd {
                @match last.and_then(instant) {
                    Some(at) => {
                        (short_time(at, view)) " " span.muted { (age(at, view.now)) " ago" }
                        @if let Some(bytes) = series.sum(BACKUP_BYTES.name()) { ", " (size(bytes)) }
                    },
                    None => (chip("none yet", Tone::Warn)),
                }
            }
            dt { "Next" }
            dd { @if let Some(at) = last.and_then(|last| instant(last + every)) { (short_time(at, view)) } @else { "at once" } }
            dt { "Failures" }
            dd { @if failed > 0.0 { (chip(&number(failed), Tone::Bad)) " since the start" } @else { "none since the start" } }
        }
    }
}

fn instant(seconds: f64) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(whole(seconds)).ok()?).ok()
}

/// A number, or that this process does not measure it.
fn sum(series: &Series, name: &str) -> Markup {
    html! {
        @match series.sum(name) {
            Some(value) => (number(value)),
            None => span.muted { "not in this process" },
        }
    }
}

/// Numbers by a label, without zeros.
fn parts(parts: &[(&str, f64)]) -> Markup {
    let some: Vec<_> = parts.iter().filter(|(_, value)| *value > 0.0).collect();
    html! {
        @if parts.is_empty() { span.muted { "not in this process" } }
        @else if some.is_empty() { "0" }
        @for (index, (name, value)) in some.iter().enumerate() {
            @if index > 0 { ", " }
            (number(*value)) " " (name.replace('_', " "))
        }
    }
}

/// Bytes in the unit that people read.
fn size(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes, 0);
    while value >= 1_024.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 100.0);
    format!("{value:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_unit_that_people_read() {
        let shown = [0.0, 1_023.0, 1_536.0, 150.0 * 1_024.0 * 1_024.0].map(size);
        assert_eq!(shown, ["0 B", "1023 B", "1.5 KiB", "150 MiB"]);
    }
}
