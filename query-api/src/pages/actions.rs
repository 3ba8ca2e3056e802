//! Actions: a form that says what will happen, and a request to the command API in the name of the caller.
//!
//! The domain's own decision on the order of the read model tells what happens to money and stock. The command API
//! decides again, on the order of the log.

mod confirm;
mod effects;
mod fields;
mod on_order;
mod on_payment;
mod operator;
mod plan;

use std::fmt;

use domain::order::Order;
use infra::{
    auth::Scope,
    http::{Problem, path::PathId},
};

pub(super) use self::{
    on_order::{act, form},
    on_payment::{charge, charge_form},
    operator::{resend, resend_form, retry, retry_form},
};

/// What a person can do with an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrderAction {
    Ship,
    Deliver,
    Return,
    Refund,
    Cancel,
}

impl OrderAction {
    pub const ALL: [Self; 5] = [Self::Ship, Self::Deliver, Self::Return, Self::Refund, Self::Cancel];

    /// In addresses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ship => "ship",
            Self::Deliver => "deliver",
            Self::Return => "return",
            Self::Refund => "refund",
            Self::Cancel => "cancel",
        }
    }

    pub fn verb(self) -> &'static str {
        match self {
            Self::Ship => "Ship",
            Self::Deliver => "Mark as delivered",
            Self::Return => "Return",
            Self::Refund => "Refund",
            Self::Cancel => "Cancel",
        }
    }

    pub fn done(self) -> &'static str {
        match self {
            Self::Ship => "The shipment is recorded.",
            Self::Deliver => "The delivery is recorded.",
            Self::Return => "The return is recorded.",
            Self::Refund => "The refund is requested.",
            Self::Cancel => "The cancellation is recorded.",
        }
    }

    /// The scope that the command API asks for.
    pub fn scope(self) -> Scope {
        match self {
            Self::Ship | Self::Deliver | Self::Return | Self::Cancel => Scope::OrdersWrite,
            Self::Refund => Scope::RefundsWrite,
        }
    }

    /// The last segment of the command's path.
    fn command(self) -> &'static str {
        match self {
            Self::Ship => "shipments",
            Self::Deliver => "deliveries",
            Self::Return => "returns",
            Self::Refund => "refunds",
            Self::Cancel => "cancel",
        }
    }

    /// False if there is nothing to do it with. The decision may refuse it all the same.
    pub fn is_possible(self, order: &Order) -> bool {
        let is_open = !order.status().is_final();
        match self {
            Self::Ship | Self::Cancel => is_open && order.lines().iter().any(|line| line.open() > 0),
            Self::Deliver => order.shipments().iter().any(|one| !one.delivered && !one.is_undone()),
            Self::Return => order.lines().iter().any(|line| line.shipped > line.returned),
            Self::Refund => order.refundable().is_positive(),
        }
    }
}

impl fmt::Display for OrderAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PathId for OrderAction {
    const RESOURCE: &'static str = "page";

    fn parse(segment: &str) -> Result<Self, Problem> {
        let found = Self::ALL.into_iter().find(|action| action.name() == segment);
        found.ok_or_else(|| Problem::no_such(Self::RESOURCE))
    }
}
