//! Encrypted connections, where the URL asks for them.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{OpenError, PostgresOptions};

/// Checks the server's certificate and name: against `sslrootcert`, or against what the machine trusts.
pub(super) fn connector(options: &PostgresOptions) -> Result<MakeRustlsConnect, OpenError> {
    let roots = match &options.root_certificates {
        _ if options.config.get_ssl_mode() != SslMode::Require => RootCertStore::empty(),
        Some(file) => roots_of(file)?,
        None => roots_of_the_machine(),
    };
    // Named, because more than one is built in.
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| OpenError::Unavailable(error.to_string().into()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn roots_of(file: &Path) -> Result<RootCertStore, OpenError> {
    let refused = |reason: String| OpenError::Certificates { path: file.to_owned(), reason: reason.into() };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| refused(error.to_string()))? {
        let certificate = certificate.map_err(|error| refused(error.to_string()))?;
        roots.add(certificate).map_err(|error| refused(error.to_string()))?;
    }
    if roots.is_empty() { Err(refused("it holds no certificate".to_owned())) } else { Ok(roots) }
}

pub(crate) fn roots_of_the_machine() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "Some of the certificates that this machine trusts cannot be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    roots
}
