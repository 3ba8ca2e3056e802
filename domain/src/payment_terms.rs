//! When an order ships and when its money is taken. Orders and payments both store it, so it has a module of its own.

use serde::{Deserialize, Serialize};

/// When an order ships and how long its payment may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentTerms {
    /// It ships when it is paid, and expires if it is not paid in time.
    #[default]
    Prepaid,
    /// It ships when its money is authorized. Each shipment captures its share. It expires if nothing is authorized
    /// in time.
    OnShipment,
    /// It ships when it is allocated, and is paid later. It never expires.
    Net,
}

impl PaymentTerms {
    pub const ALL: [Self; 3] = [Self::Prepaid, Self::OnShipment, Self::Net];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepaid => "prepaid",
            Self::OnShipment => "on_shipment",
            Self::Net => "net",
        }
    }

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde requires")]
    pub fn is_prepaid(&self) -> bool {
        *self == Self::Prepaid
    }
}
