//! A receiver of webhooks: an HTTP server with prepared answers.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::support::eventually;

/// The answer to a request.
#[derive(Debug, Clone)]
pub enum Reply {
    Status(u16),
    Redirect(String),
    /// No answer.
    Hang,
    /// Status 200 and an endless body.
    Endless,
}

#[derive(Debug, Clone)]
pub struct Received {
    pub id: String,
    pub signature: String,
    pub sent_at: i64,
    pub body: Value,
    pub headers: HeaderMap,
}

#[derive(Debug, Default)]
struct ReceiverState {
    replies: Mutex<VecDeque<Reply>>,
    /// The reply after the prepared ones.
    then: Mutex<Option<Reply>>,
    received: Mutex<Vec<Received>>,
}

#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    state: Arc<ReceiverState>,
    server: JoinHandle<()>,
}

impl Receiver {
    /// Gives these replies in order, then 204 to every request.
    pub async fn start(replies: &[Reply]) -> Self {
        let state = Arc::new(ReceiverState::default());
        state.replies.lock().unwrap().extend(replies.iter().cloned());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(receive).with_state(Arc::clone(&state));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, state, server }
    }

    /// Gives this reply to every request, instead of the prepared ones.
    pub fn always(&self, reply: Reply) {
        self.state.replies.lock().unwrap().clear();
        *self.state.then.lock().unwrap() = Some(reply);
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn received(&self) -> Vec<Received> {
        self.state.received.lock().unwrap().clone()
    }

    /// Waits for `count` requests.
    pub async fn until(&self, count: usize) -> Vec<Received> {
        eventually(&format!("{count} requests"), async || {
            let received = self.received();
            (received.len() >= count).then_some(received)
        })
        .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(State(state): State<Arc<ReceiverState>>, headers: HeaderMap, body: Bytes) -> Response {
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let received = Received {
        id: text("webhook-id"),
        signature: text("webhook-signature"),
        sent_at: text("webhook-timestamp").parse().unwrap(),
        body: serde_json::from_slice(&body).unwrap(),
        headers: headers.clone(),
    };
    state.received.lock().unwrap().push(received);
    let prepared = state.replies.lock().unwrap().pop_front();
    let reply = prepared.or_else(|| state.then.lock().unwrap().clone()).unwrap_or(Reply::Status(204));
    match reply {
        Reply::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Reply::Redirect(to) => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response(),
        Reply::Hang => std::future::pending().await,
        Reply::Endless => {
            let chunks =
                futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 4_096])));
            axum::body::Body::from_stream(chunks).into_response()
        }
    }
}
