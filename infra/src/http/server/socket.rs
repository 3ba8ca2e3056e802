//! The socket of a connection. It closes the connection of a client that does not read its answers.

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
    time::{self, Sleep},
};

use super::{Shared, exchange::Exchange, stalled::StalledAnswer};

/// An answer has one second more for each further bytes of this number.
const BYTES_PER_SECOND_MIN: usize = 64 * 1024;
/// Time limit for the client to close its side after the last answer.
const LINGER: Duration = Duration::from_secs(1);

pub(super) struct Socket {
    stream: TcpStream,
    exchange: Arc<Exchange>,
    shared: Arc<Shared>,
    stall: Option<Stall>,
}

/// The client has not read all that was sent.
struct Stall {
    answer: StalledAnswer,
    deadline: Pin<Box<Sleep>>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, exchange: Arc<Exchange>, shared: Arc<Shared>) -> Self {
        Self { stream, exchange, shared, stall: None }
    }

    /// Sends the last bytes, and closes the connection such that they arrive.
    ///
    /// If unread bytes of the client were left when a socket is closed, the operating system would reset the
    /// connection, and the client could lose the answer. So this reads until the client closes its side.
    pub(super) async fn finish(mut self, last: &[u8]) {
        let finishing = async {
            self.stream.write_all(last).await?;
            self.stream.shutdown().await?;
            let mut unread = [0; 512];
            while self.stream.read(&mut unread).await? > 0 {}
            Ok::<_, io::Error>(())
        };
        // The connection ends in any case: nothing is left to do if the client is gone.
        let _ = time::timeout(LINGER, finishing).await;
    }

    /// Fails if the client takes too long, or if its answer must make room for others.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stall = self.stall.get_or_insert_with(|| {
            let bytes = self.exchange.answer_bytes();
            let extra = Duration::from_secs((bytes / BYTES_PER_SECOND_MIN) as u64);
            let deadline = Box::pin(time::sleep(self.shared.options.answer_write_timeout + extra));
            Stall { answer: self.shared.stalled.admit(bytes), deadline }
        });
        if stall.answer.poll_withdrawn(cx).is_ready() {
            return Poll::Ready(Err(ErrorKind::ConnectionAborted.into()));
        }
        ready!(stall.deadline.as_mut().poll(cx));
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
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
        match Pin::new(&mut self.stream).poll_write_vectored(cx, slices) {
            Poll::Pending => self.poll_stalled(cx),
            written @ Poll::Ready(_) => written,
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper calls it when it has no more bytes to write.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.stall = None;
        self.exchange.flushed();
        Poll::Ready(Ok(()))
    }

    /// [`Socket::finish`] closes the sending side, after the answer to a malformed request.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
