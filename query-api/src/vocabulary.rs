//! The words that answers use for states, as the OpenAPI document lists them.
//!
//! `domain` does not depend on HTTP, so this module describes its enums.

use std::borrow::Cow;

use domain::{
    order::{CancelReason, FulfilmentStatus, OrderStatus, PaymentStatus, PaymentTerms, TenderStatus},
    payment::{DisputeState, Operation, PaymentKind, PaymentState, RefundReason, RefundState},
    shares::AdjustmentKind,
};
use infra::read_models::OrderBalance;
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
            /// Every value that an answer can have.
            pub const ALL: &'static [$domain] = &[$($domain::$served),*];
        }

        // A new state in the domain does not compile until it is listed here.
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
    /// Status of an order.
    OrderStatusWord of OrderStatus: Placed Allocated Rejected Cancelled Expired, never New;
    /// Payment status of an order.
    PaymentStatusWord of PaymentStatus: Pending PartiallyPaid Paid PartiallyRefunded Refunded NotDue;
    /// Fulfilment status of an order.
    FulfilmentStatusWord of FulfilmentStatus:
        Unfulfilled PartiallyShipped Shipped PartiallyDelivered Delivered PartiallyReturned Returned;
    /// Payment terms of an order.
    PaymentTermsWord of PaymentTerms: Prepaid OnShipment Net;
    /// Status of a payment, as far as its order knows it.
    TenderStatusWord of TenderStatus: Requested Captured Failed Voided;
    /// Money of an order that is to go back to the customer.
    OrderBalanceWord of OrderBalance: Overpaid RefundDue;
    /// What an adjustment is for.
    AdjustmentKindWord of AdjustmentKind: Discount Tax Shipping Fee;
    /// Reason of a cancellation.
    CancelReasonWord of CancelReason: Requested PaymentFailed PaymentVoided;
    /// State of a payment. `new`: its order ended before the payment was requested.
    PaymentStateWord of PaymentState: New Requested Authorized Captured Failed Voided OutcomeUnknown;
    /// How the money of a payment comes: by charges of a provider, recorded by hand, or from the order of an exchange.
    PaymentKindWord of PaymentKind: Provider Manual Credit;
    /// The operation whose answer was lost.
    OperationWord of Operation: Authorize Capture Void;
    /// Reason of a refund.
    RefundReasonWord of RefundReason: Return Requested OrderClosed Provider;
    /// State of a refund.
    RefundStateWord of RefundState: Requested Pending OutcomeUnknown Refunded Failed;
    /// State of a dispute.
    DisputeStateWord of DisputeState: Open Won Lost;
}
