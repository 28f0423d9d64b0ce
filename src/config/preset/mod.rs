//! Ladder presets: which rungs a session gets and how each is made.
//!
//! A preset is a TOML file. Four are embedded in the binary (`presets/*.toml`, every key commented there); any other is
//! named by its path. Everything is checked here, once, at start: a [`Preset`] that exists can be planned and run. What
//! a session makes of it (rungs left out, copied or encoded) is `transcode/plan`'s business, not this module's.

mod read;
#[cfg(test)]
mod tests;

use std::path::Path;

use read::Table;

/// Rungs that one preset may have. A rendition is numbered by a `u8`, and nobody watches more qualities than these.
const MAX_RUNGS: usize = 8;
/// Smallest and largest side of a rung in pixels; H.264 level 6.2 ends at 8192x4320.
const SIDE_PIXELS: std::ops::RangeInclusive<u64> = 32..=8_192;
/// Video bitrates that make sense, in bits per second.
const VIDEO_BITS_PER_SECOND: std::ops::RangeInclusive<u64> = 10_000..=400_000_000;
/// AAC bitrates that libavcodec's encoder can hold for one or two channels, in bits per second.
const AUDIO_BITS_PER_SECOND: std::ops::RangeInclusive<u64> = 16_000..=512_000;
/// Threads of one decoder or encoder; x264 allows more, but each costs a frame of delay.
const MAX_THREADS: u64 = 16;

/// A ladder, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preset {
    /// The embedded name, or the path that it was read from.
    pub name: String,
    /// Threads of the one decoder that all rungs share.
    pub decode_threads: u32,
    /// From the largest down; at least one, names unique, at most one with [`RungMode::Copy`] and that one first.
    pub rungs: Vec<Rung>,
    /// The audio rendition.
    pub audio: AudioPreset,
}

/// One rung of a ladder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Name in URLs and playlists.
    pub name: String,
    /// Copied, encoded, or decided by the source.
    pub mode: RungMode,
    /// Most bits per second (over a segment) that the rung may have while it is copied: what BANDWIDTH promises then.
    /// `Some` unless the mode is [`RungMode::Encode`].
    pub copy_limit: Option<u64>,
    /// How it is encoded. `None` only for [`RungMode::Copy`].
    pub encode: Option<EncodePreset>,
}

/// Whether a rung carries the source's own packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RungMode {
    /// Copied while the source fits, else encoded.
    Auto,
    /// Always encoded.
    Encode,
    /// Always copied, whatever the source is.
    Copy,
}

/// How a rung is encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodePreset {
    /// Width of the box that the picture is fitted into, in pixels; even.
    pub width: u32,
    /// Height of the box, in pixels; even.
    pub height: u32,
    /// Average bits per second.
    pub bitrate: u64,
    /// VBV rate in bits per second.
    pub maxrate: u64,
    /// VBV buffer in bits.
    pub buffer: u64,
    /// Most frames per second; `None` keeps the source's rate.
    pub fps: Option<u32>,
    /// What libx264 is told.
    pub x264: X264Preset,
}

/// libx264's options, under their names there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct X264Preset {
    /// `-preset`
    pub preset: String,
    /// `-tune`
    pub tune: Option<String>,
    /// `-profile`
    pub profile: String,
    /// `-level`; `None` lets x264 choose the lowest that holds.
    pub level: Option<String>,
    /// `-threads`; 0 lets x264 take one and a half per core.
    pub threads: u32,
    /// Whether the threads work on slices of one frame (`-thread_type slice`) instead of on several frames.
    pub sliced: bool,
    /// `-bf`; `None` leaves it to the preset.
    pub bframes: Option<u32>,
    /// `-rc-lookahead` in frames; `None` leaves it to the preset.
    pub lookahead: Option<u32>,
    /// `-refs`; `None` leaves it to the preset.
    pub refs: Option<u32>,
}

/// How audio is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioPreset {
    /// The source's own packets, or encoded anew.
    pub mode: AudioMode,
    /// Bits per second: the encoder's target, or what BANDWIDTH promises for copied audio.
    pub bitrate: u64,
    /// Samples per second of the encoder.
    pub sample_rate: u32,
    /// Channels of the encoder, 1 or 2.
    pub channels: u16,
}

