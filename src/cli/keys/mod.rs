//! `millstream keys ...`

mod create;
mod list;
mod revoke;
mod rotate;

use clap::Subcommand;

use super::CliError;
use super::backend::Backend;
use super::output::{Output, or_dash};
use crate::config::Config;
use crate::control::{Key, RevealedKey};

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a key; its secret is shown this once
    Create(create::CreateArgs),
    /// List the keys of a stream, without secrets
    List(list::ListArgs),
    /// Make a key in the place of another
    Rotate(rotate::RotateArgs),
    /// Take a key back; whoever publishes with it is disconnected
    Revoke(revoke::RevokeArgs),
}

pub(super) async fn run(command: Command, config: &Config, output: &mut Output) -> Result<(), CliError> {
    let backend = Backend::open(config).await?;
    let done = match command {
        Command::Create(args) => create::run(args, config, &backend, output).await,
        Command::List(args) => list::run(args, &backend, output).await,
        Command::Rotate(args) => rotate::run(args, config, &backend, output).await,
        Command::Revoke(args) => revoke::run(args, &backend, output).await,
    };
    backend.close().await;
    done
}

/// The one time that a secret is shown.
fn reveal(revealed: &RevealedKey, config: &Config, json: bool, output: &mut Output) -> Result<(), CliError> {
    if json {
        return Ok(output.json(revealed)?);
    }
    let RevealedKey { key, secret } = revealed;
    output.fields(&[
        ("id", key.id.to_string()),
        ("stream", key.stream_id.to_string()),
        ("label", label(key)),
        ("expires", or_dash(key.expires_at)),
        ("secret", secret.clone()),
    ])?;
    output.line("\nThe secret is not shown again. In OBS choose the service Custom, and enter:")?;
    let mut fields = vec![("  server", format!("rtmp://HOST:{}/live", config.rtmp.listen.port()))];
    if let Some(rtmps) = &config.rtmps {
        fields.push(("  or over TLS", format!("rtmps://HOST:{}/live", rtmps.listen.port())));
    }
    if let Some(srt) = &config.srt {
        fields.push(("  or over SRT", format!("srt://HOST:{}", srt.listen.port())));
    }
    fields.push(("  stream key", secret.clone()));
    Ok(output.fields(&fields)?)
}

fn label(key: &Key) -> String {
    or_dash(Some(&key.label).filter(|label| !label.is_empty()))
}

/// A row of the list: id, label, state, created, expires, last used.
fn row(key: &Key) -> [String; 6] {
    [
        key.id.to_string(),
        label(key),
        key.state.as_str().to_owned(),
        key.created_at.to_string(),
        or_dash(key.expires_at),
        or_dash(key.last_used_at),
    ]
}
