//! Why a command failed, and what to do about it.

use std::io;
use std::path::PathBuf;

use super::HostError;
use crate::control::ControlError;

/// A command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The daemon refused.
    #[error("{message}")]
    Refused {
        /// The API's stable code.
        code: String,
        /// The API's words.
        message: String,
    },
    /// The daemon's socket is there, but no answer came.
    #[error("no answer from the daemon on {}: {reason}", socket.display())]
    Unanswered {
        /// The control socket.
        socket: PathBuf,
        /// What happened.
        reason: String,
    },
    /// Without a daemon: the control layer failed.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A stream of which no session runs.
    #[error("stream {stream} ({name}) has no running session")]
    NoSession {
        /// Its id.
        stream: String,
        /// Its name.
        name: String,
    },
    /// A setting was given a value and back to the configuration at once.
    #[error("{0} gives a value, and --as-configured gives the same setting back: leave one of them out")]
    TwoWays(&'static str),
    /// A file that a flag names.
    #[error("{} cannot be read: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The system's clock or a flag leads to no moment that can be written.
    #[error("{0}")]
    Moment(String),
    /// `check` found something.
    #[error("{0} of the checks failed")]
    ChecksFailed(usize),
    /// The daemon ended with an error.
    #[error("{0}")]
    Serve(HostError),
    /// Standard output is closed or full.
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

impl CliError {
    /// What to try next.
    pub(super) fn hint(&self) -> Option<&'static str> {
        let code = match self {
            CliError::Refused { code, .. } => code,
            CliError::Control(error) => error.code(),
            CliError::NoSession { .. } => return Some("millstream sessions list shows the newest sessions"),
            CliError::Unanswered { .. } => return Some("is it busy stopping? Its log says more"),
            _ => return None,
        };
        match code {
            "stream_not_found" => Some("millstream streams list shows all streams"),
            "session_not_found" => Some("millstream sessions list shows the newest sessions"),
            "key_not_found" => Some("millstream keys list --stream STREAM shows a stream's keys"),
            "invalid_preset" => Some("built-in presets are listed under ladder.preset in docs/config.md"),
            _ => None,
        }
    }
}
