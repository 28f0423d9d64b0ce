//! `millstream check`: is everything there that `serve` needs, and what would it do?
//!
//! Changes nothing but the storage, where [`Host::probe_storage`] makes and deletes one object. A daemon may be running.
//! The configuration itself was validated before this runs.

use std::io;

use clap::Args;
use serde::Serialize;

use super::args::Json;
use super::{CliError, Host, Output};
use crate::config::preset::{AudioMode, AudioPreset, EncodePreset, Preset, Rung, RungMode};
use crate::config::units::{bitrate_text, duration_text, size_text};
use crate::config::{Config, Encryption};
use crate::control::{DataDirLock, check_key_file};

/// Flags of `check`.
#[derive(Clone, Copy, Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    json: Json,
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct Check {
    /// What was looked at.
    name: String,
    /// Whether `serve` can work with it.
    ok: bool,
    /// What `serve` would do with it, or why it cannot.
    detail: String,
}

impl Check {
    fn passed(name: &str, detail: String) -> Check {
        Check { name: name.to_owned(), ok: true, detail }
    }

    fn of(name: &str, outcome: Result<String, String>) -> Check {
        let ok = outcome.is_ok();
        Check { name: name.to_owned(), ok, detail: outcome.unwrap_or_else(|reason| reason) }
    }
}

/// The report as JSON.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    checks: &'a [Check],
}

pub(super) async fn run<H: Host>(
    args: CheckArgs,
    config: &Config,
    host: &H,
    output: &mut Output,
) -> Result<(), CliError> {
    let mut checks = vec![data_dir(config), http(config), https(config, host).await, rtmp(config)];
    checks.extend([rtmps(config, host).await, srt(config)]);
    checks.push(storage(config, host).await);
    checks.extend([spool(config), secrets(config), hls(config), session(config), traces(config)]);
    checks.extend(ladder(config));
    match host.encode_costs(config).await {
        Ok(lines) => checks.extend(lines.into_iter().map(|(name, detail)| Check::passed(&name, detail))),
        Err(why) => checks.push(Check::of("capacity", Err(why.to_string()))),
    }
    let failed = checks.iter().filter(|check| !check.ok).count();
    if args.json.json {
        output.json(&Report { ok: failed == 0, checks: &checks })?;
    } else {
        print(&checks, output)?;
    }
    if failed == 0 { Ok(()) } else { Err(CliError::ChecksFailed(failed)) }
}

fn print(checks: &[Check], output: &mut Output) -> io::Result<()> {
    let fields: Vec<(&str, String)> = checks
        .iter()
        .map(|check| {
            let verdict = if check.ok { "ok    " } else { "FAILED" };
            (check.name.as_str(), format!("{verdict}  {}", check.detail))
        })
        .collect();
    output.fields(&fields)
}

fn data_dir(config: &Config) -> Check {
    let state = match DataDirLock::holder(&config.data_dir) {
        Some(held) => held.to_string(),
        None if config.data_dir.is_dir() => format!("{}, not in use", config.data_dir.display()),
        None => format!("{} would be made", config.data_dir.display()),
    };
    Check::passed("data_dir", state)
}

fn http(config: &Config) -> Check {
    let api = match &config.http.admin_token {
        Some(_) => "API with the admin token",
        None => "API closed over TCP (no http.admin_token), open on the control socket",
    };
    Check::passed("http", format!("{}: playback, pages, metrics; {api}", config.http.listen))
}

async fn https<H: Host>(config: &Config, host: &H) -> Check {
    let Some(https) = &config.https else {
        return Check::passed("https", "off (no https.listen)".to_owned());
    };
    let (listen, redirected) = (https.listen, config.http.redirect_to_https);
    let redirected = if redirected { "; playback and pages of http are redirected here" } else { "" };
    let probed = host.probe_certificate(&https.certificate).await.map_err(|error| error.to_string());
    let passed = |found| format!("{listen}: the same over TLS, HTTP/2 and HTTP/1.1; {found}{redirected}");
    Check::of("https", probed.map(passed))
}

fn rtmp(config: &Config) -> Check {
    let listen = config.rtmp.listen;
    Check::passed("rtmp", format!("{listen}: publish to rtmp://HOST:{}/live with a stream key", listen.port()))
}

async fn rtmps<H: Host>(config: &Config, host: &H) -> Check {
    let Some(rtmps) = &config.rtmps else {
        return Check::passed("rtmps", "off (no rtmps.cert and rtmps.key)".to_owned());
    };
    let (listen, port) = (rtmps.listen, rtmps.listen.port());
    let probed = host.probe_certificate(&rtmps.certificate).await.map_err(|error| error.to_string());
    let passed = |found| format!("{listen}: publish to rtmps://HOST:{port}/live with a stream key; {found}");
    Check::of("rtmps", probed.map(passed))
}

