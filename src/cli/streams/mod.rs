//! `millstream streams ...`

mod create;
mod delete;
mod list;
mod show;
mod update;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};

use super::CliError;
use super::backend::Backend;
use super::output::{Output, or_dash};
use crate::config::session::parse_grace;
use crate::config::units::{duration_text, parse_choice};
use crate::config::{Config, Conflict, OnUnpublish};
use crate::control::{SrtPassphrase, Stream};

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
    /// File with an SRT passphrase (10 to 79 bytes; a line end behind it is left out), instead of srt.passphrase; - reads
    /// standard input. Encoders that push over SRT must then encrypt with it
    #[arg(long, value_name = "FILE")]
    srt_passphrase_file: Option<PathBuf>,
}

impl OwnSettings {
    /// The passphrase in the file, if one was named. It is no flag's value: everybody on a machine may read those.
    fn srt_passphrase(&self) -> Result<Option<SrtPassphrase>, CliError> {
        self.srt_passphrase_file.as_deref().map(read_passphrase).transpose()
    }
}

/// Far more than a passphrase may have: what is longer is refused for its length.
const MAX_FILE_BYTES: u64 = 4_096;

fn read_passphrase(path: &Path) -> Result<SrtPassphrase, CliError> {
    let unreadable = |reason: String| CliError::Unreadable { path: path.to_owned(), reason };
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(|error| unreadable(error.to_string()))?)
    };
    let mut bytes = Vec::new();
    source.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    let mut text = String::from_utf8(bytes).map_err(|_| unreadable("it holds no UTF-8".to_owned()))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    text.truncate(line.strip_suffix('\r').unwrap_or(line).len());
    Ok(SrtPassphrase::from(text))
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
        ("srt_passphrase", own(stream.srt_passphrase_set.then(|| "set".to_owned()))),
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
