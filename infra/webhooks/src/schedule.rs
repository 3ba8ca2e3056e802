//! When to retry a failed attempt.

use std::time::Duration;

use domain::Timestamp;

/// Growing pauses between attempts, and the time after which a delivery fails.
#[derive(Debug, Clone, Copy)]
pub struct RetrySchedule {
    pub first_pause: Duration,
    /// Each pause is the previous one times this factor.
    pub factor: u32,
    pub pause_max: Duration,
    /// Each pause is extended by a random share of it, from 0 to this. So deliveries that failed at the same
    /// time are retried at different times.
    pub jitter: f64,
    /// Longest time from the queueing of a delivery to its last attempt.
    pub give_up_after: Duration,
}

/// Retries after about 5 s, 25 s, 2 min, 10 min and 52 min, then every 4 h, for three days.
impl Default for RetrySchedule {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_secs(5),
            factor: 5,
            pause_max: Duration::from_hours(4),
            jitter: 0.25,
            give_up_after: Duration::from_hours(3 * 24),
        }
    }
}

impl RetrySchedule {
    /// When to retry after `attempts` failed attempts. `None` if that is later than `give_up_after`. `chance`
    /// is a random number from 0 to 1 and selects the jitter. `lane_pause` is the pause of a stopped lane: at
    /// its end the delivery may serve to test the receiver.
    pub(crate) fn next_attempt(
        &self,
        queued_at: Timestamp,
        attempts: u32,
        now: Timestamp,
        chance: f64,
        lane_pause: Option<Duration>,
    ) -> Option<Timestamp> {
        let factor = self.factor.saturating_pow(attempts.saturating_sub(1));
        let own_pause = self.first_pause.saturating_mul(factor).min(self.pause_max);
        let pause = own_pause.mul_f64(1.0 + self.jitter * chance);
        let next = now.checked_add(lane_pause.map_or(pause, |lane_pause| pause.min(lane_pause))).ok()?;
        let last = queued_at.checked_add(self.give_up_after).ok()?;
        (next <= last).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds after queueing at which attempts follow, if each takes no time.
    fn attempts(chance: f64) -> Vec<i64> {
        let first = Timestamp::UNIX_EPOCH;
        let mut at = vec![0];
        let mut now = first;
        while let Some(next) =
            RetrySchedule::default().next_attempt(first, u32::try_from(at.len()).unwrap(), now, chance, None)
        {
            now = next;
            at.push(now.as_second());
        }
        at
    }

    #[test]
    fn pauses_grow_and_the_last_attempt_is_within_three_days() {
        let made = attempts(0.0);
        assert_eq!(made[..6], [0, 5, 30, 155, 780, 3_905]);
        assert_eq!(made[7] - made[6], 4 * 3_600);
        let last = *made.last().unwrap();
        assert!((3 * 86_400 - 4 * 3_600..=3 * 86_400).contains(&last), "{last}");
        assert!((15..30).contains(&made.len()), "{made:?}");
    }

    #[test]
    fn jitter_only_extends_a_pause() {
        assert_eq!(attempts(1.0)[1], 6);
        assert!(attempts(1.0).len() <= attempts(0.0).len());
    }

    #[test]
    fn no_attempt_follows_after_give_up_after() {
        let (schedule, first) = (RetrySchedule::default(), Timestamp::UNIX_EPOCH);
        let late = first.checked_add(schedule.give_up_after).unwrap();
        assert_eq!(schedule.next_attempt(first, 3, late, 0.0, None), None);
        assert_eq!(schedule.next_attempt(first, u32::MAX, late, 0.0, None), None);
    }

    #[test]
    fn a_retry_waits_no_longer_than_a_stopped_lane() {
        let (schedule, first) = (RetrySchedule::default(), Timestamp::UNIX_EPOCH);
        let seconds = |attempts, pause| {
            let next = schedule.next_attempt(first, attempts, first, 0.0, Some(Duration::from_secs(pause)));
            next.unwrap().as_second()
        };
        assert_eq!((seconds(1, 40), seconds(9, 40)), (5, 40));
    }
}
