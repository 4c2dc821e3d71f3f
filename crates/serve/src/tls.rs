//! TLS 1.2 and 1.3: the certificate chain and its key come from PEM files, which are read again when they change. Connections that exist
//! keep the certificate they began with.
//!
//! The cryptography is Graviola's, since it needs no C compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Where a server's certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM, the server's own certificate first, then those that lead to a root.
    pub certificates: PathBuf,
    /// PEM, the key of the first certificate: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// Why a certificate can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub(crate) struct TlsError {
    pub(crate) path: PathBuf,
    pub(crate) reason: String,
}

/// The certificate that new connections get.
pub(crate) struct Tls {
    files: TlsFiles,
    current: RwLock<Current>,
}

struct Current {
    stamp: Stamp,
    acceptor: TlsAcceptor,
}

type Stamp = [Option<(SystemTime, u64)>; 2];

impl Tls {
    pub(crate) fn open(files: TlsFiles) -> Result<Tls, TlsError> {
        // Files that change meanwhile are then read once more.
        let stamp = stamp(&files);
        let acceptor = acceptor(&files)?;
        Ok(Tls { files, current: RwLock::new(Current { stamp, acceptor }) })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).acceptor.clone()
    }

    /// Reads the files again if they have changed. Where they can't be used, the certificate stays that was there.
    pub(crate) fn refresh(&self) {
        let stamp = stamp(&self.files);
        if self.current.read().unwrap_or_else(PoisonError::into_inner).stamp == stamp {
            return;
        }
        let renewed = acceptor(&self.files);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        current.stamp = stamp;
        match renewed {
            Ok(acceptor) => {
                current.acceptor = acceptor;
                tracing::info!(path = %self.files.certificates.display(), "certificate renewed");
            }
            Err(error) => tracing::error!(%error, "the new certificate can't be used; the old one stays"),
        }
    }
}

fn stamp(files: &TlsFiles) -> Stamp {
    [&files.certificates, &files.key].map(|path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let problem = |path: &Path| {
        let path = path.to_owned();
        move |reason: String| TlsError { path, reason }
    };
    if let Some(missing) = missing_instructions() {
        return Err(problem(&files.certificates)(format!("TLS needs a processor with {missing}")));
    }
    let of_file = problem(&files.certificates);
    let chain = CertificateDer::pem_file_iter(&files.certificates).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = match chain {
        Ok(chain) if chain.is_empty() => return Err(of_file("there is no certificate in it".to_owned())),
        Ok(chain) => chain,
        Err(error) => return Err(of_file(format!("this is no PEM file of certificates: {error}"))),
    };
    let key = PrivateKeyDer::from_pem_file(&files.key);
    let key = key.map_err(|error| problem(&files.key)(format!("this is no PEM file with a private key: {error}")))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls_graviola::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| of_file(error.to_string()))?;
    let config = builder.with_no_client_auth().with_single_cert(chain, key);
    let mut config = config.map_err(|error| problem(&files.certificates)(format!("certificate and key can't be used: {error}")))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// An instruction set that the cryptography needs and the processor lacks.
fn missing_instructions() -> Option<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let needed = [
        ("AES", is_x86_feature_detected!("aes")),
        ("SSSE3", is_x86_feature_detected!("ssse3")),
        ("PCLMULQDQ", is_x86_feature_detected!("pclmulqdq")),
        ("AVX2", is_x86_feature_detected!("avx2")),
        ("ADX", is_x86_feature_detected!("adx")),
        ("BMI2", is_x86_feature_detected!("bmi2")),
    ];
    #[cfg(target_arch = "aarch64")]
    let needed = [
        ("AES", std::arch::is_aarch64_feature_detected!("aes")),
        ("SHA2", std::arch::is_aarch64_feature_detected!("sha2")),
        ("PMULL", std::arch::is_aarch64_feature_detected!("pmull")),
    ];
    needed.into_iter().find(|(_, is_there)| !is_there).map(|(name, _)| name)
}
