//! `millstream sessions end`

use clap::Args;

use crate::cli::CliError;
use crate::cli::args::Json;
use crate::cli::backend::Backend;
use crate::cli::output::Output;
use crate::control::{SessionId, SessionState};

/// Flags of `sessions end`.
#[derive(Debug, Args)]
pub struct EndArgs {
    /// Id of the session
    #[arg(required_unless_present = "stream")]
    session: Option<SessionId>,
    /// The stream whose session shall end, by id or name
    #[arg(long, conflicts_with = "session")]
    stream: Option<String>,
    #[command(flatten)]
    json: Json,
}

pub(super) async fn run(args: EndArgs, backend: &Backend, output: &mut Output) -> Result<(), CliError> {
    let id = match (args.session, args.stream) {
        (Some(session), _) => session,
        (None, stream) => running(&stream.unwrap_or_default(), backend).await?,
    };
    let session = backend.end_session(&id).await?;
    if args.json.json {
        return Ok(output.json(&session)?);
    }
    let ended = format!("Session {} of stream {} has ended.", session.id, session.stream_id);
    output.line(&ended)?;
    Ok(output.line(
        "An encoder that reconnects begins the next one; to keep it out, revoke its key or disable the stream.",
    )?)
}

/// The session of a stream that has not ended.
async fn running(stream: &str, backend: &Backend) -> Result<SessionId, CliError> {
    let stream = backend.stream(stream).await?;
    let newest = backend.sessions(Some(&stream.id), 1).await?.pop();
    match newest.filter(|newest| newest.row.state != SessionState::Ended) {
        Some(session) => Ok(session.row.id),
        None => Err(CliError::NoSession { stream: stream.id.to_string(), name: stream.name }),
    }
}
