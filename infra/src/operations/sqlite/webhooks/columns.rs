//! Reads subscriptions and deliveries from rows.

use domain::{Actor, EventId, OrderId, StreamName, Timestamp};
use rusqlite::{
    Row,
    types::{FromSqlError, Type},
};

use crate::{
    operations::webhooks::{
        Behind, DeliveryStatus, EventSequence, EventTypes, NewDelivery, OrderPlace, Subscription,
        SubscriptionId, SubscriptionStatus, WebhookDelivery,
        rules::{previous_secret_place, secret_place},
    },
    sealing::SecretKeys,
};

pub(super) fn subscription(row: &Row<'_>, keys: &SecretKeys) -> rusqlite::Result<Subscription> {
    let id = SubscriptionId(row.get(0)?);
    let json: String = row.get(3)?;
    let patterns = serde_json::from_str(&json).map_err(|error| unreadable(3, error))?;
    let previous = match (row.get::<_, Option<String>>(7)?, optional_time(row, 8)?) {
        (Some(text), Some(until)) => {
            keys.open(&text, previous_secret_place(id)).ok().map(|secret| (secret, until))
        }
        _ => None,
    };
    let behind = match (optional_position(row, 14)?, optional_position(row, 15)?) {
        (Some(after), Some(skipped_to)) => Some(Behind { after, skipped_to }),
        _ => None,
    };
    Ok(Subscription {
        id,
        number: row.get::<_, i64>(1)?.cast_unsigned(),
        url: row.get(2)?,
        event_types: EventTypes::stored(patterns),
        description: row.get(4)?,
        status: one_of(row, 5, SubscriptionStatus::ALL, SubscriptionStatus::as_str)?,
        secret: keys.open(&row.get::<_, String>(6)?, secret_place(id)),
        previous_secret: previous,
        rotated_by: row.get(9)?,
        after: optional_position(row, 10)?,
        failing_since: optional_time(row, 13)?,
        behind,
        created_at: time(row, 11)?,
        updated_at: time(row, 12)?,
    })
}

pub(super) fn delivery(row: &Row<'_>) -> rusqlite::Result<WebhookDelivery> {
    let stream: StreamName = row.get::<_, String>(4)?.parse().map_err(|error| unreadable(4, error))?;
    Ok(WebhookDelivery {
        number: row.get::<_, i64>(0)?.cast_unsigned(),
        content: NewDelivery {
            subscription: SubscriptionId(row.get(1)?),
            event: EventId(row.get(2)?),
            event_type: row.get(3)?,
            stream,
            revision: row.get::<_, i64>(5)?.cast_unsigned(),
            position: row.get::<_, i64>(6)?.cast_unsigned(),
            recorded_at: time(row, 7)?,
            actor: row.get::<_, Option<String>>(20)?.as_deref().and_then(Actor::from_json),
            place: place(row)?,
        },
        status: one_of(row, 11, DeliveryStatus::ALL, DeliveryStatus::as_str)?,
        attempts: row.get(12)?,
        queued_at: time(row, 13)?,
        next_attempt_at: optional_time(row, 14)?,
        first_attempt_at: optional_time(row, 15)?,
        last_attempt_at: optional_time(row, 16)?,
        finished_at: optional_time(row, 17)?,
        last_status: row.get(18)?,
        last_error: row.get(19)?,
    })
}

/// `None` for the number 0: events are counted from 1.
fn place(row: &Row<'_>) -> rusqlite::Result<Option<OrderPlace>> {
    let number = row.get::<_, i64>(9)?.cast_unsigned();
    let sequence = EventSequence { number, previous: optional_position(row, 10)? };
    let place = OrderPlace { order: OrderId(row.get(8)?), sequence };
    Ok(Some(place).filter(|_| number > 0))
}

fn one_of<T: Copy, const N: usize>(
    row: &Row<'_>,
    column: usize,
    all: [T; N],
    name: fn(T) -> &'static str,
) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    all.into_iter()
        .find(|one| name(*one) == text)
        .ok_or_else(|| unreadable(column, FromSqlError::InvalidType))
}

fn optional_position(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(i64::cast_unsigned))
}

pub(in crate::operations::sqlite) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Timestamp::from_microsecond(row.get(column)?).map_err(|error| unreadable(column, error))
}

pub(in crate::operations::sqlite) fn optional_time(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<Timestamp>> {
    let microseconds: Option<i64> = row.get(column)?;
    microseconds
        .map(|time| Timestamp::from_microsecond(time).map_err(|error| unreadable(column, error)))
        .transpose()
}

pub(in crate::operations::sqlite) fn unreadable(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
