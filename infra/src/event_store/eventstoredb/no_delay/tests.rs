use std::{
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    sync::atomic::{AtomicBool, Ordering},
};

use super::*;

fn sockets() -> Sockets {
    Sockets { looks_left: HashMap::new(), set: set_no_delay }
}

/// A connection of this process to itself.
fn connection(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (here, listener.accept().unwrap().0)
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[test]
fn each_connection_gets_the_option_also_if_it_takes_the_descriptor_of_a_closed_one() {
    let (listener, mut sockets) = (listener(), sockets());
    for _ in 0..10 {
        let (here, there) = connection(&listener);
        sockets.look().unwrap();
        assert!(here.nodelay().unwrap() && there.nodelay().unwrap());
    }
}

#[test]
fn a_connection_that_loses_the_option_soon_after_it_was_opened_gets_it_again() {
    let (listener, mut sockets) = (listener(), sockets());
    let (here, _there) = connection(&listener);
    for _ in 0..3 {
        sockets.look().unwrap();
        here.set_nodelay(false).unwrap();
    }
    sockets.look().unwrap();
    assert!(here.nodelay().unwrap());
}

#[test]
fn listeners_and_sockets_of_other_protocols_are_left_alone() {
    let (_listener, _datagrams, _local) =
        (listener(), UdpSocket::bind("127.0.0.1:0").unwrap(), UnixStream::pair().unwrap());
    sockets().look().unwrap();
}

#[tokio::test]
async fn a_denied_option_degrades_the_process_until_it_is_allowed() {
    static IS_DENIED: AtomicBool = AtomicBool::new(true);
    let listener = listener();
    let (here, _there) = connection(&listener);
    let health = Health::default();
    let keeping = task::spawn(keep_with(health.clone(), |socket| {
        if IS_DENIED.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        set_no_delay(socket)
    }));
    let condition = loop {
        // Other tests of this process set the option too.
        here.set_nodelay(false).unwrap();
        if let Some(condition) = health.readiness().unwrap().degraded.pop() {
            break condition;
        }
        time::sleep(Duration::from_millis(1)).await;
    };
    assert!(condition.detail.contains("TCP_NODELAY"), "{}", condition.detail);
    IS_DENIED.store(false, Ordering::Relaxed);
    while !health.readiness().unwrap().degraded.is_empty() {
        time::sleep(Duration::from_millis(1)).await;
    }
    keeping.abort();
}

#[tokio::test]
async fn a_new_connection_has_the_option_within_100_ms() {
    let keeping = task::spawn(keep(Health::default()));
    let listener = listener();
    for _ in 0..5 {
        let (here, _there) = connection(&listener);
        let opened = Instant::now();
        while !here.nodelay().unwrap() {
            // A machine under load is slower.
            assert!(opened.elapsed() < 100 * PAUSE);
            time::sleep(Duration::from_millis(1)).await;
        }
    }
    keeping.abort();
}
