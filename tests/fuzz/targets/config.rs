//! Configuration, presets and the units in both: a value that keeps its rules, or words that say what is wrong.

use millstream::config::preset::{Preset, RungMode};
use millstream::config::{Config, ConfigError, Overrides, units};
use millstream::media::naming::is_component;

use super::source::Source;

pub fn run(data: &[u8]) {
    let mut source = Source::new(data);
    let how = source.u8();
    let text = String::from_utf8_lossy(source.rest());
    match how & 3 {
        0 => config(&[], Some(&text)),
        1 => config(&variables(&text), None),
        2 => preset(&text),
        _ => values(&text),
    }
}

/// One variable per line.
fn variables(text: &str) -> Vec<(String, String)> {
    let pair = |line: &str| {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        (format!("MILLSTREAM_{name}"), value.to_owned())
    };
    text.lines().map(pair).collect()
}

fn config(env: &[(String, String)], file: Option<&str>) {
    let parse = || Config::parse(&Overrides::default(), env.iter().cloned(), file.map(|text| ("fuzz.toml", text)));
    let (first, second) = (parse(), parse());
    assert_eq!(format!("{first:?}"), format!("{second:?}"), "equal input, equal answer");
    match first {
        Ok(config) => {
            assert!(!config.data_dir.as_os_str().is_empty());
            assert!(config.http.listen != config.rtmp.listen || config.http.listen.port() == 0);
        }
        Err(error @ ConfigError::Invalid(_)) => {
            let ConfigError::Invalid(problems) = &error else { unreachable!("matched above") };
            assert!(!problems.is_empty());
            assert!(problems.iter().all(|problem| !problem.message.is_empty()));
            let lines = file.map_or(1, |text| text.lines().count() + 1);
            assert!(lines >= 1 && !error.to_string().is_empty());
        }
        Err(error) => panic!("parsing does no IO: {error}"),
    }
}

fn preset(text: &str) {
    let preset = match Preset::parse("fuzz.toml", text) {
        Ok(preset) => preset,
        Err(error) => {
            assert!(error.to_string().starts_with("fuzz.toml: "), "{error}");
            return;
        }
    };
    assert!(!preset.rungs.is_empty());
    for (index, rung) in preset.rungs.iter().enumerate() {
        assert!(is_component(&rung.name) && rung.name != "audio", "{rung:?}");
        assert!(preset.rungs[..index].iter().all(|other| other.name != rung.name), "{rung:?} is there twice");
        assert_eq!(rung.copy_limit.is_some(), rung.mode != RungMode::Encode, "{rung:?}");
        assert_eq!(rung.encode.is_some(), rung.mode != RungMode::Copy, "{rung:?}");
        assert!(rung.mode != RungMode::Copy || index == 0, "a copied rung stands first: {preset:?}");
        if let Some(encode) = &rung.encode {
            assert!(encode.width > 0 && encode.width % 2 == 0 && encode.height > 0 && encode.height % 2 == 0);
            assert!(encode.maxrate >= encode.bitrate && encode.bitrate > 0 && encode.buffer > 0);
        }
    }
    assert!(matches!(preset.audio.channels, 1 | 2));
}

/// What is read as a unit is written as one that reads the same.
fn values(text: &str) {
    if let Ok(duration) = units::parse_duration(text) {
        assert_eq!(units::parse_duration(&units::duration_text(duration)), Ok(duration));
    }
    if let Ok(size) = units::parse_size(text) {
        assert_eq!(units::parse_size(&units::size_text(size)), Ok(size));
    }
    if let Ok(address) = units::parse_address(text) {
        assert_eq!(units::parse_address(&address.to_string()), Ok(address));
    }
    if let Ok(count) = units::parse_count(text) {
        assert_eq!(units::parse_count(&count.to_string()), Ok(count));
    }
}
