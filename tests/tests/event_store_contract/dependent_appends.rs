//! Appends that build on appends that are not yet durable, and their outcome if one of those fails.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use domain::StreamName;
use infra::event_store::{
    Append, AppendError, Appended, Epoch, EventStore,
    ExpectedRevision::{self, Exact, NoStream},
};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{Fixture, append, events, given_stream, new_stream};

type Outcome = Result<Appended, AppendError>;

/// Submits without waiting.
fn submit(store: &dyn EventStore, append: Append) -> oneshot::Receiver<Outcome> {
    let (sender, receiver) = oneshot::channel();
    store.submit(append, Box::new(move |outcome| drop(sender.send(outcome))));
    receiver
}

fn in_epoch(epoch: Epoch, append: Append) -> Append {
    Append { epoch: Some(epoch), ..append }
}

fn barrier() -> Append {
    append(&new_stream(), NoStream, Vec::new())
}

pub async fn a_barrier_is_answered_after_all_earlier_appends(fixture: impl Fixture) {
    let store = fixture.store();
    let alone = store.append(barrier()).await.unwrap();
    assert_eq!(alone, Appended { last_revision: None, last_position: None });

    let answered = Arc::new(Mutex::new(0));
    for _ in 0..500 {
        let answered = Arc::clone(&answered);
        let done = move |outcome: Outcome| {
            outcome.unwrap();
            *answered.lock().unwrap() += 1;
        };
        store.submit(append(&new_stream(), NoStream, events(1)), Box::new(done));
    }
    let at_revision_7 = append(&new_stream(), Exact(7), Vec::new());
    let passed = store.append(at_revision_7).await.unwrap();
    assert_eq!(*answered.lock().unwrap(), 500);
    let last = store.log().read_all(None, 1_000).await.unwrap().last().map(|event| event.position);
    assert_eq!(passed, Appended { last_revision: Some(7), last_position: last });
}

pub async fn appends_may_build_on_one_another_before_they_are_durable(fixture: impl Fixture) {
    let store = fixture.store();
    if !store.accepts_dependent_appends() {
        return;
    }
    let (order, stock) = (new_stream(), given_stream(&*store, 1).await);
    let epoch = store.epoch();
    let outcomes: Vec<_> = (0..200)
        .flat_map(|step| [(&order, ExpectedRevision::of(u64::checked_sub(step, 1))), (&stock, Exact(step))])
        .map(|(stream, expected)| submit(&*store, in_epoch(epoch, append(stream, expected, events(1)))))
        .collect();
    for outcome in outcomes {
        outcome.await.unwrap().unwrap();
    }
}

pub async fn an_unawaited_append_is_answered_before_a_dependent_append_and_also_without_one(
    fixture: impl Fixture,
) {
    let store = fixture.store();
    let stream = new_stream();
    let submit_unawaited = |append: Append| {
        let (sender, receiver) = oneshot::channel();
        store.submit_unawaited(append, Box::new(move |outcome| drop(sender.send(outcome))));
        receiver
    };
    let mut first = submit_unawaited(append(&stream, NoStream, events(1)));
    if store.accepts_dependent_appends() {
        store.append(append(&stream, Exact(0), events(1))).await.unwrap();
        first.try_recv().expect("answered before the append that builds on it").unwrap();
    }
    let alone = submit_unawaited(append(&new_stream(), NoStream, events(1)));
    alone.await.unwrap().unwrap();
}

pub async fn appends_that_build_on_a_failed_one_are_superseded(fixture: impl Fixture) {
    let store = fixture.store();
    if !store.accepts_dependent_appends() {
        return;
    }
    let (stock, order, untouched) = (given_stream(&*store, 2).await, new_stream(), new_stream());
    let epoch = store.epoch();
    let before = submit(&*store, in_epoch(epoch, append(&untouched, NoStream, events(1))));
    let fails = submit(&*store, in_epoch(epoch, append(&stock, Exact(0), events(1))));
    let builds_on_it = submit(&*store, in_epoch(epoch, append(&order, NoStream, events(1))));
    let waits_for_it = submit(&*store, in_epoch(epoch, barrier()));
    let independent = submit(&*store, append(&untouched, Exact(0), events(1)));

    before.await.unwrap().unwrap();
    assert!(matches!(fails.await.unwrap(), Err(AppendError::WrongExpectedRevision { .. })));
    assert!(matches!(builds_on_it.await.unwrap(), Err(AppendError::Superseded)));
    assert!(matches!(waits_for_it.await.unwrap(), Err(AppendError::Superseded)));
    independent.await.unwrap().unwrap();
    assert_eq!(store.log().read_stream(&order, 0, 9).await.unwrap(), []);

    let decided_again = in_epoch(store.epoch(), append(&order, NoStream, events(1)));
    store.append(decided_again).await.unwrap();
}

