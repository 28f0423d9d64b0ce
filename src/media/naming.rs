//! Names of objects and URL paths, made and parsed in one place.
//!
//! A media URL is `/live/<stream>/<session>/<rendition>/<name>`, and the object key is the same without the slash in front,
//! so that a playlist's relative URIs hold in both. Names carry the epoch: a restarted daemon can never write over what a
//! player may have cached.

use std::fmt;
use std::str::FromStr;

/// A file beside a rendition's playlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaName {
    /// `init-<n>.mp4`: the n-th configuration of the rendition, counted from 0 over the whole session.
    Init {
        /// Number of the configuration.
        number: u32,
    },
    /// `<epoch>-<msn>.m4s`
    Segment {
        /// The session's epoch when the segment was opened.
        epoch: u32,
        /// Media sequence number.
        msn: u64,
    },
    /// `<epoch>-<msn>.<part>.m4s`
    Part {
        /// The session's epoch when the segment was opened.
        epoch: u32,
        /// Media sequence number of the segment that the part belongs to.
        msn: u64,
        /// Index within the segment, from 0.
        part: u32,
    },
}

impl fmt::Display for MediaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MediaName::Init { number } => write!(f, "init-{number}.mp4"),
            MediaName::Segment { epoch, msn } => write!(f, "{epoch}-{msn}.m4s"),
            MediaName::Part { epoch, msn, part } => write!(f, "{epoch}-{msn}.{part}.m4s"),
        }
    }
}

/// The text is not a name that this daemon gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of an init segment, a segment or a part")]
pub struct NotAMediaName;

impl FromStr for MediaName {
    type Err = NotAMediaName;

    /// The exact inverse of `Display`: no leading zeros, no signs, so that each object has one name.
    fn from_str(text: &str) -> Result<Self, NotAMediaName> {
        if let Some(number) = text.strip_prefix("init-").and_then(|rest| rest.strip_suffix(".mp4")) {
            return Ok(MediaName::Init { number: canonical(number)? });
        }
        let (epoch, rest) = text.strip_suffix(".m4s").and_then(|stem| stem.split_once('-')).ok_or(NotAMediaName)?;
        let epoch = canonical(epoch)?;
        match rest.split_once('.') {
            Some((msn, part)) => Ok(MediaName::Part { epoch, msn: canonical(msn)?, part: canonical(part)? }),
            None => Ok(MediaName::Segment { epoch, msn: canonical(rest)? }),
        }
    }
}

fn canonical<N: FromStr>(digits: &str) -> Result<N, NotAMediaName> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if plain { digits.parse().map_err(|_| NotAMediaName) } else { Err(NotAMediaName) }
}

/// Name of every playlist, beside what it lists.
pub const PLAYLIST: &str = "index.m3u8";

/// Key of the session's folder: `live/<stream>/<session>`.
pub fn session_prefix(stream: &str, session: &str) -> String {
    format!("live/{stream}/{session}")
}

/// Key of a rendition's folder: `live/<stream>/<session>/<rendition>`.
pub fn rendition_prefix(stream: &str, session: &str, rendition: &str) -> String {
    format!("live/{stream}/{session}/{rendition}")
}

/// Whether `text` may stand as one component of an object key or URL path: 1 to 64 of `a-z A-Z 0-9 _ -`.
/// Everything that names a stream, a session or a rendition passes through here before it touches a path.
pub fn is_component(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_their_texts_are_one_to_one() {
        for (name, text) in [
            (MediaName::Init { number: 0 }, "init-0.mp4"),
            (MediaName::Segment { epoch: 3, msn: 1_200 }, "3-1200.m4s"),
            (MediaName::Part { epoch: 3, msn: 1_200, part: 5 }, "3-1200.5.m4s"),
        ] {
            assert_eq!(name.to_string(), text);
            assert_eq!(text.parse(), Ok(name));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "init-.mp4",
            "init-01.mp4",
            "1-02.m4s",
            "+1-2.m4s",
            "1-2.m4s/..",
            "1.m4s",
            "1-2..m4s",
            "1-2.3.4.m4s",
            "../1-2.m4s",
            "init--1.mp4",
        ] {
            assert_eq!(text.parse::<MediaName>(), Err(NotAMediaName), "{text}");
        }
    }

    #[test]
    fn components_hold_no_path() {
        assert!(is_component("1080p") && is_component("a_B-9"));
        for text in ["", ".", "..", "a/b", "a b", "a.b", "%2e", "ä", "a\0", &"x".repeat(65)] {
            assert!(!is_component(text), "{text}");
        }
    }
}
