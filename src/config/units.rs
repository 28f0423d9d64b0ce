//! Texts of durations, sizes, addresses and paths, and back.
//!
//! Whole numbers only: `1500ms`, not `1.5s`, so that no value is ever rounded on the way in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Units of durations in milliseconds, the longest first.
const DURATION_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of sizes in bytes, powers of 1024 first, each from the largest.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Units of bitrates in bits per second, powers of 1000.
const BITRATE_UNITS: [(&str, u64); 2] = [("M", 1_000_000), ("k", 1_000)];

/// The text is not what the key's type asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a duration.
    #[error(
        "\"{0}\" is not a duration: write a whole number and a unit, as \"334ms\", \"2s\", \"10m\", \"1h\" or \"30d\""
    )]
    Duration(String),
    /// Not a size.
    #[error("\"{0}\" is not a size: write a whole number and a unit, as \"500MB\" or \"10GiB\"")]
    Size(String),
    /// Not a bitrate.
    #[error("\"{0}\" is not a bitrate: write a whole number and \"k\" or \"M\", as \"6000k\" or \"50M\"")]
    Bitrate(String),
    /// Not an address.
    #[error("\"{0}\" is not an address: write IP and port, as \"0.0.0.0:8080\", \"127.0.0.1:8080\" or \"[::]:8080\"")]
    Address(String),
    /// Not a whole number.
    #[error("\"{0}\" is not a whole number")]
    Count(String),
    /// Nothing is there.
    #[error("must not be empty")]
    Empty,
    /// Not one of the choices.
    #[error("\"{found}\" is not one of {known}; did you mean \"{nearest}\"?")]
    Choice {
        /// What was written.
        found: String,
        /// All choices.
        known: String,
        /// The choice that is nearest.
        nearest: String,
    },
}

/// A switch: `true` or `false`.
///
/// # Errors
/// Anything else.
pub fn parse_switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("\"{text}\" is neither true nor false"))
}

/// A duration: `334ms`, `2s`, `10m`, `1h`, `30d`.
///
/// # Errors
/// Another shape, or more milliseconds than a u64 holds.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    number_and_unit(text, &DURATION_UNITS)
        .map(Duration::from_millis)
        .ok_or_else(|| UnitError::Duration(text.to_owned()))
}

/// How long a connection may take for something. None is endless: a connection that waits for nothing holds memory.
///
/// # Errors
/// Not a duration, or out of range.
pub fn parse_deadline(text: &str) -> Result<Duration, String> {
    let deadline = parse_duration(text).map_err(|error| error.to_string())?;
    let range = Duration::from_secs(1)..=Duration::from_secs(600);
    if range.contains(&deadline) { Ok(deadline) } else { Err(format!("{text} is out of range: write 1s to 10m")) }
}

/// A size in bytes: `500MB` (powers of 1000), `10GiB` (powers of 1024).
///
/// # Errors
/// Another shape, or more bytes than a u64 holds.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    number_and_unit(text, &SIZE_UNITS).ok_or_else(|| UnitError::Size(text.to_owned()))
}

/// A bitrate in bits per second: `6000k`, `50M` (powers of 1000).
///
/// # Errors
/// Another shape, or more bits than a u64 holds.
pub fn parse_bitrate(text: &str) -> Result<u64, UnitError> {
    number_and_unit(text, &BITRATE_UNITS).ok_or_else(|| UnitError::Bitrate(text.to_owned()))
}

/// An IP address and a port. Names are not looked up: a listener binds addresses.
///
/// # Errors
/// Another shape.
pub fn parse_address(text: &str) -> Result<SocketAddr, UnitError> {
    text.parse().map_err(|_| UnitError::Address(text.to_owned()))
}

/// A whole number.
///
/// # Errors
/// Another shape, or more than a u32 holds.
pub fn parse_count(text: &str) -> Result<u32, UnitError> {
    text.parse().map_err(|_| UnitError::Count(text.to_owned()))
}

/// How many publishers' connections there may be.
///
/// # Errors
/// Not a whole number, or out of range.
pub fn parse_connections(text: &str) -> Result<u32, String> {
    let connections = parse_count(text).map_err(|error| error.to_string())?;
    let in_range = (1..=100_000).contains(&connections);
    if in_range { Ok(connections) } else { Err(format!("{text} is out of range: write 1 to 100000")) }
}

/// A path, as it was written.
///
/// # Errors
/// An empty text.
pub fn parse_path(text: &str) -> Result<PathBuf, UnitError> {
    parse_text(text).map(PathBuf::from)
}

