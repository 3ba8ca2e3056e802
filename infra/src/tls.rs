//! TLS of outgoing connections: which certificates are trusted, and by which cryptography.

use std::sync::Arc;

use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore,
    client::WantsClientCert,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
};

/// The TLS settings of a client that trusts `roots` and shows no certificate of its own.
pub fn client_config(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    Ok(trusting(roots)?.with_no_client_auth())
}

/// The TLS settings of a client that trusts `roots` and shows its own certificate.
pub fn client_config_with(
    roots: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, rustls::Error> {
    trusting(roots)?.with_client_auth_cert(certificates, key)
}

fn trusting(roots: RootCertStore) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, rustls::Error> {
    // More than one provider is compiled in, so rustls cannot choose a default one.
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    Ok(config)
}

/// The root certificates that this machine trusts. Logs and leaves out those that cannot be read.
pub fn roots_of_this_machine() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "Cannot read some of the certificates that this machine trusts; leaving them out");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    roots
}
