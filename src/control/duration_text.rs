//! Optional durations in JSON, written as in the configuration: `"30s"`, or `null`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

use crate::config::units::{duration_text, parse_duration};

/// For `#[serde(with = "duration_text")]`.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serializer.serialize_str(&duration_text(*duration)),
        None => serializer.serialize_none(),
    }
}

/// For `#[serde(default, with = "duration_text")]`.
///
/// # Errors
/// The text is no duration.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| parse_duration(&text).map_err(serde::de::Error::custom)).transpose()
}
