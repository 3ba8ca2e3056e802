//! Opens the payment provider of a command.

use std::{net::SocketAddr, sync::Arc};

use clap::Args;
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
    config::{PaymentProviderUrl, SandboxSecret, SecretUrlParser, Settings, stripe_options},
    serve::{SECRET_FILE, url_to},
};

#[derive(Debug, Args)]
pub(super) struct ProviderOptions {
    /// Payment provider: `sandbox` (of the server on this machine), `sandbox:http://HOST:PORT`, or `stripe` (reads
    /// ORDERLY_STRIPE_SECRET_KEY and ORDERLY_STRIPE_WEBHOOK_SECRET from the environment).
    #[arg(
        long,
        env = "ORDERLY_PAYMENT_PROVIDER",
        value_name = "URL",
        value_parser = SecretUrlParser::<PaymentProviderUrl>::new(),
        hide_env_values = true,
        default_value = "sandbox"
    )]
    provider: PaymentProviderUrl,

    /// Address of the sandbox of the server on this machine.
    #[arg(
        long = "sandbox-listen",
        env = "ORDERLY_SANDBOX_LISTEN",
        value_name = "IP:PORT",
        default_value = "127.0.0.1:8082"
    )]
    sandbox_listen: SocketAddr,

    /// Secret shared by platform and sandbox [default: from DATA_DIR/sandbox.secret]
    #[arg(
        long = "sandbox-secret",
        env = "ORDERLY_SANDBOX_SECRET",
        value_name = "SECRET",
        value_parser = SecretUrlParser::<SandboxSecret>::new(),
        hide_env_values = true
    )]
    sandbox_secret: Option<SandboxSecret>,
}

pub(super) async fn open_provider(
    settings: &Settings,
    options: &ProviderOptions,
) -> Result<Arc<dyn PaymentProvider>, PaymentsError> {
    let sandbox_url = match &options.provider {
        PaymentProviderUrl::None => {
            let problem = "ORDERLY_PAYMENT_PROVIDER: `none` has no books to compare with";
            return Err(PaymentsError::Settings(problem.to_owned()));
        }
        PaymentProviderUrl::Stripe => {
            let stripe = stripe_options().map_err(|error| PaymentsError::Settings(error.to_string()))?;
            return Ok(Arc::new(StripeProvider::new(stripe, Clock::system())?));
        }
        PaymentProviderUrl::Sandbox => url_to(options.sandbox_listen),
        PaymentProviderUrl::SandboxAt(url) => url.as_str().to_owned(),
    };
    let secret = sandbox_secret(settings, options).await?;
    Ok(Arc::new(SandboxProvider::new(&sandbox_url, secret)))
}

/// The secret from the settings, or else of the server with this data directory.
async fn sandbox_secret(
    settings: &Settings,
    options: &ProviderOptions,
) -> Result<SigningSecret, PaymentsError> {
    if let Some(SandboxSecret(secret)) = &options.sandbox_secret {
        return Ok(secret.clone());
    }
    let path = settings.data_dir.join(SECRET_FILE);
    let shown = path.display().to_string();
    let read = spawn_blocking(move || secret_file::read(&path)).await??;
    let missing =
        || Failure::new(format!("{shown} does not exist: set ORDERLY_SANDBOX_SECRET, or ORDERLY_DATA_DIR"));
    Ok(read.ok_or_else(missing)?)
}
