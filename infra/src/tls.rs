//! TLS of outgoing connections: which certificates are trusted, and by which cryptography.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};

/// The TLS settings of a client that trusts `roots` and shows no certificate of its own.
pub fn client_config(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    // More than one provider is compiled in, so rustls cannot choose a default one.
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
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
