//! Maps subscriptions and deliveries to rows and back.

use domain::{Actor, EventId, OrderId, StreamName, Timestamp};
use postgres_types::{FromSql, ToSql};
use tokio_postgres::{Row, types::FromSql as FromSqlValue};

use crate::{
    operations::webhooks::{
        Behind, DeliveryStatus, EventSequence, EventTypes, NewDelivery, OrderPlace, Subscription,
        SubscriptionId, SubscriptionStatus, WebhookDelivery,
        rules::{previous_secret_place, secret_place},
    },
    postgres::{Fault, Timestamptz},
    sealing::SecretKeys,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSql, FromSql)]
#[postgres(name = "webhook_subscription_status", rename_all = "snake_case")]
pub(super) enum SubscriptionStatusColumn {
    Enabled,
    Disabled,
    Gone,
    Failing,
}

impl From<SubscriptionStatus> for SubscriptionStatusColumn {
    fn from(status: SubscriptionStatus) -> Self {
        match status {
            SubscriptionStatus::Enabled => Self::Enabled,
            SubscriptionStatus::Disabled => Self::Disabled,
            SubscriptionStatus::Gone => Self::Gone,
            SubscriptionStatus::Failing => Self::Failing,
        }
    }
}

impl From<SubscriptionStatusColumn> for SubscriptionStatus {
    fn from(status: SubscriptionStatusColumn) -> Self {
        match status {
            SubscriptionStatusColumn::Enabled => Self::Enabled,
            SubscriptionStatusColumn::Disabled => Self::Disabled,
            SubscriptionStatusColumn::Gone => Self::Gone,
            SubscriptionStatusColumn::Failing => Self::Failing,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSql, FromSql)]
#[postgres(name = "webhook_delivery_status", rename_all = "snake_case")]
pub(super) enum DeliveryStatusColumn {
    Pending,
    Delivered,
    Failed,
}

impl From<DeliveryStatus> for DeliveryStatusColumn {
    fn from(status: DeliveryStatus) -> Self {
        match status {
            DeliveryStatus::Pending => Self::Pending,
            DeliveryStatus::Delivered => Self::Delivered,
            DeliveryStatus::Failed => Self::Failed,
        }
    }
}

impl From<DeliveryStatusColumn> for DeliveryStatus {
    fn from(status: DeliveryStatusColumn) -> Self {
        match status {
            DeliveryStatusColumn::Pending => Self::Pending,
            DeliveryStatusColumn::Delivered => Self::Delivered,
            DeliveryStatusColumn::Failed => Self::Failed,
        }
    }
}

pub(super) fn subscription(row: &Row, keys: &SecretKeys) -> Result<Subscription, Fault> {
    let id = SubscriptionId(cell(row, 0)?);
    let previous = match (cell::<Option<String>>(row, 7)?, optional_time(row, 8)?) {
        (Some(text), Some(until)) => {
            keys.open(&text, previous_secret_place(id)).ok().map(|secret| (secret, until))
        }
        _ => None,
    };
    let behind = match (optional_number(row, 14)?, optional_number(row, 15)?) {
        (Some(after), Some(skipped_to)) => Some(Behind { after, skipped_to }),
        _ => None,
    };
    Ok(Subscription {
        id,
        number: number(row, 1)?,
        url: cell(row, 2)?,
        event_types: EventTypes::stored(cell(row, 3)?),
        description: cell(row, 4)?,
        status: cell::<SubscriptionStatusColumn>(row, 5)?.into(),
        secret: keys.open(&cell::<String>(row, 6)?, secret_place(id)),
        previous_secret: previous,
        rotated_by: cell(row, 9)?,
        after: optional_number(row, 10)?,
        failing_since: optional_time(row, 13)?,
        behind,
        created_at: time(row, 11)?,
        updated_at: time(row, 12)?,
    })
}

pub(super) fn delivery(row: &Row) -> Result<WebhookDelivery, Fault> {
    let stream: StreamName = cell::<String>(row, 4)?.parse().map_err(|error| corrupt(&error))?;
    let attempts: i32 = cell(row, 12)?;
    let last_status: Option<i32> = cell(row, 18)?;
    Ok(WebhookDelivery {
        number: number(row, 0)?,
        content: NewDelivery {
            subscription: SubscriptionId(cell(row, 1)?),
            event: EventId(cell(row, 2)?),
            event_type: cell(row, 3)?,
            stream,
            revision: number(row, 5)?,
            position: number(row, 6)?,
            recorded_at: time(row, 7)?,
            actor: cell::<Option<String>>(row, 20)?.as_deref().and_then(Actor::from_json),
            place: place(row)?,
        },
        status: cell::<DeliveryStatusColumn>(row, 11)?.into(),
        attempts: u32::try_from(attempts).map_err(|error| corrupt(&error))?,
        queued_at: time(row, 13)?,
        next_attempt_at: optional_time(row, 14)?,
        first_attempt_at: optional_time(row, 15)?,
        last_attempt_at: optional_time(row, 16)?,
        finished_at: optional_time(row, 17)?,
        last_status: last_status.map(u16::try_from).transpose().map_err(|error| corrupt(&error))?,
        last_error: cell(row, 19)?,
    })
}

/// `None` for the number 0: events are counted from 1.
fn place(row: &Row) -> Result<Option<OrderPlace>, Fault> {
    let sequence = EventSequence { number: number(row, 9)?, previous: optional_number(row, 10)? };
    let place = OrderPlace { order: OrderId(cell(row, 8)?), sequence };
    Ok(Some(place).filter(|place| place.sequence.number > 0))
}

pub(in crate::operations::postgres) fn cell<'r, T: FromSqlValue<'r>>(
    row: &'r Row,
    column: usize,
) -> Result<T, Fault> {
    Ok(row.try_get(column)?)
}

pub(in crate::operations::postgres) fn number(row: &Row, column: usize) -> Result<u64, Fault> {
    Ok(cell::<i64>(row, column)?.cast_unsigned())
}

fn optional_number(row: &Row, column: usize) -> Result<Option<u64>, Fault> {
    Ok(cell::<Option<i64>>(row, column)?.map(i64::cast_unsigned))
}

pub(in crate::operations::postgres) fn time(row: &Row, column: usize) -> Result<Timestamp, Fault> {
    cell::<Timestamptz>(row, column)?.timestamp().map_err(|error| corrupt(&error))
}

pub(in crate::operations::postgres) fn optional_time(
    row: &Row,
    column: usize,
) -> Result<Option<Timestamp>, Fault> {
    let time: Option<Timestamptz> = cell(row, column)?;
    time.map(|time| time.timestamp().map_err(|error| corrupt(&error))).transpose()
}

pub(in crate::operations::postgres) fn corrupt(error: &dyn std::fmt::Display) -> Fault {
    Fault::Corrupt(error.to_string().into())
}
