//! What is known of each key. The tables stand in the files of their sections; [`reference()`] lists them all, and
//! `docs/config.md` is tested against it.

use super::{hls, http, https, ladder, log, rtmp, rtmps, secrets, session, srt, storage, telemetry};

/// Prefix of all environment twins.
pub const ENV_PREFIX: &str = "MILLSTREAM_";

/// Variables with our prefix that are no configuration keys: the twin of `--config`.
pub const ENV_NOT_KEYS: &[&str] = &["MILLSTREAM_CONFIG"];

/// Where a key stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Above all sections.
    Top,
    /// In `[name]`.
    Named(&'static str),
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// `"0.0.0.0:8080"`
    Address,
    /// `"2s"`
    Duration,
    /// `"10GiB"`
    Size,
    /// `"50M"` (bits per second)
    Bitrate,
    /// A whole number, without quotes.
    Count,
    /// `true` or `false`, without quotes.
    Switch,
    /// Texts: `["a", "b"]`; in the environment `a,b`.
    List,
    /// A folder or file.
    Path,
    /// Any text.
    Text,
    /// A text that is never shown.
    Secret,
    /// One of these.
    Choice(&'static [&'static str]),
}

impl KeyType {
    /// The type in the words of the reference.
    pub fn describe(self) -> String {
        match self {
            KeyType::Address => "address".to_owned(),
            KeyType::Duration => "duration".to_owned(),
            KeyType::Size => "size".to_owned(),
            KeyType::Bitrate => "bitrate".to_owned(),
            KeyType::Count => "number".to_owned(),
            KeyType::Switch => "true or false".to_owned(),
            KeyType::List => "list".to_owned(),
            KeyType::Path => "path".to_owned(),
            KeyType::Text => "text".to_owned(),
            KeyType::Secret => "secret".to_owned(),
            KeyType::Choice(choices) => choices.join(" or "),
        }
    }
}

/// One key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Where it stands.
    pub section: Section,
    /// Its name within the section.
    pub name: &'static str,
    /// How its value is written.
    pub kind: KeyType,
    /// The value in force when nothing is given; empty when there is none, `<...>` when it follows from another key.
    pub default: &'static str,
    /// What it decides, and its limits.
    pub doc: &'static str,
}

impl Key {
    /// `section.name`, as messages and the reference name it.
    pub fn path(&self) -> String {
        match self.section {
            Section::Top => self.name.to_owned(),
            Section::Named(section) => format!("{section}.{}", self.name),
        }
    }

    /// The environment twin: `MILLSTREAM_<SECTION>__<KEY>`.
    pub fn env(&self) -> String {
        let name = self.name.to_ascii_uppercase();
        match self.section {
            Section::Top => format!("{ENV_PREFIX}{name}"),
            Section::Named(section) => format!("{ENV_PREFIX}{}__{name}", section.to_ascii_uppercase()),
        }
    }
}

/// Every key of this version, in the order of the reference.
pub fn reference() -> impl Iterator<Item = &'static Key> {
    let doors = [super::TOP, http::KEYS, https::KEYS, rtmp::KEYS, rtmps::KEYS, srt::KEYS];
    let inside = [storage::KEYS, secrets::KEYS, hls::KEYS, ladder::KEYS, session::KEYS, log::KEYS, telemetry::KEYS];
    doors.into_iter().chain(inside).flatten()
}

/// The section's name when this version knows it.
pub fn known_section(name: &str) -> Option<&'static str> {
    section_names().find(|known| *known == name)
}

/// Names of all sections; a name comes once per key of it.
pub fn section_names() -> impl Iterator<Item = &'static str> {
    reference().filter_map(|key| match key.section {
        Section::Top => None,
        Section::Named(section) => Some(section),
    })
}

/// The candidate that is nearest to `text` by edits (insert, delete, replace, swap); the first of equals.
pub fn nearest(text: &str, candidates: impl IntoIterator<Item = String>) -> Option<String> {
    candidates.into_iter().min_by_key(|candidate| strsim::damerau_levenshtein(text, candidate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_keys_and_their_twins() {
        let of = |path: &str| reference().find(|key| key.path() == path).map(Key::env);
        assert_eq!(of("data_dir").as_deref(), Some("MILLSTREAM_DATA_DIR"));
        assert_eq!(of("storage.spool_max").as_deref(), Some("MILLSTREAM_STORAGE__SPOOL_MAX"));
    }

    #[test]
    fn no_two_keys_share_a_name_or_a_twin() {
        let mut names: Vec<String> = reference().flat_map(|key| [key.path(), key.env()]).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn every_key_is_documented_in_one_sentence_or_more() {
        for key in reference() {
            assert!(key.doc.ends_with('.') && !key.doc.contains('|') && !key.doc.contains('\n'), "{}", key.path());
        }
    }

    #[test]
    fn the_nearest_is_counted_in_edits() {
        let names = || ["listen", "admin_token"].map(str::to_owned);
        assert_eq!(nearest("lisetn", names()).as_deref(), Some("listen"));
        assert_eq!(nearest("x", Vec::new()), None);
    }
}
