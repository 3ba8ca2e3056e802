//! The figures of the last ten minutes.

use std::collections::VecDeque;

use domain::Timestamp;
use infra::measurements::{COMMAND_ATTEMPTS, EVENTS_APPENDED, FOLLOWER_LAG_EVENTS};

use super::Series;

/// Samples that are kept: ten minutes of one every 10 s.
const SAMPLES_MAX: usize = 60;
/// Attempts that are repeated: the last one of the command counts.
const REPEATED: [&str; 2] = ["conflict", "superseded"];

/// The samples, the oldest first.
#[derive(Debug, Clone, Default)]
pub(in crate::pages) struct History(VecDeque<Sample>);

/// What is remembered of a moment.
#[derive(Debug, Clone)]
pub(in crate::pages) struct Sample {
    at: Timestamp,
    /// Since the start of the process, as events.
    commands: f64,
    events: f64,
    /// Events that each follower of the log has not handled.
    lag: Vec<(String, f64)>,
}

impl Sample {
    pub fn of(at: Timestamp, series: &Series) -> Self {
        let lag = series.by(FOLLOWER_LAG_EVENTS.name(), "follower");
        Self {
            at,
            commands: commands(series),
            events: series.sum(EVENTS_APPENDED.name()).unwrap_or_default(),
            lag: lag.into_iter().map(|(follower, events)| (follower.to_owned(), events)).collect(),
        }
    }
}

/// Commands with an outcome.
fn commands(series: &Series) -> f64 {
    let attempts = series.of(COMMAND_ATTEMPTS.name());
    attempts.filter(|(labels, _)| !REPEATED.contains(&labels.get("outcome"))).map(|(_, value)| value).sum()
}

impl History {
    pub(super) fn push(&mut self, sample: Sample) {
        if self.0.len() == SAMPLES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(sample);
    }

    pub fn commands_per_second(&self) -> Vec<f64> {
        self.rates(|sample| sample.commands)
    }

    pub fn events_per_second(&self) -> Vec<f64> {
        self.rates(|sample| sample.events)
    }

    /// The lag of a follower, in events. Samples without it are left out.
    pub fn lag_of(&self, follower: &str) -> Vec<f64> {
        let of_follower = |sample: &Sample| {
            sample.lag.iter().find(|(known, _)| known == follower).map(|(_, events)| *events)
        };
        self.0.iter().filter_map(of_follower).collect()
    }

    /// The growth of a counter between each two samples, per second.
    fn rates(&self, count: fn(&Sample) -> f64) -> Vec<f64> {
        let pairs = self.0.iter().zip(self.0.iter().skip(1));
        pairs
            .filter_map(|(before, after)| {
                let seconds = after.at.duration_since(before.at).as_secs_f64();
                (seconds > 0.0).then(|| (count(after) - count(before)) / seconds)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: i64, commands: u32, conflicts: u32, lag: u32) -> Sample {
        let text = format!(
            "orderly_command_attempts_total{{aggregate=\"order\",outcome=\"done\"}} {commands}\n\
             orderly_command_attempts_total{{aggregate=\"order\",outcome=\"conflict\"}} {conflicts}\n\
             orderly_events_appended_total{{aggregate=\"order\"}} {}\n\
             orderly_follower_lag_events{{follower=\"relay\"}} {lag}\n",
            commands * 3
        );
        Sample::of(Timestamp::from_second(second).unwrap(), &Series::parse(&text))
    }

    #[test]
    fn rates_are_of_commands_with_an_outcome_and_of_the_time_between_samples() {
        let mut history = History::default();
        for one in [sample(0, 0, 0, 5), sample(10, 50, 9, 0), sample(30, 50, 99, 7)] {
            history.push(one);
        }
        assert_eq!(history.commands_per_second(), [5.0, 0.0]);
        assert_eq!(history.events_per_second(), [15.0, 0.0]);
        assert_eq!(history.lag_of("relay"), [5.0, 0.0, 7.0]);
        assert!(history.lag_of("webhooks").is_empty());
    }

    #[test]
    fn only_ten_minutes_are_kept() {
        let mut history = History::default();
        (0..100).for_each(|second| history.push(sample(second * 10, 0, 0, 1)));
        assert_eq!(history.lag_of("relay").len(), SAMPLES_MAX);
    }
}
