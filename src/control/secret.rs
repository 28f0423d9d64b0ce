//! Key material.
//!
//! A secret is `ms_` and 32 characters of base32: 160 random bits. It lives in a [`SecretString`], which prints as
//! `[REDACTED]`; the database holds its SHA-256. With that many random bits a plain hash cannot be searched, so that one
//! indexed look-up admits a publisher.

use std::borrow::Cow;

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

/// `text` for the log, without what may be secrets in it: who pastes a key into a player puts it where a stream's id belongs.
pub fn concealed(text: &str) -> Cow<'_, str> {
    let mut pieces = text.split(PREFIX);
    let before = pieces.next().unwrap_or_default();
    if before.len() == text.len() {
        return Cow::Borrowed(text); // nearly always
    }
    pieces.fold(Cow::Borrowed(before), |shown, piece| {
        let behind = piece.trim_start_matches(|character: char| character.is_ascii_alphanumeric());
        Cow::Owned(format!("{shown}{PREFIX}***{behind}"))
    })
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
    fn what_may_be_a_secret_is_concealed_wherever_it_stands() {
        let secret = generate().expect("random bytes");
        let secret = secret.expose_secret();
        let path = format!("/live/{secret}/{secret}/index.m3u8");
        assert_eq!(concealed(&path), "/live/ms_***/ms_***/index.m3u8");
        assert_eq!(concealed(secret), "ms_***");
        assert!(matches!(concealed("/live/abc/ms/1.m4s"), Cow::Borrowed("/live/abc/ms/1.m4s")));
    }

    #[test]
    fn the_hash_is_sha_256() {
        let hex = data_encoding::HEXLOWER.encode(&hash(&SecretString::from("abc")));
        assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