fn srt(config: &Config) -> Check {
    let Some(srt) = &config.srt else {
        return Check::passed("srt", "off (srt.listen is empty)".to_owned());
    };
    let (listen, port) = (srt.listen, srt.listen.port());
    let encryption = match (&srt.passphrase, srt.encryption) {
        (Some(_), Encryption::Required) => "encryption required, with srt.passphrase or the stream's own",
        (Some(_), Encryption::Optional) => "encryption optional, with srt.passphrase or the stream's own",
        (None, Encryption::Required) => "encryption required, with the stream's own passphrase",
        (None, Encryption::Optional) => "encryption where a stream has a passphrase",
    };
    let latency = format!("latency {} to {}", duration_text(srt.latency_min), duration_text(srt.latency_max));
    let detail =
        format!("{listen} (UDP): publish to srt://HOST:{port}?streamid=KEY with a stream key; {encryption}; {latency}");
    Check::passed("srt", detail)
}

async fn storage<H: Host>(config: &Config, host: &H) -> Check {
    let url = &config.storage.url;
    let probed = host.probe_storage(config).await;
    let outcome = probed.map(|found| format!("{url}: {found}")).map_err(|error| format!("{url}: {error}"));
    Check::of("storage", outcome)
}

fn spool(config: &Config) -> Check {
    let limit = size_text(config.storage.spool_max_bytes);
    Check::passed("spool", format!("{}, at most {limit}", config.storage.spool.display()))
}

fn secrets(config: &Config) -> Check {
    let path = config.secrets.key_file.display();
    let outcome = check_key_file(&config.secrets).map(|there| match there {
        true => format!("{path}, private and of the right length"),
        false => format!("{path} would be made with the first SRT passphrase of a stream"),
    });
    Check::of("secrets", outcome.map_err(|error| error.to_string()))
}

fn hls(config: &Config) -> Check {
    let text = |span: crate::media::Span| duration_text(span.to_std());
    let hls = &config.hls;
    let detail =
        format!("segments of {}, parts of {}, window of {}", text(hls.segment), text(hls.part), text(hls.window));
    Check::passed("hls", detail)
}

fn session(config: &Config) -> Check {
    let session = &config.session;
    let grace = duration_text(session.grace);
    let detail = format!(
        "waits {grace} for a lost publisher; clean unpublish: {}; second publisher: {}; sources up to {}",
        session.on_unpublish,
        session.conflict,
        bitrate_text(session.max_bitrate)
    );
    Check::passed("session", detail)
}

/// Nothing is sent: a collector that is away keeps `serve` from nothing.
fn traces(config: &Config) -> Check {
    let detail = match &config.telemetry.otlp_endpoint {
        Some(endpoint) => format!("one per stored segment, to {}", endpoint.traces_url()),
        None => "none (no telemetry.otlp_endpoint)".to_owned(),
    };
    Check::passed("traces", detail)
}

/// The preset, and one line for each of its rungs.
fn ladder(config: &Config) -> Vec<Check> {
    let preset = match Preset::load(&config.ladder.preset) {
        Ok(preset) => preset,
        Err(error) => return vec![Check::of("ladder", Err(error.to_string()))],
    };
    let mut checks = vec![Check::passed("ladder", preset.name.clone())];
    checks.extend(preset.rungs.iter().map(|rung| Check::passed(&format!("  {}", rung.name), describe(rung))));
    checks.push(Check::passed("  audio", describe_audio(&preset.audio)));
    checks
}

fn describe(rung: &Rung) -> String {
    let limit = rung.copy_limit.map_or_else(String::new, |limit| format!(" up to {}", kilobits(limit)));
    match (rung.mode, &rung.encode) {
        (RungMode::Auto, Some(encode)) => {
            format!("copied while the source fits{limit}; else {}", describe_encode(encode))
        }
        (_, Some(encode)) => describe_encode(encode),
        (_, None) => format!("copied{limit}"),
    }
}

fn describe_encode(encode: &EncodePreset) -> String {
    let fps = encode.fps.map_or_else(String::new, |fps| format!(", at most {fps} fps"));
    format!(
        "encoded within {}x{} at {} (peak {}), x264 {} {}{fps}",
        encode.width,
        encode.height,
        kilobits(encode.bitrate),
        kilobits(encode.maxrate),
        encode.x264.preset,
        encode.x264.profile,
    )
}

fn describe_audio(audio: &AudioPreset) -> String {
    let bitrate = kilobits(audio.bitrate);
    match audio.mode {
        AudioMode::Encode => format!("AAC at {bitrate}, {} Hz, {} channels", audio.sample_rate, audio.channels),
        AudioMode::Copy => format!("copied up to {bitrate}"),
    }
}

fn kilobits(bits_per_second: u64) -> String {
    format!("{} kbit/s", bits_per_second / 1_000)
}
