//! `millstream streams update`

use clap::{Args, ValueEnum};

use super::OwnSettings;
use crate::cli::CliError;
use crate::cli::args::Json;
use crate::cli::backend::Backend;
use crate::cli::output::Output;
use crate::control::StreamChange;

/// A setting of a stream that the configuration can decide instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Own {
    Preset,
    Grace,
    #[value(name = "on_unpublish")]
    OnUnpublish,
    Conflict,
    #[value(name = "srt_passphrase")]
    SrtPassphrase,
}

impl Own {
    /// The flag that gives the stream a value of its own.
    const fn flag(self) -> &'static str {
        match self {
            Own::Preset => "--preset",
            Own::Grace => "--grace",
            Own::OnUnpublish => "--on-unpublish",
            Own::Conflict => "--conflict",
            Own::SrtPassphrase => "--srt-passphrase-file",
        }
    }
}

/// Flags of `streams update`.
#[derive(Debug, Args)]
#[group(id = "change", required = true, multiple = true, args = ["title", "enable", "disable", "preset", "grace", "on_unpublish", "conflict", "srt_passphrase_file", "as_configured"])]
pub struct UpdateArgs {
    /// Id or name
    stream: String,
    /// Title, for viewers
    #[arg(long)]
    title: Option<String>,
    /// Let it be published to
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// Refuse publishing; whoever publishes to it is disconnected
    #[arg(long)]
    disable: bool,
    #[command(flatten)]
    own: OwnSettings,
    /// Settings that the configuration shall decide again, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "SETTING")]
    as_configured: Vec<Own>,
    #[command(flatten)]
    json: Json,
}

pub(super) async fn run(args: UpdateArgs, backend: &Backend, output: &mut Output) -> Result<(), CliError> {
    let srt_passphrase = args.own.srt_passphrase()?;
    let OwnSettings { preset, grace, on_unpublish, conflict, .. } = args.own;
    let given_back = |own| args.as_configured.contains(&own);
    let change = StreamChange {
        title: args.title,
        enabled: (args.enable || args.disable).then_some(args.enable),
        preset: setting(Own::Preset, preset, &given_back)?,
        grace: setting(Own::Grace, grace, &given_back)?,
        on_unpublish: setting(Own::OnUnpublish, on_unpublish, &given_back)?,
        conflict: setting(Own::Conflict, conflict, &given_back)?,
        srt_passphrase: setting(Own::SrtPassphrase, srt_passphrase, &given_back)?,
    };
    let is_for_sessions =
        change.preset.is_some() || change.grace.is_some() || change.on_unpublish.is_some() || change.conflict.is_some();
    let is_for_connections = change.srt_passphrase.is_some();
    let stream = backend.stream(&args.stream).await?;
    let stream = backend.update_stream(&stream.id, change).await?;
    if args.json.json {
        return Ok(output.json(&stream)?);
    }
    super::print(&stream, output)?;
    if is_for_sessions {
        output.line("\nA session that runs keeps the settings that it began with.")?;
    }
    if is_for_connections {
        output.line("\nAn encoder that is connected stays; from its next connection on it needs the passphrase that is in force then.")?;
    }
    Ok(())
}

/// What becomes of a setting: a value of its own, the configuration's, or nothing.
fn setting<T>(own: Own, value: Option<T>, given_back: &impl Fn(Own) -> bool) -> Result<Option<Option<T>>, CliError> {
    match (given_back(own), value) {
        (true, Some(_)) => Err(CliError::TwoWays(own.flag())),
        (true, None) => Ok(Some(None)),
        (false, value) => Ok(value.map(Some)),
    }
}