/// A text that is not empty.
///
/// # Errors
/// An empty text.
pub fn parse_text(text: &str) -> Result<String, UnitError> {
    if text.is_empty() { Err(UnitError::Empty) } else { Ok(text.to_owned()) }
}

/// One of several words.
///
/// # Errors
/// Another word; the nearest of them is named.
pub fn parse_choice<T: Copy>(text: &str, choices: &[(&'static str, T)]) -> Result<T, UnitError> {
    if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words = || choices.iter().map(|(word, _)| (*word).to_owned());
    Err(UnitError::Choice {
        found: text.to_owned(),
        known: words().collect::<Vec<_>>().join(", "),
        nearest: super::key::nearest(text, words()).unwrap_or_default(),
    })
}

/// The shortest text that [`parse_duration`] reads as `duration`, whole milliseconds given.
pub fn duration_text(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    largest_unit(millis, &DURATION_UNITS, "0s")
}

/// The shortest text that [`parse_size`] reads as `bytes`.
pub fn size_text(bytes: u64) -> String {
    largest_unit(bytes, &SIZE_UNITS, "0B")
}

/// The shortest text that [`parse_bitrate`] reads as `bits_per_second`, whole kilobits given.
pub fn bitrate_text(bits_per_second: u64) -> String {
    largest_unit(bits_per_second / 1_000 * 1_000, &BITRATE_UNITS, "0k")
}

fn number_and_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn largest_unit(value: u64, units: &[(&str, u64)], zero: &str) -> String {
    let exact = units.iter().find(|(_, factor)| value != 0 && value.is_multiple_of(*factor));
    exact.map_or_else(|| zero.to_owned(), |(name, factor)| format!("{}{name}", value / factor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        for (text, millis) in
            [("0s", 0), ("334ms", 334), ("2s", 2_000), ("10m", 600_000), ("1h", 3_600_000), ("30d", 2_592_000_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
            assert_eq!(duration_text(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("0B", 0), ("7B", 7), ("2KiB", 2_048), ("500MB", 500_000_000), ("10GiB", 10 << 30)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
            assert_eq!(size_text(bytes), text);
        }
    }

    #[test]
    fn bitrates() {
        for (text, bits_per_second) in [("0k", 0), ("6500k", 6_500_000), ("50M", 50_000_000)] {
            assert_eq!(parse_bitrate(text), Ok(bits_per_second), "{text}");
            assert_eq!(bitrate_text(bits_per_second), text);
        }
    }

    #[test]
    fn other_shapes_are_refused_in_words() {
        for text in
            ["", "s", "2", "2 s", "1.5s", "-1s", "+1s", "2sec", "99999999999999999999s", "18446744073709551615h"]
        {
            assert_eq!(
                parse_duration(text).map_err(|error| error.to_string()),
                Err(format!(
                    "\"{text}\" is not a duration: write a whole number and a unit, \
                     as \"334ms\", \"2s\", \"10m\", \"1h\" or \"30d\""
                ))
            );
        }
        assert_eq!(
            parse_size("10gib").map_err(|error| error.to_string()),
            Err("\"10gib\" is not a size: write a whole number and a unit, as \"500MB\" or \"10GiB\"".to_owned())
        );
        for text in ["", "50", "50m", "50 M", "1.5M", "99999999999999999999k"] {
            assert_eq!(
                parse_bitrate(text).map_err(|error| error.to_string()),
                Err(format!(
                    "\"{text}\" is not a bitrate: write a whole number and \"k\" or \"M\", as \"6000k\" or \"50M\""
                ))
            );
        }
        assert_eq!(
            parse_address("localhost:80").map_err(|error| error.to_string()),
            Err("\"localhost:80\" is not an address: write IP and port, \
                 as \"0.0.0.0:8080\", \"127.0.0.1:8080\" or \"[::]:8080\""
                .to_owned())
        );
        assert_eq!(
            parse_count("-1").map_err(|error| error.to_string()),
            Err("\"-1\" is not a whole number".to_owned())
        );
        assert_eq!(parse_path("").map_err(|error| error.to_string()), Err("must not be empty".to_owned()));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,24}") {
            let _ = (parse_duration(&text), parse_size(&text), parse_address(&text), parse_count(&text));
        }

        #[test]
        fn texts_read_back(value in any::<u64>()) {
            prop_assert_eq!(parse_size(&size_text(value)), Ok(value));
            let duration = Duration::from_millis(value);
            prop_assert_eq!(parse_duration(&duration_text(duration)), Ok(duration));
        }
    }
}
