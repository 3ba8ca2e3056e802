//! Settings of Stripe. They are secrets, so they come from the environment only: every user of a machine can
//! read the flags of a process.

use std::env;

use infra::payment_provider::stripe::{StripeOptions, StripeOptionsError};

const SECRET_KEY: &str = "ORDERLY_STRIPE_SECRET_KEY";
const WEBHOOK_SECRET: &str = "ORDERLY_STRIPE_WEBHOOK_SECRET";
const API_URL: &str = "ORDERLY_STRIPE_API_URL";
const MULTICAPTURE: &str = "ORDERLY_STRIPE_MULTICAPTURE";

/// Why Stripe cannot be the payment provider. Its text never shows a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StripeSettingsError {
    #[error(
        "{0} is not set: ORDERLY_PAYMENT_PROVIDER=stripe needs it; set it in the environment (there is no flag)"
    )]
    Missing(&'static str),
    #[error("{setting}: {source}")]
    Unusable { setting: &'static str, source: StripeOptionsError },
    #[error("{MULTICAPTURE}: expected true or false")]
    Multicapture,
}

/// Reads the environment of this process.
pub fn stripe_options() -> Result<StripeOptions, StripeSettingsError> {
    stripe_options_of(|name| env::var(name).ok())
}

/// `lookup` returns the value of a variable. An empty variable counts as not set.
pub(super) fn stripe_options_of(
    lookup: impl Fn(&'static str) -> Option<String>,
) -> Result<StripeOptions, StripeSettingsError> {
    let optional = |name| lookup(name).filter(|value| !value.is_empty());
    let required = |name| optional(name).ok_or(StripeSettingsError::Missing(name));
    let defaults =
        StripeOptions::new(&required(SECRET_KEY)?, &required(WEBHOOK_SECRET)?).map_err(unusable)?;
    let options = match optional(API_URL) {
        Some(url) => defaults.with_api_url(&url).map_err(unusable)?,
        None => defaults,
    };
    match optional(MULTICAPTURE).as_deref() {
        Some("true") => Ok(options.with_multicapture()),
        Some("false") | None => Ok(options),
        Some(_) => Err(StripeSettingsError::Multicapture),
    }
}

fn unusable(source: StripeOptionsError) -> StripeSettingsError {
    let setting = match source {
        StripeOptionsError::WebhookSecret => WEBHOOK_SECRET,
        StripeOptionsError::ApiUrl => API_URL,
        StripeOptionsError::SecretKey | StripeOptionsError::Client(_) => SECRET_KEY,
    };
    StripeSettingsError::Unusable { setting, source }
}
