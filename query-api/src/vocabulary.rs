//! The words that answers use for states, as the OpenAPI document lists them.
//!
//! `domain` knows nothing of HTTP, so its enumerations are described here.

use std::borrow::Cow;

use domain::{
    order::{CancelReason, FulfilmentStatus, OrderStatus, PaymentStatus},
    payment::{Operation, PaymentState, RefundReason, RefundState},
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{Object, RefOr, Schema, Type},
};

macro_rules! vocabularies {
    ($($(#[$doc:meta])* $name:ident of $domain:ident: $($served:ident)* $(, never $($never:ident)*)?;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $name {}

        impl $name {
            /// Every value that an answer may have.
            pub const ALL: &'static [$domain] = &[$($domain::$served),*];
        }

        // A state that the domain gains has to be listed here before this compiles.
        const _: fn($domain) = |value| match value {
            $($domain::$served)|* $($(| $domain::$never)*)? => (),
        };

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let words = Self::ALL.iter().map(|value| serde_json::json!(value));
                Object::builder().schema_type(Type::String).enum_values(Some(words)).into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($domain).into()
            }
        }
    )*};
}

vocabularies! {
    /// Where an order stands.
    OrderStatusWord of OrderStatus: Placed Allocated Rejected Cancelled Expired, never New;
    /// How far an order is paid.
    PaymentStatusWord of PaymentStatus: Pending PartiallyPaid Paid PartiallyRefunded Refunded NotDue;
    /// How far an order is fulfilled.
    FulfilmentStatusWord of FulfilmentStatus:
        Unfulfilled PartiallyShipped Shipped PartiallyDelivered Delivered PartiallyReturned Returned;
    /// Why an order was cancelled.
    CancelReasonWord of CancelReason: Requested PaymentFailed PaymentVoided;
    /// Where a payment stands; `new` when its order ended before it was requested.
    PaymentStateWord of PaymentState: New Requested Authorized Captured Failed Voided OutcomeUnknown;
    /// What the provider's lost answer was about.
    OperationWord of Operation: Authorize Capture Void;
    /// Why a refund was asked for.
    RefundReasonWord of RefundReason: Return Requested OrderClosed;
    /// Where a refund stands.
    RefundStateWord of RefundState: Requested Refunded Failed;
}
