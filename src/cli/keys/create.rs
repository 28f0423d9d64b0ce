//! `millstream keys create`

use std::time::Duration;

use clap::Args;

use crate::cli::CliError;
use crate::cli::args::Json;
use crate::cli::backend::Backend;
use crate::cli::output::Output;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::config::units::parse_duration;
use crate::control::{NewKey, wall_text};
use crate::media::{Span, WallTime};

/// Flags of `keys create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Id or name of the stream
    #[arg(long)]
    stream: String,
    /// Who or what will hold the key
    #[arg(long, default_value = "")]
    label: String,
    /// From when on the key is refused: a duration as "30d", or a date as "2027-01-31T18:00:00Z" [default: never]
    #[arg(long, value_parser = parse_expiry, value_name = "WHEN")]
    expires: Option<Expiry>,
    #[command(flatten)]
    json: Json,
}

/// When a key ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry {
    /// So long from now.
    In(Duration),
    /// At this moment.
    At(WallTime),
}

fn parse_expiry(text: &str) -> Result<Expiry, String> {
    match (parse_duration(text), wall_text::parse(text)) {
        (Ok(duration), _) => Ok(Expiry::In(duration)),
        (_, Ok(moment)) => Ok(Expiry::At(moment)),
        _ => Err("write a duration, as \"30d\", or a date, as \"2027-01-31T18:00:00Z\"".to_owned()),
    }
}

pub(super) async fn run(
    args: CreateArgs,
    config: &Config,
    backend: &Backend,
    output: &mut Output,
) -> Result<(), CliError> {
    let stream = backend.stream(&args.stream).await?;
    let expires_at = args.expires.map(|expiry| match expiry {
        Expiry::In(duration) => SystemClock::shared().wall().saturating_add(Span::from_std(duration)),
        Expiry::At(moment) => moment,
    });
    let revealed = backend.create_key(&stream.id, NewKey { label: args.label, expires_at }).await?;
    super::reveal(&revealed, config, args.json.json, output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_duration_or_a_date() {
        assert_eq!(parse_expiry("30d"), Ok(Expiry::In(Duration::from_secs(30 * 86_400))));
        let moment = WallTime::from_unix_millis(1_795_244_400_000);
        assert_eq!(parse_expiry("2026-11-21T07:00:00Z"), Ok(Expiry::At(moment)));
        assert_eq!(
            parse_expiry("tomorrow"),
            Err("write a duration, as \"30d\", or a date, as \"2027-01-31T18:00:00Z\"".to_owned())
        );
    }
}
