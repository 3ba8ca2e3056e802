//! Who sends a command.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The most characters of the person of an [`Actor`].
pub const PERSON_CHARS_MAX: usize = 255;

/// Who sent a command. Stored for ever with every event of the command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The caller that was authenticated, or the part of Orderly that acts by itself.
    pub principal: Cow<'static, str>,
    /// The person behind the caller, as the caller names it. Orderly does not check it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
}

impl Actor {
    /// The principal of a caller that is not authenticated.
    pub const ANONYMOUS: &'static str = "anonymous";

    /// A caller that is not authenticated.
    pub const fn anonymous() -> Self {
        Self::part(Self::ANONYMOUS)
    }

    /// The sender of reactions, and of what a payment provider answers to them.
    pub(crate) const fn process_manager() -> Self {
        Self::part("orderly:process-manager")
    }

    /// The sender of commands that are due at a time.
    pub(crate) const fn timer() -> Self {
        Self::part("orderly:timer")
    }

    /// A payment provider, which reports by webhooks. `name`: as in their path.
    pub(crate) fn provider(name: &str) -> Self {
        Self { principal: format!("provider:{name}").into(), person: None }
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an actor consists of texts")
    }

    /// `None` if the text is not an actor.
    pub fn from_json(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    const fn part(name: &'static str) -> Self {
        Self { principal: Cow::Borrowed(name), person: None }
    }
}
