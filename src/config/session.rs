//! `[session]`: what happens when a publisher goes or a second one comes. A stream's own policies override it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::key::{Key, KeyType, Section};
use super::reader::Reader;
use super::units;

const SECTION: Section = Section::Named("session");

const GRACE: Key = Key {
    section: SECTION,
    name: "grace",
    kind: KeyType::Duration,
    default: "30s",
    doc: "How long a session waits for its publisher to come back before it ends (0s to 30m).",
};

const ON_UNPUBLISH: Key = Key {
    section: SECTION,
    name: "on_unpublish",
    kind: KeyType::Choice(&["hold", "end"]),
    default: "hold",
    doc: "When the encoder says that it stops: `hold` waits for the grace time, `end` ends the session at once. A lost \
          connection always waits.",
};

const CONFLICT: Key = Key {
    section: SECTION,
    name: "conflict",
    kind: KeyType::Choice(&["takeover", "reject"]),
    default: "takeover",
    doc: "When a second encoder publishes to a stream: `takeover` lets the newest win, with its first keyframe; the one \
          before is told so, and stays out for 30 s. `reject` refuses the second while the first is heard.",
};

const MAX_BITRATE: Key = Key {
    section: SECTION,
    name: "max_bitrate",
    kind: KeyType::Bitrate,
    default: "50M",
    doc: "Bits per second that a source may send, picture and sound together, averaged over 4 s of media (500k to 400M). \
          A source above it is disconnected and told so. It bounds the memory of a session.",
};

/// All keys of the section.
pub(super) const KEYS: &[Key] = &[GRACE, ON_UNPUBLISH, CONFLICT, MAX_BITRATE];

/// Bitrates that make sense as a source's limit: from a small picture to what no encoder sends to a server.
const BITS_PER_SECOND: std::ops::RangeInclusive<u64> = 500_000..=400_000_000;

/// The longest grace time: beyond it a broadcast is a new one.
pub const MAX_GRACE: Duration = Duration::from_secs(1_800);

/// What a clean unpublish does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnpublish {
    /// The session waits for the grace time.
    Hold,
    /// The session ends.
    End,
}

impl OnUnpublish {
    /// The words that configuration, API and database use.
    pub const CHOICES: [(&'static str, OnUnpublish); 2] = [("hold", OnUnpublish::Hold), ("end", OnUnpublish::End)];

    /// The policy's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            OnUnpublish::Hold => "hold",
            OnUnpublish::End => "end",
        }
    }
}

impl fmt::Display for OnUnpublish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a second publisher of a stream meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Conflict {
    /// The newest wins at its first keyframe.
    Takeover,
    /// The second is refused.
    Reject,
}

impl Conflict {
    /// The words that configuration, API and database use.
    pub const CHOICES: [(&'static str, Conflict); 2] = [("takeover", Conflict::Takeover), ("reject", Conflict::Reject)];

    /// The policy's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Conflict::Takeover => "takeover",
            Conflict::Reject => "reject",
        }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The section's values.
#[derive(Clone, Debug)]
pub struct Session {
    /// How long a session waits for its publisher.
    pub grace: Duration,
    /// What a clean unpublish does.
    pub on_unpublish: OnUnpublish,
    /// What a second publisher meets.
    pub conflict: Conflict,
    /// Bits per second that a source may send.
    pub max_bitrate: u64,
}

impl Session {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Session {
            grace: reader.read(&GRACE, parse_grace),
            on_unpublish: reader.read(&ON_UNPUBLISH, |text| units::parse_choice(text, &OnUnpublish::CHOICES)),
            conflict: reader.read(&CONFLICT, |text| units::parse_choice(text, &Conflict::CHOICES)),
            max_bitrate: reader.read(&MAX_BITRATE, parse_max_bitrate),
        }
    }
}

/// A grace time, for the configuration and for a stream's own.
///
/// # Errors
/// No duration, or one beyond [`MAX_GRACE`].
pub fn parse_grace(text: &str) -> Result<Duration, String> {
    let grace = units::parse_duration(text).map_err(|error| error.to_string())?;
    if grace <= MAX_GRACE { Ok(grace) } else { Err(format!("{text} is too long: write 30m or less")) }
}

fn parse_max_bitrate(text: &str) -> Result<u64, String> {
    let bits = units::parse_bitrate(text).map_err(|error| error.to_string())?;
    if BITS_PER_SECOND.contains(&bits) { Ok(bits) } else { Err(format!("{text} is not between 500k and 400M")) }
}
