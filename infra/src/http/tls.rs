//! The certificate of the APIs, from files that are read again when they change.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use tokio::{task::spawn_blocking, time};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use x509_cert::der::Decode;

use crate::measurements::{Counter, Gauge, TLS_CERTIFICATE_EXPIRES, TLS_RELOADS};

/// How often the files are read.
const READ_EVERY: Duration = Duration::from_secs(10);

/// A certificate with the chain to its authority, and its key, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Why a certificate cannot be used. The text names the setting and shows no key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("ORDERLY_TLS_CERTIFICATE: {}: {problem}", path.display())]
    Certificate { path: PathBuf, problem: String },
    #[error("ORDERLY_TLS_KEY: {}: {problem}", path.display())]
    Key { path: PathBuf, problem: String },
}

/// Encrypts the connections of a server. Its clones share the certificate.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    certificate: Arc<Certificate>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.certificate.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files. Blocks.
    pub fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certificate = Arc::new(Certificate::open(files, Arc::clone(&provider))?);
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("the provider has suites of both versions")
            .with_no_client_auth();
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Certificate>::clone(&certificate);
        let mut config = config.with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), certificate })
    }

    pub(super) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// Reads the files every 10 s until `shutdown`. New connections get a changed certificate. One that cannot be used
    /// changes nothing.
    pub async fn follow_files(self, shutdown: CancellationToken) {
        loop {
            if shutdown.run_until_cancelled(time::sleep(READ_EVERY)).await.is_none() {
                return;
            }
            let certificate = Arc::clone(&self.certificate);
            // A panic was logged already.
            let _ = spawn_blocking(move || certificate.reload()).await;
        }
    }

    /// Reads the files now. Blocks.
    pub fn reload(&self) {
        self.certificate.reload();
    }
}

/// The certificate in use.
#[derive(Debug)]
struct Certificate {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    in_use: RwLock<Arc<CertifiedKey>>,
    /// The bytes of the files as they were read last.
    read: Mutex<Pem>,
    measurements: Measurements,
}

/// Certificate and key, in PEM.
#[derive(PartialEq, Eq)]
struct Pem {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pem")
    }
}

#[derive(Debug)]
struct Measurements {
    expires: Gauge,
    changed: Counter,
    failed: Counter,
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.in_use.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Certificate {
    fn open(files: TlsFiles, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let pem = files.read()?;
        let key = Arc::new(files.certified_key(&pem, &provider)?);
        let measurements = Measurements {
            expires: TLS_CERTIFICATE_EXPIRES.with([]),
            changed: TLS_RELOADS.with(["changed"]),
            failed: TLS_RELOADS.with(["failed"]),
        };
        measurements.show(&key);
        Ok(Self { files, provider, in_use: RwLock::new(key), read: Mutex::new(pem), measurements })
    }

    fn reload(&self) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let reloaded = self.files.read().and_then(|pem| {
            if pem == *read {
                return Ok(None);
            }
            self.files.certified_key(&pem, &self.provider).map(|key| Some((pem, Arc::new(key))))
        });
        match reloaded {
            Ok(None) => {}
            Ok(Some((pem, key))) => {
                self.measurements.show(&key);
                self.measurements.changed.increment(1);
                *self.in_use.write().unwrap_or_else(PoisonError::into_inner) = key;
                *read = pem;
                tracing::info!("The certificate of the APIs has changed; new connections get it");
            }
            Err(error) => {
                self.measurements.failed.increment(1);
                tracing::warn!(%error, "Cannot use the changed certificate of the APIs; the one in use stays");
            }
        }
    }
}

impl TlsFiles {
    fn read(&self) -> Result<Pem, TlsError> {
        let read = |path: &Path| fs::read(path).map_err(|error: io::Error| error.to_string());
        let certificate = read(&self.certificate).map_err(|problem| self.wrong_certificate(problem))?;
        let key = read(&self.key).map_err(|problem| self.wrong_key(problem))?;
        Ok(Pem { certificate, key })
    }

    fn certified_key(&self, pem: &Pem, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
        let chain = CertificateDer::pem_slice_iter(&pem.certificate).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| self.wrong_certificate(error.to_string()))?;
        if chain.is_empty() {
            return Err(self.wrong_certificate("there is no certificate in PEM in the file".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(&pem.key).map_err(|error| {
            self.wrong_key(match error {
                pem::Error::NoItemsFound => "there is no private key in PEM in the file".to_owned(),
                // The text of the error may quote a line of the file.
                _ => "the file is not PEM".to_owned(),
            })
        })?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                self.wrong_key("the key is not that of the certificate in ORDERLY_TLS_CERTIFICATE".to_owned())
            }
            rustls::Error::InvalidCertificate(_) => self.wrong_certificate(error.to_string()),
            other => self.wrong_key(other.to_string()),
        })
    }

    fn wrong_certificate(&self, problem: String) -> TlsError {
        TlsError::Certificate { path: self.certificate.clone(), problem }
    }

    fn wrong_key(&self, problem: String) -> TlsError {
        TlsError::Key { path: self.key.clone(), problem }
    }
}

impl Measurements {
    /// Shows when a certificate expires, in seconds since 1970.
    fn show(&self, key: &CertifiedKey) {
        let certificate = key.cert.first().and_then(|der| x509_cert::Certificate::from_der(der).ok());
        if let Some(certificate) = certificate {
            let expires = certificate.tbs_certificate.validity.not_after.to_unix_duration();
            self.expires.set(expires.as_secs_f64());
        }
    }
}
