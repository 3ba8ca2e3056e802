//! One connection, from its first byte to its last.

use std::{error::Error, net::IpAddr, sync::Arc};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Request, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, sync::watch, time};
use tower::{Service, ServiceExt};

use super::{
    Shared, Stage,
    exchange::{AnswerBody, Exchange, RequestBody},
    refusal,
    socket::{Socket, Transport},
};
use crate::http::{cors, peer::Peer};

/// The longest head of a request: URL and headers. hyper reads about as much ahead.
pub(super) const HEAD_BYTES_MAX: usize = 32 * 1024;

/// A connection that was accepted.
pub(super) struct Accepted {
    pub stream: TcpStream,
    pub peer: IpAddr,
    pub exchange: Arc<Exchange>,
}

/// Answers the requests of a connection until the client or the shutdown ends it.
pub(super) async fn run<S>(
    Accepted { stream, peer, exchange }: Accepted,
    service: S,
    shared: Arc<Shared>,
    mut stages: watch::Receiver<Stage>,
) where
    S: Service<Request<Body>, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
{
    exchange.open();
    let Some(transport) = encrypted_if_configured(stream, &shared, stages.clone()).await else { return };
    let is_encrypted = transport.is_encrypted();
    let socket = Socket::new(transport, Arc::clone(&exchange), Arc::clone(&shared));
    let handler = {
        let (exchange, shared, stages) = (Arc::clone(&exchange), Arc::clone(&shared), stages.clone());
        service_fn(move |mut request: Request<Incoming>| {
            exchange.begin(request.body());
            request.extensions_mut().insert(Peer(peer));
            let (service, exchange, shared) = (service.clone(), Arc::clone(&exchange), Arc::clone(&shared));
            answer(request, service, exchange, shared, stages.clone(), is_encrypted)
        })
    };
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // The socket has the limits of a head, apart from that of an idle connection.
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        // A client may close its sending side while it waits for its answer.
        .half_close(true)
        .serve_connection(TokioIo::new(socket), handler);
    let ended = loop {
        tokio::select! {
            ended = &mut connection => break ended,
            changed = stages.changed() => match (changed, *stages.borrow_and_update()) {
                (Ok(()), Stage::Serving | Stage::Draining) => {}
                (Ok(()), Stage::Closing) => std::pin::Pin::new(&mut connection).graceful_shutdown(),
                (Ok(()), Stage::Cut) | (Err(_), _) => return,
            }
        }
    };

    let parts = connection.into_parts();
    let socket = parts.io.into_inner();
    match ended {
        Ok(()) => socket.finish(b"").await,
        Err(error) => {
            tracing::debug!(%error, "A connection ended early");
            let problem = refusal::problem(&error, &parts.read_buf).filter(|_| exchange.is_idle());
            if let Some(problem) = problem {
                socket.finish(&refusal::last_answer(problem, is_encrypted).await).await;
            }
        }
    }
}

/// Agrees on the encryption with the client, if the server has a certificate. `None` if that fails or takes too long.
async fn encrypted_if_configured(
    stream: TcpStream,
    shared: &Shared,
    mut stages: watch::Receiver<Stage>,
) -> Option<Transport> {
    let Some(tls) = &shared.options.tls else { return Some(Transport::Plain(stream)) };
    let accepting = time::timeout(shared.options.head_read_timeout, tls.acceptor().accept(stream));
    let accepted = tokio::select! {
        accepted = accepting => accepted,
        _ = stages.wait_for(|stage| matches!(stage, Stage::Closing | Stage::Cut)) => return None,
    };
    match accepted {
        Ok(Ok(stream)) => return Some(Transport::Encrypted(Box::new(stream))),
        Ok(Err(error)) => tracing::debug!(%error, "A client and this server cannot agree on TLS"),
        Err(_) => tracing::debug!("A client took too long to agree on TLS"),
    }
    shared.closed.tls_failed.increment(1);
    None
}

/// Executes a request.
async fn answer<S>(
    request: Request<Incoming>,
    service: S,
    exchange: Arc<Exchange>,
    shared: Arc<Shared>,
    stages: watch::Receiver<Stage>,
    is_encrypted: bool,
) -> Result<Response<AnswerBody>, S::Error>
where
    S: Service<Request<Body>, Response = Response>,
{
    let mut response = match shared.hosts.check(&request) {
        Ok(()) => service.oneshot(request.map(|incoming| RequestBody::of(incoming, &exchange))).await?,
        Err(problem) => problem.into_response(),
    };
    cors::protect(response.headers_mut(), is_encrypted);
    // The rest of an unread body would be parsed as the next request.
    if exchange.has_unread_body() || *stages.borrow() != Stage::Serving {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| AnswerBody::new(body, exchange)))
}
