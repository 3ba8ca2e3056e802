//! A private certificate authority and a certificate for this machine.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use tokio_rustls::rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// What a server with TLS needs.
#[derive(Clone)]
pub struct Certificates {
    authority: PathBuf,
    config: Arc<ServerConfig>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl Certificates {
    /// Makes a new authority, writes its certificate to `ca.pem` in the folder, and signs a certificate for
    /// `localhost` and 127.0.0.1.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let authority = folder.join("ca.pem");
        let (pem, config) = generate().map_err(io::Error::other)?;
        fs::write(&authority, pem)?;
        Ok(Self { authority, config: Arc::new(config) })
    }

    /// The file for the setting `tlsCAFile` of clients.
    pub fn authority(&self) -> &Path {
        &self.authority
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }
}

/// The authority's certificate, and the settings of the server.
fn generate() -> Result<(String, ServerConfig), Box<dyn std::error::Error + Send + Sync>> {
    let mut authority = CertificateParams::new(Vec::new())?;
    // Names that differ: a certificate with the name of its authority counts as self-signed.
    authority.distinguished_name.push(DnType::CommonName, "authority of the EventStoreDB fixture");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut certificate = CertificateParams::new(names)?;
    certificate.distinguished_name.push(DnType::CommonName, "EventStoreDB fixture");
    let certificate = certificate.signed_by(&key, &authority)?;
    // Names its provider, because a second default provider in the process would be an error of the client.
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok((authority.pem(), config))
}
