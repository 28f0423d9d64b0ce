//! `millstream streams list`

use clap::Args;

use crate::cli::CliError;
use crate::cli::args::Json;
use crate::cli::backend::Backend;
use crate::cli::output::Output;

/// Flags of `streams list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    json: Json,
}

pub(super) async fn run(args: ListArgs, backend: &Backend, output: &mut Output) -> Result<(), CliError> {
    let streams = backend.streams().await?;
    if args.json.json {
        return Ok(output.json(&streams)?);
    }
    let rows: Vec<_> = streams.iter().map(super::row).collect();
    let empty = "No streams yet. Make one: millstream streams create --name NAME";
    Ok(output.table(["ID", "NAME", "TITLE", "ENABLED", "PRESET", "CREATED"], &rows, empty)?)
}
