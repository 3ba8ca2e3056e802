//! The state of a connection's current request and answer.

use std::{
    pin::Pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::sync::Notify;

const ACCEPTED: u8 = 0;
const IDLE: u8 = 1;
const EXECUTING: u8 = 2;
const HANDED_OVER: u8 = 3;

/// The request of a connection and its answer, as handler and socket see them. A connection has one exchange
/// at a time.
#[derive(Debug)]
pub(super) struct Exchange {
    phase: AtomicU8,
    body_is_unread: AtomicBool,
    /// The handler may still read the body.
    body_is_awaited: AtomicBool,
    answer_bytes: AtomicUsize,
    /// When the connection was opened, or the last head came, or the last answer left, on [`clock_ms`].
    moved_on_ms: AtomicU64,
    has_answered: AtomicBool,
    is_evicted: AtomicBool,
    eviction: Notify,
}

impl Default for Exchange {
    fn default() -> Self {
        Self {
            phase: AtomicU8::new(ACCEPTED),
            body_is_unread: AtomicBool::default(),
            body_is_awaited: AtomicBool::default(),
            answer_bytes: AtomicUsize::default(),
            moved_on_ms: AtomicU64::default(),
            has_answered: AtomicBool::default(),
            is_evicted: AtomicBool::default(),
            eviction: Notify::default(),
        }
    }
}

/// Milliseconds since the first call.
pub(super) fn clock_ms() -> u64 {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGUN.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Exchange {
    /// The connection is read from now on. Until then it waits for this process, not for its client.
    pub(super) fn open(&self) {
        self.moved_on_ms.store(clock_ms(), Ordering::Relaxed);
        self.phase.store(IDLE, Ordering::Relaxed);
    }

    /// Begins with a request whose head was read.
    pub(super) fn begin(&self, body: &Incoming) {
        self.body_is_unread.store(!body.is_end_stream(), Ordering::Relaxed);
        self.body_is_awaited.store(!body.is_end_stream(), Ordering::Relaxed);
        self.moved_on_ms.store(clock_ms(), Ordering::Relaxed);
        self.phase.store(EXECUTING, Ordering::Relaxed);
    }

    /// How long the connection waits for its client: for a request, for the rest of one, or until it reads. `None` before
    /// it is opened, while a handler works, and once the connection is being closed.
    pub(super) fn waits_for_client_ms(&self, now_ms: u64) -> Option<u64> {
        let is_working = match self.phase.load(Ordering::Relaxed) {
            ACCEPTED => true,
            EXECUTING => !self.body_is_awaited.load(Ordering::Relaxed),
            _ => false,
        };
        let waits = !is_working && !self.is_evicted();
        waits.then(|| now_ms.saturating_sub(self.moved_on_ms.load(Ordering::Relaxed)))
    }

    /// True if the client has got an answer on this connection.
    pub(super) fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }

    /// True if the connection is being closed to make room.
    pub(super) fn is_evicted(&self) -> bool {
        self.is_evicted.load(Ordering::Relaxed)
    }

    /// Closes the connection.
    pub(super) fn evict(&self) {
        self.is_evicted.store(true, Ordering::Relaxed);
        self.eviction.notify_one();
    }

    /// Resolves when the connection must be closed.
    pub(super) async fn evicted(&self) {
        self.eviction.notified().await;
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

    /// The operating system has accepted all bytes that hyper had. True if these were the rest of an answer.
    pub(super) fn flushed(&self) -> bool {
        let (from, to) = (HANDED_OVER, IDLE);
        let has_left = self.phase.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if has_left {
            self.moved_on_ms.store(clock_ms(), Ordering::Relaxed);
            self.has_answered.store(true, Ordering::Relaxed);
        }
        has_left
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
            self.exchange.body_is_awaited.store(false, Ordering::Relaxed);
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

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.exchange.body_is_awaited.store(false, Ordering::Relaxed);
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
