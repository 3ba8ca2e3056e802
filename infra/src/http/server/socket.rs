//! The socket of a connection. It closes the connection of a client that is too slow.

use std::{
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::{self, Instant, Sleep},
};
use tokio_rustls::server::TlsStream;

use super::{Shared, exchange::Exchange, stalled::StalledAnswer};

/// An answer has one second more for each further bytes of this number.
const BYTES_PER_SECOND_MIN: usize = 64 * 1024;
/// A read of fewer bytes of a head that had begun before is one of a slow client.
const CRUMB_BYTES: usize = 512;
/// Time limit for the client to close its side after the last answer.
const LINGER: Duration = Duration::from_secs(1);

/// What carries the bytes of a connection.
pub(super) enum Transport {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

pub(super) struct Socket {
    transport: Transport,
    exchange: Arc<Exchange>,
    shared: Arc<Shared>,
    head: HeadWait,
    stall: Option<Stall>,
}

/// The wait for the head of a request.
struct HeadWait {
    deadline: Pin<Box<Sleep>>,
    state: HeadState,
    begun_at: Instant,
    /// Nothing is read before. Bytes that arrive until then do not wake the connection.
    pause: Option<Pin<Box<Sleep>>>,
}

#[derive(PartialEq, Eq)]
enum HeadState {
    /// The deadline does not count.
    NotAwaited,
    /// The connection is idle.
    Awaited,
    /// A part of the head has arrived.
    Begun,
}

/// The client has not read all that was sent.
struct Stall {
    answer: StalledAnswer,
    deadline: Pin<Box<Sleep>>,
}

impl Socket {
    pub(super) fn new(transport: Transport, exchange: Arc<Exchange>, shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        let deadline = Box::pin(time::sleep_until(now));
        let head = HeadWait { deadline, state: HeadState::NotAwaited, begun_at: now, pause: None };
        Self { transport, exchange, shared, head, stall: None }
    }

    /// Sends the last bytes, and closes the connection such that they arrive.
    ///
    /// If unread bytes of the client were left when a socket is closed, the operating system would reset the
    /// connection, and the client could lose the answer. So this reads until the client closes its side.
    pub(super) async fn finish(mut self, last: &[u8]) {
        let finishing = async {
            self.transport.write_all(last).await?;
            self.transport.shutdown().await?;
            let mut unread = [0; 512];
            while self.transport.read(&mut unread).await? > 0 {}
            Ok::<_, io::Error>(())
        };
        // The connection ends in any case: nothing is left to do if the client is gone.
        let _ = time::timeout(LINGER, finishing).await;
    }

    /// Fails if the head of a request takes too long, or if the connection is idle for too long.
    fn poll_head_wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.exchange.is_idle() {
            return Poll::Pending;
        }
        if self.head.state == HeadState::NotAwaited {
            self.head.state = HeadState::Awaited;
            self.head.deadline.as_mut().reset(Instant::now() + self.shared.options.idle_timeout);
        }
        ready!(self.head.deadline.as_mut().poll(cx));
        let reason = match self.head.state {
            HeadState::Begun => &self.shared.closed.head_timeout,
            HeadState::Awaited | HeadState::NotAwaited => &self.shared.closed.idle_timeout,
        };
        reason.increment(1);
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }

    /// Each read of a crumb is parsed with all that came before. So a head that comes in crumbs is next read after as
    /// much time again as it has taken so far: a byte each second for 10 s is read five times.
    fn have_read(&mut self, bytes: usize) {
        if !self.exchange.is_idle() {
            return;
        }
        let now = Instant::now();
        if self.head.state != HeadState::Begun {
            self.head.state = HeadState::Begun;
            self.head.begun_at = now;
            self.head.deadline.as_mut().reset(now + self.shared.options.head_read_timeout);
        } else if bytes < CRUMB_BYTES {
            self.head.pause = Some(Box::pin(time::sleep_until(now + (now - self.head.begun_at))));
        }
    }

