//! Settings of the Stripe adapter.

use std::fmt;

use reqwest::Url;

use crate::http_client;

const API_URL: &str = "https://api.stripe.com";

/// Stripe's address and the account's credentials. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct StripeOptions {
    pub(super) api_url: Url,
    pub(super) secret_key: StripeSecret,
    pub(super) webhook_secret: StripeSecret,
    pub(super) multicapture: bool,
}

/// Why these settings cannot be used. The text shows no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StripeOptionsError {
    #[error(
        "not a secret key of Stripe: expected sk_live_…, sk_test_… or a restricted key rk_…, with letters, digits and _ only"
    )]
    SecretKey,
    #[error("not the signing secret of a webhook endpoint: expected whsec_… without spaces")]
    WebhookSecret,
    #[error(
        "the URL of Stripe's API must be an https URL without a path; http is allowed only for this machine"
    )]
    ApiUrl,
    #[error("cannot create an HTTPS client: {0}")]
    Client(String),
}

impl StripeOptions {
    /// `secret_key`: the account's key, or a restricted key that may write PaymentIntents and Refunds and
    /// read Charges. `webhook_secret`: the signing secret of the webhook endpoint.
    pub fn new(secret_key: &str, webhook_secret: &str) -> Result<Self, StripeOptionsError> {
        Self::check_secret_key(secret_key)?;
        Self::check_webhook_secret(webhook_secret)?;
        Ok(Self {
            api_url: API_URL.parse().map_err(|_| StripeOptionsError::ApiUrl)?,
            secret_key: StripeSecret(secret_key.to_owned()),
            webhook_secret: StripeSecret(webhook_secret.to_owned()),
            multicapture: false,
        })
    }

    /// Checks the form of a key, without Stripe. A publishable key (`pk_…`) cannot charge.
    pub fn check_secret_key(text: &str) -> Result<(), StripeOptionsError> {
        let rest = text.strip_prefix("sk_").or_else(|| text.strip_prefix("rk_"));
        let is_plain = |rest: &str| rest.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
        let is_key = rest.is_some_and(|rest| !rest.is_empty() && is_plain(rest));
        if is_key { Ok(()) } else { Err(StripeOptionsError::SecretKey) }
    }

    /// Checks the form of a signing secret.
    pub fn check_webhook_secret(text: &str) -> Result<(), StripeOptionsError> {
        let rest = text.strip_prefix("whsec_").unwrap_or_default();
        let is_secret = !rest.is_empty() && rest.chars().all(|char| char.is_ascii_graphic());
        if is_secret { Ok(()) } else { Err(StripeOptionsError::WebhookSecret) }
    }

    /// Sends requests to another server with Stripe's API, such as a test double.
    pub fn with_api_url(self, url: &str) -> Result<Self, StripeOptionsError> {
        let api_url: Url = url.parse().map_err(|_| StripeOptionsError::ApiUrl)?;
        // Requests contain the secret key, so clear text is allowed only on this machine.
        let is_safe = http_client::is_private(&api_url);
        let is_bare = api_url.path() == "/"
            && api_url.query().is_none()
            && api_url.fragment().is_none()
            && api_url.username().is_empty()
            && api_url.password().is_none();
        if is_safe && is_bare { Ok(Self { api_url, ..self }) } else { Err(StripeOptionsError::ApiUrl) }
    }

    /// Requests that authorized money can be captured in parts. Stripe supports it for some accounts and most
    /// cards. Without it, the first capture releases the rest.
    pub fn with_multicapture(self) -> Self {
        Self { multicapture: true, ..self }
    }
}

/// A text that `Debug` does not show.
#[derive(Clone)]
pub(super) struct StripeSecret(String);

impl StripeSecret {
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for StripeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
