//! Flags and commands.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::{check, keys, serve, sessions, streams};
use crate::config::{Config, ConfigError, Overrides};

/// Live media daemon: RTMP in, a 1080p/720p/480p HLS ladder out, stored as it plays.
#[derive(Debug, Parser)]
#[command(name = "millstream", version, arg_required_else_help = true)]
pub struct Cli {
    /// Configuration file (TOML); everything has a default
    #[arg(long, global = true, value_name = "FILE", env = "MILLSTREAM_CONFIG")]
    pub config: Option<PathBuf>,

    /// Folder of database, spool and objects; overrides the configuration
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<String>,

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon
    Serve(serve::ServeArgs),
    /// Check configuration, preset and storage, and say what serve would do
    Check(check::CheckArgs),
    /// Streams: channels that somebody publishes to
    #[command(subcommand)]
    Streams(streams::Command),
    /// Stream keys: secrets that may publish to one stream
    #[command(subcommand)]
    Keys(keys::Command),
    /// Sessions: broadcasts, from the first publish to the end
    #[command(subcommand)]
    Sessions(sessions::Command),
}

/// `--json`, for every command that prints.
#[derive(Clone, Copy, Debug, Args)]
pub struct Json {
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
}

impl Cli {
    /// The configuration of this call: its file, the environment, its flags.
    ///
    /// # Errors
    /// See [`Config::load`].
    pub fn load_config(&self) -> Result<Config, ConfigError> {
        Config::load(self.config.as_deref(), &self.overrides())
    }

    /// The values that were given as flags.
    pub fn overrides(&self) -> Overrides {
        Overrides { data_dir: self.data_dir.clone() }
    }

    /// Whether this call runs the daemon: only then are log lines of use to a person.
    pub fn is_serve(&self) -> bool {
        matches!(self.command, Command::Serve(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_may_stand_behind_the_command() {
        let cli = Cli::try_parse_from(["millstream", "check", "--data-dir", "/x", "--json"]).expect("it parses");
        assert_eq!(cli.overrides().data_dir.as_deref(), Some("/x"));
        assert!(!cli.is_serve());
    }

    #[test]
    fn usage_errors_exit_with_2() {
        for args in
            [&["millstream", "streams", "create"][..], &["millstream", "nothing"], &["millstream", "keys", "list"]]
        {
            assert_eq!(Cli::try_parse_from(args).expect_err("wrong usage").exit_code(), 2, "{args:?}");
        }
    }
}
