//! The contract of read models: one suite, run over each adapter.

mod counts;
mod lists;
mod memory;
mod orders;
mod payments;
mod postgres;
mod rows;
mod sales;
mod sqlite;
mod timers;
mod writing;

use std::sync::Arc;

use async_trait::async_trait;
use domain::{
    Amount, Decider, EventId, OrderId, PaymentId, Position, Sku, Timestamp,
    order::{
        CancelReason, CancelledLine, Order, OrderAllocated, OrderCancelled, OrderDecider, OrderEvent,
        OrderLine, OrderPlaced, OrderRejected, OrderStatus, PaymentTerms,
    },
};
use infra::{
    event_source::Partition,
    event_store::EventMark,
    read_models::{Changes, OrderRow, OrderTimes, OverdueQueries, Progress, Queries, ReadModels, Rows},
};
use uuid::Uuid;

/// The read models under test.
#[async_trait]
trait Fixture: Send + Sync + Sized {
    /// Creates empty read models.
    async fn fresh() -> Self;

    fn models(&self) -> Arc<dyn ReadModels>;

    fn queries(&self) -> Arc<dyn Queries>;

    fn overdue(&self) -> Arc<dyn OverdueQueries>;

    /// The queries of another process.
    async fn queries_elsewhere(&self) -> Arc<dyn Queries>;
}

/// Defines a test for each rule of the contract over one adapter.
macro_rules! read_models_contract {
    ($fixture:ty) => { read_models_contract!(#[cfg(test)] $fixture); };
    (#[$attribute:meta] $fixture:ty) => {
        read_models_contract! { #[$attribute] $fixture:
            writing::the_checkpoint_moves_with_the_rows_or_not_at_all,
            writing::a_rehearsal_writes_nothing_and_fails_as_the_commit_does,
            writing::exactly_one_owner_wins_a_race_for_a_position,
            writing::partitions_move_independently,
            writing::several_partitions_move_in_one_commit_or_none,
            writing::a_partition_of_a_topic_moves_only_the_projections_of_its_topic,
            writing::the_last_event_never_goes_back,
            writing::rows_are_bound_to_one_log,
            writing::parked_streams_are_listed_until_they_are_retried,
            writing::a_commit_wakes_the_callers_of_its_streams_here_and_in_other_processes,
            rows::rows_read_back_equal_to_the_rows_written,
            rows::only_rows_that_exist_are_loaded,
            rows::closed_reservations_are_deleted,
            rows::open_reservations_of_ended_orders_are_found_in_either_order_of_writing,
            rows::orders_left_placed_are_found,
            timers::orders_are_due_while_they_wait_for_their_payment,
            timers::waits_are_listed_the_longest_first_page_by_page,
            timers::payments_wait_until_their_provider_has_nothing_to_do,
            timers::authorisations_run_out_while_they_hold_money,
            orders::every_filter_and_order_of_lists_gives_its_orders_page_by_page,
            orders::a_list_that_looks_at_many_orders_finds_all_of_them_page_by_page,
            orders::a_count_of_many_declined_orders_does_not_claim_to_be_exact,
            orders::overdue_orders_come_by_the_time_from_which_they_are_overdue,
            payments::payments_come_in_order_of_arrival,
            payments::every_filter_selects_its_payments_page_by_page,
            lists::stock_is_listed_by_sku_and_by_available_units,
            lists::reservations_of_a_sku_are_paged_by_order,
            lists::stock_events_of_an_order_are_paged_in_the_order_of_the_log,
            sales::sums_equal_the_rows_of_any_time_range,
            sales::sums_add_all_partitions_of_one_currency,
            sales::sums_of_the_largest_amounts_are_exact,
            sales::money_is_summed_by_local_days_over_all_partitions,
            counts::charges_are_counted_by_local_days_and_by_failure_over_all_partitions,
            counts::units_of_skus_are_summed_over_days_and_partitions,
        }
    };
    (#[$attribute:meta] $fixture:ty: $($topic:ident::$rule:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        #[$attribute]
        async fn $rule() {
            let fixture = <$fixture as super::Fixture>::fresh().await;
            super::$topic::$rule(fixture).await;
        }
    )*};
}
use read_models_contract;

fn partition() -> Partition {
    Partition::whole_log()
}

/// Moves the checkpoint from the position before `to` to `to`.
fn step(to: Position) -> Changes {
    Changes::of(vec![Progress {
        partition: partition(),
        from: to.checked_sub(1).filter(|from| *from > 0),
        to: Some(to),
        last_event: Some(mark(to)),
    }])
}

/// The mark of the event at a position.
fn mark(position: Position) -> EventMark {
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, &position.to_be_bytes());
    EventMark { position, stream: order_id(1).into(), revision: position, id: EventId(id) }
}

