//! `[ladder]`: which preset a session's rungs are made by. What a preset holds is `preset`'s business.

use super::key::{Key, KeyType, Section};
use super::reader::Reader;
use super::units;

const PRESET: Key = Key {
    section: Section::Named("ladder"),
    name: "preset",
    kind: KeyType::Text,
    default: "ladder-1080p-720p-480p",
    doc: "Name of a built-in preset (`ladder-1080p-720p-480p`, `encode-1080p-720p-480p`, `passthrough`, `low-cpu`), or the \
          path of a preset file (`*.toml`). A stream's own preset overrides it.",
};

/// All keys of the section.
pub(super) const KEYS: &[Key] = &[PRESET];

/// The section's values.
#[derive(Clone, Debug)]
pub struct Ladder {
    /// Name or path of the preset. It is loaded at start and by `check`.
    pub preset: String,
}

impl Ladder {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Ladder { preset: reader.read(&PRESET, units::parse_text) }
    }
}