/// Whether audio is the source's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioMode {
    /// Decoded and encoded as AAC-LC.
    Encode,
    /// Copied.
    Copy,
}

/// Why a preset is refused. Every message says file, key and reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PresetError {
    /// Neither an embedded name nor a path.
    #[error("no preset is called `{choice}` (did you mean `{nearest}`?); embedded are {}; or give the path of a .toml file", Preset::embedded_names().join(", "))]
    NoSuchPreset {
        /// What was asked for.
        choice: String,
        /// The embedded name that it is most like.
        nearest: String,
    },
    /// The file cannot be read.
    #[error("{file}: cannot be read: {reason}")]
    Unreadable {
        /// Path.
        file: String,
        /// The system's words.
        reason: String,
    },
    /// The file is not TOML.
    #[error("{file}: not valid TOML: {reason}")]
    Syntax {
        /// Path or embedded name.
        file: String,
        /// The parser's words, with line and column.
        reason: String,
    },
    /// A key that no preset has.
    #[error("{file}: {key}: unknown key (did you mean `{nearest}`?)")]
    UnknownKey {
        /// Path or embedded name.
        file: String,
        /// The key with its tables, e.g. `rung[1].x264.bframe`.
        key: String,
        /// The known key that it is most like.
        nearest: String,
    },
    /// A key that must be there is not.
    #[error("{file}: {key}: missing; {reason}")]
    Missing {
        /// Path or embedded name.
        file: String,
        /// The key with its tables.
        key: String,
        /// What it is for.
        reason: String,
    },
    /// A value that cannot be.
    #[error("{file}: {key}: {reason}")]
    Invalid {
        /// Path or embedded name.
        file: String,
        /// The key with its tables.
        key: String,
        /// What is wrong with it and what is allowed.
        reason: String,
    },
}

/// The presets inside the binary: name and text.
const EMBEDDED: [(&str, &str); 4] = [
    ("ladder-1080p-720p-480p", include_str!("../../../presets/ladder-1080p-720p-480p.toml")),
    ("encode-1080p-720p-480p", include_str!("../../../presets/encode-1080p-720p-480p.toml")),
    ("passthrough", include_str!("../../../presets/passthrough.toml")),
    ("low-cpu", include_str!("../../../presets/low-cpu.toml")),
];

const X264_PRESETS: &[&str] =
    &["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"];
const X264_TUNES: &[&str] =
    &["none", "film", "animation", "grain", "stillimage", "psnr", "ssim", "fastdecode", "zerolatency"];
/// Output is 4:2:0 with 8 bit, so the profiles beyond High have nothing to add.
const X264_PROFILES: &[&str] = &["baseline", "main", "high"];
const H264_LEVELS: &[&str] = &[
    "auto", "1", "1.1", "1.2", "1.3", "2", "2.1", "2.2", "3", "3.1", "3.2", "4", "4.1", "4.2", "5", "5.1", "5.2", "6",
    "6.1", "6.2",
];
const SAMPLE_RATES: &[u64] = &[32_000, 44_100, 48_000];

impl Preset {
    /// The preset of a stream that names none.
    pub const DEFAULT: &'static str = EMBEDDED[0].0;

