//! What Stripe is reached with.

use std::fmt;

use reqwest::Url;

const API_URL: &str = "https://api.stripe.com";

/// Where Stripe is, and who asks. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct StripeOptions {
    pub(super) api_url: Url,
    pub(super) secret_key: Secret,
    pub(super) webhook_secret: Secret,
    pub(super) multicapture: bool,
}

/// Why Stripe cannot be used with these settings. Does not show what is secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    #[error("the secret key is empty or holds a character that no key has; a key looks like sk_live_…")]
    SecretKey,
    #[error("the signing secret of the webhook endpoint is empty or holds a space; it looks like whsec_…")]
    WebhookSecret,
    #[error("the URL of Stripe's API is no https URL without a path (http only for this machine itself)")]
    ApiUrl,
    #[error("no HTTPS client can be made: {0}")]
    Client(String),
}

impl StripeOptions {
    /// `secret_key`: of the account, or a restricted one that may write PaymentIntents and Refunds and read Charges.
    /// `webhook_secret`: the signing secret of the webhook endpoint.
    pub fn new(secret_key: &str, webhook_secret: &str) -> Result<Self, OptionsError> {
        let printable = |text: &str| !text.is_empty() && text.chars().all(|char| char.is_ascii_graphic());
        match () {
            () if !printable(secret_key) => Err(OptionsError::SecretKey),
            () if !printable(webhook_secret) => Err(OptionsError::WebhookSecret),
            () => Ok(Self {
                api_url: API_URL.parse().map_err(|_| OptionsError::ApiUrl)?,
                secret_key: Secret(secret_key.to_owned()),
                webhook_secret: Secret(webhook_secret.to_owned()),
                multicapture: false,
            }),
        }
    }

    /// Something else that speaks Stripe's API, such as a test double.
    pub fn with_api_url(self, url: &str) -> Result<Self, OptionsError> {
        let api_url: Url = url.parse().map_err(|_| OptionsError::ApiUrl)?;
        // The secret key goes there: in clear text it stays on this machine.
        let is_safe = match api_url.scheme() {
            "https" => true,
            "http" => matches!(api_url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")),
            _ => false,
        };
        let is_bare = api_url.path() == "/"
            && api_url.query().is_none()
            && api_url.fragment().is_none()
            && api_url.username().is_empty()
            && api_url.password().is_none();
        if is_safe && is_bare { Ok(Self { api_url, ..self }) } else { Err(OptionsError::ApiUrl) }
    }

    /// Asks that authorized money may be captured in parts, one after another. Stripe offers it to some accounts, for most
    /// cards; without it, the first capture gives back the rest.
    pub fn with_multicapture(self) -> Self {
        Self { multicapture: true, ..self }
    }
}

/// A text that no log shows.
#[derive(Clone)]
pub(super) struct Secret(String);

impl Secret {
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
