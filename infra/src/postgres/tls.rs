//! TLS for connections, if the URL requires it.

use std::path::Path;

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{PostgresOpenError, PostgresOptions};
use crate::tls;

/// Checks the server's certificate and name, against `sslrootcert` or against the authorities of the machine. Shows the
/// server the certificate of `sslcert`, if it asks for one.
pub(super) fn connector(options: &PostgresOptions) -> Result<MakeRustlsConnect, PostgresOpenError> {
    let unavailable = |error: rustls::Error| PostgresOpenError::Unavailable(error.to_string().into());
    let files = &options.files;
    let roots = match &files.roots {
        _ if options.config.get_ssl_mode() != SslMode::Require => RootCertStore::empty(),
        Some(file) => roots_of(file)?,
        None => tls::roots_of_this_machine(),
    };
    let config = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => {
            let key_of = |error: &dyn ToString| refused("sslkey", key, error);
            let own = PrivateKeyDer::from_pem_file(key).map_err(|error| key_of(&error))?;
            let certificates = certificates_of("sslcert", certificate)?;
            tls::client_config_with(roots, certificates, own).map_err(|error| key_of(&error))?
        }
        _ => tls::client_config(roots).map_err(unavailable)?,
    };
    Ok(MakeRustlsConnect::new(config))
}

fn roots_of(file: &Path) -> Result<RootCertStore, PostgresOpenError> {
    const SETTING: &str = "sslrootcert";
    let mut roots = RootCertStore::empty();
    for certificate in certificates_of(SETTING, file)? {
        roots.add(certificate).map_err(|error| refused(SETTING, file, &error))?;
    }
    Ok(roots)
}

fn certificates_of(
    setting: &'static str,
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, PostgresOpenError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| refused(setting, file, &error))?;
    if certificates.is_empty() {
        return Err(refused(setting, file, &"the file holds no certificate"));
    }
    Ok(certificates)
}

fn refused(setting: &'static str, file: &Path, reason: &dyn ToString) -> PostgresOpenError {
    PostgresOpenError::Certificates { setting, path: file.to_owned(), reason: reason.to_string().into() }
}
