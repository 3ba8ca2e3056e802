//! Opens the payment provider of a command.

use std::sync::Arc;

use infra::{
    clock::Clock,
    payment_provider::{PaymentProvider, stripe::StripeProvider},
    signature::SigningSecret,
};
use sandbox::{SandboxProvider, secret_file};
use tokio::task::spawn_blocking;

use super::PaymentsError;
use crate::{
    commands::Failure,
    config::{PaymentProviderUrl, ProviderSettings, SandboxSecret, Settings},
    serve::{SECRET_FILE, url_to},
};

pub(super) async fn open_provider(
    settings: &Settings,
    provider: &ProviderSettings,
) -> Result<Arc<dyn PaymentProvider>, PaymentsError> {
    let sandbox_url = match &provider.payment_provider {
        PaymentProviderUrl::None => {
            let problem = "ORDERLY_PAYMENT_PROVIDER: `none` has no books to compare with";
            return Err(PaymentsError::Settings(problem.to_owned()));
        }
        PaymentProviderUrl::Stripe => {
            let stripe = provider.stripe.options();
            let stripe = stripe.map_err(|error| PaymentsError::Settings(error.to_string()))?;
            return Ok(Arc::new(StripeProvider::new(stripe, Clock::system())?));
        }
        PaymentProviderUrl::Sandbox => url_to(provider.sandbox_listen),
        PaymentProviderUrl::SandboxAt(url) => url.as_str().to_owned(),
    };
    let secret = sandbox_secret(settings, provider).await?;
    Ok(Arc::new(SandboxProvider::new(&sandbox_url, secret)))
}

/// The secret from the settings, or else of the server with this data directory.
async fn sandbox_secret(
    settings: &Settings,
    provider: &ProviderSettings,
) -> Result<SigningSecret, PaymentsError> {
    if let Some(SandboxSecret(secret)) = &provider.sandbox_secret {
        return Ok(secret.clone());
    }
    let path = settings.data_dir.join(SECRET_FILE);
    let shown = path.display().to_string();
    let read = spawn_blocking(move || secret_file::read(&path)).await??;
    let missing =
        || Failure::new(format!("{shown} does not exist: set ORDERLY_SANDBOX_SECRET, or ORDERLY_DATA_DIR"));
    Ok(read.ok_or_else(missing)?)
}
