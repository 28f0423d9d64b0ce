//! From columns to our types. A value that no version of ours wrote is an error that names its column, never a panic.

use std::fmt::Display;
use std::str::FromStr;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::config::units::parse_choice;
use crate::media::WallTime;

/// A text column that parses.
pub(in crate::control) fn parsed<T: FromStr<Err: Display>>(row: &SqliteRow, column: &str) -> Result<T, sqlx::Error> {
    let text: &str = row.try_get(column)?;
    text.parse().map_err(|error: T::Err| undecodable(column, &error))
}

/// A text column that holds one of our words.
pub(in crate::control) fn word<T: Copy>(
    row: &SqliteRow,
    column: &str,
    words: &[(&'static str, T)],
) -> Result<Option<T>, sqlx::Error> {
    let text: Option<&str> = row.try_get(column)?;
    text.map(|text| parse_choice(text, words).map_err(|error| undecodable(column, &error))).transpose()
}

/// A moment.
pub(in crate::control) fn moment(row: &SqliteRow, column: &str) -> Result<WallTime, sqlx::Error> {
    row.try_get(column).map(WallTime::from_unix_millis)
}

/// A moment that may be missing.
pub(in crate::control) fn optional_moment(row: &SqliteRow, column: &str) -> Result<Option<WallTime>, sqlx::Error> {
    let millis: Option<i64> = row.try_get(column)?;
    Ok(millis.map(WallTime::from_unix_millis))
}

pub(in crate::control) fn undecodable(column: &str, error: &dyn Display) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: error.to_string().into() }
}
