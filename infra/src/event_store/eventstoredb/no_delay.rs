//! Turns Nagle's algorithm off on the connections of the client library.
//!
//! The library sends a call as two small segments. With Nagle's algorithm, the second one waits until the server
//! acknowledges the first, which its kernel delays by 40 ms. The library turns the algorithm on for every
//! connection, has no setting for it and hides its sockets. So this module sets TCP_NODELAY on the sockets of
//! the process from outside: `docs/adr/0037-turn-nagles-algorithm-off-from-outside.md`.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::{
        fd::{BorrowedFd, RawFd},
        unix::fs::MetadataExt,
    },
    time::{Duration, Instant},
};

use socket2::{SockRef, Type};
use tokio::{task, time};

use crate::health::Health;

/// Pause between two looks at the sockets. A new connection waits for at most one pause and one look.
const PAUSE: Duration = Duration::from_millis(50);
/// A look takes at most one part in this many of a core. With thousands of sockets the pause becomes longer.
const SHARE_OF_A_CORE: u32 = 20;
/// The library turns the algorithm on only after a connection is established. So a socket counts as settled
/// after this many looks that found the option set.
const LOOKS_UNTIL_SETTLED: u8 = 20;
/// The condition at `/readyz`.
const CONDITION: &str = "eventstoredb_slow_connections";

/// Looks for new connections of this process until it is dropped. Does nothing on other systems than Linux,
/// which do not list the sockets of a process.
pub(super) async fn keep(health: Health) {
    if cfg!(target_os = "linux") {
        keep_with(health, set_no_delay).await;
    }
}

type SetNoDelay = fn(&SockRef<'_>) -> io::Result<()>;

fn set_no_delay(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)
}

async fn keep_with(health: Health, set: SetNoDelay) {
    let mut sockets = Sockets { looks_left: HashMap::new(), set };
    let mut is_degraded = false;
    loop {
        let begun = Instant::now();
        let looking = task::spawn_blocking(move || {
            let looked = sockets.look();
            (sockets, looked)
        });
        // The runtime stops.
        let Ok((looked_at, looked)) = looking.await else { return };
        sockets = looked_at;
        match &looked {
            Ok(()) if is_degraded => health.resolve(CONDITION),
            Ok(()) => {}
            Err(error) => {
                if !is_degraded {
                    tracing::warn!(%error, "Cannot set TCP_NODELAY on the connections to EventStoreDB; each call takes up to 41 ms longer");
                }
                health.degraded(CONDITION, format!(
                    "TCP_NODELAY cannot be set on the connections to EventStoreDB ({error}), so each call takes up to \
                     41 ms longer. Allow this process to read /proc/self/fd and to call setsockopt"
                ));
            }
        }
        is_degraded = looked.is_err();
        time::sleep(PAUSE.max(begun.elapsed() * SHARE_OF_A_CORE)).await;
    }
}

/// The sockets of this process.
#[derive(Debug)]
struct Sockets {
    /// For each descriptor of a socket: its inode, and how many more looks it needs until it is settled.
    looks_left: HashMap<RawFd, (u64, u8)>,
    set: SetNoDelay,
}

impl Sockets {
    /// Sets TCP_NODELAY on every TCP connection that lacks it. Returns the first error after it has looked at
    /// all of them.
    ///
    /// It takes all connections, because a cluster names nodes that no setting lists. Every other client and
    /// server in this process sets the option by itself, so only those of the library change.
    fn look(&mut self) -> io::Result<()> {
        let before = std::mem::take(&mut self.looks_left);
        let mut outcome = Ok(());
        for entry in fs::read_dir("/proc/self/fd")? {
            let entry = entry?;
            let number = entry.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
            // A descriptor that was closed meanwhile has no target.
            let inode = fs::read_link(entry.path()).ok().and_then(|target| socket_inode(target.to_str()?));
            let (Some(number), Some(inode)) = (number, inode) else { continue };
            let looks_left = match before.get(&number) {
                Some((known, looks_left)) if *known == inode => *looks_left,
                _ => LOOKS_UNTIL_SETTLED,
            };
            let looks_left = match looks_left {
                0 => 0,
                _ => match self.settle(number, inode) {
                    Ok(Found::Set) => looks_left - 1,
                    Ok(Found::OtherSocket) => 0,
                    Ok(Found::Unset | Found::NotConnected) => LOOKS_UNTIL_SETTLED,
                    Err(error) => {
                        outcome = outcome.and(Err(error));
                        LOOKS_UNTIL_SETTLED
                    }
                },
            };
            self.looks_left.insert(number, (inode, looks_left));
        }
        outcome
    }

    fn settle(&self, number: RawFd, inode: u64) -> io::Result<Found> {
        // The descriptor was closed meanwhile, or the process has no free one.
        let Ok(file) = second_descriptor(number) else { return Ok(Found::NotConnected) };
        if file.metadata()?.ino() != inode {
            return Ok(Found::NotConnected);
        }
        let socket = SockRef::from(&file);
        if socket.r#type()? != Type::STREAM || socket.local_addr()?.as_socket().is_none() {
            return Ok(Found::OtherSocket);
        }
        // A listener, or a connection that is not established yet or no longer.
        if socket.peer_addr().is_err() {
            return Ok(Found::NotConnected);
        }
        if socket.tcp_nodelay()? {
            return Ok(Found::Set);
        }
        (self.set)(&socket)?;
        Ok(Found::Unset)
    }
}

/// What a look finds of one socket.
enum Found {
    Set,
    /// The option was not set before this look.
    Unset,
    NotConnected,
    /// Not TCP.
    OtherSocket,
}

/// Linux shows the descriptor of a socket as `socket:[INODE]`.
fn socket_inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Another descriptor of the file that `number` stands for now.
#[expect(
    unsafe_code,
    reason = "the library hides its sockets, and std has no safe way to name one by its number"
)]
fn second_descriptor(number: RawFd) -> io::Result<File> {
    // SAFETY: `borrow_raw` asks that the descriptor stays open during the borrow, and another thread may close it.
    // The borrow lasts for one call of `fcntl(F_DUPFD_CLOEXEC)`, which reads and writes no memory of the process.
    // If `number` was closed, the call fails with EBADF. If it was closed and opened again, the call returns a
    // descriptor of the new file. The caller compares the inode before it uses the result.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    borrowed.try_clone_to_owned().map(File::from)
}

#[cfg(test)]
mod tests;
