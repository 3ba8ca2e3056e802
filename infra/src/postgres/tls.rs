//! TLS for connections, if the URL requires it.

use std::path::Path;

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{PostgresOpenError, PostgresOptions};
use crate::tls;

/// Checks the server's certificate and name, against `sslrootcert` or against the authorities of the machine.
pub(super) fn connector(options: &PostgresOptions) -> Result<MakeRustlsConnect, PostgresOpenError> {
    let roots = match &options.root_certificates {
        _ if options.config.get_ssl_mode() != SslMode::Require => RootCertStore::empty(),
        Some(file) => roots_of(file)?,
        None => tls::roots_of_this_machine(),
    };
    let config = tls::client_config(roots)
        .map_err(|error| PostgresOpenError::Unavailable(error.to_string().into()))?;
    Ok(MakeRustlsConnect::new(config))
}

fn roots_of(file: &Path) -> Result<RootCertStore, PostgresOpenError> {
    let refused =
        |reason: String| PostgresOpenError::Certificates { path: file.to_owned(), reason: reason.into() };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| refused(error.to_string()))? {
        let certificate = certificate.map_err(|error| refused(error.to_string()))?;
        roots.add(certificate).map_err(|error| refused(error.to_string()))?;
    }
    if roots.is_empty() { Err(refused("the file holds no certificate".to_owned())) } else { Ok(roots) }
}
