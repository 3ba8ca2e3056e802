//! The data of a new charge. Orders and payments both store it, so it has a module of its own.

use serde::{Deserialize, Serialize};

use crate::{heap::HeapBytes, payment_terms::PaymentTerms, text};

/// The most characters of a provider's name and of its token for a payment method.
pub const TOKEN_CHARS_MAX: usize = 255;

/// A charge to request from a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewCharge {
    /// The provider's name, as in the path of its webhooks.
    pub provider: String,
    /// The provider's token for a card or another payment method.
    pub method: String,
    #[serde(default)]
    pub capture: CaptureMode,
}

/// When authorized money is captured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptureMode {
    /// Together with the authorisation.
    #[default]
    Automatic,
    /// On a separate capture command.
    Manual,
}

/// A member of [`NewCharge`] that is empty, is too long or has a control character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{member} has 1 to {TOKEN_CHARS_MAX} characters, none of them a control character")]
pub struct InvalidToken {
    pub member: &'static str,
}

impl HeapBytes for NewCharge {
    fn heap_bytes(&self) -> usize {
        let Self { provider, method, capture: _ } = self;
        provider.heap_bytes() + method.heap_bytes()
    }
}

impl NewCharge {
    /// The charge of a payment with these terms. Money that each shipment captures is only authorized before.
    pub(crate) fn under(self, terms: PaymentTerms) -> Self {
        match terms {
            PaymentTerms::OnShipment => Self { capture: CaptureMode::Manual, ..self },
            PaymentTerms::Prepaid | PaymentTerms::Net => self,
        }
    }

    /// Checks that the provider can be sent both texts.
    pub fn check(&self) -> Result<(), InvalidToken> {
        for (member, token) in [("provider", &self.provider), ("method", &self.method)] {
            text::check_within(token, TOKEN_CHARS_MAX).map_err(|_| InvalidToken { member })?;
        }
        Ok(())
    }
}
