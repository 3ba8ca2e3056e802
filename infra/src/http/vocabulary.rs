//! The values of requests and answers, as OpenAPI documents describe them: words for states, texts and amounts.
//!
//! `domain` does not depend on HTTP, so this module describes its enums.

use std::borrow::Cow;

use domain::{
    Amount,
    order::{
        CancelReason, FulfilmentStatus, METADATA_ENTRIES_MAX, OrderStatus, PaymentStatus, PaymentTerms,
        TenderStatus,
    },
    payment::{CaptureMode, DisputeState, Operation, PaymentKind, PaymentState, RefundReason, RefundState},
    shares::AdjustmentKind,
    text::TEXT_CHARS_MAX,
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, Object, ObjectBuilder, RefOr, Schema, SchemaFormat, Type},
};

use crate::{
    operations::webhooks::DeliveryStatus,
    read_models::{Direction, OrderSort, OrderWork},
};

macro_rules! vocabularies {
    ($($(#[doc = $doc:literal])* $name:ident of $domain:ident: $($served:ident)* $(, never $($never:ident)*)?;)*) => {$(
        $(#[doc = $doc])*
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
                let meaning = concat!($($doc),*).trim();
                let object = Object::builder().schema_type(Type::String).description(Some(meaning));
                object.enum_values(Some(words)).into()
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
    /// Work on orders that waits for people. `to_ship`: units can be shipped. `unpaid`: allocated, and not or partly paid.
    /// `overpaid`: more is paid than is owed. `refund_due`: a refund is not paid out yet. `returns`: units came back.
    /// `declined`: a payment was declined and can be tried again. `overdue`: money is overdue.
    OrderWorkWord of OrderWork: ToShip Unpaid Overpaid RefundDue Returns Declined Overdue;
    /// What a list of orders is sorted by.
    OrderSortWord of OrderSort: Placed Updated Total Overdue;
    /// The direction of a list.
    DirectionWord of Direction: Asc Desc;
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
    /// `automatic`: authorized and captured in one step. `manual`: only authorized.
    CaptureModeWord of CaptureMode: Automatic Manual;
    /// Progress of a delivery.
    DeliveryStatusWord of DeliveryStatus: Pending Delivered Failed;
}

/// A pattern of texts without control characters.
pub const NO_CONTROL_CHARACTER: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";
/// A pattern of SKUs: no control character, and no white space at either end.
pub const SKU_PATTERN: &str =
    r"^[^\s\u0000-\u001f\u007f-\u009f]([^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f])?$";
/// A pattern of currencies.
pub const CURRENCY_PATTERN: &str = "^[A-Z]{3}$";

macro_rules! values {
    ($($(#[doc = $doc:literal])* $name:ident $schema_name:literal = $schema:expr;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Debug)]
        pub enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let build: fn(ObjectBuilder) -> ObjectBuilder = $schema;
                build(Object::builder().description(Some(concat!($($doc),*).trim()))).into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                $schema_name.into()
            }
        }
    )*};
}

values! {
    /// 1 to 500 characters, none of them a control character.
    TextValue "Text" = |object| {
        let object = object.schema_type(Type::String).pattern(Some(NO_CONTROL_CHARACTER));
        object.min_length(Some(1)).max_length(Some(TEXT_CHARS_MAX))
    };
    /// Data of the shop: at most 50 entries. Keys and values have 1 to 500 characters, none of them a control character.
    MetadataValue "Metadata" = |object| {
        let text = Object::builder().schema_type(Type::String).pattern(Some(NO_CONTROL_CHARACTER));
        let text = text.min_length(Some(1)).max_length(Some(TEXT_CHARS_MAX)).build();
        let object = object.schema_type(Type::Object).max_properties(Some(METADATA_ENTRIES_MAX));
        object.property_names(Some(text.clone())).additional_properties(Some(Schema::from(text)))
    };
    /// 1 to 64 characters, none of them a control character, without white space at either end. Case matters.
    SkuValue "Sku" = |object| {
        let object = object.schema_type(Type::String).pattern(Some(SKU_PATTERN));
        object.min_length(Some(1)).max_length(Some(64)).examples(["85123A"])
    };
    /// A currency code of ISO 4217, in capitals.
    CurrencyValue "Currency" = |object| {
        object.schema_type(Type::String).pattern(Some(CURRENCY_PATTERN)).examples(["GBP"])
    };
    /// Minor units (pence, cents) of the currency beside it.
    AmountValue "Amount" = |object| {
        let object = object.schema_type(Type::Integer).format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)));
        let max = Amount::MAX.minor_units();
        object.minimum(Some(-max)).maximum(Some(max))
    };
    /// Revision of a stream: 0 after its first event, then one more with each event.
    RevisionValue "Revision" = |object| {
        let object = object.schema_type(Type::Integer).format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)));
        object.minimum(Some(0))
    };
}
