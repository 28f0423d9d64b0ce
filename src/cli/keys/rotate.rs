//! `millstream keys rotate`

use std::time::Duration;

use clap::Args;

use crate::cli::CliError;
use crate::cli::args::Json;
use crate::cli::backend::Backend;
use crate::cli::output::Output;
use crate::config::Config;
use crate::config::units::parse_duration;
use crate::control::KeyId;

/// Flags of `keys rotate`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// Id of the key (not its secret)
    key: KeyId,
    /// How long the old key goes on admitting publishers; without it the old key is revoked at once
    #[arg(long, value_parser = parse_duration, default_value = "0s", value_name = "DURATION")]
    grace: Duration,
    #[command(flatten)]
    json: Json,
}

pub(super) async fn run(
    args: RotateArgs,
    config: &Config,
    backend: &Backend,
    output: &mut Output,
) -> Result<(), CliError> {
    let revealed = backend.rotate_key(&args.key, args.grace).await?;
    super::reveal(&revealed, config, args.json.json, output)
}
