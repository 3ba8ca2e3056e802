//! The bytes of a connection, as slow and silent as a test wants them.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
};

/// A connection that can fall silent, as that of a stopped process: it stays open and nothing moves.
pub struct Wire {
    stream: TcpStream,
    silent: watch::Receiver<bool>,
    /// Present while the connection is silent and a read or write waits.
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    delays_acknowledgements: bool,
}

impl Wire {
    pub fn new(
        stream: TcpStream,
        silent: watch::Receiver<bool>,
        delays_acknowledgements: bool,
    ) -> io::Result<Self> {
        // With Nagle's algorithm, answers would wait for acknowledgements of the client.
        stream.set_nodelay(true)?;
        let wire = Self { stream, silent, waiting: None, delays_acknowledgements };
        wire.delay_acknowledgements();
        Ok(wire)
    }

    /// Lets the kernel delay the acknowledgement of what arrives next, by 40 ms on Linux. The kernel forgets
    /// the setting, so every read repeats it.
    fn delay_acknowledgements(&self) {
        #[cfg(target_os = "linux")]
        if self.delays_acknowledgements {
            // The client closed the connection if this fails, and the read will say so.
            let _ = self.stream.set_quickack(false);
        }
    }

    fn poll_audible(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.as_mut().poll(context));
                self.waiting = None;
            }
            if !*self.silent.borrow() {
                return Poll::Ready(());
            }
            let mut silent = self.silent.clone();
            self.waiting = Some(Box::pin(async move {
                // An error means that the server is gone; its connections are cut then.
                let _ = silent.wait_for(|silent| !silent).await;
            }));
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_audible(context));
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.delay_acknowledgements();
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_audible(context));
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
