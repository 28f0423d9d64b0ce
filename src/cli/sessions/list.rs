//! `millstream sessions list`

use clap::Args;

use crate::cli::CliError;
use crate::cli::args::Json;
use crate::cli::backend::Backend;
use crate::cli::output::Output;

/// Flags of `sessions list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only those of this stream, by id or name
    #[arg(long)]
    stream: Option<String>,
    /// How many, the newest first (at most 1000)
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    #[command(flatten)]
    json: Json,
}

pub(super) async fn run(args: ListArgs, backend: &Backend, output: &mut Output) -> Result<(), CliError> {
    let stream = match &args.stream {
        Some(stream) => Some(backend.stream(stream).await?.id),
        None => None,
    };
    let sessions = backend.sessions(stream.as_ref(), args.limit).await?;
    if args.json.json {
        return Ok(output.json(&sessions)?);
    }
    let rows: Vec<_> = sessions.iter().map(super::row).collect();
    Ok(output.table(["ID", "STREAM", "STATE", "STARTED", "ENDED", "ENCODER"], &rows, "No sessions yet.")?)
}
