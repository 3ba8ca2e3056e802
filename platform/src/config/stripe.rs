//! Settings of Stripe. Its two secrets have no flags: every user of a machine can read the flags of a process.

use std::{fmt, str::FromStr};

use clap::Args;
use infra::payment_provider::stripe::{StripeOptions, StripeOptionsError};

use super::urls::{SecretUrlParser, UnsupportedUrl};

const SECRET_KEY: &str = "ORDERLY_STRIPE_SECRET_KEY";
const WEBHOOK_SECRET: &str = "ORDERLY_STRIPE_WEBHOOK_SECRET";
const API_URL: &str = "ORDERLY_STRIPE_API_URL";

/// What a process needs if Stripe is its payment provider.
#[derive(Debug, Clone, Args)]
pub struct StripeSettings {
    /// Key of the account at Stripe, or a restricted key.
    #[arg(
        long,
        env = "ORDERLY_STRIPE_SECRET_KEY",
        value_name = "KEY",
        value_parser = SecretUrlParser::<StripeSecretKey>::new(),
        hide_env_values = true,
        hide = true
    )]
    pub stripe_secret_key: Option<StripeSecretKey>,

    /// Signing secret of the webhook endpoint at Stripe, `whsec_…`.
    #[arg(
        long,
        env = "ORDERLY_STRIPE_WEBHOOK_SECRET",
        value_name = "SECRET",
        value_parser = SecretUrlParser::<StripeWebhookSecret>::new(),
        hide_env_values = true,
        hide = true
    )]
    pub stripe_webhook_secret: Option<StripeWebhookSecret>,

    /// Another server with Stripe's API, such as a test double [default: Stripe]
    #[arg(long, env = "ORDERLY_STRIPE_API_URL", value_name = "URL")]
    pub stripe_api_url: Option<String>,

    /// Capture authorized money at Stripe in parts; the account must be allowed to.
    #[arg(long, env = "ORDERLY_STRIPE_MULTICAPTURE", value_parser = clap::builder::BoolishValueParser::new())]
    pub stripe_multicapture: bool,
}

/// Why Stripe cannot be the payment provider. Its text never shows a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StripeSettingsError {
    #[error(
        "{0} is not set: ORDERLY_PAYMENT_PROVIDER=stripe needs it; set it in the environment or in the settings file \
         (there is no flag)"
    )]
    Missing(&'static str),
    #[error("{setting}: {source}")]
    Unusable { setting: &'static str, source: StripeOptionsError },
}

impl StripeSettings {
    pub fn options(&self) -> Result<StripeOptions, StripeSettingsError> {
        let missing = |name| move || StripeSettingsError::Missing(name);
        let StripeSecretKey(key) = self.stripe_secret_key.as_ref().ok_or_else(missing(SECRET_KEY))?;
        let secret = self.stripe_webhook_secret.as_ref().ok_or_else(missing(WEBHOOK_SECRET))?;
        let StripeWebhookSecret(secret) = secret;
        let defaults = StripeOptions::new(key, secret).map_err(unusable)?;
        let options = match &self.stripe_api_url {
            Some(url) => defaults.with_api_url(url).map_err(unusable)?,
            None => defaults,
        };
        Ok(if self.stripe_multicapture { options.with_multicapture() } else { options })
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

/// A key whose form was checked. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct StripeSecretKey(String);

/// A signing secret whose form was checked. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct StripeWebhookSecret(String);

impl FromStr for StripeSecretKey {
    type Err = UnsupportedUrl;

    fn from_str(text: &str) -> Result<Self, UnsupportedUrl> {
        let checked = StripeOptions::check_secret_key(text);
        checked.map(|()| Self(text.to_owned())).map_err(|error| UnsupportedUrl::new(SECRET_KEY, &error))
    }
}

impl FromStr for StripeWebhookSecret {
    type Err = UnsupportedUrl;

    fn from_str(text: &str) -> Result<Self, UnsupportedUrl> {
        let checked = StripeOptions::check_webhook_secret(text);
        checked.map(|()| Self(text.to_owned())).map_err(|error| UnsupportedUrl::new(WEBHOOK_SECRET, &error))
    }
}

impl fmt::Debug for StripeSecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl fmt::Debug for StripeWebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
