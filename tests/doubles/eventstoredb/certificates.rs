//! A private certificate authority and a certificate for this machine.

use std::{
    error::Error,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256,
};
use tokio_rustls::rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// The common name that nodes of a real server accept in each other's certificates.
const NODE: &str = "eventstoredb-node";

/// What a server with TLS needs.
#[derive(Clone)]
pub struct Certificates {
    folder: PathBuf,
    config: Arc<ServerConfig>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Certificates {
    /// Makes a new authority, and signs a certificate for `localhost` and 127.0.0.1. Writes `ca.pem`, the
    /// certificate of the authority, and the files `node/node.crt` and `node/node.key`, as a real server takes them.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let generated = Generated::new().map_err(io::Error::other)?;
        let certificates = Self {
            folder: folder.to_owned(),
            config: Arc::new(generated.config().map_err(io::Error::other)?),
        };
        fs::write(certificates.authority(), &generated.authority)?;
        fs::create_dir_all(folder.join("node"))?;
        fs::write(certificates.certificate_file(), &generated.certificate.1)?;
        fs::write(certificates.key_file(), generated.key.serialize_pem())?;
        Ok(certificates)
    }

    /// The file for the setting `tlsCAFile` of clients. No other certificate is in its folder.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    pub fn certificate_file(&self) -> PathBuf {
        self.folder.join("node/node.crt")
    }

    pub fn key_file(&self) -> PathBuf {
        self.folder.join("node/node.key")
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }
}

struct Generated {
    /// In PEM.
    authority: String,
    /// In DER, and in PEM.
    certificate: (CertificateDer<'static>, String),
    key: KeyPair,
}

type GenerationError = Box<dyn Error + Send + Sync>;

impl Generated {
    fn new() -> Result<Self, GenerationError> {
        let mut authority = CertificateParams::new(Vec::new())?;
        // Names that differ: a certificate with the name of its authority counts as self-signed.
        authority.distinguished_name.push(DnType::CommonName, "authority of the EventStoreDB fixture");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // A real server reads RSA keys only.
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate_for(&PKCS_RSA_SHA256)?)?;
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256)?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut certificate = CertificateParams::new(names)?;
        certificate.distinguished_name.push(DnType::CommonName, NODE);
        certificate.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        certificate.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = certificate.signed_by(&key, &authority)?;
        let certificate = (certificate.der().clone(), certificate.pem());
        Ok(Self { authority: authority.pem(), certificate, key })
    }

    /// The settings of the fixture.
    fn config(&self) -> Result<ServerConfig, GenerationError> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        // Names its provider, because a second default provider in the process would be an error of the client.
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.0.clone()], key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}