/// The position of the checkpoint of a partition.
async fn position(models: &Arc<dyn ReadModels>, partition: &Partition) -> Option<Position> {
    models.checkpoint(partition).await.unwrap().map(|reached| reached.position)
}

/// The same step, which also writes rows.
fn step_with(to: Position, rows: Rows) -> Changes {
    Changes { rows, ..step(to) }
}

fn sku(name: &str) -> Sku {
    Sku::new(name).unwrap()
}

/// An id that looks random and depends only on `number`.
fn order_id(number: u32) -> OrderId {
    OrderId(Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_be_bytes()))
}

fn payment_id(number: u32) -> PaymentId {
    PaymentId::of_order(order_id(number))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_300_000_000 + second).unwrap()
}

/// Describes an order of the tests.
struct Sample<'a> {
    number: u32,
    customer: Option<&'a str>,
    skus: &'a [&'a str],
    placed_at: Timestamp,
    payment_due_at: Option<Timestamp>,
    status: OrderStatus,
    terms: PaymentTerms,
    reference: Option<&'a str>,
    country: Option<&'a str>,
    currency: &'a str,
    unit_price: i64,
}

impl Sample<'_> {
    const fn numbered(number: u32) -> Self {
        Self {
            number,
            customer: None,
            skus: &["A"],
            placed_at: Timestamp::UNIX_EPOCH,
            payment_due_at: None,
            status: OrderStatus::Placed,
            terms: PaymentTerms::Prepaid,
            reference: None,
            country: None,
            currency: "GBP",
            unit_price: 50,
        }
    }

    fn row(&self) -> Arc<OrderRow> {
        let line = |name: &&str| OrderLine {
            sku: sku(name),
            quantity: 2,
            unit_price: Amount::new(self.unit_price).unwrap(),
            stocked: true,
            adjustments: Vec::new(),
            shares: domain::shares::Shares::default(),
        };
        let lines: Vec<OrderLine> = self.skus.iter().map(line).collect();
        let placed = OrderPlaced {
            order_id: order_id(self.number),
            customer_id: self.customer.map(str::to_owned),
            currency: self.currency.parse().unwrap(),
            country: self.country.map(str::to_owned),
            total: Amount::new(2 * self.unit_price * i64::try_from(lines.len()).unwrap()).unwrap(),
            lines,
            adjustments: Vec::new(),
            prices_include_tax: false,
            reference: self.reference.map(str::to_owned),
            metadata: [("note".to_owned(), "\"é\"".to_owned())].into(),
            placed_at: self.placed_at,
            payment_due_at: self.payment_due_at,
            terms: Some(self.terms),
            payment: None,
            payments: Vec::new(),
        };
        let mut events: Vec<OrderEvent> = vec![placed.into()];
        let allocated = OrderAllocated { payment_id: Some(payment_id(self.number)), payments: Vec::new() };
        match self.status {
            OrderStatus::Placed | OrderStatus::New => {}
            OrderStatus::Allocated => events.push(allocated.into()),
            OrderStatus::Rejected => events.push(OrderRejected { shortages: Vec::new() }.into()),
            OrderStatus::Cancelled | OrderStatus::Expired => {
                let lines = vec![CancelledLine { line: 1, quantity: 1, value: Some(Amount::ZERO) }];
                let reason = CancelReason::Requested;
                let cancelled =
                    OrderCancelled { reason, note: None, lines, owed: Amount::ZERO, refunds: Vec::new() };
                events.extend([allocated.into(), cancelled.into()]);
            }
        }
        let order: Order = OrderDecider::fold(&events);
        let revision = events.len() as u64 - 1;
        let recorded_at = at(i64::from(self.number));
        let updated_at = at(i64::from(self.number) + 1);
        let mut times = OrderTimes::default();
        times.add(&order, updated_at);
        Arc::new(OrderRow {
            order_id: order_id(self.number),
            revision,
            recorded_at,
            updated_at,
            times,
            order,
        })
    }
}
