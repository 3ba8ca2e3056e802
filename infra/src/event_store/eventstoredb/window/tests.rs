use std::collections::HashSet;

use domain::{EventId, OrderId, StreamName, Timestamp};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

/// A log without a server. Positions have gaps, as byte offsets do.
#[derive(Default)]
struct FakeLog(Vec<RecordedEvent>);

impl FakeLog {
    fn of(count: usize) -> Self {
        let mut log = Self::default();
        (0..count).for_each(|_| log.append(10));
        log
    }

    fn append(&mut self, data_bytes: usize) {
        let number = self.0.len() as u64 + 1;
        self.0.push(RecordedEvent {
            position: 100 * number,
            stream: StreamName::Order(OrderId(Uuid::from_u128(u128::from(number % 3)))),
            revision: number / 3,
            id: EventId(Uuid::from_u128(number.into())),
            type_name: "order.delivered.v1".into(),
            data: vec![b' '; data_bytes].into(),
            metadata: Arc::default(),
            recorded_at: Timestamp::UNIX_EPOCH,
            damage: None,
        });
    }

    fn after(&self, after: Option<Position>) -> &[RecordedEvent] {
        &self.0[self.0.partition_point(|event| Some(event.position) <= after)..]
    }

    fn mark(&self, index: usize) -> EventMark {
        EventMark::from(&self.0[index])
    }
}

fn window(last: Option<RecordedEvent>, bytes_max: usize) -> Window {
    Window::new(last, bytes_max, Arc::default())
}

fn positions(events: Option<Vec<RecordedEvent>>) -> Option<Vec<Position>> {
    events.map(|events| events.iter().map(|event| event.position).collect())
}

/// Gives the whole log to the window.
fn fill(window: &Window, log: &FakeLog) -> Feed {
    let (feed, mark) = window.begin_feed();
    let after = mark.map(|mark| mark.position);
    log.after(after).iter().cloned().for_each(|event| window.take(feed, event));
    feed
}

#[test]
fn the_window_has_every_event_after_its_start() {
    let log = FakeLog::of(5);
    let whole = window(None, 1 << 20);
    assert_eq!(whole.page_after(&log.mark(0), 10), None);
    fill(&whole, &log);
    assert_eq!(positions(whole.page_after(&log.mark(0), 2)), Some(vec![200, 300]));
    assert_eq!(positions(whole.page_after(&log.mark(3), 10)), Some(vec![500]));
    assert_eq!(whole.page_after(&log.mark(4), 10), None, "the server shows whether the log goes on");

    let later = window(Some(log.0[1].clone()), 1 << 20);
    fill(&later, &log);
    assert_eq!(later.page_after(&log.mark(0), 10), None);
    assert_eq!(positions(later.page_after(&log.mark(1), 10)), Some(vec![300, 400, 500]));
}

#[test]
fn the_window_drops_its_oldest_events_above_its_bound_on_bytes() {
    let log = FakeLog::of(100);
    let small = window(None, 10 * (10 + EVENT_OVERHEAD_BYTES));
    fill(&small, &log);
    assert_eq!(small.state().events.len(), 10);
    assert!(small.state().bytes <= small.bytes_max);
    assert_eq!(small.page_after(&log.mark(88), 1), None);
    assert_eq!(positions(small.page_after(&log.mark(89), 1)), Some(vec![9_100]));
    assert_eq!(small.last_event(), log.0.last().cloned());
}

#[test]
fn a_page_of_the_window_ends_with_the_event_that_reaches_the_bound_of_a_read() {
    let mut log = FakeLog::default();
    (0..5).for_each(|_| log.append(READ_BYTES_MAX / 2));
    let large = window(None, usize::MAX);
    fill(&large, &log);
    assert_eq!(positions(large.page_after(&log.mark(0), 10)), Some(vec![200, 300]));
}

#[test]
fn a_mark_of_another_event_is_left_to_the_server() {
    let log = FakeLog::of(5);
    let window = window(None, 1 << 20);
    fill(&window, &log);
    let other = EventMark { id: EventId(Uuid::from_u128(77)), ..log.mark(2) };
    assert_eq!(window.page_after(&other, 10), None);
    let between = EventMark { position: 250, ..log.mark(2) };
    assert_eq!(window.page_after(&between, 10), None);
}

#[test]
fn a_feed_that_was_replaced_adds_nothing() {
    let log = FakeLog::of(5);
    let window = window(None, 1 << 20);
    let (old, _) = window.begin_feed();
    window.take(old, log.0[0].clone());
    let (new, last) = window.begin_feed();
    assert_eq!(last, Some(log.mark(0)));
    window.take(old, log.0[3].clone());
    window.cover(old, 1_000);
    window.take(new, log.0[0].clone());
    window.take(new, log.0[1].clone());
    assert_eq!(positions(window.page_after(&log.mark(0), 10)), Some(vec![200]));
    assert_eq!((window.covered(), *window.head().borrow()), (Some(200), Some(200)));
}

#[test]
fn foreign_events_move_what_is_covered_and_not_the_head() {
    let window = window(None, 1 << 20);
    let (feed, _) = window.begin_feed();
    window.cover(feed, 700);
    window.cover(feed, 650);
    assert_eq!((window.covered(), *window.head().borrow()), (Some(700), None));
}

