//! `millstream streams create`

use clap::Args;

use super::OwnSettings;
use crate::cli::CliError;
use crate::cli::args::Json;
use crate::cli::backend::Backend;
use crate::cli::output::Output;
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
    #[command(flatten)]
    own: OwnSettings,
    #[command(flatten)]
    json: Json,
}

pub(super) async fn run(args: CreateArgs, backend: &Backend, output: &mut Output) -> Result<(), CliError> {
    let srt_passphrase = args.own.srt_passphrase()?;
    let OwnSettings { preset, grace, on_unpublish, conflict, .. } = args.own;
    let new = NewStream { name: args.name, title: args.title, preset, grace, on_unpublish, conflict, srt_passphrase };
    let stream = backend.create_stream(new).await?;
    if args.json.json {
        return Ok(output.json(&stream)?);
    }
    super::print(&stream, output)?;
    Ok(output.line(&format!("\nTo publish, make a key: millstream keys create --stream {}", stream.id))?)
}