    /// Pending until the next bytes may be read.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.exchange.is_idle()
            && let Some(pause) = &mut self.head.pause
        {
            ready!(pause.as_mut().poll(cx));
        }
        self.head.pause = None;
        Poll::Ready(())
    }

    /// Fails if the client takes too long, or if its answer must make room for others.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let stall = self.stall.get_or_insert_with(|| {
            let bytes = self.exchange.answer_bytes();
            let extra = Duration::from_secs((bytes / BYTES_PER_SECOND_MIN) as u64);
            let deadline = Box::pin(time::sleep(self.shared.options.answer_write_timeout + extra));
            Stall { answer: self.shared.stalled.admit(bytes), deadline }
        });
        if stall.answer.poll_withdrawn(cx).is_ready() {
            self.shared.closed.answer_evicted.increment(1);
            return Poll::Ready(ErrorKind::ConnectionAborted.into());
        }
        ready!(stall.deadline.as_mut().poll(cx));
        self.shared.closed.answer_timeout.increment(1);
        Poll::Ready(ErrorKind::TimedOut.into())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.poll_pause(cx).is_pending() {
            return self.poll_head_wait(cx);
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.transport).poll_read(cx, buffer);
        match polled {
            Poll::Pending => self.poll_head_wait(cx),
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {
                self.have_read(buffer.filled().len() - before);
                polled
            }
            Poll::Ready(_) => polled,
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.exchange.is_idle() {
            // hyper answers a malformed request without a body. `refusal` sends the answer instead.
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        match Pin::new(&mut self.transport).poll_write_vectored(cx, slices) {
            Poll::Pending => self.poll_stalled(cx).map(Err),
            written @ Poll::Ready(_) => written,
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    /// hyper calls it when it has no more bytes to write. TLS may still hold some of them.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.transport).poll_flush(cx) {
            Poll::Pending => return self.poll_stalled(cx).map(Err),
            Poll::Ready(flushed) => flushed?,
        }
        self.stall = None;
        if self.exchange.flushed() {
            self.head.state = HeadState::NotAwaited;
        }
        Poll::Ready(Ok(()))
    }

    /// [`Socket::finish`] closes the sending side, after the answer to a malformed request.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Transport {
    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self, Self::Encrypted(_))
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Encrypted(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Encrypted(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Encrypted(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Encrypted(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Encrypted(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Encrypted(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, time::sleep};

    use super::*;
    use crate::http::{
        hosts::HostRule,
        server::{Closed, ServerOptions, StalledAnswers},
    };

    async fn connected() -> (TcpStream, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let options = ServerOptions::default();
        let shared = Shared {
            hosts: HostRule::new(options.allowed_hosts.clone(), options.allowed_origins.clone(), None),
            stalled: StalledAnswers::new(options.stalled_bytes_max),
            closed: Closed::of("test"),
            options,
        };
        let exchange = Arc::new(Exchange::default());
        exchange.open();
        (client, Socket::new(Transport::Plain(stream), exchange, Arc::new(shared)))
    }

    #[tokio::test]
    async fn a_head_that_comes_byte_by_byte_is_read_a_few_times() {
        const BYTES: usize = 64;
        let (mut client, mut socket) = connected().await;
        let sending = tokio::spawn(async move {
            for _ in 0..BYTES {
                client.write_all(b"x").await.unwrap();
                sleep(Duration::from_millis(10)).await;
            }
            client
        });
        let (mut reads, mut bytes) = (0, 0);
        while bytes < BYTES {
            bytes += socket.read(&mut [0; 1_024]).await.unwrap();
            reads += 1;
        }
        assert!((2..=20).contains(&reads), "{reads} reads");
        drop(sending.await.unwrap());
        assert_eq!(socket.read(&mut [0; 1_024]).await.unwrap(), 0, "the end is read too");
    }
}
