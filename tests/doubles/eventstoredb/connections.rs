//! Accepts connections and speaks HTTP/2 on them, with or without TLS.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    service::{self, Shared},
    wire::Wire,
};

/// Calls at a time on one connection, as in the server. Clients keep further calls waiting.
const STREAMS_PER_CONNECTION_MAX: u32 = 100;

/// Accepts connections until it is stopped.
pub async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        // The client closed the connection before it was accepted.
        let Ok((connection, _)) = accepted else { continue };
        shared.count(|calls| calls.connections += 1);
        let resets = Arc::new(Resets { count: AtomicUsize::new(0), cut: shared.faults.connection_cut() });
        let cut = resets.cut.clone();
        let serving = serve(connection, resets, shared.clone());
        tokio::spawn(async move { cut.run_until_cancelled(serving).await });
    }
}

/// The reads that the client broke off on one connection.
#[derive(Debug)]
pub struct Resets {
    count: AtomicUsize,
    /// Cancelled when the connection is cut.
    cut: CancellationToken,
}

impl Resets {
    /// Counts one more. At the limit, the connection ends.
    pub fn add(&self, max: Option<usize>) {
        let count = 1 + self.count.fetch_add(1, Ordering::Relaxed);
        if max.is_some_and(|max| count >= max) {
            self.cut.cancel();
        }
    }
}

async fn serve(connection: TcpStream, resets: Arc<Resets>, shared: Arc<Shared>) {
    let Ok(wire) = Wire::new(connection, shared.silent.subscribe(), shared.delay_acknowledgements) else {
        return;
    };
    match &shared.tls {
        Some(certificates) => {
            // The client does not trust the certificate.
            let Ok(connection) = TlsAcceptor::from(certificates.config()).accept(wire).await else { return };
            serve_http(connection, resets, shared.clone()).await;
        }
        None => serve_http(wire, resets, shared).await,
    }
}

async fn serve_http(
    connection: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    resets: Arc<Resets>,
    shared: Arc<Shared>,
) {
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        let shared = shared.clone();
        request.extensions_mut().insert(resets.clone());
        async move { Ok::<_, Infallible>(service::answer(shared, request.map(tonic::body::Body::new)).await) }
    });
    // An error means that the client disconnected.
    let _ = http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .serve_connection(TokioIo::new(connection), service)
        .await;
}