    /// Names of the presets inside the binary.
    pub fn embedded_names() -> Vec<&'static str> {
        EMBEDDED.iter().map(|(name, _)| *name).collect()
    }

    /// Whether the source's pictures are decoded for one of its rungs, now or later.
    pub fn is_encoded(&self) -> bool {
        self.rungs.iter().any(|rung| rung.encode.is_some())
    }

    /// An embedded preset by its name, or a file by its path (anything with a `/` in it or `.toml` at its end).
    ///
    /// # Errors
    /// There is no such preset or file, or what is in it is refused; see [`PresetError`].
    pub fn load(choice: &str) -> Result<Preset, PresetError> {
        if let Some((name, text)) = EMBEDDED.iter().find(|(name, _)| *name == choice) {
            return Preset::parse(name, text);
        }
        if choice.contains('/') || choice.ends_with(".toml") {
            let text = std::fs::read_to_string(Path::new(choice))
                .map_err(|error| PresetError::Unreadable { file: choice.to_owned(), reason: error.to_string() })?;
            return Preset::parse(choice, &text);
        }
        let nearest = read::nearest(choice, &Preset::embedded_names());
        Err(PresetError::NoSuchPreset { choice: choice.to_owned(), nearest })
    }

    /// Reads a preset's text; `file` is what messages call it.
    ///
    /// # Errors
    /// The text is not TOML, or a key is unknown, missing or has a value that cannot be.
    pub fn parse(file: &str, text: &str) -> Result<Preset, PresetError> {
        let parsed: toml::Table = text.parse().map_err(|error: toml::de::Error| PresetError::Syntax {
            file: file.to_owned(),
            reason: error.to_string().trim_end().to_owned(),
        })?;
        let root = Table::root(file, parsed);
        root.only(&["decode_threads", "rung", "audio"])?;
        let decode_threads = root.integer("decode_threads", 0..=MAX_THREADS)?.map_or(1, small);
        let tables = root.tables("rung", MAX_RUNGS)?;
        let mut rungs = tables.iter().map(rung).collect::<Result<Vec<_>, _>>()?;
        check_together(&tables, &rungs)?;
        rungs.sort_by_key(|rung| std::cmp::Reverse(rung.pixels()));
        let audio = audio(&root.table("audio", "audio needs at least its mode")?)?;
        Ok(Preset { name: file.to_owned(), decode_threads, rungs, audio })
    }
}

impl Rung {
    /// Pixels of the rung's box; a copied rung stands above all boxes.
    fn pixels(&self) -> u64 {
        self.encode.as_ref().map_or(u64::MAX, |encode| u64::from(encode.width) * u64::from(encode.height))
    }
}

