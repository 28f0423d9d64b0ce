//! A stream's SRT passphrase on its way from a person to the database, where it lies encrypted (see `vault`).

use std::fmt;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::ControlError;
use crate::config::srt::parse_passphrase;

/// An SRT passphrase as it was given; [`SrtPassphrase::check`] says whether it can be one. Prints as `[REDACTED]`.
#[derive(Clone)]
pub struct SrtPassphrase(SecretString);

impl SrtPassphrase {
    /// Whether encoders take it.
    ///
    /// # Errors
    /// Its length or a character is wrong; the error does not repeat it.
    pub fn check(&self) -> Result<(), ControlError> {
        parse_passphrase(self.expose()).map_or_else(|error| Err(ControlError::InvalidSrtPassphrase(error)), |_| Ok(()))
    }

    pub(super) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<String> for SrtPassphrase {
    fn from(text: String) -> Self {
        SrtPassphrase(SecretString::from(text))
    }
}

impl FromStr for SrtPassphrase {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(SrtPassphrase::from(text.to_owned()))
    }
}

impl fmt::Debug for SrtPassphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// For tests and lists of changes, not for strangers: it takes as long as texts are equal.
impl PartialEq for SrtPassphrase {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for SrtPassphrase {}

/// In the clear: the command line sends it to the daemon over the control socket. No answer holds this type.
impl Serialize for SrtPassphrase {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

/// What is no text is refused without being repeated, which serde's own words would do: who forgets the quotes around digits
/// has written a passphrase all the same.
impl<'de> Deserialize<'de> for SrtPassphrase {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Text(String),
            Other(serde::de::IgnoredAny),
        }
        match Given::deserialize(deserializer)? {
            Given::Text(text) => Ok(SrtPassphrase::from(text)),
            Given::Other(_) => Err(serde::de::Error::custom("an SRT passphrase is a text in quotes")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_neither_printed_nor_repeated() {
        let secret: SrtPassphrase = serde_json::from_str("\"correct horse battery\"").expect("a text");
        assert_eq!(format!("{:?}", Some(&secret)), "Some([REDACTED])");
        assert_eq!(
            serde_json::to_string(&secret).expect("JSON"),
            "\"correct horse battery\"",
            "as it is sent to a daemon"
        );
        let error = serde_json::from_str::<SrtPassphrase>("12345678901234").expect_err("no text").to_string();
        assert_eq!(error, "an SRT passphrase is a text in quotes");
    }

    #[test]
    fn its_length_is_what_encoders_take() {
        let says = |text: String| SrtPassphrase::from(text).check().map_err(|error| error.to_string());
        assert!(says("x".repeat(10)).is_ok() && says("x".repeat(79)).is_ok());
        let wrong = |bytes| {
            format!("the SRT passphrase must have 10 to 79 bytes, and has {bytes}; make one with: openssl rand -hex 16")
        };
        for bytes in [0, 9, 80] {
            assert_eq!(says("x".repeat(bytes)), Err(wrong(bytes)));
        }
        let control = "the SRT passphrase must not hold control characters such as line ends; make one with: openssl rand -hex 16";
        assert_eq!(says("0123456789\n".to_owned()), Err(control.to_owned()));
    }
}
