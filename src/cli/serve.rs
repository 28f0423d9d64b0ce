//! `millstream serve`

use clap::Args;

use super::{CliError, Host};
use crate::config::Config;

/// Flags of `serve`.
#[derive(Clone, Copy, Debug, Args)]
pub struct ServeArgs {
    /// On SIGTERM or SIGINT end all sessions (ENDLIST) instead of leaving them to be continued after a restart
    #[arg(long)]
    end_sessions: bool,
}

/// How the daemon is to run, beyond its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeOptions {
    /// A signal ends all sessions; without it they are left `reconnecting`.
    pub end_sessions: bool,
}

pub(super) async fn run<H: Host>(args: ServeArgs, config: Config, host: &H) -> Result<(), CliError> {
    let options = ServeOptions { end_sessions: args.end_sessions };
    host.serve(config, options).await.map_err(CliError::Serve)
}
