//! What protects clients: TLS, and the headers for browsers.

use std::path::Path;

use axum::{http::Method, routing::get as on_get};
use infra::http::tls::{Tls, TlsFiles};
use tests::eventstoredb::Certificates;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
        version::{TLS12, TLS13},
    },
};

use super::*;

const PROTECTED: [&str; 3] = [
    "x-content-type-options: nosniff\r\n",
    "referrer-policy: no-referrer\r\n",
    "content-security-policy: default-src 'none'; frame-ancestors 'none'\r\n",
];

#[tokio::test]
async fn every_answer_has_the_headers_that_protect_browsers() {
    let server = Server::start(Router::new().route("/", on_get(ok)), patient()).await;
    for (request, status) in [
        (get("/"), 200),
        (get("/nope"), 404),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(), 421),
        ("no request\r\n\r\n".to_owned(), 400),
    ] {
        let mut client = server.connect().await;
        client.send(&request).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status, "{request}");
        for header in PROTECTED {
            assert!(answer.head.contains(header), "{request}: {}", answer.head);
        }
        assert!(!answer.head.contains("strict-transport-security"), "the connection is not encrypted");
    }
}

fn from_page(method: &Method, origin: &str, more: &str) -> String {
    format!("{method} / HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n{more}\r\n")
}

#[tokio::test]
async fn pages_of_allowed_sites_may_send_requests_and_others_may_not() {
    const ASKS: &str =
        "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: idempotency-key\r\n";
    let allowed_origins = ["https://shop.example".parse().unwrap()].into_iter().collect();
    let options = ServerOptions { allowed_origins, ..patient() };
    let server = Server::start(Router::new().route("/", on_get(ok)), options).await;
    let mut client = server.connect().await;
    client.send(from_page(&Method::OPTIONS, "https://shop.example", ASKS)).await;
    let preflight = client.answer().await;
    assert_eq!(preflight.status, 200);
    for part in [
        "access-control-allow-origin: https://shop.example\r\n",
        "access-control-allow-methods: get,head,post,patch,delete\r\n",
        "idempotency-key",
        "access-control-max-age: 600\r\n",
        "vary: origin",
    ] {
        assert!(preflight.head.contains(part), "{part} is not in {}", preflight.head);
    }
    assert!(!preflight.head.contains("allow-credentials"), "{}", preflight.head);

    client.send(from_page(&Method::GET, "https://shop.example", "")).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 200);
    for part in
        ["access-control-allow-origin: https://shop.example\r\n", "access-control-expose-headers: etag,"]
    {
        assert!(answer.head.contains(part), "{part} is not in {}", answer.head);
    }

    client.send(from_page(&Method::GET, "https://evil.example", "")).await;
    let refused = client.answer().await;
    refused.problem(403, "wrong_origin");
    assert!(!refused.head.contains("access-control-allow-origin"), "{}", refused.head);
}

#[tokio::test]
async fn no_site_is_allowed_by_default() {
    let server = Server::start(Router::new().route("/", on_get(ok)), patient()).await;
    let mut client = server.connect().await;
    client.send(from_page(&Method::GET, "http://localhost:3000", "")).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 200, "a program or a page of this machine");
    assert!(!answer.head.contains("access-control"), "{}", answer.head);
}

fn files(certificates: &Certificates) -> TlsFiles {
    TlsFiles { certificate: certificates.certificate_file(), key: certificates.key_file() }
}

async fn encrypted(tls: Tls) -> Server {
    let options = ServerOptions { tls: Some(tls), ..patient() };
    Server::start(Router::new().route("/", on_get(ok)), options).await
}

/// Connects with this version of TLS, trusting the authority in the file.
async fn handshake(
    server: &Server,
    authority: &Path,
    version: &'static SupportedProtocolVersion,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(server.address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap()
}

#[tokio::test]
async fn an_encrypted_server_speaks_http_1_over_tls_1_2_and_1_3() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::create(folder.path()).unwrap();
    let server = encrypted(Tls::open(files(&certificates)).unwrap()).await;
    for (version, name) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let mut stream = handshake(&server, &certificates.authority(), version).await.unwrap();
        let (_, session) = stream.get_ref();
        assert_eq!(
            (session.protocol_version(), session.alpn_protocol()),
            (Some(name), Some(&b"http/1.1"[..]))
        );
        let closing = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(closing.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("ok"), "{answer}");
        assert!(answer.contains("strict-transport-security: max-age=31536000\r\n"), "{answer}");
    }
    let mut plain = server.connect().await;
    plain.send(get("/")).await;
    let _ = plain.receive().await;
    assert!(!plain.received.starts_with(b"HTTP"), "an encrypted server answers no plain HTTP");
}

#[tokio::test]
async fn a_large_answer_arrives_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::create(folder.path()).unwrap();
    let tls = Some(Tls::open(files(&certificates)).unwrap());
    let router = Router::new().route("/", on_get(async || LARGE_ANSWER.as_slice()));
    let server = Server::start(router, ServerOptions { tls, ..patient() }).await;
    let mut stream = handshake(&server, &certificates.authority(), &TLS13).await.unwrap();
    let closing = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(closing.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.len() > LARGE && answer.ends_with(b"  "), "{} bytes", answer.len());
}

#[tokio::test]
async fn a_changed_certificate_is_used_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::create(folder.path()).unwrap();
    let tls = Tls::open(files(&certificates)).unwrap();
    let server = encrypted(tls.clone()).await;
    let old_authority = folder.path().join("old.pem");
    std::fs::copy(certificates.authority(), &old_authority).unwrap();

    std::fs::write(certificates.key_file(), "no key").unwrap();
    tls.reload();
    handshake(&server, &old_authority, &TLS13).await.unwrap();

    Certificates::create(folder.path()).unwrap();
    tls.reload();
    handshake(&server, &certificates.authority(), &TLS13).await.unwrap();
    handshake(&server, &old_authority, &TLS13).await.unwrap_err();
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused_by_the_name_of_its_setting() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::create(folder.path()).unwrap();
    let (empty, other) = (folder.path().join("empty.pem"), tempfile::tempdir().unwrap());
    std::fs::write(&empty, "").unwrap();
    let other = Certificates::create(other.path()).unwrap();
    let right = files(&certificates);
    for (wrong, parts) in [
        (
            TlsFiles { certificate: folder.path().join("no.pem"), ..right.clone() },
            ["ORDERLY_TLS_CERTIFICATE", "no.pem"],
        ),
        (
            TlsFiles { certificate: empty.clone(), ..right.clone() },
            ["ORDERLY_TLS_CERTIFICATE", "no certificate"],
        ),
        (TlsFiles { key: empty, ..right.clone() }, ["ORDERLY_TLS_KEY", "no private key"]),
        (TlsFiles { key: other.key_file(), ..right }, ["ORDERLY_TLS_KEY", "not that of the certificate"]),
    ] {
        let error = Tls::open(wrong).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{error}");
        }
    }
}
