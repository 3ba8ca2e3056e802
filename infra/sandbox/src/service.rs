//! The sandbox: its server, the settlement of pending charges, and its notices.

use std::{path::PathBuf, time::Duration};

use axum::body::Body;
use http::{Request, Uri};
use tokio::{net::TcpListener, time};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{
    ledger::{Ledger, LedgerOpenError},
    notices::{NoticeSender, until},
    script::SandboxScript,
    server::{self, AnswerLost, Api, DropConnection, SharedScript},
};
use infra::{
    clock::Clock,
    http::{ServerOptions, serve},
    signature::SigningSecret,
};

/// The settings of a sandbox.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// The file of the ledger.
    pub ledger: PathBuf,
    /// The bearer token of every request. It also signs notices.
    pub secret: SigningSecret,
    pub script: SandboxScript,
    /// Where to send notices. `None` sends none.
    pub notice_url: Option<Uri>,
    pub clock: Clock,
}

/// A payment provider that moves no money and fails as its script says.
#[derive(Debug)]
pub struct Sandbox {
    api: Api,
    notice_url: Option<Uri>,
}

impl Sandbox {
    /// Opens the ledger. Creates it if it does not exist. Fails while another process has it open.
    pub fn open(options: SandboxOptions) -> Result<Self, LedgerOpenError> {
        let SandboxOptions { ledger, secret, script, notice_url, clock } = options;
        let ledger = Ledger::open(&ledger, clock, notice_url.is_some())?;
        Ok(Self { api: Api::new(ledger, secret, script), notice_url })
    }

    /// Runs until `shutdown`, then answers the requests in progress.
    pub async fn run(self, listener: TcpListener, shutdown: CancellationToken) {
        let (ledger, script) = (self.api.ledger.clone(), self.api.script.clone());
        let settling = settle(ledger.clone(), script.clone(), shutdown.clone());
        let secret = self.api.secret.clone();
        let stop = shutdown.clone();
        let sending = async move {
            if let Some(url) = self.notice_url {
                NoticeSender { ledger, script, secret, url }.run(stop).await;
            }
        };
        let router = server::router(self.api);
        let service = ServiceExt::<Request<Body>>::map_result(router, |answer| match answer {
            Ok(answer) if answer.extensions().get::<DropConnection>().is_some() => Err(AnswerLost),
            Ok(answer) => Ok(answer),
            Err(never) => match never {},
        });
        tokio::join!(serve(listener, service, ServerOptions::default(), shutdown), settling, sending);
    }
}

/// Settles pending charges and refunds when they are due.
async fn settle(ledger: Ledger, script: SharedScript, shutdown: CancellationToken) {
    const POLL_INTERVAL: Duration = Duration::from_secs(10);
    while !shutdown.is_cancelled() {
        let pause = match ledger.settle_due(script.get()).await {
            Ok(next) => next.map_or(POLL_INTERVAL, |at| until(at, ledger.now())),
            Err(error) => {
                tracing::warn!(%error, "The sandbox cannot settle its due charges; retrying");
                POLL_INTERVAL
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = ledger.due.settlement.notified() => {}
            () = time::sleep(pause) => {}
        }
    }
}
