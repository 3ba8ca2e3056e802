//! Followers, the subscription, the process and the server stop at random times.

use std::sync::Arc;

use domain::RecordedEvent;
use futures::future::join_all;
use infra::event_store::{
    EventLog, EventStore,
    eventstoredb::{EventStoreDb, EventStoreDbOptions},
};
use tests::eventstoredb::Server;

use super::{Follower, given, open_store, server};
use crate::support::eventually;

const SEEDS: u64 = 8;
const ROUNDS: usize = 12;
const FOLLOWERS: usize = 3;

/// With the usual time limit of calls: a call that crosses the end of its connection can stay without an answer, because
/// the client library loses it about once in 10,000 cuts.
async fn open(server: &Server, window_bytes_max: usize) -> Arc<EventStoreDb> {
    open_store(server, EventStoreDbOptions { window_bytes_max, ..Default::default() }).await
}

async fn disturb(server: &Server, random: &mut fastrand::Rng) {
    match random.u8(0..4) {
        0 => server.faults().end_subscriptions(),
        1 => server.faults().cut_connections(),
        2 => {
            server.stop();
            server.accept_connections().await.unwrap();
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_skipped_or_read_twice_across_random_stops() {
    for seed in 0..SEEDS {
        eprintln!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let server = server().await;
        // From none to about 60 events.
        let window_bytes = random.usize(0..30_000);
        let mut here = open(&server, window_bytes).await;
        let there = open(&server, window_bytes).await;
        let mut stored: Vec<Vec<RecordedEvent>> = vec![Vec::new(); FOLLOWERS];
        let mut events = 0;
        for _ in 0..ROUNDS {
            if random.u8(0..4) == 0 {
                // The process starts again.
                here = open(&server, window_bytes).await;
            }
            let goals: Vec<usize> =
                stored.iter().map(|stored| stored.len() + random.usize(0..=events - stored.len())).collect();
            let starting = stored.into_iter().map(|stored| Follower::start(&here, stored));
            let mut followers = join_all(starting).await;
            let counts: Vec<usize> = (0..random.usize(1..5)).map(|_| random.usize(1..30)).collect();
            let appending = async {
                for count in &counts {
                    disturb(&server, &mut random).await;
                    given(&there, *count).await;
                }
            };
            let following = followers.iter_mut().zip(&goals).map(|(follower, goal)| follower.read_to(*goal));
            tokio::join!(appending, join_all(following));
            events += counts.iter().sum::<usize>();
            stored = followers
                .into_iter()
                .map(|mut follower| {
                    follower.read.truncate(follower.stored);
                    follower.read
                })
                .collect();
        }
        let log = whole_log(&here).await;
        assert_eq!(log.len(), events, "seed {seed}");
        for stored in stored {
            let mut follower = Follower::start(&here, stored).await;
            follower.read_to(events).await;
            assert_eq!(follower.read, log, "seed {seed}");
        }
    }
}

/// Reads the server, from the first event to the last.
async fn whole_log(store: &Arc<impl EventStore>) -> Vec<RecordedEvent> {
    let log: Arc<dyn EventLog> = store.log();
    let mut events: Vec<RecordedEvent> = Vec::new();
    loop {
        let after = events.last().map(|event| event.position);
        let page = eventually("a page", async || log.read_all(after, 1_000).await.ok()).await;
        if page.is_empty() {
            return events;
        }
        events.extend(page);
    }
}
