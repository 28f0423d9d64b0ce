//! `millstream streams update`

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::CliError;
use crate::cli::args::Json;
use crate::cli::backend::Backend;
use crate::cli::output::Output;
use crate::config::session::parse_grace;
use crate::config::units::parse_choice;
use crate::config::{Conflict, OnUnpublish};
use crate::control::StreamChange;

/// A setting of a stream that the configuration can decide instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Own {
    Preset,
    Grace,
    #[value(name = "on_unpublish")]
    OnUnpublish,
    Conflict,
}

/// Flags of `streams update`.
#[derive(Debug, Args)]
#[group(id = "change", required = true, multiple = true, args = ["title", "enable", "disable", "preset", "grace", "on_unpublish", "conflict", "as_configured"])]
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
    /// Built-in ladder preset
    #[arg(long)]
    preset: Option<String>,
    /// How long a session waits for its publisher, up to 30m
    #[arg(long, value_parser = parse_grace, value_name = "DURATION")]
    grace: Option<Duration>,
    /// What a clean unpublish does: hold or end
    #[arg(long, value_parser = |text: &str| parse_choice(text, &OnUnpublish::CHOICES), value_name = "POLICY")]
    on_unpublish: Option<OnUnpublish>,
    /// What a second publisher meets: takeover or reject
    #[arg(long, value_parser = |text: &str| parse_choice(text, &Conflict::CHOICES), value_name = "POLICY")]
    conflict: Option<Conflict>,
    /// Settings that the configuration shall decide again, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "SETTING")]
    as_configured: Vec<Own>,
    #[command(flatten)]
    json: Json,
}

pub(super) async fn run(args: UpdateArgs, backend: &Backend, output: &mut Output) -> Result<(), CliError> {
    let given_back = |own| args.as_configured.contains(&own);
    let change = StreamChange {
        title: args.title,
        enabled: (args.enable || args.disable).then_some(args.enable),
        preset: given_back(Own::Preset).then_some(None).or(args.preset.map(Some)),
        grace: given_back(Own::Grace).then_some(None).or(args.grace.map(Some)),
        on_unpublish: given_back(Own::OnUnpublish).then_some(None).or(args.on_unpublish.map(Some)),
        conflict: given_back(Own::Conflict).then_some(None).or(args.conflict.map(Some)),
    };
    let stream = backend.stream(&args.stream).await?;
    let stream = backend.update_stream(&stream.id, change).await?;
    if args.json.json {
        return Ok(output.json(&stream)?);
    }
    super::print(&stream, output)?;
    Ok(output.line("\nA session that runs keeps the settings that it began with.")?)
}
