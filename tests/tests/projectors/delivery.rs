//! Batches of any size, redelivered events, failing commits and competing projectors.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use domain::{
    StreamName,
    order::{Line, Order, OrderStatus},
    shares::worth_of_first,
};
use infra::{
    event_source::{Partition, Reached, layout::SourceLayout},
    read_models::{
        BindError, Changes, Generation, MoneyQueries, MoneyQuery, MoneyTotals, OrderQueries, ParkedStream,
        PaymentQueries, ReadModelError, ReadModels, RowKeys, Rows, SalesGroup, SalesQueries, SalesQuery,
        SalesTotals, StockFilter, StockQueries, TimeGroup, TimeRange, Totals, sqlite::SqliteReadModels,
    },
};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use uuid::Uuid;

use super::{
    Bench, RunningProjector,
    feed::{DividedLog, Feed},
    memory_log::MemoryLog,
    story::{Act, Story, acts},
};

/// The outcome of a commit.
#[derive(Debug, Clone, Copy)]
enum CommitOutcome {
    Done,
    Refused,
    /// Committed, but the projector gets an error.
    AnswerLost,
}

/// Read models that fail some commits.
struct FailingReadModels {
    inner: Arc<dyn ReadModels>,
    /// The outcomes of the first commits. Later commits succeed.
    outcomes: Mutex<VecDeque<CommitOutcome>>,
}

fn unavailable() -> ReadModelError {
    ReadModelError::Unavailable("the test fails this call".into())
}

#[async_trait]
impl ReadModels for FailingReadModels {
    async fn bind(&self, store_id: Uuid) -> Result<(), BindError> {
        self.inner.bind(store_id).await
    }

    async fn generation(&self) -> Result<Generation, ReadModelError> {
        self.inner.generation().await
    }

    async fn checkpoint(&self, partition: &Partition) -> Result<Option<Reached>, ReadModelError> {
        self.inner.checkpoint(partition).await
    }

    async fn load(&self, keys: RowKeys) -> Result<Rows, ReadModelError> {
        self.inner.load(keys).await
    }

    async fn commit(&self, changes: Changes) -> Result<(), ReadModelError> {
        let outcome = self.outcomes.lock().unwrap().pop_front().unwrap_or(CommitOutcome::Done);
        match outcome {
            CommitOutcome::Done => self.inner.commit(changes).await,
            CommitOutcome::Refused => Err(unavailable()),
            CommitOutcome::AnswerLost => {
                self.inner.commit(changes).await?;
                Err(unavailable())
            }
        }
    }

    async fn rehearse(&self, changes: Changes) -> Result<(), ReadModelError> {
        self.inner.rehearse(changes).await
    }

    async fn parked(&self) -> Result<Vec<ParkedStream>, ReadModelError> {
        self.inner.parked().await
    }

    async fn request_retry(&self, stream: &StreamName) -> Result<bool, ReadModelError> {
        self.inner.request_retry(stream).await
    }

    async fn retry_requests(&self) -> Result<Vec<ParkedStream>, ReadModelError> {
        self.inner.retry_requests().await
    }
}

/// How events reach the projectors.
#[derive(Debug, Clone)]
struct DeliveryConditions {
    /// The number of partitions.
    count: usize,
    /// Most batches that arrive together.
    together: usize,
    cuts: Vec<usize>,
    redelivered: usize,
    outcomes: Vec<CommitOutcome>,
    /// Runs a second projector over the same file. Both act as the owner.
    competitor: Option<Vec<usize>>,
}

