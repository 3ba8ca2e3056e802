//! `/orders/{id}`: one order with its money, its lines and its timeline, as it is or as it was.

mod head;
mod lines;
mod money;
mod parts;
mod timeline;

use std::sync::Arc;

use axum::{extract::State, response::Response};
use domain::{
    Decider, OrderId, PaymentId, Position, RecordedEvent, Revision, Timestamp,
    order::{Order, OrderDecider, OrderEvent},
};
use infra::{
    auth::Scope,
    event_store::ReadError,
    http::{
        Code, Problem,
        parameters::{FromParameters, Parameters, Params, one_of},
        path::{Id, NoSuch, PathId},
    },
    read_models::{OrderRow, OrderTimes, PaymentRow},
};
use maud::html;

pub(super) use self::money::state_of;
use super::{
    Refused,
    actions::OrderAction,
    layout::{Content, Section},
    view::View,
};
use crate::{
    QueryApi,
    error::{FreshnessError, QueryError},
    freshness::Freshness,
    timeline::read_range,
};

/// Payments that are read in full. An order has one or two in most cases.
const PAYMENTS_MAX: usize = 10;

/// Which state of the order to show.
#[derive(Debug)]
pub(super) struct OrderParams {
    freshness: Freshness,
    /// An earlier revision.
    revision: Option<Revision>,
    /// The action that has led here.
    done: Option<OrderAction>,
    /// Events of the timeline after this position.
    after: Option<Position>,
}

impl FromParameters for OrderParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let whole = |text: &str| text.parse().map_err(|_| "is not a whole number from 0");
        Some(Self {
            freshness: <Freshness as FromParameters>::read(parameters)?,
            revision: parameters.optional("revision", whole),
            done: parameters.optional("done", |text| one_of(text, &OrderAction::ALL, OrderAction::name)),
            after: parameters.optional("after", whole),
        })
    }
}

/// An order as its page shows it.
pub(super) struct Shown {
    pub id: OrderId,
    /// As it is, or as it was.
    pub order: Order,
    pub revision: Revision,
    pub updated_at: Timestamp,
    /// The revision of the order as it is.
    pub last: Revision,
    /// When its parts were recorded, as it is now.
    pub times: OrderTimes,
    /// Its payments as they are.
    pub payments: Vec<PaymentRow>,
}

impl Shown {
    pub fn is_past(&self) -> bool {
        self.revision < self.last
    }

    pub fn payment(&self, id: PaymentId) -> Option<&PaymentRow> {
        self.payments.iter().find(|row| row.payment_id == id)
    }
}

/// `GET /orders/{id}`
pub(super) async fn order(
    State(api): State<Arc<QueryApi>>,
    view: View,
    Id(id): Id<OrderId>,
    Params(wanted): Params<OrderParams>,
) -> Result<Response, Refused> {
    let (row, is_behind) = current(&api, id, &wanted.freshness).await?;
    let timeline = if view.may(Scope::Audit) {
        timeline::read(&api, &row, wanted.after).await
    } else {
        timeline::Part::NotAllowed
    };
    let payments = payments_of(&api, &row.order).await?;
    let last = row.revision;
    let shown = match wanted.revision {
        Some(revision) if revision < last => {
            if !view.may(Scope::Audit) {
                return Err(Problem::new(Code::Forbidden)
                    .detail("an earlier state needs the scope audit")
                    .into());
            }
            let (order, recorded_at) = as_of(&api, id, revision).await?;
            Shown { id, order, revision, updated_at: recorded_at, last, times: row.times, payments }
        }
        Some(_) | None => Shown {
            id,
            order: row.order,
            revision: last,
            updated_at: row.updated_at,
            last,
            times: row.times,
            payments,
        },
    };
    let main = html! {
        (head::notices(&shown, wanted.done, is_behind))
        (head::head(&view, &shown))
        @if view.may(Scope::Audit) { (head::slider(&view, &shown)) }
        div #order.columns data-live {
            div {
                (lines::lines(&shown))
                (parts::parts(&view, &shown))
            }
            div {
                (money::money(&view, &shown))
                (head::facts(&view, &shown))
            }
        }
        (timeline::section(&view, &shown, &timeline))
    };
    let title = format!("Order {}", super::format::short_id(id));
    let content = Content::new(title, Section::Orders, main).json(format!("/v1/orders/{id}"));
    let is_live = !shown.is_past();
    Ok(view.page(if is_live { content.live(format!("/v1/feed?stream=order-{id}")) } else { content }))
}

/// The order as the read models have it, and whether they lack the revision that the caller knows of.
async fn current(api: &QueryApi, id: OrderId, freshness: &Freshness) -> Result<(OrderRow, bool), Refused> {
    let read = || api.queries.order(id);
    match freshness.read(api, id.into(), read).await {
        Ok(row) => Ok((row.ok_or(NoSuch(OrderId::RESOURCE))?, false)),
        // A page that is a little old tells more than an error.
        Err(FreshnessError::NotReached { .. } | FreshnessError::Parked) => {
            let row = api.query(read()).await?;
            Ok((row.ok_or(NoSuch(OrderId::RESOURCE))?, true))
        }
        Err(error @ FreshnessError::Query(_)) => Err(error.into()),
    }
}

/// The order as the read models have it, for a form.
pub(super) async fn shown_now(api: &QueryApi, id: OrderId) -> Result<Shown, Refused> {
    let row = api.query(api.queries.order(id)).await?.ok_or(NoSuch(OrderId::RESOURCE))?;
    let payments = payments_of(api, &row.order).await?;
    let OrderRow { order, revision, updated_at, times, .. } = row;
    Ok(Shown { id, order, revision, updated_at, last: revision, times, payments })
}

async fn payments_of(api: &QueryApi, order: &Order) -> Result<Vec<PaymentRow>, QueryError> {
    let mut rows = Vec::new();
    for tender in order.tenders().iter().take(PAYMENTS_MAX) {
        rows.extend(api.query(api.queries.payment(tender.payment_id)).await?);
    }
    Ok(rows)
}

/// The order right after one of its events, folded from its stream, and when that event was recorded.
async fn as_of(api: &QueryApi, id: OrderId, revision: Revision) -> Result<(Order, Timestamp), QueryError> {
    let reading = async {
        let events: Vec<RecordedEvent> = read_range(api.log.get().await?, &id.into(), 0, revision).await?;
        let mut order = Order::default();
        for event in &events {
            let decoded = event.decode_as::<OrderEvent>();
            let decoded = decoded.map_err(|error| ReadError::Corrupt(error.to_string().into()))?;
            OrderDecider::evolve(&mut order, &decoded);
        }
        let recorded_at = events.last().map_or(Timestamp::MIN, |event| event.recorded_at);
        Ok::<_, ReadError>((order, recorded_at))
    };
    api.query(reading).await
}
