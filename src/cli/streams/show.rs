//! `millstream streams show`

use clap::Args;

use crate::cli::CliError;
use crate::cli::args::Json;
use crate::cli::backend::Backend;
use crate::cli::output::Output;

/// Flags of `streams show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Id or name
    stream: String,
    #[command(flatten)]
    json: Json,
}

pub(super) async fn run(args: ShowArgs, backend: &Backend, output: &mut Output) -> Result<(), CliError> {
    let stream = backend.stream(&args.stream).await?;
    if args.json.json {
        output.json(&stream)?
    } else {
        super::print(&stream, output)?
    }
    Ok(())
}
