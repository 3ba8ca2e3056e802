use std::{io::ErrorKind, net::Ipv4Addr};

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::HeldPort;

/// Binds as an outgoing connection does that takes any free port.
fn without_reuse(port: &HeldPort) -> std::io::Result<()> {
    TcpSocket::new_v4().unwrap().bind(port.address())
}

#[tokio::test]
async fn a_port_stays_with_its_server_while_the_server_is_down() {
    let port = HeldPort::hold((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    for _ in 0..2 {
        assert_eq!(without_reuse(&port).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert_eq!(
            TcpStream::connect(port.address()).await.unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
        let listener: TcpListener = port.listen().await.unwrap();
        TcpStream::connect(port.address()).await.unwrap();
        drop(listener);
    }
}