#[tokio::test]
async fn a_log_that_went_back_empties_the_window_and_is_reported_until_the_reader_recovers() {
    let log = FakeLog::of(5);
    let window = window(None, 1 << 20);
    let feed = fill(&window, &log);
    let mut outage = crate::event_store::Outage::from(window.outage());
    window.fail(ReadError::went_back(&log.mark(4)));
    assert!(matches!(outage.cause().await, ReadError::WentBack(_)));
    window.take(feed, FakeLog::of(6).0[5].clone());
    assert_eq!(window.page_after(&log.mark(0), 10), None);
    assert_eq!(window.last_event(), None);
    window.recover();
    assert!(window.outage().borrow().is_none());
}

#[test]
fn the_last_event_is_vouched_for_since_events_that_the_window_has_and_while_a_reader_fills_it() {
    let log = FakeLog::of(20);
    let window = window(Some(log.0[2].clone()), 5 * (10 + EVENT_OVERHEAD_BYTES));
    assert_eq!(window.last_since(&log.mark(2)), Some(log.0[2].clone()));
    assert_eq!(window.last_since(&log.mark(1)), None);
    fill(&window, &log);
    assert_eq!(window.last_since(&log.mark(19)), Some(log.0[19].clone()));
    assert_eq!(window.last_since(&log.mark(14)), Some(log.0[19].clone()));
    assert_eq!(window.last_since(&log.mark(13)), None, "the window dropped the events after it");
    let other = EventMark { id: EventId(Uuid::from_u128(77)), ..log.mark(19) };
    assert_eq!(window.last_since(&other), None);

    window.fail(ReadError::Unavailable("no answer".into()));
    assert_eq!(window.last_since(&log.mark(19)), None);
    window.recover();
    assert_eq!(window.last_since(&log.mark(19)), Some(log.0[19].clone()));
    window.fail(ReadError::went_back(&log.mark(19)));
    window.recover();
    assert_eq!(window.last_since(&log.mark(19)), None);
}

/// What happens in a random history.
#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    /// The reader delivers at most so many events.
    Deliver(usize),
    /// The subscription ends, and the next one repeats the last events, as many as given.
    Resubscribe(usize),
    /// A follower reads at most so many events.
    Read(usize, usize),
    /// A follower loses what it has not stored, and continues after its stored mark.
    Restart(usize),
    Store(usize),
}

const FOLLOWERS: usize = 3;

#[derive(Default)]
struct Follower {
    read: Vec<RecordedEvent>,
    stored: usize,
}

impl Follower {
    /// Reads as the adapter does: from the window, else from the server.
    fn read(&mut self, window: &Window, log: &FakeLog, limit: usize) {
        let server = |after: Option<Position>| log.after(after).iter().take(limit).cloned().collect();
        let page = match self.read.last().map(EventMark::from) {
            Some(mark) => window.page_after(&mark, limit).unwrap_or_else(|| server(Some(mark.position))),
            None => server(None),
        };
        self.read.extend(page);
    }
}

fn step() -> impl Strategy<Value = Step> {
    let follower = 0..FOLLOWERS;
    prop_oneof![
        3 => (1..20usize).prop_map(Step::Append),
        3 => (1..30usize).prop_map(Step::Deliver),
        1 => (0..5usize).prop_map(Step::Resubscribe),
        6 => (follower.clone(), 1..12usize).prop_map(|(follower, limit)| Step::Read(follower, limit)),
        1 => follower.clone().prop_map(Step::Restart),
        2 => follower.prop_map(Step::Store),
    ]
}

proptest! {
    #[test]
    fn no_event_is_skipped_or_read_twice_across_stops_of_followers_and_reader(
        begin in 0..10usize,
        window_events in 1..25usize,
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut log = FakeLog::of(begin);
        let last = begin.checked_sub(1).map(|last| log.0[last].clone());
        let window = window(last, window_events * (10 + EVENT_OVERHEAD_BYTES));
        let (mut feed, _) = window.begin_feed();
        let mut delivered = begin;
        let mut followers: Vec<Follower> = (0..FOLLOWERS).map(|_| Follower::default()).collect();
        for step in steps {
            match step {
                Step::Append(count) => (0..count).for_each(|_| log.append(10)),
                Step::Deliver(count) => {
                    let to = (delivered + count).min(log.0.len());
                    log.0[delivered.min(to)..to].iter().cloned().for_each(|event| window.take(feed, event));
                    delivered = to;
                }
                Step::Resubscribe(repeated) => {
                    let (next, mark) = window.begin_feed();
                    feed = next;
                    let after = mark.map(|mark| mark.position);
                    delivered = log.0.partition_point(|event| Some(event.position) <= after);
                    delivered = delivered.saturating_sub(repeated);
                }
                Step::Read(follower, limit) => followers[follower].read(&window, &log, limit),
                Step::Restart(follower) => {
                    let Follower { read, stored } = &mut followers[follower];
                    read.truncate(*stored);
                }
                Step::Store(follower) => followers[follower].stored = followers[follower].read.len(),
            }
            prop_assert!(window.state().bytes <= window.bytes_max);
        }
        for follower in &mut followers {
            while follower.read.len() < log.0.len() {
                follower.read(&window, &log, 7);
            }
            prop_assert_eq!(&follower.read, &log.0);
        }
        let unique: HashSet<_> = log.0.iter().map(|event| event.id).collect();
        prop_assert_eq!(unique.len(), log.0.len());
    }
}
