//! The settings of Stripe. They hold secrets, and so they are read from the environment only: everybody on a machine can
//! read the flags of a process.

use std::env;

use infra::payment_provider::stripe::{OptionsError, StripeOptions};

const SECRET_KEY: &str = "ORDERLY_STRIPE_SECRET_KEY";
const WEBHOOK_SECRET: &str = "ORDERLY_STRIPE_WEBHOOK_SECRET";
const API_URL: &str = "ORDERLY_STRIPE_API_URL";
const MULTICAPTURE: &str = "ORDERLY_STRIPE_MULTICAPTURE";

/// Why Stripe cannot be the payment provider. Shows no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StripeSettingsError {
    #[error(
        "{0} is not set: ORDERLY_PAYMENT_PROVIDER=stripe needs it, in the environment of this process (there is no flag)"
    )]
    Missing(&'static str),
    #[error("{setting}: {source}")]
    Unusable { setting: &'static str, source: OptionsError },
    #[error("{MULTICAPTURE}: expected true or false")]
    Multicapture,
}

/// From the environment of this process.
pub fn stripe_options() -> Result<StripeOptions, StripeSettingsError> {
    stripe_options_of(|name| env::var(name).ok())
}

/// `lookup` gives the value of a variable. An empty one is not set.
pub(super) fn stripe_options_of(
    lookup: impl Fn(&'static str) -> Option<String>,
) -> Result<StripeOptions, StripeSettingsError> {
    let given = |name| lookup(name).filter(|value| !value.is_empty());
    let needed = |name| given(name).ok_or(StripeSettingsError::Missing(name));
    let options = StripeOptions::new(&needed(SECRET_KEY)?, &needed(WEBHOOK_SECRET)?).map_err(unusable)?;
    let options = match given(API_URL) {
        Some(url) => options.with_api_url(&url).map_err(unusable)?,
        None => options,
    };
    match given(MULTICAPTURE).as_deref() {
        Some("true") => Ok(options.with_multicapture()),
        Some("false") | None => Ok(options),
        Some(_) => Err(StripeSettingsError::Multicapture),
    }
}

fn unusable(source: OptionsError) -> StripeSettingsError {
    let setting = match source {
        OptionsError::WebhookSecret => WEBHOOK_SECRET,
        OptionsError::ApiUrl => API_URL,
        OptionsError::SecretKey | OptionsError::Client(_) => SECRET_KEY,
    };
    StripeSettingsError::Unusable { setting, source }
}
