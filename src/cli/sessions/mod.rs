//! `millstream sessions ...`

mod end;
mod list;

use clap::Subcommand;

use super::CliError;
use super::backend::{Backend, ListedSession};
use super::output::{Output, or_dash};
use crate::config::Config;

/// What to do with sessions.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the newest sessions
    List(list::ListArgs),
    /// End a session: its publisher is disconnected, players get the end of the list
    End(end::EndArgs),
}

pub(super) async fn run(command: Command, config: &Config, output: &mut Output) -> Result<(), CliError> {
    let backend = Backend::open(config).await?;
    let done = match command {
        Command::List(args) => list::run(args, &backend, output).await,
        Command::End(args) => end::run(args, &backend, output).await,
    };
    backend.close().await;
    done
}

/// A row of the list: id, stream, state, started, ended, encoder.
fn row(ListedSession { row, live }: &ListedSession) -> [String; 6] {
    let peer = live.as_ref().and_then(|live| live["peer"].as_str());
    [
        row.id.to_string(),
        row.stream_id.to_string(),
        row.state.to_string(),
        row.started_at.to_string(),
        or_dash(row.ended_at),
        or_dash(peer),
    ]
}
