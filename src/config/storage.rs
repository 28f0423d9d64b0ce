//! `[storage]`: where objects go, and the spool in front of them.

use std::fmt;
use std::path::{Path, PathBuf};

use super::key::{Key, KeyType, Section};
use super::reader::Reader;
use super::units;

const SECTION: Section = Section::Named("storage");

const URL: Key = Key {
    section: SECTION,
    name: "url",
    kind: KeyType::Text,
    default: "<file:data_dir/objects>",
    doc: "Where segments, playlists and recordings are stored: `file:` and a folder, or `memory:` for tests. A folder's \
          path is taken as it stands: nothing in it is percent-decoded.",
};

const SPOOL: Key = Key {
    section: SECTION,
    name: "spool",
    kind: KeyType::Path,
    default: "<data_dir/spool>",
    doc: "Folder of the journal that every part goes through before it is published.",
};

const SPOOL_MAX: Key = Key {
    section: SECTION,
    name: "spool_max",
    kind: KeyType::Size,
    default: "10GiB",
    doc: "How many bytes the spool may hold (64MiB or more). A full spool drops the oldest first.",
};

/// All keys of the section.
pub(super) const KEYS: &[Key] = &[URL, SPOOL, SPOOL_MAX];

/// A smaller spool could not hold the open segments of one ladder.
const MIN_SPOOL_BYTES: u64 = 64 << 20;

/// Where objects are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageUrl {
    /// In a folder, made when it is missing.
    File(PathBuf),
    /// In this process; gone at its end.
    Memory,
}

impl fmt::Display for StorageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorageUrl::File(folder) => write!(f, "file:{}", folder.display()),
            StorageUrl::Memory => f.write_str("memory:"),
        }
    }
}

/// The section's values.
#[derive(Clone, Debug)]
pub struct Storage {
    /// Where objects are stored.
    pub url: StorageUrl,
    /// Folder of the journal.
    pub spool: PathBuf,
    /// Bytes that the spool may hold.
    pub spool_max_bytes: u64,
}

impl Storage {
    pub(super) fn read(reader: &mut Reader, data_dir: &Path) -> Self {
        let url = reader.read_given(&URL, parse_url);
        let spool = reader.read_given(&SPOOL, units::parse_path);
        Storage {
            url: url.unwrap_or_else(|| StorageUrl::File(data_dir.join("objects"))),
            spool: spool.unwrap_or_else(|| data_dir.join("spool")),
            spool_max_bytes: reader.read(&SPOOL_MAX, parse_spool_max),
        }
    }
}

fn parse_url(text: &str) -> Result<StorageUrl, String> {
    match text.split_once(':') {
        Some(("memory", "")) => Ok(StorageUrl::Memory),
        Some(("file", path)) => parse_file_path(text, path).map(StorageUrl::File),
        // The rest may hold credentials: it is not repeated.
        Some((scheme @ ("s3" | "gs" | "az"), _)) => {
            Err(format!("{scheme}: comes with a later version; write file: or memory:"))
        }
        _ => Err("write \"file:\" and a folder, as \"file:/var/lib/millstream/objects\", or \"memory:\"".to_owned()),
    }
}

/// `file:relative`, `file:/absolute` and RFC 8089's `file:///absolute`.
fn parse_file_path(url: &str, path: &str) -> Result<PathBuf, String> {
    let path = match path.strip_prefix("//") {
        None => path,
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(_) => return Err(format!("\"{url}\" names a host: write one slash or three after \"file:\"")),
    };
    if path.is_empty() { Err(format!("\"{url}\" names no folder")) } else { Ok(PathBuf::from(path)) }
}

fn parse_spool_max(text: &str) -> Result<u64, String> {
    let bytes = units::parse_size(text).map_err(|error| error.to_string())?;
    if bytes >= MIN_SPOOL_BYTES { Ok(bytes) } else { Err(format!("{text} is too small: write 64MiB or more")) }
}
