//! The accept loop: HTTP/1.1 with the timeouts and limits that `axum::serve` does not set.

use std::{error::Error, sync::Arc, time::Duration};

use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore, time};
use tokio_util::sync::CancellationToken;
use tower::Service;

/// Limits of a server.
#[derive(Debug, Clone, Copy)]
pub struct ServerOptions {
    /// Concurrent connections. Further ones wait to be accepted.
    pub connections_max: usize,
    /// Time limit for reading the headers of a request, and for an idle connection.
    pub header_read_timeout: Duration,
    /// Time limit for running requests after the shutdown begins.
    pub drain_timeout: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            connections_max: 4_096,
            header_read_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Serves until `shutdown`, then lets running requests finish within the drain time.
///
/// `service` is a router. Its errors end the connection without an answer.
pub async fn serve<S>(listener: TcpListener, service: S, options: ServerOptions, shutdown: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let connections = Arc::new(Semaphore::new(options.connections_max));
    let draining = GracefulShutdown::new();
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(options.header_read_timeout).pipeline_flush(true);

    loop {
        let permit = tokio::select! {
            () = shutdown.cancelled() => break,
            permit = Arc::clone(&connections).acquire_owned() => permit,
        };
        let Ok(permit) = permit else { break };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // The process has no free file descriptors, or the peer disconnected.
                tracing::warn!(%error, "Cannot accept a connection; trying again in 50 ms");
                time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Without this, a small answer waits for the acknowledgement of the previous one.
        let _ = stream.set_nodelay(true);
        let connection =
            http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service.clone()));
        let connection = draining.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "A connection ended early");
            }
            drop(permit);
        });
    }

    drop(listener);
    if time::timeout(options.drain_timeout, draining.shutdown()).await.is_err() {
        tracing::warn!("Requests still run after the drain time; their connections are closed");
    }
}
