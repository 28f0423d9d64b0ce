//! Key material.
//!
//! A secret is `ms_` and 32 characters of base32: 160 random bits. It lives in a [`SecretString`], which prints as
//! `[REDACTED]`; the database holds its SHA-256. With that many random bits a plain hash cannot be searched, so that one
//! indexed look-up admits a publisher.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::error::ControlError;
use super::id::{BASE32, random_bytes};

/// What every secret begins with, so that scanners of leaked secrets can know it.
const PREFIX: &str = "ms_";

/// Random bytes of a secret.
const RANDOM_BYTES: usize = 20;

/// Texts longer than any secret are not even hashed.
pub(super) const MAX_SECRET_BYTES: usize = 128;

/// SHA-256 of a secret.
pub(super) type SecretHash = [u8; 32];

/// A new secret.
pub(super) fn generate() -> Result<SecretString, ControlError> {
    let random = random_bytes::<RANDOM_BYTES>()?;
    Ok(SecretString::from(format!("{PREFIX}{}", BASE32.encode(&random))))
}

/// What the database stores and looks for.
pub(super) fn hash(secret: &SecretString) -> SecretHash {
    Sha256::digest(secret.expose_secret().as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_random_and_plain() {
        let [one, two] = [(); 2].map(|()| generate().expect("random bytes"));
        let text = one.expose_secret();
        assert_eq!((text.len(), text.get(..3)), (35, Some("ms_")));
        assert!(text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'));
        assert_ne!(text, two.expose_secret());
        assert!(!format!("{one:?}").contains(text));
    }

    #[test]
    fn the_hash_is_sha_256() {
        let hex = data_encoding::HEXLOWER.encode(&hash(&SecretString::from("abc")));
        assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
