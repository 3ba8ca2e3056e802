//! The state of a connection's current request and answer.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

const IDLE: u8 = 0;
const EXECUTING: u8 = 1;
const HANDED_OVER: u8 = 2;

/// The request of a connection and its answer, as handler and socket see them. A connection has one exchange
/// at a time.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    phase: AtomicU8,
    body_is_unread: AtomicBool,
    answer_bytes: AtomicUsize,
}

impl Exchange {
    /// Begins with a request whose head was read.
    pub(super) fn begin(&self, body: &Incoming) {
        self.body_is_unread.store(!body.is_end_stream(), Ordering::Relaxed);
        self.phase.store(EXECUTING, Ordering::Relaxed);
    }

    /// No answer is due: bytes that hyper writes now answer a malformed request.
    pub(super) fn is_idle(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == IDLE
    }

    /// The handler has not read the whole body.
    pub(super) fn has_unread_body(&self) -> bool {
        self.body_is_unread.load(Ordering::Relaxed)
    }

    /// Bytes of the answer's body.
    pub(super) fn answer_bytes(&self) -> usize {
        self.answer_bytes.load(Ordering::Relaxed)
    }

    /// The operating system has accepted all bytes that hyper had.
    pub(super) fn flushed(&self) {
        let (from, to) = (HANDED_OVER, IDLE);
        let _ = self.phase.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// The body of a request. Records whether it was read to its end.
#[derive(Debug)]
pub(super) struct RequestBody {
    incoming: Incoming,
    exchange: Arc<Exchange>,
}

impl RequestBody {
    pub(super) fn of(incoming: Incoming, exchange: &Arc<Exchange>) -> Body {
        if incoming.is_end_stream() {
            return Body::empty();
        }
        Body::new(Self { incoming, exchange: Arc::clone(exchange) })
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) {
            self.exchange.body_is_unread.store(false, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// The body of an answer. Records that hyper has taken all of it.
#[derive(Debug)]
pub(super) struct AnswerBody {
    body: Body,
    exchange: Arc<Exchange>,
}

impl AnswerBody {
    pub(super) fn new(body: Body, exchange: Arc<Exchange>) -> Self {
        let bytes = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        exchange.answer_bytes.store(bytes, Ordering::Relaxed);
        Self { body, exchange }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.exchange.phase.store(HANDED_OVER, Ordering::Relaxed);
    }
}
