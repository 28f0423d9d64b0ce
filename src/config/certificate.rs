//! `cert` and `key`, as `[rtmps]` and `[https]` have them.

use std::path::PathBuf;

use super::key::Key;
use super::reader::Reader;

/// Where a certificate and its key lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePaths {
    /// File of the certificate and its chain.
    pub cert: PathBuf,
    /// File of its key.
    pub key: PathBuf,
}

/// Only half of it is given; the reader has noted that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Half;

impl CertificatePaths {
    /// `None` when neither is given.
    pub(super) fn read(reader: &mut Reader, cert: &Key, key: &Key) -> Result<Option<Self>, Half> {
        let given = [cert, key].map(|key| reader.read_given(key, parse_file).flatten());
        match given {
            [Some(cert), Some(key)] => Ok(Some(CertificatePaths { cert, key })),
            [Some(_), None] => {
                reader.refuse(cert, format!("wants {} beside it, the file with its private key", key.path()));
                Err(Half)
            }
            [None, Some(_)] => {
                reader.refuse(key, format!("wants {} beside it, the file with its certificate", cert.path()));
                Err(Half)
            }
            [None, None] => Ok(None),
        }
    }
}

/// An empty text is none, so that a variable can take back what the file says.
fn parse_file(text: &str) -> Result<Option<PathBuf>, std::convert::Infallible> {
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}
