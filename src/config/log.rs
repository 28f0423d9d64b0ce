//! `[log]`: what is written to standard error.

use super::key::{Key, KeyType, Section};
use super::reader::Reader;
use super::units;

const SECTION: Section = Section::Named("log");

const FORMAT: Key = Key {
    section: SECTION,
    name: "format",
    kind: KeyType::Choice(&["human", "json"]),
    default: "human",
    doc: "Lines for people, or one JSON object per line for a collector.",
};

const LEVEL: Key = Key {
    section: SECTION,
    name: "level",
    kind: KeyType::Choice(&["error", "warn", "info", "debug", "trace"]),
    default: "info",
    doc: "The least important messages that are written.",
};

/// All keys of the section.
pub(super) const KEYS: &[Key] = &[FORMAT, LEVEL];

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object per line.
    Json,
}

/// The least important level that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Something is lost or broken.
    Error,
    /// Something may be.
    Warn,
    /// What happened.
    Info,
    /// How it happened.
    Debug,
    /// Each packet.
    Trace,
}

impl LogLevel {
    /// The level's word; also a directive of `tracing_subscriber::EnvFilter`.
    pub const fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// The section's values.
#[derive(Clone, Debug)]
pub struct Log {
    /// How a line is written.
    pub format: LogFormat,
    /// The least important level that is written.
    pub level: LogLevel,
}

impl Log {
    pub(super) fn read(reader: &mut Reader) -> Self {
        const FORMATS: [(&str, LogFormat); 2] = [("human", LogFormat::Human), ("json", LogFormat::Json)];
        const LEVELS: [LogLevel; 5] =
            [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];
        let levels = LEVELS.map(|level| (level.as_str(), level));
        Log {
            format: reader.read(&FORMAT, |text| units::parse_choice(text, &FORMATS)),
            level: reader.read(&LEVEL, |text| units::parse_choice(text, &levels)),
        }
    }
}
