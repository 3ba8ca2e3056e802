//! The certificates that the client library trusts, and why a server's certificate is not accepted.
//!
//! The library reads certificates at each new client and panics if one is unreadable, also without TLS. It reports a
//! refused certificate as a failed connection, without the reason.

use std::{
    io::{self, Write},
    net::{TcpStream, ToSocketAddrs},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::{
    ClientConnection, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use tokio::time::timeout;

use super::{
    config::{EventStoreDbConfig, InvalidUrl},
    errors::EventStoreDbOpenError,
};
use crate::tls;

/// A file without certificates, for a connection without TLS.
const NO_CERTIFICATES: &str = "/dev/null";
/// Time limit for each step of the handshake that finds the reason of a refusal.
const STEP_MAX: Duration = Duration::from_secs(2);
/// Time limit for finding the reason, with all servers.
const REASON_MAX: Duration = Duration::from_secs(10);

/// The settings with certificates that the library can read.
pub(super) fn prepared(config: EventStoreDbConfig) -> Result<EventStoreDbConfig, EventStoreDbOpenError> {
    let unreadable =
        |path: &Path, reason: String| EventStoreDbOpenError::CaFile { path: path.to_owned(), reason };
    let settings = config.settings();
    if !settings.is_secure_mode_enabled() {
        return trusting(config, Path::new(NO_CERTIFICATES), None);
    }
    if let Some(path) = settings.tls_ca_file().map(PathBuf::from) {
        roots_of(&path).map_err(|reason| unreadable(&path, reason))?;
        return Ok(config);
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let readable: Vec<_> = found.certs.iter().filter(|found| roots.add((*found).clone()).is_ok()).collect();
    if found.errors.is_empty() && readable.len() == found.certs.len() {
        return Ok(config);
    }
    tracing::warn!(
        errors = ?found.errors, certificates.left_out = found.certs.len() - readable.len(),
        "Cannot read some of the certificates that this machine trusts; leaving them out"
    );
    let failed = |error: io::Error| unreadable(&std::env::temp_dir(), error.to_string());
    let file = write_pem(&readable).map_err(failed)?.into_temp_path();
    let path = file.to_path_buf();
    trusting(config, &path, Some(file))
}

fn trusting(
    config: EventStoreDbConfig,
    path: &Path,
    temporary: Option<tempfile::TempPath>,
) -> Result<EventStoreDbConfig, EventStoreDbOpenError> {
    config.trusting(path, temporary).map_err(|InvalidUrl| EventStoreDbOpenError::CaFile {
        path: path.to_owned(),
        reason: "the client library does not take its name".to_owned(),
    })
}

fn write_pem(certificates: &[&CertificateDer<'_>]) -> io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    for certificate in certificates {
        writeln!(file, "-----BEGIN CERTIFICATE-----")?;
        for line in BASE64_STANDARD.encode(certificate).as_bytes().chunks(64) {
            file.write_all(line)?;
            writeln!(file)?;
        }
        writeln!(file, "-----END CERTIFICATE-----")?;
    }
    file.flush()?;
    Ok(file)
}

/// The certificates of a PEM file, which the library reads with `unwrap`.
fn roots_of(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())? {
        roots.add(certificate.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("it has no certificate".to_owned()) } else { Ok(roots) }
}

/// Why the certificate of a server is not accepted; `None` if another reason prevents the connection.
pub(super) async fn refusal(config: &EventStoreDbConfig) -> Option<String> {
    let settings = config.settings();
    if !settings.is_secure_mode_enabled() || !settings.is_tls_certificate_verification_enabled() {
        return None;
    }
    let hosts: Vec<_> = settings.hosts().iter().map(|host| (host.host.clone(), host.port)).collect();
    let ca_file = settings.tls_ca_file().map(PathBuf::from);
    let asking = tokio::task::spawn_blocking(move || {
        let roots = match ca_file {
            Some(path) => roots_of(&path).ok()?,
            None => tls::roots_of_this_machine(),
        };
        let client = Arc::new(tls::client_config(roots).ok()?);
        hosts.iter().find_map(|(host, port)| {
            let handshake = shake_hands(Arc::clone(&client), host, u16::try_from(*port).ok()?);
            let reason = handshake.err()?.downcast::<rustls::Error>().ok()?;
            Some(format!("{host}:{port}: {reason}"))
        })
    });
    // The name service has no time limit of its own.
    timeout(REASON_MAX, asking).await.ok()?.ok().flatten()
}

fn shake_hands(client: Arc<rustls::ClientConfig>, host: &str, port: u16) -> io::Result<()> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let address = (host, port).to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&address, STEP_MAX)?;
    stream.set_read_timeout(Some(STEP_MAX))?;
    stream.set_write_timeout(Some(STEP_MAX))?;
    let mut connection = ClientConnection::new(client, name).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
