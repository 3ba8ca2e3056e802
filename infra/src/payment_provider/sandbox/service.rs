//! The sandbox itself: the server, and what it does unasked.

use std::{path::PathBuf, time::Duration};

use http::{Request, Uri};
use hyper::body::Incoming;
use tokio::{net::TcpListener, time};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{
    ledger::{Ledger, OpenError},
    script::Script,
    server::{self, AnswerLost, Api, NoAnswer, SharedScript},
    webhooks::{Sender, until},
};
use crate::{
    clock::Clock,
    http::{ServerOptions, serve},
    signature::Secret,
};

/// How a sandbox is set up.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// The file of the ledger.
    pub ledger: PathBuf,
    /// Whoever has it may ask; it signs webhooks as well.
    pub secret: Secret,
    pub script: Script,
    /// Where webhooks go; none: nobody is told.
    pub webhook_url: Option<Uri>,
    pub clock: Clock,
}

/// A payment provider that moves no money, and does wrong what it is told to.
#[derive(Debug)]
pub struct Sandbox {
    api: Api,
    webhook_url: Option<Uri>,
}

impl Sandbox {
    /// Opens the ledger, or makes it. One process at a time has it.
    pub fn open(options: SandboxOptions) -> Result<Self, OpenError> {
        let SandboxOptions { ledger, secret, script, webhook_url, clock } = options;
        let ledger = Ledger::open(&ledger, clock, webhook_url.is_some())?;
        Ok(Self { api: Api { ledger, secret, script: SharedScript::new(script) }, webhook_url })
    }

    /// Until `shutdown`, and until the requests under way then are answered.
    pub async fn run(self, listener: TcpListener, shutdown: CancellationToken) {
        let (ledger, script) = (self.api.ledger.clone(), self.api.script.clone());
        let settling = settle(ledger.clone(), script.clone(), shutdown.clone());
        let secret = self.api.secret.clone();
        let stop = shutdown.clone();
        let sending = async move {
            if let Some(url) = self.webhook_url {
                Sender { ledger, script, secret, url }.run(stop).await;
            }
        };
        let router = server::router(self.api);
        let service = ServiceExt::<Request<Incoming>>::map_result(router, |answer| match answer {
            Ok(answer) if answer.extensions().get::<NoAnswer>().is_some() => Err(AnswerLost),
            Ok(answer) => Ok(answer),
            Err(never) => match never {},
        });
        tokio::join!(serve(listener, service, ServerOptions::default(), shutdown), settling, sending);
    }
}

/// Settles what is pending and due.
async fn settle(ledger: Ledger, script: SharedScript, shutdown: CancellationToken) {
    const LOOK_EVERY: Duration = Duration::from_secs(10);
    while !shutdown.is_cancelled() {
        let pause = match ledger.settle_due(script.get()).await {
            Ok(next) => next.map_or(LOOK_EVERY, |at| until(at, ledger.now())),
            Err(error) => {
                tracing::warn!(%error, "The sandbox cannot settle what is due; trying again");
                LOOK_EVERY
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = ledger.due.settlement.notified() => {}
            () = time::sleep(pause) => {}
        }
    }
}
