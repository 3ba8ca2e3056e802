//! The rules of Orderly, as pure functions.
//!
//! Nothing here does I/O, reads a clock or draws a random number: times and ids arrive inside commands, so
//! the same command on the same state always gives the same events. Each aggregate ([`stock`], [`order`],
//! [`payment`]) is a [`Decider`]; [`checkout`] is the policy that ties the three together.

// A new event or state must be thought of wherever one is told from another.
#![deny(clippy::wildcard_enum_match_arm)]

pub mod checkout;
pub mod decider;
pub mod envelope;
pub mod ids;
pub mod money;
mod new_charge;
pub mod order;
pub mod payment;
pub mod stock;
#[cfg(test)]
mod testing;
pub mod text;

pub use decider::{Decider, DecodeError};
pub use envelope::{CommandContext, Event, EventMetadata, Idempotency, NewEvent, RecordedEvent};
pub use ids::{CommandId, EventId, OrderId, PaymentId, RefundId, ReturnId, ShipmentId, Sku, StreamName};
pub use money::{Amount, Currency};

/// An instant, in UTC, with at most microsecond precision (what Postgres and SQLite keep).
pub type Timestamp = jiff::Timestamp;

/// The 0-based number of an event within its stream.
pub type Revision = u64;

/// The place of an event in the whole log. Positions strictly increase; they need not be dense.
pub type Position = u64;
