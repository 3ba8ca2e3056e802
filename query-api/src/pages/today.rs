//! `/`: how the day goes, against yesterday at the same time, and what is to be done.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use domain::{Currency, Timestamp, order::OrderStatus, payment::PaymentState};
use infra::{
    http::parameters::{FromParameters, Parameters, Params},
    read_models::{
        Count, MoneyQuery, MoneyTotals, OrderFilter, OrderSummaryRow, OrderWork, PaymentFilter,
        QUARTER_SECONDS, SalesGroup, SalesQuery, SalesTotals, TimeGroup, TimeRange, WaitFilter, quarter_of,
    },
};
use jiff::{SignedDuration, ToSpan, Zoned};
use maud::{Markup, html};

use super::{
    Refused,
    chart::{self, ByHour},
    format::{self, count, decimal, large_money, money, order_link, short_time},
    last_events,
    layout::{Content, Section},
    system, url,
    view::View,
};
use crate::{QueryApi, orders::count_text};

/// Up to this number, stuck orders are counted.
const STUCK_MAX: usize = 1_000;
/// The latest orders that are listed.
const LATEST: usize = 12;
/// A wait for an automatic step that a person should see.
const STUCK_AFTER: SignedDuration = SignedDuration::from_secs(60);

#[derive(Debug)]
pub(super) struct TodayParams {
    currency: Option<Currency>,
}

impl FromParameters for TodayParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        Some(Self { currency: parameters.optional("currency", str::parse) })
    }
}

