//! What this machine can encode: configured, remembered from an earlier start, or measured now; and what `check` says of it.

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::thread;

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::hls_spec;
use crate::cli::HostError;
use crate::config::preset::{Preset, PresetError};
use crate::config::units::bitrate_text;
use crate::config::{Capacity, Config, OverCapacity};
use crate::live::capacity::EncodeCapacity;
use crate::live::ceiling::ceiling_bytes;
use crate::media::{Span, VideoTrack};
use crate::telemetry::panics::contained_now;
use crate::transcode::capacity::{Measure, codec_versions, measure};
use crate::transcode::cost::{Load, of_plan};
use crate::transcode::plan::MAX_DECODED_PIXELS;
use crate::transcode::{TranscodeError, plan};

/// In the data folder: what was measured, and on what.
const FILE: &str = "encode-capacity.json";
/// Raised when what is measured changes, so that old measures are not used.
const MODEL: u32 = 1;

/// The file's content.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    machine: String,
    kilopixels_per_second: u64,
}

/// Starts finding out in the background; sessions that begin earlier wait for it.
pub fn learn(config: &Config) -> EncodeCapacity {
    let capacity = EncodeCapacity::unknown(config.ladder.over_capacity);
    let (find, policy) = (config.clone(), config.ladder.over_capacity);
    // It ends by itself; nobody has to wait for it.
    drop(learn_by(&capacity, move || find_out(&find, true), policy));
    capacity
}

/// Sets `capacity` on a thread of its own, whatever becomes of `find`: sessions wait for it.
fn learn_by(
    capacity: &EncodeCapacity,
    find: impl FnOnce() -> Result<Option<Load>, TranscodeError> + Send + 'static,
    policy: OverCapacity,
) -> Option<thread::JoinHandle<()>> {
    let learned = capacity.clone();
    let worker = thread::Builder::new().name("capacity".to_owned()).spawn(move || {
        let found = match contained_now("capacity", find) {
            Some(Ok(found)) => found,
            Some(Err(failure)) => {
                warn!(%failure, "the machine cannot be measured: sessions are admitted without a limit");
                None
            }
            None => None,
        };
        match found {
            Some(load) => {
                info!(capacity = %load, over_capacity = %policy, processors = processors(), "encode capacity");
            }
            None => info!("encode capacity is unlimited"),
        }
        learned.set(found);
    });
    let failed = |failure| {
        warn!(%failure, "the machine cannot be measured: sessions are admitted without a limit");
        capacity.set(None);
    };
    worker.map_err(failed).ok()
}

/// The capacity; `None` when there is no limit. Blocks while it measures.
fn find_out(config: &Config, remember: bool) -> Result<Option<Load>, TranscodeError> {
    match config.ladder.capacity {
        Capacity::Unlimited => Ok(None),
        Capacity::Megapixels(megapixels) => Ok(Some(Load::from_megapixels(megapixels))),
        Capacity::Measured => {
            let (path, machine) = (config.data_dir.join(FILE), machine());
            if let Some(load) = recall(&path, &machine) {
                return Ok(Some(load));
            }
            let Measure { load, whole } = measure(processors())?;
            // What a fault of ours made too small is measured anew by the next start.
            if remember
                && whole
                && let Err(failure) = write(&path, &Remembered { machine, kilopixels_per_second: load.kilopixels() })
            {
                warn!(%failure, path = %path.display(), "the measured capacity is not remembered");
            }
            Ok(Some(load))
        }
    }
}

fn recall(path: &Path, machine: &str) -> Option<Load> {
    let found: Remembered = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    (found.machine == machine && found.kilopixels_per_second > 0)
        .then(|| Load::from_kilopixels(found.kilopixels_per_second))
}

fn write(path: &Path, measured: &Remembered) -> std::io::Result<()> {
    fs::write(path, serde_json::to_vec_pretty(measured)?)
}

/// Processors that this process may use: affinity and container limits are counted.
fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// What a measure depends on.
fn machine() -> String {
    format!("{} x {}, {}, model {MODEL}", processors(), processor_name(), codec_versions())
}

fn processor_name() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = |line: &str| line.split_once(':').map(|(_, name)| name.trim().to_owned());
    let line = text.lines().find(|line| line.starts_with("model name") || line.starts_with("CPU part"));
    line.and_then(named).unwrap_or_else(|| "unknown processor".to_owned())
}

/// For `check`: the capacity, what presets cost, and what memory a session may take. Names and texts.
///
/// # Errors
/// The machine cannot be measured, or the configured preset cannot be loaded.
pub fn report(config: &Config) -> Result<Vec<(String, String)>, HostError> {
    let capacity = find_out(config, false)?;
    let said = capacity.map_or_else(|| "unlimited".to_owned(), |load| load.to_string());
    let policy = config.ladder.over_capacity;
    let mut lines =
        vec![("capacity".to_owned(), format!("{said} with {} processors; beyond it: {policy}", processors()))];
    let mut names = Preset::embedded_names();
    if !names.contains(&config.ladder.preset.as_str()) {
        names.push(&config.ladder.preset);
    }
    for name in names {
        lines.push((format!("  {name}"), costs(&Preset::load(name)?, config.hls.segment, capacity)?));
    }
    lines.push(("memory".to_owned(), memory(config)?));
    Ok(lines)
}

