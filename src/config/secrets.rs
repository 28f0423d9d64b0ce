//! `[secrets]`: the key that encrypts what the database holds and must give back, such as SRT passphrases.

use std::path::{Path, PathBuf};

use super::key::{Key, KeyType, Section};
use super::reader::Reader;
use super::units;

const SECTION: Section = Section::Named("secrets");

const KEY_FILE: Key = Key {
    section: SECTION,
    name: "key_file",
    kind: KeyType::Path,
    default: "<data_dir/secret.key>",
    doc: "File with the key that encrypts the streams' SRT passphrases in the database: 32 random bytes, open to its owner alone \
          (mode 0600 or 0400). The default is made when the first passphrase is set; another file that is named here must be \
          there. Keep a copy of it apart from the database's: without it the passphrases cannot be read.",
};

/// All keys of the section.
pub(super) const KEYS: &[Key] = &[KEY_FILE];

/// The section's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets {
    /// File of the key.
    pub key_file: PathBuf,
    /// Whether it is made when it is missing: it is the default.
    pub make: bool,
}

impl Secrets {
    pub(super) fn read(reader: &mut Reader, data_dir: &Path) -> Self {
        let default = Secrets::of(data_dir);
        match reader.read_given(&KEY_FILE, units::parse_path) {
            Some(key_file) => Secrets { make: key_file == default.key_file, key_file },
            None => default,
        }
    }

    /// The default of a data folder.
    pub fn of(data_dir: &Path) -> Self {
        Secrets { key_file: data_dir.join("secret.key"), make: true }
    }
}
