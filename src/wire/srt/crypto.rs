//! Key material and decryption: AES-CTR with 128, 192 or 256 bits.
//!
//! The passphrase and half of the salt make a key (PBKDF2, 2048 rounds) that wraps the stream's keys (RFC 3394). Packets are
//! encrypted with one of two of those, so that a new one can be announced while the old one is in use.
//!
//! Source: draft-sharabayko-srt-01 sections 3.2.2 (key material) and 6 (encryption). CTR has no integrity: whoever can send
//! packets in a caller's name can change the media.

use aes::cipher::{BlockCipher, BlockEncrypt, BlockSizeUser, InnerIvInit, KeyInit, StreamCipher, consts::U16};
use aes::{Aes128, Aes192, Aes256};
use aes_kw::Kek;
use bytes::Bytes;
use ctr::{Ctr128BE, CtrCore};
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;

use super::packet::{KeyFlag, Serial, word};
use super::reject::{Reject, Rejection};

/// Rounds of PBKDF2 that the protocol fixes.
const ROUNDS: u32 = 2_048;
const SALT_BYTES: usize = 16;
/// Key material before its salt.
const FIXED_BYTES: usize = 16;
/// What key wrap adds to the keys it wraps: its check of integrity.
const WRAP_BYTES: usize = 8;
const MAX_KEY_BYTES: usize = 32;

/// Length of the stream's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLength {
    /// 16 bytes.
    Aes128,
    /// 24 bytes.
    Aes192,
    /// 32 bytes.
    Aes256,
}

impl KeyLength {
    /// Bytes of a key.
    pub const fn bytes(self) -> usize {
        match self {
            KeyLength::Aes128 => 16,
            KeyLength::Aes192 => 24,
            KeyLength::Aes256 => 32,
        }
    }
}

/// A key material message, checked for its form; its keys are still wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMaterial {
    /// The message as it came: a copy of it is the answer.
    message: Bytes,
    length: KeyLength,
    even: bool,
    odd: bool,
}

const MALFORMED: Rejection = Rejection::new(Reject::Crypto, "the key material cannot be read");
const OTHER_CIPHER: Rejection =
    Rejection::new(Reject::Crypto, "a cipher other than AES-CTR: set the encoder's crypto mode to AES-CTR");

impl KeyMaterial {
    /// Reads the content of a key material extension or packet.
    ///
    /// # Errors
    /// It is malformed, or for another cipher.
    pub fn parse(content: &[u8]) -> Result<Self, Rejection> {
        let head = word(content, 0).ok_or(MALFORMED)?;
        // S = 0, version 1, type 2 (key material), the vendor's sign, reserved bits (which are not looked at), KK.
        if head >> 8 != 0x12_2029 {
            return Err(MALFORMED);
        }
        let (even, odd) = (head & 1 == 1, head & 2 == 2);
        let ciphers = word(content, 2).ok_or(MALFORMED)?;
        let (cipher, authentication) = (ciphers >> 24, ciphers >> 16 & 0xff);
        if cipher != 2 || authentication != 0 {
            return Err(OTHER_CIPHER);
        }
        let lengths = word(content, 3).ok_or(MALFORMED)?;
        let (salt_bytes, key_bytes) = ((lengths >> 8 & 0xff) as usize * 4, (lengths & 0xff) as usize * 4);
        let length = match key_bytes {
            16 => KeyLength::Aes128,
            24 => KeyLength::Aes192,
            32 => KeyLength::Aes256,
            _ => return Err(Rejection::new(Reject::Crypto, "a key that is not 16, 24 or 32 bytes long")),
        };
        let keys = usize::from(even) + usize::from(odd);
        let total = FIXED_BYTES + SALT_BYTES + WRAP_BYTES + keys * key_bytes;
        if keys == 0 || salt_bytes != SALT_BYTES || content.len() != total {
            return Err(MALFORMED);
        }
        Ok(KeyMaterial { message: Bytes::copy_from_slice(content), length, even, odd })
    }

    /// The message, as it is sent back when its keys were taken.
    pub fn message(&self) -> &Bytes {
        &self.message
    }

    /// Length of its keys.
    pub fn length(&self) -> KeyLength {
        self.length
    }

    fn salt(&self) -> [u8; SALT_BYTES] {
        let mut salt = [0; SALT_BYTES];
        salt.copy_from_slice(&self.message[FIXED_BYTES..FIXED_BYTES + SALT_BYTES]);
        salt
    }

    fn wrapped(&self) -> &[u8] {
        &self.message[FIXED_BYTES + SALT_BYTES..]
    }
}

/// The passphrase is another one, or the message was changed on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the passphrase does not fit the key material")]
pub struct WrongPassphrase;

/// The key that wraps the stream's keys.
#[derive(Clone)]
struct WrappingKey {
    bytes: [u8; MAX_KEY_BYTES],
    length: KeyLength,
    salt: [u8; SALT_BYTES],
}

impl WrappingKey {
    /// Takes 2 x 2048 rounds of SHA-1 for a 128-bit key, 4 x for longer ones: about a millisecond.
    fn derive(passphrase: &SecretString, material: &KeyMaterial) -> Self {
        let (salt, length) = (material.salt(), material.length);
        let mut bytes = [0; MAX_KEY_BYTES];
        let passphrase = passphrase.expose_secret().as_bytes();
        pbkdf2::pbkdf2_hmac::<Sha1>(passphrase, &salt[SALT_BYTES / 2..], ROUNDS, &mut bytes[..length.bytes()]);
        WrappingKey { bytes, length, salt }
    }

