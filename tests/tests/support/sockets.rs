//! The connections of this process, as the kernel sees them.

use std::{
    fs,
    net::SocketAddr,
    os::fd::{OwnedFd, RawFd},
};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use socket2::SockRef;

/// For each connection of this process to `peer`: true if it has TCP_NODELAY. Asks the kernel for a copy of each
/// descriptor, which default profiles of container engines refuse.
pub fn without_delay(peer: SocketAddr) -> Vec<bool> {
    let this_process = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let copy_of = |number: RawFd| -> Option<OwnedFd> {
        pidfd_getfd(&this_process, number, PidfdGetfdFlags::empty()).ok()
    };
    let numbers = fs::read_dir("/proc/self/fd").unwrap();
    let numbers = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let connection = |number: RawFd| {
        let copy = copy_of(number)?;
        let socket = SockRef::from(&copy);
        let is_to_peer = socket.peer_addr().ok()?.as_socket() == Some(peer);
        is_to_peer.then(|| socket.tcp_nodelay().unwrap())
    };
    numbers.filter_map(connection).collect()
}
