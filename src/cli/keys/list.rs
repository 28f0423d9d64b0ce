//! `millstream keys list`

use clap::Args;

use crate::cli::CliError;
use crate::cli::args::Json;
use crate::cli::backend::Backend;
use crate::cli::output::Output;

/// Flags of `keys list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Id or name of the stream
    #[arg(long)]
    stream: String,
    #[command(flatten)]
    json: Json,
}

pub(super) async fn run(args: ListArgs, backend: &Backend, output: &mut Output) -> Result<(), CliError> {
    let stream = backend.stream(&args.stream).await?;
    let keys = backend.keys(&stream.id).await?;
    if args.json.json {
        return Ok(output.json(&keys)?);
    }
    let rows: Vec<_> = keys.iter().map(super::row).collect();
    let empty = format!("No keys yet. Make one: millstream keys create --stream {}", stream.id);
    Ok(output.table(["ID", "LABEL", "STATE", "CREATED", "EXPIRES", "LAST USED"], &rows, &empty)?)
}