/// `GET /`
pub(super) async fn today(
    State(api): State<Arc<QueryApi>>,
    view: View,
    Params(wanted): Params<TodayParams>,
) -> Result<Response, Refused> {
    let currencies = api.query(api.queries.currencies()).await?;
    let latest = api.query(api.queries.orders(&OrderFilter::default(), LATEST)).await?;
    let currency = wanted.currency.or_else(|| usual(&latest.items)).or(currencies.first().copied());
    let day = match currency {
        Some(currency) => Some(Day::read(&api, &view, currency).await?),
        None => None,
    };
    let work = work(&api, &view).await?;
    let lag = system::lag(&api).await?;
    let last = last_events::read(&api).await;
    let main = html! {
        div.head {
            h1 { "Today" }
            (choose(&currencies, currency))
        }
        div #tiles data-live {
            @match &day {
                Some(day) => (day.tiles()),
                None => p.empty { "No order was ever allocated. The first one fills this page." },
            }
        }
        div.columns {
            div {
                @if let Some(day) = &day {
                    section.panel { h2 { "Orders by hour" } div #hours data-live { (chart::by_hour(&day.by_hour)) } }
                }
                section.panel {
                    h2 { "Latest orders" }
                    div #latest.box data-live role="region" aria-label="Latest orders" tabindex="0" {
                        (latest_orders(&view, &latest.items))
                    }
                }
            }
            div {
                section.panel { h2 { "To do" } div #work data-live { (work) } }
                section.panel { h2 { "Platform" } div #health data-live { (system::in_short(&view, &lag)) } }
                section.panel { h2 { "Last events" } div #events data-live { (last_events::list(&view, &last)) } }
            }
        }
    };
    let json = currency.map_or_else(
        || "/v1/currencies".to_owned(),
        |currency| format!("/v1/sales?currency={currency}&group_by=hour"),
    );
    Ok(view.page(Content::new("Today", Section::Today, main).live("/v1/feed?topic=tiles").json(json)))
}

fn latest_orders(view: &View, rows: &[OrderSummaryRow]) -> Markup {
    html! {
        @if rows.is_empty() { p.empty { "There is no order yet." } }
        @else {
            table {
                caption.visually-hidden { "The latest orders" }
                thead {
                    tr {
                        th { "Placed" } th { "Order" } th { "State" } th { "Payment" } th { "Fulfilment" }
                        th.number { "Total" }
                    }
                }
                tbody {
                    @for row in rows {
                        @let summary = &row.summary;
                        tr {
                            td { (short_time(summary.placed_at.unwrap_or(row.recorded_at), view)) }
                            td { (order_link(row.order_id)) }
                            td { (format::order_status(summary.status)) }
                            td { (format::payment_status(summary.payment_status)) }
                            td { (format::fulfilment_status(summary.fulfilment_status, summary.status)) }
                            td.number { (money(summary.total, summary.currency)) }
                        }
                    }
                }
            }
        }
    }
}

/// The currency of most of these orders.
fn usual(orders: &[OrderSummaryRow]) -> Option<Currency> {
    let currencies = || orders.iter().filter_map(|row| row.summary.currency);
    currencies().max_by_key(|currency| currencies().filter(|other| other == currency).count())
}

fn choose(currencies: &[Currency], chosen: Option<Currency>) -> Markup {
    html! {
        @if currencies.len() > 1 {
            nav.views aria-label="Currency" {
                @for currency in currencies {
                    a.view href=(url::with_query("/", [("currency", currency.as_str())]))
                        aria-current=[(chosen == Some(*currency)).then_some("true")] { (currency) }
                }
            }
        }
    }
}

/// The figures of today until now, and of yesterday until the same time.
struct Day {
    currency: Currency,
    sales: [SalesTotals; 2],
    money: [MoneyTotals; 2],
    refused: [Count; 2],
    by_hour: ByHour,
}

impl Day {
    async fn read(api: &QueryApi, view: &View, currency: Currency) -> Result<Self, Refused> {
        let now = view.now.to_zoned(view.zone.clone());
        let (today, yesterday) = (spans(&now, 0), spans(&now, 1));
        let mut sales = [SalesTotals::default(); 2];
        let mut moved = [MoneyTotals::default(); 2];
        let mut refused = [Count::default(); 2];
        let mut by_hour = ByHour { today: [0; 24], yesterday: [0; 24] };
        for (index, span) in [&today, &yesterday].into_iter().enumerate() {
            let range = span.until_now.clone();
            let query = SalesQuery { currency, range: range.clone(), group: None, after: None };
            sales[index] = api.query(api.queries.sales(&query, 1)).await?.total;
            let query = MoneyQuery { currency, range, group: None, after: None };
            moved[index] = api.query(api.queries.money(&query, 1)).await?.total;
            refused[index] =
                api.query(api.queries.order_count(&refused_in(currency, &span.until_now))).await?;
            let group = Some(SalesGroup::Time(TimeGroup::Hour));
            let query = SalesQuery { currency, range: span.whole.clone(), group, after: None };
            let hours = api.query(api.queries.sales(&query, 32)).await?.groups;
            let counts = if index == 0 { &mut by_hour.today } else { &mut by_hour.yesterday };
            for (key, totals) in &hours.items {
                if let Some(count) = hour_of(key, view).and_then(|hour| counts.get_mut(hour)) {
                    *count += totals.orders;
                }
            }
        }
        Ok(Self { currency, sales, money: moved, refused, by_hour })
    }

    fn tiles(&self) -> Markup {
        let [today, yesterday] = &self.sales;
        let [moved, moved_before] = &self.money;
        let average = |totals: &SalesTotals| {
            if totals.orders == 0 { 0 } else { sold(totals) / i128::from(totals.orders) }
        };
        let tile = |name: &str, now: i128, before: i128, is_money: bool| {
            let value = |of: i128| {
                if is_money {
                    decimal(of, Some(self.currency))
                } else {
                    count(u64::try_from(of).unwrap_or_default())
                }
            };
            html! {
                div.tile {
                    dt { (name) }
                    dd.value {
                        @if is_money { (large_money(now, Some(self.currency))) } @else { (value(now)) }
                    }
                    dd.muted { (compared(now, before)) " yesterday " (value(before)) }
                }
            }
        };
        html! {
            dl.tiles {
                (tile("Orders", today.orders.into(), yesterday.orders.into(), false))
                (tile("Sold", sold(today), sold(yesterday), true))
                (tile("Captured", moved.captured, moved_before.captured, true))
                (tile("Refunded", moved.refunded, moved_before.refunded, true))
                (tile("Average order", average(today), average(yesterday), true))
                div.tile {
                    dt { a href="/orders?status=rejected" { "Refused for stock" } }
                    dd.value { (count_text(self.refused[0])) }
                    dd.muted { "yesterday " (count_text(self.refused[1])) }
                }
            }
        }
    }
}

/// The orders of a part of a day that were refused because stock was short.
fn refused_in(currency: Currency, range: &TimeRange) -> OrderFilter {
    let instant =
        |quarter: Option<i64>| Timestamp::from_second(quarter?.saturating_mul(QUARTER_SECONDS)).ok();
    OrderFilter {
        status: vec![OrderStatus::Rejected],
        currency: Some(currency),
        placed_from: instant(range.from),
        placed_to: instant(range.to),
        ..OrderFilter::default()
    }
}

/// What the orders cost when they were placed: lines, discounts, taxes, shipping and fees.
fn sold(totals: &SalesTotals) -> i128 {
    totals.gross + totals.discounts + totals.tax + totals.shipping + totals.fees
}

/// "▲ 12 %": today against yesterday.
fn compared(now: i128, before: i128) -> Markup {
    let change = (before != 0).then(|| (now - before) * 100 / before.abs());
    html! {
        @match change {
            Some(0) => span { "= " },
            Some(up) if up > 0 => span.up { "▲ " (up) " % " },
            Some(down) => span.down { "▼ " (down.abs()) " % " },
            None => {},
        }
    }
}

struct Span {
    whole: TimeRange,
    until_now: TimeRange,
}

/// A day of the person's zone, `days` before today.
fn spans(now: &Zoned, days: i32) -> Span {
    let that_time = now.checked_sub(days.days()).unwrap_or_else(|_| now.clone());
    let begin = that_time.start_of_day().unwrap_or_else(|_| that_time.clone());
    let end = begin.checked_add(1.day()).unwrap_or_else(|_| that_time.clone());
    let zone = now.time_zone().clone();
    let range = |to: Timestamp| TimeRange {
        from: Some(quarter_of(begin.timestamp())),
        // The quarter hour that has begun counts.
        to: Some(quarter_of(to) + 1),
        zone: zone.clone(),
    };
    let last = end.timestamp().checked_sub(SignedDuration::from_secs(1)).unwrap_or(end.timestamp());
    Span { whole: range(last), until_now: range(that_time.timestamp()) }
}

/// The hour of the day of a group of hours.
fn hour_of(key: &str, view: &View) -> Option<usize> {
    let at: Timestamp = key.parse().ok()?;
    usize::try_from(at.to_zoned(view.zone.clone()).hour()).ok()
}

/// The work lists with their counts, each a link to its list.
async fn work(api: &QueryApi, view: &View) -> Result<Markup, Refused> {
    let since_before = view.now.checked_sub(STUCK_AFTER).unwrap_or(Timestamp::MIN);
    let waits = WaitFilter { since_before, after: None };
    let unknown = PaymentFilter { state: vec![PaymentState::OutcomeUnknown], ..PaymentFilter::default() };
    let stuck = api.query(api.queries.waits(&waits, STUCK_MAX)).await?;
    let stuck = Count { value: stuck.items.len(), is_exact: !stuck.has_more };
    let unknown = api.query(api.queries.payment_count(&unknown)).await?;
    let parked = Count { value: api.query(api.queries.parked_streams()).await?.len(), is_exact: true };
    let counts = api.query(api.queries.work_counts(view.now)).await?;
    Ok(html! {
        ul.work {
            (task("Outcome unknown at the provider", "/payments?status=outcome_unknown", unknown, "urgent"))
            (task("Stuck", "/stuck", stuck, "urgent"))
            (task("Parked streams", "/stuck#parked", parked, "urgent"))
            @for (work, counted) in counts {
                (task(name_of(work), &format!("/orders?work={}", work.as_str()), counted, "some"))
            }
        }
    })
}

/// One line of the list of work. `class`: how it looks while there is some.
fn task(name: &str, address: &str, counted: Count, class: &str) -> Markup {
    html! {
        li class=[(counted.value > 0).then_some(class)] {
            a href=(address) { (name) }
            strong { (count_text(counted)) }
        }
    }
}

fn name_of(work: OrderWork) -> &'static str {
    match work {
        OrderWork::ToShip => "To ship",
        OrderWork::Unpaid => "Unpaid",
        OrderWork::Overpaid => "Overpaid",
        OrderWork::RefundDue => "Refund under way",
        OrderWork::Returns => "Returns",
        OrderWork::Declined => "Declined, can be charged again",
        OrderWork::Overdue => "Overdue",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yesterday_ends_at_the_same_time_of_the_clock() {
        let now: Zoned = "2026-03-29T12:10:00+02:00[Europe/Berlin]".parse().unwrap();
        let (today, yesterday) = (spans(&now, 0), spans(&now, 1));
        let hours = |range: &TimeRange| (range.to.unwrap() - range.from.unwrap()) / 4;
        // The clock was put forward an hour this morning.
        assert_eq!((hours(&today.whole), hours(&yesterday.whole)), (23, 24));
        assert_eq!(yesterday.until_now.to, Some(quarter_of("2026-03-28T11:10:00Z".parse().unwrap()) + 1));
    }
}
