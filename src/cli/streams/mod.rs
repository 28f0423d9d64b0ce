//! `millstream streams ...`

mod create;
mod delete;
mod list;
mod show;
mod update;

use std::io;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::CliError;
use super::backend::Backend;
use super::output::{Output, or_dash};
use crate::config::session::parse_grace;
use crate::config::units::{duration_text, parse_choice};
use crate::config::{Config, Conflict, OnUnpublish};
use crate::control::Stream;

/// Settings that a stream may have of its own, in the place of the configuration's.
#[derive(Debug, Args)]
pub struct OwnSettings {
    /// Built-in ladder preset, instead of ladder.preset of the configuration
    #[arg(long)]
    preset: Option<String>,
    /// How long a session waits for its publisher, up to 30m, instead of session.grace
    #[arg(long, value_parser = parse_grace, value_name = "DURATION")]
    grace: Option<Duration>,
    /// What a clean unpublish does: hold or end, instead of session.on_unpublish
    #[arg(long, value_parser = |text: &str| parse_choice(text, &OnUnpublish::CHOICES), value_name = "POLICY")]
    on_unpublish: Option<OnUnpublish>,
    /// What a second publisher meets: takeover or reject, instead of session.conflict
    #[arg(long, value_parser = |text: &str| parse_choice(text, &Conflict::CHOICES), value_name = "POLICY")]
    conflict: Option<Conflict>,
}

/// What to do with streams.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a stream
    Create(create::CreateArgs),
    /// List all streams
    List(list::ListArgs),
    /// Show one stream
    Show(show::ShowArgs),
    /// Change a stream's title and settings, enable or disable it
    Update(update::UpdateArgs),
    /// Delete a stream and its keys; whoever publishes to it is disconnected
    Delete(delete::DeleteArgs),
}

pub(super) async fn run(command: Command, config: &Config, output: &mut Output) -> Result<(), CliError> {
    let backend = Backend::open(config).await?;
    let done = match command {
        Command::Create(args) => create::run(args, &backend, output).await,
        Command::List(args) => list::run(args, &backend, output).await,
        Command::Show(args) => show::run(args, &backend, output).await,
        Command::Update(args) => update::run(args, &backend, output).await,
        Command::Delete(args) => delete::run(args, &backend, output).await,
    };
    backend.close().await;
    done
}

const AS_CONFIGURED: &str = "(as configured)";

/// All of a stream, for people.
fn print(stream: &Stream, output: &mut Output) -> io::Result<()> {
    let own = |value: Option<String>| value.unwrap_or_else(|| AS_CONFIGURED.to_owned());
    output.fields(&[
        ("id", stream.id.to_string()),
        ("name", stream.name.clone()),
        ("title", stream.title.clone()),
        ("enabled", yes_no(stream.enabled)),
        ("preset", own(stream.preset.clone())),
        ("grace", own(stream.grace.map(duration_text))),
        ("on_unpublish", own(stream.on_unpublish.map(|policy| policy.to_string()))),
        ("conflict", own(stream.conflict.map(|policy| policy.to_string()))),
        ("created", stream.created_at.to_string()),
        ("playback", format!("/live/{}/index.m3u8", stream.id)),
        ("page", format!("/watch/{}", stream.id)),
    ])
}

fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// A row of the list: id, name, title, enabled, preset, created.
fn row(stream: &Stream) -> [String; 6] {
    [
        stream.id.to_string(),
        stream.name.clone(),
        stream.title.clone(),
        yes_no(stream.enabled),
        or_dash(stream.preset.as_ref()),
        stream.created_at.to_string(),
    ]
}
