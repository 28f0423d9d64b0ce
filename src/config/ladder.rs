//! `[ladder]`: which preset a session's rungs are made by, and how much of that the machine may be asked for. What a
//! preset holds is `preset`'s business.

use std::fmt;
use std::ops::RangeInclusive;

use super::key::{Key, KeyType, Section};
use super::reader::Reader;
use super::units;
use crate::media::Span;

const SECTION: Section = Section::Named("ladder");

const PRESET: Key = Key {
    section: SECTION,
    name: "preset",
    kind: KeyType::Text,
    default: "ladder-1080p-720p-480p",
    doc: "Name of a built-in preset (`ladder-1080p-720p-480p`, `encode-1080p-720p-480p`, `passthrough`, `low-cpu`), or the \
          path of a preset file (`*.toml`). A stream's own preset overrides it.",
};

const CAPACITY: Key = Key {
    section: SECTION,
    name: "capacity",
    kind: KeyType::Text,
    default: "measure",
    doc: "How much this machine may encode: `measure` finds it out at the first start, `unlimited` asks nobody, and a \
          number such as `240` is millions of pixels per second that x264 encodes with `superfast`. `millstream check` \
          says what is measured and what each preset costs.",
};

const OVER_CAPACITY: Key = Key {
    section: SECTION,
    name: "over_capacity",
    kind: KeyType::Choice(&["degrade", "refuse"]),
    default: "degrade",
    doc: "When a session begins that does not fit into the capacity any more: `degrade` gives it fewer rungs, the most \
          expensive first, and at last only a copy of the source; `refuse` turns its encoder away.",
};

const PATIENCE: Key = Key {
    section: SECTION,
    name: "patience",
    kind: KeyType::Duration,
    default: "1s",
    doc: "How late pictures may reach the encoders of a machine that cannot follow, before some are left out of all encoded rungs \
          (200ms to 30s). Three times as late only the first picture of each segment is encoded, and more than six times that \
          never waits. Longer rides out longer stalls of the machine, and lets viewers of encoded rungs fall behind by as much.",
};

/// All keys of the section.
pub(super) const KEYS: &[Key] = &[PRESET, CAPACITY, OVER_CAPACITY, PATIENCE];

/// Below this the encoders' own threads are late enough; above, the queue is memory.
const PATIENCE_MILLIS: RangeInclusive<i64> = 200..=30_000;

/// How much the machine may be asked to encode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// What it is measured to do.
    Measured,
    /// Whatever is wanted.
    Unlimited,
    /// So many megapixels per second of x264 `superfast`.
    Megapixels(u32),
}

/// What becomes of a session that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverCapacity {
    /// It begins with fewer rungs.
    Degrade,
    /// It does not begin.
    Refuse,
}

impl OverCapacity {
    /// The words that the configuration uses.
    pub const CHOICES: [(&'static str, OverCapacity); 2] =
        [("degrade", OverCapacity::Degrade), ("refuse", OverCapacity::Refuse)];
}

impl fmt::Display for OverCapacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OverCapacity::Degrade => "degrade",
            OverCapacity::Refuse => "refuse",
        })
    }
}

/// The section's values.
#[derive(Clone, Debug)]
pub struct Ladder {
    /// Name or path of the preset. It is loaded at start and by `check`.
    pub preset: String,
    /// How much may be encoded.
    pub capacity: Capacity,
    /// What becomes of a session beyond that.
    pub over_capacity: OverCapacity,
    /// How late pictures may be before some are left out.
    pub patience: Span,
}

impl Ladder {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Ladder {
            preset: reader.read(&PRESET, units::parse_text),
            capacity: reader.read(&CAPACITY, parse_capacity),
            over_capacity: reader.read(&OVER_CAPACITY, |text| units::parse_choice(text, &OverCapacity::CHOICES)),
            patience: reader.read(&PATIENCE, parse_patience),
        }
    }
}

fn parse_patience(text: &str) -> Result<Span, String> {
    let patience = units::parse_duration(text).map(Span::from_std).map_err(|error| error.to_string())?;
    if PATIENCE_MILLIS.contains(&patience.to_millis()) {
        Ok(patience)
    } else {
        Err(format!("{text} is out of range: write 200ms to 30s"))
    }
}

fn parse_capacity(text: &str) -> Result<Capacity, String> {
    match text {
        "measure" => Ok(Capacity::Measured),
        "unlimited" => Ok(Capacity::Unlimited),
        _ => match units::parse_count(text) {
            Ok(megapixels) if megapixels > 0 => Ok(Capacity::Megapixels(megapixels)),
            _ => Err(format!(
                "\"{text}\" is no capacity: write \"measure\", \"unlimited\" or megapixels per second as \"240\""
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capacity_is_a_word_or_a_number_above_zero() {
        assert_eq!(parse_capacity("measure"), Ok(Capacity::Measured));
        assert_eq!(parse_capacity("unlimited"), Ok(Capacity::Unlimited));
        assert_eq!(parse_capacity("240"), Ok(Capacity::Megapixels(240)));
        for wrong in ["0", "-1", "1.5", "auto", "99999999999"] {
            assert!(parse_capacity(wrong).is_err_and(|error| error.contains("is no capacity")), "{wrong}");
        }
    }
}
