//! What the database holds encrypted, and the key for it.
//!
//! The key is 32 random bytes in a file of its own (`secrets.key_file`), open to its owner alone. Whoever gets hold of the
//! database or of a copy of it reads no passphrase; whoever gets hold of both does. Each value is bound to its stream by
//! the associated data, so that none can be moved to another row.
//!
//! The file is read when it is first needed, and once: a change of it counts from the next start on.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use secrecy::SecretString;

use super::error::ControlError;
use super::id::{StreamId, random_bytes};
use crate::config::Secrets;

/// Bytes of the key.
const KEY_BYTES: usize = 32;

/// First byte of a value: how the rest was made.
const VERSION: u8 = 1;

/// Mode bits that let somebody else in.
const OPEN_TO_OTHERS: u32 = 0o077;

/// The key file cannot be used. `Display` says which it is and what to do.
#[derive(Debug, thiserror::Error)]
pub enum SecretKeyError {
    /// There is none.
    #[error("the key file {} is not there: put it back from a copy, or name it in secrets.key_file", .0.display())]
    Missing(PathBuf),
    /// Others may read or write it.
    #[error("the key file {} is open to others (mode {mode:04o}): chmod 600 {}", path.display(), path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is no key.
    #[error("the key file {} must hold {KEY_BYTES} bytes, and holds {bytes}: put the right one back from a copy", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes that it holds; of a long one, how many were read.
        bytes: usize,
    },
    /// It cannot be read or made.
    #[error("the key file {} cannot be {doing}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It is not the key that a value was encrypted with, or the value was damaged.
    #[error(
        "the key file {} does not open the SRT passphrase of stream {stream}: put the key back that was there when it was set, or give \
         the passphrase up: millstream streams update {stream} --as-configured srt_passphrase", path.display()
    )]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Whose passphrase it is.
        stream: StreamId,
    },
}

/// An encrypted value and the stream that it belongs to.
pub(super) type Sealed = (StreamId, Vec<u8>);

/// The key, once it was needed.
pub(super) struct Vault {
    secrets: Secrets,
    key: Mutex<Option<Arc<LessSafeKey>>>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("key_file", &self.secrets.key_file).finish_non_exhaustive()
    }
}

impl Vault {
    pub(super) fn new(secrets: Secrets) -> Self {
        Vault { secrets, key: Mutex::new(None) }
    }

    /// Whether the key opens all of `sealed`. Without any, a default key that is not made yet is fine.
    pub(super) fn check(&self, sealed: &[Sealed]) -> Result<(), ControlError> {
        if sealed.is_empty() && self.secrets.make && !self.exists()? {
            return Ok(());
        }
        self.key()?;
        sealed.iter().try_for_each(|(stream, value)| self.open(stream, value).map(drop))
    }

    /// Encrypts the passphrase of `stream`. `others` is what the database holds already: a key that does not open them is not
    /// used beside theirs, and none is made in the place of theirs.
    pub(super) fn seal(&self, stream: &StreamId, text: &str, others: &[Sealed]) -> Result<Vec<u8>, ControlError> {
        if others.is_empty() && self.secrets.make && !self.exists()? {
            make(&self.secrets.key_file)?;
        }
        self.check(others)?;
        let nonce = random_bytes::<NONCE_LEN>()?;
        let mut body = text.as_bytes().to_vec();
        let key = self.key()?;
        let tag = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), associated(stream), &mut body);
        let tag = tag.map_err(|_| self.wrong(stream))?; // only for texts of 256 GiB
        Ok([&[VERSION][..], &nonce, &body, tag.as_ref()].concat())
    }

    /// Decrypts the passphrase of `stream`.
    pub(super) fn open(&self, stream: &StreamId, value: &[u8]) -> Result<SecretString, ControlError> {
        let key = self.key()?;
        let opened = || {
            let (nonce, body) = value.strip_prefix(&[VERSION])?.split_first_chunk::<NONCE_LEN>()?;
            let mut body = body.to_vec();
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let text = key.open_in_place(nonce, associated(stream), &mut body).ok()?;
            std::str::from_utf8(text).ok().map(SecretString::from)
        };
        opened().ok_or_else(|| self.wrong(stream).into())
    }

    fn wrong(&self, stream: &StreamId) -> SecretKeyError {
        SecretKeyError::Wrong { path: self.secrets.key_file.clone(), stream: stream.clone() }
    }

    fn exists(&self) -> Result<bool, SecretKeyError> {
        let path = &self.secrets.key_file;
        path.try_exists().map_err(|source| failed(path, "read", source))
    }

    fn key(&self) -> Result<Arc<LessSafeKey>, SecretKeyError> {
        let mut held = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = held.as_ref() {
            return Ok(key.clone());
        }
        let key = Arc::new(read(&self.secrets.key_file)?);
        *held = Some(key.clone());
        Ok(key)
    }
}

/// Looks at the key file as a start would, without what it must open. False: it is not there yet, and need not be.
///
/// # Errors
/// It cannot be used.
pub fn check_key_file(secrets: &Secrets) -> Result<bool, ControlError> {
    let vault = Vault::new(secrets.clone());
    vault.check(&[])?;
    Ok(vault.exists()?)
}

