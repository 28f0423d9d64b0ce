//! The names that rows have: lower-case base32 in Crockford's alphabet, which has no i, l, o, u to misread.
//!
//! The alphabet is in ASCII order, so that an encoded big-endian number sorts as the number does. Every id passes
//! [`crate::media::naming::is_component`]: it may stand in a path.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use data_encoding::{Encoding, Specification};
use serde::{Deserialize, Serialize};

use super::error::ControlError;
use crate::media::WallTime;

/// Digits of all ids and secrets, in ASCII order.
pub const ALPHABET: &str = "0123456789abcdefghjkmnpqrstvwxyz";

pub(super) static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut spec = Specification::new();
    spec.symbols.push_str(ALPHABET);
    spec.encoding().expect("32 distinct ASCII symbols are a valid base32 alphabet")
});

/// `N` bytes from the system's random source.
pub(super) fn random_bytes<const N: usize>() -> Result<[u8; N], ControlError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|source| ControlError::NoRandomness { message: source.to_string() })?;
    Ok(bytes)
}

/// Characters of stream and key ids: 60 random bits.
const SHORT: usize = 12;
/// Characters of session ids: 48 bits of time, 32 random ones.
const LONG: usize = 16;

/// The text is no id of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: ids are {0} characters of 0-9 and a-z without i, l, o, u")]
pub struct NotAnId(usize);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $length:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// The id's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let fits = text.len() == $length && text.bytes().all(|byte| ALPHABET.as_bytes().contains(&byte));
                if fits { Ok($name(text.to_owned())) } else { Err(NotAnId($length)) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotAnId;

            fn try_from(text: String) -> Result<Self, NotAnId> {
                text.parse()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A stream's public id: 12 characters.
    StreamId,
    SHORT
);
id!(
    /// A key's id: 12 characters. It is no secret and no part of one.
    KeyId,
    SHORT
);
id!(
    /// A session's id: 16 characters; later sessions sort after earlier ones.
    SessionId,
    LONG
);

fn random_short() -> Result<String, ControlError> {
    let mut text = BASE32.encode(&random_bytes::<8>()?);
    text.truncate(SHORT);
    Ok(text)
}

impl StreamId {
    pub(super) fn random() -> Result<Self, ControlError> {
        random_short().map(StreamId)
    }
}

impl KeyId {
    pub(super) fn random() -> Result<Self, ControlError> {
        random_short().map(KeyId)
    }
}

impl SessionId {
    /// Milliseconds since 1970 in 48 bits (good until the year 10889), then 32 random bits.
    pub(super) fn at(now: WallTime) -> Result<Self, ControlError> {
        let millis = u64::try_from(now.unix_millis()).unwrap_or(0).to_be_bytes();
        let random = random_bytes::<4>()?;
        let mut bytes = [0; 10];
        bytes[..6].copy_from_slice(&millis[2..]);
        bytes[6..].copy_from_slice(&random);
        Ok(SessionId(BASE32.encode(&bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::naming::is_component;

    #[test]
    fn ids_have_their_length_and_may_stand_in_paths() {
        let stream = StreamId::random().expect("random bytes").to_string();
        let session = SessionId::at(WallTime::from_unix_millis(1_795_244_400_123)).expect("random bytes").to_string();
        assert_eq!((stream.len(), session.len()), (12, 16));
        assert!(is_component(&stream) && is_component(&session));
        assert_eq!(stream.parse::<StreamId>().map(|id| id.to_string()), Ok(stream));
        assert_eq!(session.parse::<SessionId>().map(|id| id.to_string()), Ok(session));
    }

    #[test]
    fn session_ids_sort_by_time() {
        let at = |millis| SessionId::at(WallTime::from_unix_millis(millis)).expect("random bytes");
        let ids: Vec<_> = [0, 1, 31, 32, 1 << 20, 1_795_244_400_123, 1_795_244_400_124, 1 << 47].map(at).into();
        let mut sorted = ids.clone();
        sorted.sort();
        assert_eq!(ids, sorted);
        assert_eq!(at(-5).as_str().get(..9), Some("000000000"));
    }

    #[test]
    fn other_texts_are_no_ids() {
        for text in ["", "short", "0123456789ab0", "0123456789AB", "0123456789ai", "../../../../", "ääääää"] {
            assert_eq!(text.parse::<StreamId>(), Err(NotAnId(12)), "{text}");
        }
        assert_eq!(NotAnId(12).to_string(), "not an id: ids are 12 characters of 0-9 and a-z without i, l, o, u");
    }
}
