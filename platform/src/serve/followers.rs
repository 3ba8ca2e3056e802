//! How far the followers of the log are behind it, by the positions that they have stored. So a follower that hangs, or
//! that no process runs, shows as behind.

use std::{collections::BTreeMap, sync::Arc};

use domain::{Position, Timestamp};
use infra::{
    event_store::{EventLog, EventMark},
    operations::{Positions, webhooks},
    read_models::ProjectionQueries,
};

use super::{ServeConfig, StartError, samples::SampleError};
use crate::{
    config::BusUrl,
    stores::{self, Views},
};

/// The name of the projectors among the followers.
const PROJECTIONS: &str = "projections";

/// The stored positions of the followers.
pub(super) struct Followers {
    log: Arc<dyn EventLog>,
    projections: Arc<dyn ProjectionQueries>,
    positions: Arc<dyn Positions>,
    /// True if every follower reads the whole log. Over Kafka, webhooks read no stock.
    follow_whole_log: bool,
}

/// How far a follower is behind the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lag {
    pub follower: String,
    /// Events that it has not handled, as a difference of positions.
    pub events: u64,
    /// When the first of them was recorded.
    pub oldest: Option<Timestamp>,
}

impl Followers {
    pub(super) fn open(
        config: &ServeConfig,
        log: &Arc<dyn EventLog>,
        views: &Views,
    ) -> Result<Self, StartError> {
        let operations = stores::open_operations(&config.read_models, Some(views), &config.data_dir)?;
        Ok(Self {
            log: Arc::clone(log),
            projections: Arc::clone(&views.projections),
            positions: operations.positions,
            follow_whole_log: matches!(config.bus, BusUrl::Direct),
        })
    }

    /// The lag of each follower that has stored a position, and of the projectors.
    pub(super) async fn lags(&self) -> Result<Vec<Lag>, SampleError> {
        let checkpoints = self.projections.checkpoints().await?;
        let positions = self.positions.saved(self.log.store_id()).await?;
        // Read last, so no follower is ahead of the log.
        let head = self.log.last_position().await?;
        let mut followers: BTreeMap<&str, Option<&EventMark>> = BTreeMap::from([(PROJECTIONS, None)]);
        for row in &checkpoints {
            keep_later(&mut followers, PROJECTIONS, row.last_event.as_ref());
        }
        for saved in &positions {
            if self.follow_whole_log || saved.reactor != webhooks::REACTOR {
                keep_later(&mut followers, &saved.reactor, saved.reached.last_event.as_ref());
            }
        }
        let mut lags = Vec::new();
        for (follower, passed) in followers {
            let has_begun = follower != PROJECTIONS || !checkpoints.is_empty();
            // Without a mark, an earlier version has stored the position.
            if passed.is_some() || !has_begun {
                lags.push(self.lag(follower, passed, head).await?);
            }
        }
        Ok(lags)
    }

    async fn lag(
        &self,
        follower: &str,
        passed: Option<&EventMark>,
        head: Option<Position>,
    ) -> Result<Lag, SampleError> {
        let events = head.unwrap_or(0).saturating_sub(passed.map_or(0, |mark| mark.position));
        let next = match passed {
            _ if events == 0 => None,
            Some(mark) => self.log.read_after(mark, 1).await?.pop(),
            None => self.log.read_all(None, 1).await?.pop(),
        };
        let oldest = next.map(|event| event.recorded_at);
        Ok(Lag { follower: follower.to_owned(), events, oldest })
    }
}

/// Of the partitions of a follower, the one that is furthest ahead counts: the others may have had no event for a
/// long time.
fn keep_later<'a>(
    followers: &mut BTreeMap<&'a str, Option<&'a EventMark>>,
    follower: &'a str,
    passed: Option<&'a EventMark>,
) {
    let latest = followers.entry(follower).or_default();
    if latest.map(|mark| mark.position) < passed.map(|mark| mark.position) {
        *latest = passed;
    }
}

#[cfg(test)]
mod tests;
