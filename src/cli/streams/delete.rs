//! `millstream streams delete`

use clap::Args;
use serde_json::json;

use crate::cli::CliError;
use crate::cli::args::Json;
use crate::cli::backend::Backend;
use crate::cli::output::Output;

/// Flags of `streams delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Id or name
    stream: String,
    #[command(flatten)]
    json: Json,
}

pub(super) async fn run(args: DeleteArgs, backend: &Backend, output: &mut Output) -> Result<(), CliError> {
    let stream = backend.stream(&args.stream).await?;
    backend.delete_stream(&stream.id).await?;
    if args.json.json {
        return Ok(output.json(&json!({ "deleted": stream.id }))?);
    }
    Ok(output.line(&format!("Deleted stream {} ({}) and its keys.", stream.id, stream.name))?)
}