fn conditions() -> impl Strategy<Value = DeliveryConditions> {
    let outcome = prop_oneof![
        4 => Just(CommitOutcome::Done),
        1 => Just(CommitOutcome::Refused),
        1 => Just(CommitOutcome::AnswerLost),
    ];
    let cuts = || prop::collection::vec(1..25_usize, 1..5);
    let outcomes = prop::collection::vec(outcome, 0..5);
    ((1..5_usize, 1..9_usize), cuts(), 0..6_usize, outcomes, prop::option::of(cuts())).prop_map(
        |((count, together), cuts, redelivered, outcomes, competitor)| DeliveryConditions {
            count,
            together,
            cuts,
            redelivered,
            outcomes,
            competitor,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn each_event_is_in_the_rows_exactly_once_for_any_delivery(
        acts in acts(),
        conditions in conditions(),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(project_and_check(&acts, conditions));
    }
}

async fn project_and_check(acts: &[Act], conditions: DeliveryConditions) {
    let DeliveryConditions { count, together, cuts, redelivered, outcomes, competitor } = conditions;
    let story = Story::of(acts);
    let bench = Bench::new(MemoryLog::new(story.events.clone()));
    let failing = FailingReadModels { inner: bench.models.clone(), outcomes: Mutex::new(outcomes.into()) };
    let layout = DividedLog { log: bench.log.clone(), count };
    let feed = |cuts| Feed::new(&bench.log).divided(&layout, together).cut(cuts);
    let first = feed(cuts).redeliver(redelivered);
    let mut running = vec![RunningProjector::start(first, &bench.log, Arc::new(failing))];
    if let Some(cuts) = competitor {
        let models = Arc::new(SqliteReadModels::open(&bench.path).unwrap());
        running.push(RunningProjector::start(feed(cuts), &bench.log, models));
    }
    // The last commit may come through another file handle, which does not notify this one, so this polls.
    let ends = layout.last_positions().await.unwrap();
    crate::support::eventually("every checkpoint reaches the end of its partition", async || {
        for (partition, end) in layout.partitions().iter().zip(&ends) {
            let reached = bench.models.checkpoint(partition).await.unwrap();
            if reached.map(|reached| reached.position) != *end {
                return None;
            }
        }
        Some(())
    })
    .await;
    for projector in running {
        projector.stop().await;
    }
    bench.assert_rows_are_those_of(Arc::new(layout)).await;
    assert_rows_are_the_aggregates(&bench, &story).await;
}

/// Compares the rows with the aggregates of the story, which do not depend on the projections.
async fn assert_rows_are_the_aggregates(bench: &Bench, story: &Story) {
    for (sku, stock) in story.stock.iter().filter(|(_, stock)| stock.levels().on_hand > 0) {
        let row = bench.queries.stock(sku).await.unwrap().unwrap();
        assert_eq!((row.on_hand, row.reserved), (stock.levels().on_hand, stock.levels().reserved), "{sku}");
        let held = bench.queries.reservations(sku, None, 1_000).await.unwrap().items;
        assert_eq!(held.len(), stock.open_reservations().len(), "{sku}");
        for row in held {
            assert_eq!(stock.reservation(row.order_id).unwrap().quantity, row.quantity, "{sku}");
        }
    }
    for (id, order) in story.orders.iter().filter(|(_, order)| order.exists()) {
        assert_eq!(bench.queries.order(*id).await.unwrap().unwrap().order, *order);
    }
    let recorded = story.payments.iter().filter(|(_, payment)| payment.order_id().is_some());
    for (id, payment) in recorded {
        assert_eq!(bench.queries.payment(*id).await.unwrap().unwrap().payment, *payment);
    }
    assert_reports_are_those_of_the_aggregates(bench, story).await;
}

/// What is still to be paid of the units that are neither cancelled nor returned, and of what belongs to no line.
fn unpaid(order: &Order) -> i128 {
    let is_ended = matches!(order.status(), OrderStatus::Cancelled | OrderStatus::Expired);
    let is_dropped = is_ended && order.lines().iter().all(|line| line.shipped == 0);
    let live = |line: &Line| {
        let left = worth_of_first(line.cancelled + line.returned, line.quantity, line.total());
        line.total().saturating_sub(left).minor_units()
    };
    let of_no_line = if is_dropped { 0 } else { order.unspread().minor_units() };
    let live: i64 = order.lines().iter().map(live).sum::<i64>() + of_no_line;
    (live - order.captured().minor_units()).max(0).into()
}

fn beyond_total(order: &Order) -> i128 {
    (order.captured().minor_units() - order.total().minor_units()).max(0).into()
}

/// The columns add up, over any groups and in any time zone, and equal the payments.
async fn assert_reports_are_those_of_the_aggregates(bench: &Bench, story: &Story) {
    let mut books = MoneyTotals::default();
    story.payments.values().for_each(|payment| books.add(&MoneyTotals::of_payment(payment)));
    let sold = || story.orders.values().filter(|order| order.payment_id().is_some() || order.is_paid());
    let sum = |of: fn(&Order) -> i128| sold().map(of).sum::<i128>();
    let currency = "GBP".parse().unwrap();
    let zones = ["UTC", "Europe/London", "Asia/Kathmandu", "America/St_Johns"];
    let ranges = zones.map(|name| TimeRange { zone: TimeZone::get(name).unwrap(), ..TimeRange::default() });
    let all = SalesQuery { currency, range: TimeRange::default(), group: None, after: None };
    let total = bench.queries.sales(&all, 1_000).await.unwrap().total;

    assert_eq!(i128::from(total.orders), sum(|_| 1));
    assert_eq!(
        i128::from(total.units),
        sum(|order| order.lines().iter().map(|line| i128::from(line.quantity)).sum())
    );
    assert_eq!(
        total.net() + total.cancelled + total.refunded,
        sum(|order| order.total().minor_units().into())
    );
    // What was paid beyond the total is no sale, and its refund reduces none.
    let refunded_beyond = sum(|order| beyond_total(order).min(order.refunded().minor_units().into()));
    assert_eq!(total.refunded, books.refunded - refunded_beyond);
    let kept_beyond = sum(beyond_total) - refunded_beyond;
    assert_eq!(total.net(), books.captured - books.refunded + sum(unpaid) - kept_beyond);
    let groups = [TimeGroup::Hour, TimeGroup::Day, TimeGroup::Month];
    for range in ranges {
        for group in groups.map(SalesGroup::Time).into_iter().chain([SalesGroup::Country, SalesGroup::Sku]) {
            let query = SalesQuery { group: Some(group), range: range.clone(), ..all.clone() };
            let mut parts = SalesTotals::default();
            for (_, part) in bench.queries.sales(&query, 1_000).await.unwrap().groups.items {
                parts.add(&part);
            }
            // An order counts once for each of its SKUs.
            let orders = if group == SalesGroup::Sku { parts.orders } else { total.orders };
            assert_eq!(parts, SalesTotals { orders, ..total }, "{query:?}");
        }
        for group in groups.map(Some).into_iter().chain([None]) {
            let query = MoneyQuery { currency, range: range.clone(), group, after: None };
            let money = bench.queries.money(&query, 1_000).await.unwrap();
            assert_eq!(money.total, books, "{query:?}");
            let mut parts = MoneyTotals::default();
            money.groups.items.iter().for_each(|(_, part)| parts.add(part));
            assert_eq!(parts, if group.is_some() { books } else { parts }, "{query:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_projector_continues_from_its_checkpoint() {
    let story = Story::eventful();
    let bench = Bench::new(MemoryLog::new(story.events[..10].to_vec()));
    let first = bench.run();
    bench.caught_up().await;
    first.stop().await;
    bench.log.extend(&story.events);
    let second = bench.run();
    bench.caught_up().await;
    second.stop().await;
    bench.assert_rows_are_those_of_the_log().await;
    assert!(bench.queries.stock_list(&StockFilter::default(), 10).await.unwrap().items.len() > 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_one_log_are_not_continued_from_another() {
    let bench = Bench::new(MemoryLog::new(Story::eventful().events));
    bench.models.bind(Uuid::from_u128(99)).await.unwrap();
    let runner = projectors::runner::Runner::new(
        Feed::new(&bench.log),
        bench.log.clone(),
        bench.models.clone(),
        projectors::runner::ProjectorOptions::default(),
    );
    let refused = runner.run(tokio_util::sync::CancellationToken::new()).await;
    assert!(matches!(refused, Err(BindError::OtherLog { .. })), "{refused:?}");
}
