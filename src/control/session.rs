//! What is durable of a session.

use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row};

use super::db::rows;
use super::id::{SessionId, StreamId};
use super::wall_text;
pub use crate::live::SessionState;
use crate::media::WallTime;

/// A session as the database holds it. Also what the API answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Sorts by start.
    pub id: SessionId,
    /// The stream that it is a broadcast of; it may have been deleted since.
    pub stream_id: StreamId,
    /// Raised at each start of the daemon; part of object names.
    pub epoch: u32,
    /// Where it stands.
    pub state: SessionState,
    /// The first publish.
    #[serde(with = "wall_text")]
    pub started_at: WallTime,
    /// When the state became what it is.
    #[serde(with = "wall_text")]
    pub changed_at: WallTime,
    /// When it ended.
    #[serde(with = "wall_text::option")]
    pub ended_at: Option<WallTime>,
}

impl FromRow<'_, SqliteRow> for SessionRow {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let state = rows::word(row, "state", &SessionState::WORDS)?;
        Ok(SessionRow {
            id: rows::parsed(row, "id")?,
            stream_id: rows::parsed(row, "stream_id")?,
            epoch: row.try_get("epoch")?,
            state: state.ok_or_else(|| rows::undecodable("state", &"it is missing"))?,
            started_at: rows::moment(row, "started_at")?,
            changed_at: rows::moment(row, "changed_at")?,
            ended_at: rows::optional_moment(row, "ended_at")?,
        })
    }
}
