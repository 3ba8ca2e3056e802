//! Why a payment failed, for programs and for people.

use serde::{Deserialize, Serialize};

use super::PaymentFailed;
use crate::heap::HeapBytes;

/// The code of a failure whose reason names none.
const FAILED: &str = "failed";
const CODE_CHARS_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentFailure {
    /// A word for programs, such as `card_declined`. `failed` if the reason names none.
    pub code: String,
    /// The reason in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl HeapBytes for PaymentFailure {
    fn heap_bytes(&self) -> usize {
        let Self { code, message } = self;
        code.heap_bytes() + message.heap_bytes()
    }
}

impl PaymentFailed {
    /// The failure with the code that its reason begins with: `card_declined`, or `card_declined: Your card …`.
    pub(super) fn of_reason(reason: Option<String>, retryable: bool) -> Self {
        let first = reason.as_deref().map(|reason| reason.split_once(": ").map_or(reason, |(code, _)| code));
        let code = first.filter(|word| is_code(word)).unwrap_or(FAILED).to_owned();
        Self { reason, retryable, code: Some(code) }
    }

    /// None for an event of a build that recorded no code.
    pub(super) fn failure(&self) -> Option<PaymentFailure> {
        let code = self.code.clone()?;
        let message = self.reason.as_deref().and_then(|reason| match reason.split_once(": ") {
            Some((first, rest)) if first == code => Some(rest),
            _ => (reason != code).then_some(reason),
        });
        Some(PaymentFailure { code, message: message.map(str::to_owned) })
    }
}

fn is_code(word: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=CODE_CHARS_MAX).contains(&word.len()) && word.bytes().all(is_letter)
}