/// For integers whose range was checked to fit.
fn small(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn rung(table: &Table) -> Result<Rung, PresetError> {
    table.only(&["name", "mode", "copy_limit", "width", "height", "bitrate", "maxrate", "buffer", "fps", "x264"])?;
    let name = table.text("name")?.ok_or_else(|| table.missing("name", "it goes into URLs, e.g. \"720p\""))?;
    if !crate::media::naming::is_component(&name) {
        return Err(table.invalid("name", format!("`{name}` cannot stand in a URL; use 1 to 64 of a-z A-Z 0-9 _ -")));
    }
    if name == "audio" {
        return Err(table.invalid("name", "`audio` is the name of the audio rendition"));
    }
    let mode = match table.choice("mode", &["auto", "encode", "copy"])?.as_deref() {
        Some("auto") => RungMode::Auto,
        Some("copy") => RungMode::Copy,
        Some(_) => RungMode::Encode,
        None => return Err(table.missing("mode", "one of auto, encode, copy")),
    };
    if mode == RungMode::Encode {
        table.forbid(&["copy_limit"], "has no meaning with mode = \"encode\"")?;
    }
    if mode == RungMode::Copy {
        let encoder_keys = ["width", "height", "bitrate", "maxrate", "buffer", "fps", "x264"];
        table.forbid(&encoder_keys, "has no meaning with mode = \"copy\", which carries the source as it is")?;
    }
    let encode = if mode == RungMode::Copy { None } else { Some(encode(table)?) };
    let copy_limit = match (mode, table.bits("copy_limit", VIDEO_BITS_PER_SECOND)?) {
        (RungMode::Encode, _) => None,
        (_, Some(limit)) => Some(limit),
        (RungMode::Copy, None) => {
            return Err(table.missing("copy_limit", "BANDWIDTH must promise something, e.g. \"10000k\""));
        }
        (RungMode::Auto, None) => encode.as_ref().map(|encode| encode.maxrate),
    };
    Ok(Rung { name, mode, copy_limit, encode })
}

fn encode(table: &Table) -> Result<EncodePreset, PresetError> {
    let width = side(table, "width")?;
    let height = side(table, "height")?;
    let bitrate = required_bits(table, "bitrate", "average bits per second, e.g. \"3000k\"")?;
    let maxrate = required_bits(table, "maxrate", "peak bits per second, which BANDWIDTH promises")?;
    let buffer = required_bits(table, "buffer", "bits of the decoder's buffer, e.g. as much as one second")?;
    if maxrate < bitrate {
        return Err(table.invalid("maxrate", format!("{maxrate} is below bitrate ({bitrate})")));
    }
    let fps = table.integer("fps", 1..=240)?.map(small);
    let x264 = x264(&table.table("x264", "the encoder needs at least its preset")?)?;
    Ok(EncodePreset { width, height, bitrate, maxrate, buffer, fps, x264 })
}

fn side(table: &Table, key: &'static str) -> Result<u32, PresetError> {
    let pixels = table
        .integer(key, SIDE_PIXELS)?
        .ok_or_else(|| table.missing(key, "the box in pixels to fit the picture into"))?;
    if pixels % 2 == 1 {
        return Err(table.invalid(key, format!("{pixels} is odd; 4:2:0 pictures have even sides")));
    }
    Ok(small(pixels))
}

fn required_bits(table: &Table, key: &'static str, reason: &str) -> Result<u64, PresetError> {
    table.bits(key, VIDEO_BITS_PER_SECOND)?.ok_or_else(|| table.missing(key, reason))
}

fn x264(table: &Table) -> Result<X264Preset, PresetError> {
    table.only(&["preset", "tune", "profile", "level", "threads", "threading", "bframes", "lookahead", "refs"])?;
    let preset = table.choice("preset", X264_PRESETS)?.ok_or_else(|| table.missing("preset", "e.g. \"superfast\""))?;
    let tune = table.choice("tune", X264_TUNES)?.filter(|tune| tune != "none");
    let profile = table.choice("profile", X264_PROFILES)?.unwrap_or_else(|| "high".to_owned());
    let level = table.choice("level", H264_LEVELS)?.filter(|level| level != "auto");
    let threads = table.integer("threads", 0..=MAX_THREADS)?.map_or(1, small);
    let sliced = table.choice("threading", &["frame", "slice"])?.as_deref() == Some("slice");
    let bframes = table.integer("bframes", 0..=16)?.map(small);
    let lookahead = table.integer("lookahead", 0..=250)?.map(small);
    let refs = table.integer("refs", 1..=16)?.map(small);
    if profile == "baseline" && bframes.is_some_and(|count| count > 0) {
        return Err(table.invalid("bframes", "profile \"baseline\" has none; set 0 or another profile"));
    }
    Ok(X264Preset { preset, tune, profile, level, threads, sliced, bframes, lookahead, refs })
}

fn audio(table: &Table) -> Result<AudioPreset, PresetError> {
    table.only(&["mode", "bitrate", "sample_rate", "channels"])?;
    let mode = match table.choice("mode", &["encode", "copy"])?.as_deref() {
        Some("copy") => AudioMode::Copy,
        Some(_) => AudioMode::Encode,
        None => return Err(table.missing("mode", "one of encode, copy")),
    };
    if mode == AudioMode::Copy {
        table.forbid(&["sample_rate", "channels"], "has no meaning with mode = \"copy\"")?;
    }
    let bitrate = table.bits("bitrate", AUDIO_BITS_PER_SECOND)?.unwrap_or(128_000);
    let sample_rate = table.integer("sample_rate", 1..=u64::from(u32::MAX))?.unwrap_or(48_000);
    if !SAMPLE_RATES.contains(&sample_rate) {
        return Err(table.invalid("sample_rate", format!("{sample_rate} is not one of 32000, 44100, 48000")));
    }
    let channels = if table.integer("channels", 1..=2)? == Some(1) { 1 } else { 2 };
    Ok(AudioPreset { mode, bitrate, sample_rate: small(sample_rate), channels })
}

/// What no rung can see alone.
fn check_together(tables: &[Table], rungs: &[Rung]) -> Result<(), PresetError> {
    for (index, (table, rung)) in tables.iter().zip(rungs).enumerate() {
        if rungs[..index].iter().any(|earlier| earlier.name == rung.name) {
            return Err(table.invalid("name", format!("two rungs are called `{}`", rung.name)));
        }
        if rung.mode == RungMode::Copy && rungs[..index].iter().any(|earlier| earlier.mode == RungMode::Copy) {
            return Err(table.invalid("mode", "only one rung can be the copy of the source"));
        }
    }
    Ok(())
}