pub async fn a_failure_without_an_epoch_supersedes_no_append(fixture: impl Fixture) {
    let store = fixture.store();
    let stream = given_stream(&*store, 2).await;
    let epoch = store.epoch();
    store.append(append(&stream, Exact(0), events(1))).await.unwrap_err();
    assert_eq!(store.epoch(), epoch);
    store.append(in_epoch(epoch, append(&stream, Exact(1), events(1)))).await.unwrap();
}

pub async fn the_new_epoch_is_visible_when_the_failure_is_answered(fixture: impl Fixture) {
    let store = fixture.store();
    if !store.accepts_dependent_appends() {
        // No append can build on one that is not durable, so there is none to supersede.
        return;
    }
    let stream = given_stream(&*store, 2).await;
    for _ in 0..50 {
        let epoch = store.epoch();
        let (sender, seen) = oneshot::channel();
        let observer = Arc::clone(&store);
        let done = move |outcome: Outcome| {
            outcome.unwrap_err();
            sender.send(observer.epoch()).unwrap();
        };
        store.submit(in_epoch(epoch, append(&stream, Exact(0), events(1))), Box::new(done));
        assert!(seen.await.unwrap() > epoch);
    }
}

/// Submits random appends without waiting: at right and wrong revisions, with current and old epochs. Each
/// outcome must follow the rules, and the log must contain exactly the acknowledged events.
pub async fn no_append_decided_before_a_failure_is_stored_after_it(fixture: impl Fixture) {
    let store = fixture.store();
    if !store.accepts_dependent_appends() {
        return;
    }
    let seed = Uuid::new_v4().as_u64_pair().0;
    println!("seed {seed}");
    let mut random = Random(seed);
    let streams: Vec<StreamName> = (0..6).map(|_| new_stream()).collect();
    // The length of each stream as the submitter expects it: like the executor, it builds on appends that are
    // not yet answered.
    let mut expected_counts: HashMap<usize, u64> = HashMap::new();
    let mut epoch = store.epoch();
    let mut submitted = Vec::new();
    for _ in 0..3_000 {
        let stream = random.below(6);
        let wrong = random.below(20) == 0;
        let carried = (random.below(10) > 0).then_some(epoch);
        let count = expected_counts.entry(stream).or_default();
        let expected = ExpectedRevision::of(if wrong { Some(*count + 3) } else { count.checked_sub(1) });
        let appended = append(&streams[stream], expected, events(1));
        let outcome = submit(&*store, Append { epoch: carried, ..appended });
        submitted.push((stream, expected, carried, outcome));
        *count += u64::from(!wrong);
        if store.epoch() > epoch && random.below(3) == 0 {
            // The submitter notices the failure, waits for all answers, and reads the streams again.
            store.append(barrier()).await.unwrap();
            epoch = store.epoch();
            for (number, stream) in streams.iter().enumerate() {
                expected_counts
                    .insert(number, store.log().read_stream(stream, 0, 5_000).await.unwrap().len() as u64);
            }
        }
    }

    // Computes the outcome that the rules demand, append by append in the order of submission. `current` is
    // the epoch of the store at that append.
    let (mut counts, mut current, mut superseded) = (HashMap::<usize, u64>::new(), Epoch(0), 0);
    for (stream, expected, carried, outcome) in submitted {
        let outcome = outcome.await.unwrap();
        let count = counts.entry(stream).or_default();
        if carried.is_some_and(|carried| carried < current) {
            assert!(matches!(outcome, Err(AppendError::Superseded)), "{outcome:?}");
            superseded += 1;
        } else if expected.next() == *count {
            assert_eq!(outcome.unwrap().last_revision, Some(*count));
            *count += 1;
        } else {
            assert!(matches!(outcome, Err(AppendError::WrongExpectedRevision { .. })), "{outcome:?}");
            current.0 += u64::from(carried.is_some());
        }
    }
    assert!(superseded > 0, "the test must supersede some appends");
    assert_eq!(store.epoch(), current);
    for (number, stream) in streams.iter().enumerate() {
        let stored = store.log().read_stream(stream, 0, 5_000).await.unwrap().len() as u64;
        assert_eq!(stored, counts.get(&number).copied().unwrap_or(0));
    }
}

/// A generator of pseudo-random numbers: splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).expect("below a usize")
    }
}
