//! Appends that share one call to EventStoreDB while many are under way.

use domain::StreamName;
use futures::future::join_all;
use infra::event_store::{
    Append, AppendError, Appended, EventStore,
    ExpectedRevision::{Exact, NoStream},
    eventstoredb::EventStoreDb,
};
use tests::eventstoredb::{Server, Unready};

use super::{
    append, event_of, events,
    eventstoredb::{length, open, server, until_known},
    given_stream, new_stream,
};

/// More appends at once than the adapter needs to open a shared call.
const AT_ONCE: usize = 64;

async fn append_all(store: &EventStoreDb, appends: &[Append]) -> Vec<Result<Appended, AppendError>> {
    join_all(appends.iter().map(|append| store.append(append.clone()))).await
}

fn first_appends() -> Vec<Append> {
    (0..AT_ONCE).map(|_| append(&new_stream(), NoStream, events(2))).collect()
}

/// Appends to new streams until the store sends appends in a shared call.
async fn given_shared_call(server: &Server, store: &EventStoreDb) {
    let before = server.calls().batches;
    while server.calls().batches == before {
        join_all(first_appends().iter().map(|append| until_known(store, append))).await;
    }
}

async fn expect_lengths(store: &EventStoreDb, streams: impl Iterator<Item = &StreamName>, expected: usize) {
    for stream in streams {
        assert_eq!(length(store, stream).await, expected, "{stream}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_under_way_at_once_share_a_call() {
    let server = server().await;
    let store = open(&server).await;
    given_shared_call(&server, &store).await;
    let before = server.calls();
    let first = first_appends();
    let written = append_all(&store, &first).await;
    let again: Vec<_> = first.iter().map(|one| append(&one.stream, Exact(1), events(1))).collect();
    let written_again = append_all(&store, &again).await;
    let after = server.calls();
    assert_eq!(after.batches - before.batches, 2 * AT_ONCE as u64, "{after}");
    assert_eq!(after.appends, before.appends, "{after}");

    for (append, (first, second)) in first.iter().zip(written.into_iter().zip(written_again)) {
        let stored = store.log().read_stream(&append.stream, 0, 10).await.unwrap();
        let appended = |revision: usize| Appended {
            last_revision: Some(revision as u64),
            last_position: Some(stored[revision].position),
        };
        assert_eq!(first.unwrap(), appended(1));
        assert_eq!(second.unwrap(), appended(2));
        assert_eq!(stored.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_append_of_a_shared_call_gets_its_reason_and_the_others_their_outcome() {
    let server = server().await;
    let store = open(&server).await;
    let stream = given_stream(&store, 1).await;
    given_shared_call(&server, &store).await;
    let mut appends = first_appends();
    appends.insert(AT_ONCE / 2, append(&stream, Exact(5), events(1)));
    let mut outcomes = append_all(&store, &appends).await;
    let refused = outcomes.remove(AT_ONCE / 2);
    appends.remove(AT_ONCE / 2);
    assert!(
        matches!(refused, Err(AppendError::WrongExpectedRevision { expected: Exact(5), actual: Exact(0) })),
        "{refused:?}"
    );
    for outcome in outcomes {
        assert_eq!(outcome.unwrap().last_revision, Some(1));
    }
    expect_lengths(&store, appends.iter().map(|append| &append.stream), 2).await;
    given_shared_call(&server, &store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_of_a_shared_call_that_fails_are_written_once() {
    let server = server().await;
    let faults: [&dyn Fn(); 4] = [
        &|| server.faults().abort_appends(3, true),
        &|| server.faults().abort_appends(3, false),
        &|| server.faults().lose_answers(1),
        &|| server.faults().cut_connections(),
    ];
    for plan_fault in faults {
        let store = open(&server).await;
        given_shared_call(&server, &store).await;
        let appends = first_appends();
        plan_fault();
        let written = join_all(appends.iter().map(|append| until_known(&store, append))).await;
        assert!(written.iter().all(|appended| appended.last_revision == Some(1)), "{written:?}");
        expect_lengths(&store, appends.iter().map(|append| &append.stream), 2).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_does_not_prove_that_an_append_of_a_failed_call_was_not_written() {
    let server = server().await;
    let store = open(&server).await;
    given_shared_call(&server, &store).await;
    let sent = append(&new_stream(), NoStream, events(1));
    let not_leader = Unready::NotLeader(server.address());
    // Once in the shared call, and three times by itself: the first time, and after each of two hints.
    server.faults().refuse_calls(4, not_leader);
    let outcome = store.append(sent.clone()).await;
    assert!(matches!(outcome, Err(AppendError::OutcomeUnknown(_))), "{outcome:?}");
    server.faults().refuse_calls(3, not_leader);
    let outcome = store.append(sent.clone()).await;
    assert!(matches!(outcome, Err(AppendError::Unavailable(_))), "{outcome:?}");
    assert_eq!(until_known(&store, &sent).await.last_revision, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_append_does_not_delay_those_of_a_shared_call() {
    let server = server().await;
    let store = open(&server).await;
    given_shared_call(&server, &store).await;
    let before = server.calls();
    let large = event_of(format!("\"{}\"", "x".repeat(100_000)).into());
    store.append(append(&new_stream(), NoStream, vec![large])).await.unwrap();
    store.append(append(&new_stream(), NoStream, events(1))).await.unwrap();
    let after = server.calls();
    assert_eq!((after.appends - before.appends, after.batches - before.batches), (1, 1), "{after}");
}
