//! The business rules of Orderly, as pure functions.
//!
//! Nothing here does I/O, reads a clock or draws a random number: commands carry their times and ids. The
//! same command on the same state therefore always yields the same events. Each aggregate ([`stock`],
//! [`order`], [`payment`], [`receipt`], [`exchange`]) is a [`Decider`]; [`checkout`] is the policy that connects them.

// A new variant must fail to compile in every match that distinguishes the variants.
#![deny(clippy::wildcard_enum_match_arm)]

pub mod actor;
pub mod checkout;
pub mod credit;
pub mod decider;
pub mod envelope;
pub mod exchange;
mod heap;
pub mod ids;
pub mod money;
mod new_charge;
pub mod order;
pub mod payment;
mod payment_terms;
pub mod receipt;
pub mod shares;
pub mod stock;
#[cfg(test)]
mod testing;
pub mod text;
pub mod trace;

pub use actor::Actor;
pub use decider::{Decider, DecodeError};
pub use envelope::{CommandContext, Event, EventMetadata, Idempotency, NewEvent, RecordedEvent};
pub use ids::{
    CancellationId, CommandId, EventId, ExchangeId, OrderId, PaymentId, ReceiptId, RefundId, ReturnId,
    ShipmentId, Sku, StreamName,
};
pub use money::{Amount, Currency};
pub use trace::TraceParent;

/// An instant in UTC, with at most microsecond precision (what Postgres and SQLite store).
pub type Timestamp = jiff::Timestamp;

/// The number of an event within its stream, from 0.
pub type Revision = u64;

/// The place of an event in the whole log. Positions strictly increase and may have gaps.
pub type Position = u64;
