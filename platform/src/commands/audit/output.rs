//! Standard output of commands that print much.

use std::{
    fmt::Display,
    io::{self, BufWriter, ErrorKind, Stdout, Write, stdout},
};

use super::Failure;

/// Standard output. A reader that closes the pipe, as `head` does, is no failure: the rest is not written.
#[derive(Debug)]
pub(super) struct Output {
    writer: BufWriter<Stdout>,
    is_closed: bool,
}

impl Output {
    pub fn new() -> Self {
        Self { writer: BufWriter::new(stdout()), is_closed: false }
    }

    /// True if nothing that follows will be read.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    pub fn line(&mut self, line: impl Display) -> Result<(), Failure> {
        self.write(|writer| writeln!(writer, "{line}"))
    }

    pub fn write(
        &mut self,
        write: impl FnOnce(&mut BufWriter<Stdout>) -> io::Result<()>,
    ) -> Result<(), Failure> {
        if self.is_closed {
            return Ok(());
        }
        match write(&mut self.writer) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.is_closed = true,
            written => written?,
        }
        Ok(())
    }

    /// Writes what is buffered.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.write(BufWriter::flush)
    }
}
