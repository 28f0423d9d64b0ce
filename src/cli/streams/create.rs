//! `millstream streams create`

use std::time::Duration;

use clap::Args;

use crate::cli::CliError;
use crate::cli::args::Json;
use crate::cli::backend::Backend;
use crate::cli::output::Output;
use crate::config::session::parse_grace;
use crate::config::units::parse_choice;
use crate::config::{Conflict, OnUnpublish};
use crate::control::NewStream;

/// Flags of `streams create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Name of the stream, for you; no other stream may have it
    #[arg(long)]
    name: String,
    /// Title, for viewers [default: the name]
    #[arg(long)]
    title: Option<String>,
    /// Built-in ladder preset [default: ladder.preset of the configuration]
    #[arg(long)]
    preset: Option<String>,
    /// How long a session waits for its publisher, up to 30m [default: session.grace]
    #[arg(long, value_parser = parse_grace, value_name = "DURATION")]
    grace: Option<Duration>,
    /// What a clean unpublish does: hold or end [default: session.on_unpublish]
    #[arg(long, value_parser = |text: &str| parse_choice(text, &OnUnpublish::CHOICES), value_name = "POLICY")]
    on_unpublish: Option<OnUnpublish>,
    /// What a second publisher meets: takeover or reject [default: session.conflict]
    #[arg(long, value_parser = |text: &str| parse_choice(text, &Conflict::CHOICES), value_name = "POLICY")]
    conflict: Option<Conflict>,
    #[command(flatten)]
    json: Json,
}

pub(super) async fn run(args: CreateArgs, backend: &Backend, output: &mut Output) -> Result<(), CliError> {
    let new = NewStream {
        name: args.name,
        title: args.title,
        preset: args.preset,
        grace: args.grace,
        on_unpublish: args.on_unpublish,
        conflict: args.conflict,
    };
    let stream = backend.create_stream(new).await?;
    if args.json.json {
        return Ok(output.json(&stream)?);
    }
    super::print(&stream, output)?;
    Ok(output.line(&format!("\nTo publish, make a key: millstream keys create --stream {}", stream.id))?)
}