    fn fits(&self, material: &KeyMaterial) -> bool {
        self.length == material.length && self.salt == material.salt()
    }

    fn unwrap(&self, material: &KeyMaterial) -> Result<([u8; 2 * MAX_KEY_BYTES], usize), WrongPassphrase> {
        let (mut keys, wrapped) = ([0; 2 * MAX_KEY_BYTES], material.wrapped());
        let length = wrapped.len() - WRAP_BYTES;
        let (key, out) = (&self.bytes[..self.length.bytes()], &mut keys[..length]);
        let unwrapped = match self.length {
            KeyLength::Aes128 => Kek::<Aes128>::try_from(key).and_then(|kek| kek.unwrap(wrapped, out)),
            KeyLength::Aes192 => Kek::<Aes192>::try_from(key).and_then(|kek| kek.unwrap(wrapped, out)),
            KeyLength::Aes256 => Kek::<Aes256>::try_from(key).and_then(|kek| kek.unwrap(wrapped, out)),
        };
        unwrapped.map(|()| (keys, length)).map_err(|_| WrongPassphrase)
    }
}

/// One of the stream's keys, expanded.
enum Cipher {
    Aes128(Box<Aes128>),
    Aes192(Box<Aes192>),
    Aes256(Box<Aes256>),
}

impl Cipher {
    fn new(key: &[u8]) -> Option<Self> {
        Some(match key.len() {
            16 => Cipher::Aes128(Box::new(Aes128::new_from_slice(key).ok()?)),
            24 => Cipher::Aes192(Box::new(Aes192::new_from_slice(key).ok()?)),
            _ => Cipher::Aes256(Box::new(Aes256::new_from_slice(key).ok()?)),
        })
    }

    fn apply(&self, iv: &[u8; 16], data: &mut [u8]) {
        fn with<C>(cipher: &C, iv: &[u8; 16], data: &mut [u8])
        where
            C: BlockEncrypt + BlockCipher + BlockSizeUser<BlockSize = U16> + Clone,
        {
            Ctr128BE::<C>::from_core(CtrCore::inner_iv_init(cipher.clone(), iv.into())).apply_keystream(data);
        }
        match self {
            Cipher::Aes128(cipher) => with(&**cipher, iv, data),
            Cipher::Aes192(cipher) => with(&**cipher, iv, data),
            Cipher::Aes256(cipher) => with(&**cipher, iv, data),
        }
    }
}

/// One of the stream's keys with the salt that it came with.
struct StreamKey {
    cipher: Cipher,
    salt: [u8; SALT_BYTES],
}

/// Decrypts one caller's packets.
pub struct Decryptor {
    passphrase: SecretString,
    wrapping: WrappingKey,
    even: Option<StreamKey>,
    odd: Option<StreamKey>,
}

impl std::fmt::Debug for Decryptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decryptor").field("length", &self.wrapping.length).finish_non_exhaustive()
    }
}

impl Decryptor {
    /// Unwraps a caller's first keys. Costs about a millisecond of processor time: not for a task that others wait for.
    ///
    /// # Errors
    /// The passphrase is another one.
    pub fn new(passphrase: SecretString, material: &KeyMaterial) -> Result<Self, WrongPassphrase> {
        let wrapping = WrappingKey::derive(&passphrase, material);
        let mut decryptor = Decryptor { passphrase, wrapping, even: None, odd: None };
        decryptor.take_keys(material)?;
        Ok(decryptor)
    }

    /// Length of the keys in use.
    pub fn key_length(&self) -> KeyLength {
        self.wrapping.length
    }

    /// Whether [`Decryptor::refresh`] would have to make a wrapping key anew: callers keep their salt when they refresh.
    pub fn needs_derivation(&self, material: &KeyMaterial) -> bool {
        !self.wrapping.fits(material)
    }

    /// Takes new keys. Those that the message does not hold stay.
    ///
    /// # Errors
    /// They are wrapped with another passphrase; nothing has changed.
    pub fn refresh(&mut self, material: &KeyMaterial) -> Result<(), WrongPassphrase> {
        if self.needs_derivation(material) {
            let before = std::mem::replace(&mut self.wrapping, WrappingKey::derive(&self.passphrase, material));
            return self.take_keys(material).inspect_err(|_| self.wrapping = before);
        }
        self.take_keys(material)
    }

    fn take_keys(&mut self, material: &KeyMaterial) -> Result<(), WrongPassphrase> {
        let (keys, length) = self.wrapping.unwrap(material)?;
        let mut keys = keys[..length].chunks(material.length.bytes());
        let mut next = || {
            let cipher = Cipher::new(keys.next()?)?;
            Some(StreamKey { cipher, salt: material.salt() })
        };
        // With both, the even one comes first.
        if material.even {
            self.even = next();
        }
        if material.odd {
            self.odd = next();
        }
        Ok(())
    }

    /// Decrypts the payload of packet `serial` in place. False if its key was never announced.
    #[must_use]
    pub fn decrypt(&self, key: KeyFlag, serial: Serial, payload: &mut [u8]) -> bool {
        let key = match key {
            KeyFlag::Even => &self.even,
            KeyFlag::Odd => &self.odd,
        };
        let Some(StreamKey { cipher, salt }) = key else { return false };
        // The upper 112 bits of the salt, with the packet's number over their last 32; the lower 16 bits count blocks.
        let mut iv = *salt;
        iv[14..].fill(0);
        for (byte, number) in iv[10..14].iter_mut().zip(serial.get().to_be_bytes()) {
            *byte ^= number;
        }
        cipher.apply(&iv, payload);
        true
    }
}
