//! The calls that reads and followers make.

use std::ops::Range;

use domain::{OrderId, Timestamp};
use futures::future::join_all;
use infra::event_store::EventStore;
use uuid::Uuid;

use super::{Follower, given, open, server};
use crate::support::{Shop, line};

/// More reads than a connection allows to be broken off.
const READS: usize = 1_500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_is_broken_off() {
    let server = server().await;
    let writer = open(&server).await;
    for _ in 0..20 {
        given(&writer, 20).await;
    }
    // Opened later, so its window has none of these events.
    let store = open(&server).await;
    let log = store.log();
    let begun = server.calls();
    let first = log.read_all(None, 1).await.unwrap().remove(0);
    for number in 0..READS {
        match number % 7 {
            0 => assert_eq!(log.read_stream(&first.stream, 0, 3).await.unwrap().len(), 3),
            1 => assert!(log.read_stream(&OrderId(Uuid::new_v4()).into(), 0, 1).await.unwrap().is_empty()),
            2 => assert_eq!(log.read_all(None, 2).await.unwrap().len(), 2),
            3 => assert!(log.last_event().await.unwrap().is_some()),
            4 => assert!(log.position_before(Timestamp::MAX).await.unwrap().is_some()),
            5 => assert_eq!(log.exist(std::slice::from_ref(&first.stream)).await.unwrap(), [true]),
            // The caller stops waiting. Until then the server is silent, so the read cannot end before.
            _ => {
                server.silence();
                assert!(futures::poll!(log.read_all(None, 100)).is_pending());
                server.wake();
            }
        }
    }
    let calls = server.calls();
    assert_eq!(calls.broken_off_reads, 0, "{calls}");
    assert_eq!(calls.connections, begun.connections, "{calls}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_that_keep_up_read_the_window_only() {
    const APPENDS: usize = 200;
    let server = server().await;
    let (here, there) = (open(&server).await, open(&server).await);
    given(&there, 1).await;
    let mut followers = Vec::new();
    for _ in 0..5 {
        followers.push(Follower::start(&here, Vec::new()).await);
    }
    join_all(followers.iter_mut().map(|follower| follower.read_to(1))).await;
    let before = server.calls();
    for appended in 1..=APPENDS {
        given(if appended % 2 == 0 { &here } else { &there }, 1).await;
        join_all(followers.iter_mut().map(|follower| follower.read_to(1 + appended))).await;
    }
    let calls = server.calls();
    println!("before {before}\nafter {calls}");
    assert_eq!(calls.all_reads, before.all_reads);
    assert_eq!(calls.stream_reads, before.stream_reads);
    assert_eq!(calls.subscriptions, before.subscriptions);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_for_a_time_begins_at_the_nearest_known_event() {
    let server = server().await;
    let store = open(&server).await;
    for _ in 0..20 {
        given(&store, 500).await;
    }
    // Opened later, so it does not know the times of these events.
    let later = open(&server).await;
    let log = later.log();
    let early = log.read_all(None, 600).await.unwrap()[520].recorded_at;
    let search = async || {
        let begun = server.calls().all_reads;
        let found = log.position_before(early).await.unwrap();
        (found, server.calls().all_reads - begun)
    };
    let (first, repeated) = (search().await, search().await);
    println!("the first search took {} reads, the second {}", first.1, repeated.1);
    assert_eq!(first.0, repeated.0);
    assert!(repeated.1 <= 3, "{repeated:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn projector_and_process_manager_add_no_reads_to_an_order() {
    const ORDERS: u32 = 200;
    let server = server().await;
    let shop = Shop::over(open(&server).await).await;
    shop.receive("cup", 10 * ORDERS).await;
    let place = async |numbers: Range<u32>| {
        for number in numbers {
            let answer = shop.place(&format!("order {number}"), &[line("cup", 1, 1_000)]).await;
            assert_eq!(answer.status.as_u16(), 201);
        }
    };
    place(0..20).await;
    let before = server.calls();
    place(20..20 + ORDERS).await;
    let after = server.calls();
    println!("{ORDERS} orders\nbefore {before}\nafter  {after}");
    let all_reads = after.all_reads - before.all_reads;
    assert!(all_reads <= u64::from(ORDERS) / 20, "{all_reads} reads of the whole log for {ORDERS} orders");
}
