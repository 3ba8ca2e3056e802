//! Resources as they were at an earlier instant, folded from the log.
//!
//! One stream is read, up to the instant: an order has few events. The stream of a SKU can have millions, so its levels
//! come from its last event before the instant, which has them.

use domain::{
    Decider, OrderId, RecordedEvent, Revision, Sku, StreamName, Timestamp,
    order::{Order, OrderDecider},
    payment::{Payment, PaymentDecider},
    stock::{StockDecider, StockEvent},
};
use infra::{
    event_store::{EventLog, ReadError},
    http::parameters::{FromParameters, Parameters, instant},
    read_models::{OrderRow, OrderTimes, ReadModelError, RefundTimes, StockRow},
};
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

use crate::{QueryApi, error::FreshnessError, freshness::Freshness, orders::Refunds, stream_time};

/// Events of one read.
const EVENTS_PER_READ: usize = 1_000;

/// The version of a resource to show: the present one, or an earlier one.
#[derive(Debug)]
pub struct Version {
    freshness: Freshness,
    as_of: AsOf,
}

/// An earlier version.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct AsOf {
    /// Shows the resource with the events recorded up to this instant: RFC 3339, or a date, which means its midnight
    /// in UTC. Not together with `min_revision`.
    #[param(value_type = Option<String>)]
    at: Option<Timestamp>,
}

impl FromParameters for Version {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let freshness = <Freshness as FromParameters>::read(parameters)?;
        let at = parameters.optional("at", instant);
        if at.is_some() && freshness.is_wanted() {
            parameters.refuse("at", "cannot be combined with min_revision");
        }
        Some(Self { freshness, as_of: AsOf { at } })
    }
}

impl IntoParams for Version {
    fn into_params(parameter_in: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let of_freshness = Freshness::into_params(&parameter_in);
        of_freshness.into_iter().chain(AsOf::into_params(parameter_in)).collect()
    }
}

impl Version {
    /// The levels of a SKU. `None` if it has, or had, no event.
    pub async fn stock(&self, api: &QueryApi, sku: &Sku) -> Result<Option<StockRow>, FreshnessError> {
        match self.as_of.at {
            Some(at) => Ok(api.query(async { stock(api.log.get().await?, sku, at).await }).await?),
            None => self.freshness.read(api, sku.clone().into(), || api.queries.stock(sku)).await,
        }
    }

    /// An order. One that the caller must not see is like one that does not exist, also while the request waits.
    pub async fn order(
        &self,
        api: &QueryApi,
        id: OrderId,
        is_visible: impl Fn(&OrderRow) -> bool,
    ) -> Result<Option<OrderRow>, FreshnessError> {
        if let Some(at) = self.as_of.at {
            let row = api.query(async { order(api.log.get().await?, id, at).await }).await?;
            return Ok(row.filter(is_visible));
        }
        let read = || async { Ok::<_, ReadModelError>(api.queries.order(id).await?.filter(&is_visible)) };
        self.freshness.read(api, id.into(), read).await
    }
}

impl Version {
    /// How far the payments of an order are with its refunds.
    pub async fn refunds(&self, api: &QueryApi, order: &Order) -> Result<Refunds, FreshnessError> {
        Ok(match self.as_of.at {
            Some(at) => api.query(async { refunds(api.log.get().await?, order, at).await }).await?,
            None => api.query(Refunds::read(api.queries.as_ref(), order)).await?,
        })
    }
}

/// The levels of a SKU. `None` if it had no event yet.
pub(crate) async fn stock(
    log: &dyn EventLog,
    sku: &Sku,
    at: Timestamp,
) -> Result<Option<StockRow>, ReadError> {
    let stream = sku.clone().into();
    let Some(revision) = last_at(log, &stream, at).await? else { return Ok(None) };
    let last = log.read_stream(&stream, revision, 1).await?.pop();
    let last = last.ok_or_else(|| corrupt(&stream, revision, "it is missing"))?;
    let levels = match decoded::<StockEvent>(&last)?.levels() {
        Some(levels) => levels,
        // An early build recorded it.
        None => folded::<StockDecider>(log, &stream, revision, |_, _| {}).await?.0.levels(),
    };
    let (sku, on_hand, reserved) = (sku.clone(), levels.on_hand, levels.reserved);
    Ok(Some(StockRow { sku, on_hand, reserved, revision }))
}

/// An order. `None` if it was not recorded yet.
pub(crate) async fn order(
    log: &dyn EventLog,
    id: OrderId,
    at: Timestamp,
) -> Result<Option<OrderRow>, ReadError> {
    let stream = id.into();
    let Some(revision) = last_at(log, &stream, at).await? else { return Ok(None) };
    let mut times = OrderTimes::default();
    let note = |order: &Order, now| times.add(order, now);
    let (order, recorded_at, updated_at) = folded::<OrderDecider>(log, &stream, revision, note).await?;
    Ok(order.exists().then_some(OrderRow { order_id: id, revision, recorded_at, updated_at, times, order }))
}

/// How far the payments of an order were with its refunds.
async fn refunds(log: &dyn EventLog, order: &Order, at: Timestamp) -> Result<Refunds, ReadError> {
    let mut refunds = Refunds::default();
    for id in Refunds::payments(order) {
        let stream = id.into();
        let Some(revision) = last_at(log, &stream, at).await? else { continue };
        let (mut times, mut before) = (RefundTimes::default(), None);
        let note = |payment: &Payment, now| {
            times.add(before.as_ref(), payment, now);
            before = Some(payment.clone());
        };
        let (payment, ..) = folded::<PaymentDecider>(log, &stream, revision, note).await?;
        refunds.add(&payment, &times);
    }
    Ok(refunds)
}

/// The last event that was recorded at an instant or before it.
async fn last_at(
    log: &dyn EventLog,
    stream: &StreamName,
    at: Timestamp,
) -> Result<Option<Revision>, ReadError> {
    // The store counts microseconds.
    let after = at.checked_add(jiff::SignedDuration::from_micros(1)).unwrap_or(Timestamp::MAX);
    Ok(stream_time::first_since(log, stream, after).await?.checked_sub(1))
}

/// The state after an event, and when the first and the last event were recorded. `note` gets the state after each
/// event, and when it was recorded.
async fn folded<D: Decider>(
    log: &dyn EventLog,
    stream: &StreamName,
    last: Revision,
    mut note: impl FnMut(&D::State, Timestamp),
) -> Result<(D::State, Timestamp, Timestamp), ReadError> {
    let mut state = D::State::default();
    let (mut next, mut times) = (0, None);
    while next <= last {
        let limit = EVENTS_PER_READ.min(usize::try_from(last - next + 1).unwrap_or(usize::MAX));
        let page = log.read_stream(stream, next, limit).await?;
        if page.is_empty() {
            return Err(corrupt(stream, next, "it is missing"));
        }
        for event in page {
            D::evolve(&mut state, &decoded(&event)?);
            note(&state, event.recorded_at);
            let (first, _) = times.unwrap_or((event.recorded_at, event.recorded_at));
            times = Some((first, event.recorded_at));
            next = event.revision + 1;
        }
    }
    let (first, last) = times.unwrap_or_default();
    Ok((state, first, last))
}

fn decoded<E: domain::decider::StoredEvent>(event: &RecordedEvent) -> Result<E, ReadError> {
    event.decode_as().map_err(|error| corrupt(&event.stream, event.revision, &error.to_string()))
}

fn corrupt(stream: &StreamName, revision: Revision, why: &str) -> ReadError {
    ReadError::Corrupt(format!("revision {revision} of {stream} cannot be shown: {why}").into())
}
