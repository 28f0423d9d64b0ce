//! A certificate and its key, as they lie in two files.
//!
//! Nothing of what the files hold goes into an error: whoever names the wrong file may have named the key.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error as RustlsError, InconsistentKeys};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::media::WallTime;

/// Most bytes that are read of a file: a chain of a dozen certificates has 30 KB.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// How a private key that wants a passphrase begins (RFC 7468 section 11).
const ENCRYPTED_KEY: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";

/// Where a certificate and its key lie, both in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The server's certificate first, then those that lead from it to a root.
    pub cert: PathBuf,
    /// The private key of the first: PKCS#8, PKCS#1 (RSA) or SEC1 (EC), without a passphrase.
    pub key: PathBuf,
}

/// A certificate or its key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The system does not let us read it.
    #[error("cannot read {}: {why}; may the daemon's user read it, and enter its folder?", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        why: String,
    },
    /// A folder, a device, or far too much.
    #[error("{} is not a file of 1 MiB at most", path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// No certificate where the chain must be.
    #[error("{} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// What stands there as a certificate is none.
    #[error("{} holds a certificate that cannot be read: was the file written whole?", path.display())]
    BrokenCertificate {
        /// The file.
        path: PathBuf,
    },
    /// No private key.
    #[error("{} holds no private key in PEM (-----BEGIN PRIVATE KEY-----)", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The private key is encrypted.
    #[error("the key in {0} wants a passphrase; write it without one: openssl pkey -in {0} -out key.pem", path.display())]
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
    /// A key of a kind that cannot be used, or a damaged one.
    #[error("the key in {} cannot be used: RSA of 2048 bits or more, ECDSA (P-256, P-384) and Ed25519 can", path.display())]
    UnusableKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is another certificate's.
    #[error("the key in {} is not that of the first certificate in {}", key.display(), cert.display())]
    NoMatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

/// A certificate with its key: what a server shows, and can prove.
#[derive(Clone)]
pub struct Certificate {
    pub(super) certified: Arc<CertifiedKey>,
    /// Of both files, to know others when they come.
    pub(super) fingerprint: [u8; 32],
    not_after: WallTime,
}

/// Without the key, whatever its own implementation would show.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl Certificate {
    /// Until when it is valid (RFC 5280 section 4.1.2.5, notAfter).
    pub fn not_after(&self) -> WallTime {
        self.not_after
    }

    /// Whether it is valid no more at `now`. Clients that check certificates then refuse it.
    pub fn has_expired(&self, now: WallTime) -> bool {
        now > self.not_after
    }
}

impl CertificateFiles {
    /// Reads both files, and sees that they belong together.
    ///
    /// # Errors
    /// What is wrong with which file, and what to do.
    pub async fn load(&self) -> Result<Certificate, CertificateError> {
        self.read().await?.parse(self)
    }

    pub(super) async fn read(&self) -> Result<Pem, CertificateError> {
        Ok(Pem { cert: read(&self.cert).await?, key: read(&self.key).await? })
    }
}

/// What the two files hold.
pub(super) struct Pem {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Pem {
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let length = (self.cert.len() as u64).to_be_bytes();
        Sha256::new().chain_update(length).chain_update(&self.cert).chain_update(&self.key).finalize().into()
    }

    pub(super) fn parse(&self, files: &CertificateFiles) -> Result<Certificate, CertificateError> {
        let (cert, key) = (files.cert.clone(), files.key.clone());
        let Ok(chain) = CertificateDer::pem_slice_iter(&self.cert).collect::<Result<Vec<_>, _>>() else {
            return Err(CertificateError::BrokenCertificate { path: cert });
        };
        let Some(first) = chain.first() else {
            return Err(CertificateError::NoCertificate { path: cert });
        };
        let Ok((_, parsed)) = X509Certificate::from_der(first) else {
            return Err(CertificateError::BrokenCertificate { path: cert });
        };
        let not_after = WallTime::from_unix_millis(parsed.validity().not_after.timestamp().saturating_mul(1_000));
        let Ok(private) = PrivateKeyDer::from_pem_slice(&self.key) else {
            let encrypted = self.key.windows(ENCRYPTED_KEY.len()).any(|window| window == ENCRYPTED_KEY);
            return Err(match encrypted {
                true => CertificateError::EncryptedKey { path: key },
                false => CertificateError::NoKey { path: key },
            });
        };
        let certified =
            CertifiedKey::from_der(chain, private, &ring::default_provider()).map_err(|error| match error {
                RustlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => CertificateError::NoMatch { cert, key },
                // The key is loaded before the certificate is looked at.
                RustlsError::InvalidCertificate(_) => CertificateError::BrokenCertificate { path: cert },
                _ => CertificateError::UnusableKey { path: key },
            })?;
        Ok(Certificate { certified: Arc::new(certified), fingerprint: self.fingerprint(), not_after })
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let unreadable =
        |error: std::io::Error| CertificateError::Unreadable { path: path.to_owned(), why: error.to_string() };
    let not_a_file = || CertificateError::NotAFile { path: path.to_owned() };
    // A pipe would keep us waiting.
    if !tokio::fs::metadata(path).await.map_err(unreadable)?.is_file() {
        return Err(not_a_file());
    }
    let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).await.map_err(unreadable)?;
    if read as u64 > MAX_FILE_BYTES { Err(not_a_file()) } else { Ok(bytes) }
}
