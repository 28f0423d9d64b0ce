//! Moments in JSON and on the command line: RFC 3339 in UTC with milliseconds.

use serde::{Deserialize, Deserializer, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::media::WallTime;

/// The moment that an RFC 3339 text names, to the millisecond.
///
/// # Errors
/// Another shape, or a moment beyond what nanoseconds in an i64 reach (years 1677 to 2262).
pub fn parse(text: &str) -> Result<WallTime, String> {
    let wrong = || format!("\"{text}\" is not a date: write RFC 3339, as \"2027-01-31T18:00:00Z\"");
    let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong())?;
    let nanos = i64::try_from(moment.unix_timestamp_nanos()).map_err(|_| wrong())?;
    Ok(WallTime::from_unix_millis(nanos.div_euclid(1_000_000)))
}

/// For `#[serde(with = "wall_text")]`.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(moment: &WallTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(moment)
}

/// For `#[serde(with = "wall_text")]`.
///
/// # Errors
/// The text is no date.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<WallTime, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// The same for moments that may be missing (`null`).
pub mod option {
    use super::{Deserialize, Deserializer, Serializer, WallTime, parse};

    /// For `#[serde(with = "wall_text::option")]`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(moment: &Option<WallTime>, serializer: S) -> Result<S::Ok, S::Error> {
        match moment {
            Some(moment) => serializer.collect_str(moment),
            None => serializer.serialize_none(),
        }
    }

    /// For `#[serde(default, with = "wall_text::option")]`.
    ///
    /// # Errors
    /// The text is no date.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<WallTime>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| parse(&text).map_err(serde::de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_they_are_written() {
        for millis in [0, 1_795_244_400_123, -1, 253_402_300_799] {
            let moment = WallTime::from_unix_millis(millis);
            assert_eq!(parse(&moment.to_string()), Ok(moment));
        }
        assert_eq!(parse("2026-11-21T08:00:00+01:00"), Ok(WallTime::from_unix_millis(1_795_244_400_000)));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "tomorrow", "2027-01-31", "9999-01-01T00:00:00Z"] {
            let message = format!("\"{text}\" is not a date: write RFC 3339, as \"2027-01-31T18:00:00Z\"");
            assert_eq!(parse(text), Err(message));
        }
    }
}