/// What binds a value to its place.
fn associated(stream: &StreamId) -> Aad<String> {
    Aad::from(format!("millstream srt_passphrase {stream}"))
}

fn failed(path: &Path, doing: &'static str, source: io::Error) -> SecretKeyError {
    SecretKeyError::Io { path: path.to_owned(), doing, source }
}

fn read(path: &Path) -> Result<LessSafeKey, SecretKeyError> {
    let reading = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => SecretKeyError::Missing(path.to_owned()),
        _ => failed(path, "read", source),
    };
    let file = File::open(path).map_err(reading)?;
    let mode = file.metadata().map_err(reading)?.permissions().mode() & 0o7777;
    if mode & OPEN_TO_OTHERS != 0 {
        return Err(SecretKeyError::Open { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::with_capacity(KEY_BYTES + 1);
    // One byte more than a key has tells a longer file.
    file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(reading)?;
    let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes);
    key.map(LessSafeKey::new).map_err(|_| SecretKeyError::Length { path: path.to_owned(), bytes: bytes.len() })
}

/// Makes a key file that is whole and on disk, or none. One process at a time may: it holds the data folder's lock.
fn make(path: &Path) -> Result<(), ControlError> {
    let key = random_bytes::<KEY_BYTES>()?;
    let unfinished = path.with_extension("key.new");
    let write = || {
        let _ = fs::remove_file(&unfinished); // of a start that was killed
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(&key)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    write().map_err(|source| failed(path, "made", source).into())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    const TEXT: &str = "correct horse battery";

    fn stream(id: &str) -> StreamId {
        id.parse().expect("an id")
    }

    fn vault(path: &Path) -> Vault {
        Vault::new(Secrets { key_file: path.to_owned(), make: true })
    }

    fn says<T>(outcome: Result<T, ControlError>) -> String {
        outcome.map(drop).expect_err("refused").to_string()
    }

    #[test]
    fn a_value_opens_with_its_key_for_its_stream_alone() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("secret.key");
        let (one, other) = (stream("0123456789ab"), stream("0123456789ac"));
        let sealed = vault(&path).seal(&one, TEXT, &[]).expect("sealed");
        assert!(!sealed.windows(TEXT.len()).any(|window| window == TEXT.as_bytes()));
        let mode = fs::metadata(&path).expect("made").permissions().mode() & 0o777;
        assert_eq!((mode, fs::read(&path).expect("readable").len()), (0o600, 32));

        let again = vault(&path);
        assert_eq!(again.open(&one, &sealed).expect("opened").expose_secret(), TEXT);
        assert_ne!(again.seal(&one, TEXT, &[]).expect("sealed"), sealed, "each has its own nonce");
        assert!(says(again.open(&other, &sealed)).contains("does not open the SRT passphrase of stream 0123456789ac"));
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(again.open(&one, &damaged).is_err(), "byte {at}");
            assert!(again.open(&one, &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_key_file_that_cannot_be_used_is_refused_in_words() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("k");
        let shown = path.display();
        let one = stream("0123456789ab");
        let named = || Vault::new(Secrets { key_file: path.clone(), make: false });
        let missing =
            format!("the key file {shown} is not there: put it back from a copy, or name it in secrets.key_file");
        assert_eq!(says(named().check(&[])), missing);
        assert_eq!(says(named().seal(&one, TEXT, &[])), missing);
        fs::write(&path, [7; 32]).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("changed");
        assert_eq!(
            says(named().check(&[])),
            format!("the key file {shown} is open to others (mode 0640): chmod 600 {shown}")
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("changed");
        named().check(&[]).expect("a file that nobody may write is fine");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("changed");
        for bytes in [0, 31, 33] {
            fs::write(&path, vec![7; bytes]).expect("written");
            let expected = format!(
                "the key file {shown} must hold 32 bytes, and holds {bytes}: put the right one back from a copy"
            );
            assert_eq!(says(named().check(&[])), expected);
        }
    }

    #[test]
    fn no_key_is_made_or_used_in_the_place_of_another() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("secret.key");
        let (one, other) = (stream("0123456789ab"), stream("0123456789ac"));
        vault(&path).check(&[]).expect("nothing is there to open");
        assert!(!path.exists(), "and nothing is made for it");
        let held = vec![(one.clone(), vault(&path).seal(&one, TEXT, &[]).expect("sealed"))];
        vault(&path).check(&held).expect("it opens");

        fs::rename(&path, dir.path().join("copy")).expect("moved");
        assert!(says(vault(&path).seal(&other, TEXT, &held)).contains("is not there"));
        assert!(says(vault(&path).check(&held)).contains("is not there"));
        vault(&path).seal(&other, TEXT, &[]).expect("another key is made");
        assert!(says(vault(&path).check(&held)).contains("does not open the SRT passphrase of stream 0123456789ab"));
        assert!(
            vault(&path).seal(&other, TEXT, &held).is_err(),
            "two keys in one database would be told apart by nobody"
        );
    }
}
