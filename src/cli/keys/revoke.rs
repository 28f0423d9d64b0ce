//! `millstream keys revoke`

use clap::Args;

use crate::cli::CliError;
use crate::cli::args::Json;
use crate::cli::backend::Backend;
use crate::cli::output::Output;
use crate::control::KeyId;

/// Flags of `keys revoke`.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// Id of the key (not its secret)
    key: KeyId,
    #[command(flatten)]
    json: Json,
}

pub(super) async fn run(args: RevokeArgs, backend: &Backend, output: &mut Output) -> Result<(), CliError> {
    let key = backend.revoke_key(&args.key).await?;
    if args.json.json {
        return Ok(output.json(&key)?);
    }
    Ok(output.line(&format!("Revoked key {} of stream {}.", key.id, key.stream_id))?)
}
