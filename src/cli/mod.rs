//! The command line: one file per command.
//!
//! | module | holds |
//! |---|---|
//! | [`args`] | flags and commands as clap sees them |
//! | `serve` `check` `streams` `keys` `sessions` | the commands |
//! | `backend` | a running daemon behind `data_dir/control.sock`, or else the database itself under the same lock |
//! | [`output`] | everything that is printed: aligned text or JSON on standard output, errors and hints on standard error |
//! | [`error`] | why a command failed, and what to do about it |
//!
//! What a command does to streams and keys is `control`'s business; what a daemon is made of is handed in as a [`Host`],
//! because nothing here knows a stage. A key's secret is printed by `keys create` and `keys rotate` and by nothing else.

pub mod args;
mod backend;
mod check;
pub mod error;
mod keys;
pub mod output;
mod serve;
mod sessions;
mod streams;

use std::future::Future;
use std::process::ExitCode;

pub use args::Cli;
pub use error::CliError;
pub use output::Output;
pub use serve::ServeOptions;

use crate::config::{CertificatePaths, Config};
use args::Command;

/// An error of the daemon's parts, for people.
pub type HostError = Box<dyn std::error::Error + Send + Sync>;

/// What the composition root lends to commands.
pub trait Host {
    /// Runs the daemon until a signal stops it.
    ///
    /// # Errors
    /// It could not start, or did not stop in order.
    fn serve(&self, config: Config, options: ServeOptions) -> impl Future<Output = Result<(), HostError>>;

    /// Opens the storage as `serve` would, writes, reads and deletes one object. Answers with what is worth knowing (free
    /// space, say), in a few words.
    ///
    /// # Errors
    /// What a recording would fail with.
    fn probe_storage(&self, config: &Config) -> impl Future<Output = Result<String, HostError>>;

    /// Reads a certificate and its key as `serve` would. Answers until when it is valid.
    ///
    /// # Errors
    /// What `serve` would fail with, or the certificate has expired.
    fn probe_certificate(&self, files: &CertificatePaths) -> impl Future<Output = Result<String, HostError>>;

    /// What this machine can encode, what each preset costs of that, and what memory a session may take: names and
    /// texts. May measure for half a second.
    ///
    /// # Errors
    /// There is no encoder, or the preset cannot be loaded.
    fn encode_costs(&self, config: &Config) -> impl Future<Output = Result<Vec<(String, String)>, HostError>>;
}

/// How the process ends. Wrong flags end it with 2 before this, by clap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0
    Done,
    /// 1: the reason is on standard error.
    Failed,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        match exit {
            Exit::Done => ExitCode::SUCCESS,
            Exit::Failed => ExitCode::FAILURE,
        }
    }
}

/// Carries out one command.
pub async fn run<H: Host>(cli: Cli, config: Config, host: &H, output: &mut Output) -> Exit {
    let done = match cli.command {
        Command::Serve(args) => serve::run(args, config, host).await,
        Command::Check(args) => check::run(args, &config, host, output).await,
        Command::Streams(command) => streams::run(command, &config, output).await,
        Command::Keys(command) => keys::run(command, &config, output).await,
        Command::Sessions(command) => sessions::run(command, &config, output).await,
    };
    match done {
        Ok(()) => Exit::Done,
        Err(error) => {
            output.failure(&error, error.hint());
            Exit::Failed
        }
    }
}