fn costs(preset: &Preset, segment: Span, capacity: Option<Load>) -> Result<String, HostError> {
    let of = |rate: u32| -> Result<String, HostError> {
        let source = source(1_920, 1_080, rate, true);
        let load = of_plan(&plan(preset, segment, Some(&source), None)?, Some(&source));
        let times = capacity.and_then(|capacity| capacity.kilopixels().checked_div(load.kilopixels()));
        Ok(times.map_or_else(|| load.to_string(), |times| format!("{load} ({times} at once)")))
    };
    Ok(format!("a source of 1080p30 costs {}, of 1080p60 {}", of(30)?, of(60)?))
}

fn memory(config: &Config) -> Result<String, HostError> {
    let preset = Preset::load(&config.ladder.preset).map_err(|why: PresetError| Box::new(why))?;
    let hls = hls_spec(config);
    let (max_bitrate, max_message) = (config.session.max_bitrate, config.rtmp.max_message_bytes.into());
    let mebibytes = |source: &VideoTrack| -> Result<u64, HostError> {
        Ok(ceiling_bytes(&preset, source, &hls, max_bitrate, max_message)?.div_ceil(1 << 20))
    };
    let usual = mebibytes(&source(1_920, 1_080, 60, true))?;
    // The largest that is decoded, as 16:9, with 4:4:4 and 10 bit.
    let height = u32::try_from(MAX_DECODED_PIXELS / 4_096).unwrap_or(u32::MAX);
    let worst = mebibytes(&source(4_096, height, 60, false))?;
    let rate = bitrate_text(max_bitrate);
    Ok(format!(
        "a session holds at most {usual} MiB with a 1080p source of {rate}, {worst} MiB with the largest source"
    ))
}

fn source(width: u32, height: u32, rate: u32, plain: bool) -> VideoTrack {
    VideoTrack { plain, ..VideoTrack::plain(width, height, (rate, 1)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;

    fn config(capacity: &str) -> (tempfile::TempDir, Config) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = format!("data_dir = {:?}\n[ladder]\ncapacity = \"{capacity}\"\n", folder.path());
        let config = Config::parse(&Overrides::default(), [], Some(("a.toml", &file))).expect("valid");
        (folder, config)
    }

    #[test]
    fn what_was_measured_is_remembered_for_the_same_machine_only() {
        let (folder, config) = config("measure");
        let path = folder.path().join(FILE);
        let mine = Remembered { machine: machine(), kilopixels_per_second: 123_000 };
        write(&path, &mine).expect("written");
        assert_eq!(find_out(&config, true).expect("known"), Some(Load::from_megapixels(123)));
        assert_eq!(recall(&path, "another machine"), None);
        fs::write(&path, b"{").expect("written");
        assert_eq!(recall(&path, &machine()), None, "a broken file is measured anew");
    }

    #[test]
    fn a_measurement_that_panics_leaves_no_session_waiting() {
        let capacity = EncodeCapacity::unknown(OverCapacity::Refuse);
        let thread = learn_by(&capacity, || panic!("a broken assumption"), OverCapacity::Refuse);
        thread.expect("a thread starts").join().expect("its panic is contained");
        assert!(format!("{capacity:?}").contains("limit: Unlimited"), "{capacity:?}");
    }

    #[test]
    fn what_is_configured_is_not_measured() {
        assert_eq!(find_out(&config("240").1, true).expect("known"), Some(Load::from_megapixels(240)));
        assert_eq!(find_out(&config("unlimited").1, true).expect("known"), None);
    }

    #[test]
    fn check_says_capacity_costs_and_memory() {
        let lines = report(&config("240").1).expect("a report");
        let names: Vec<_> = lines.iter().map(|(name, _)| name.trim()).collect();
        assert_eq!(names, [&["capacity"][..], &Preset::embedded_names(), &["memory"]].concat());
        assert!(lines[0].1.starts_with("240 Mpx/s with ") && lines[0].1.ends_with("beyond it: degrade"), "{lines:?}");
        assert_eq!(lines[1].1, "a source of 1080p30 costs 65 Mpx/s (3 at once), of 1080p60 130 Mpx/s (1 at once)");
        assert_eq!(lines[3].1, "a source of 1080p30 costs 0 Mpx/s, of 1080p60 0 Mpx/s");
        assert!(lines[5].1.contains("with a 1080p source of 50M"), "{lines:?}");
    }
}
