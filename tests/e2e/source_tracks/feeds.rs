//! The feeds of `source_tracks`: which tracks a source has, when, and how its sound is coded.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::flv::{Kind, Tag, tags};
use crate::support::process::output;
use crate::support::publisher::Feed;
use crate::support::source::Source;

/// A name, and what is pushed.
pub type Case = (String, Feed);

/// Seconds of [`plain`].
pub const SECONDS: u32 = 12;
/// Seconds of a tone.
pub const TONE_SECONDS: u32 = 6;
/// Seconds of the fixtures with HE-AAC.
pub const HE_SECONDS: u32 = 6;
/// When a late track begins, and when one vanishes.
pub const AWAY_FROM_MS: u64 = 4_000;
/// When pictures that vanished come back: at a keyframe.
pub const BACK_AT_MS: u64 = 8_000;
/// When sound that vanished comes back: between keyframes.
pub const SOUND_BACK_AT_MS: u64 = 7_500;
/// Rates and channels of the sound that changes.
pub const FORMS: [(u32, u32); 3] = [(44_100, 1), (48_000, 1), (48_000, 2)];
/// When it changes: just before a keyframe, and between two.
pub const CHANGES_MS: [u64; 2] = [3_990, 7_500];

/// Rates and layouts, the rarest together with the usual.
pub const TONES: [(u32, &str); 8] = [
    (8_000, "mono"),
    (11_025, "stereo"),
    (16_000, "5.1"),
    (22_050, "mono"),
    (32_000, "stereo"),
    (44_100, "5.1"),
    (48_000, "mono"),
    (96_000, "stereo"),
];

/// AudioSpecificConfigs in front of the same HE-AAC frames: what they are called, the fixture, the bytes.
pub const SIGNALLED: [(&str, &str, &[u8]); 6] = [
    // The core alone: AAC-LC at 24 kHz, stereo. A decoder finds SBR in the frames.
    ("v1 implicit", "v1", &[0x13, 0x10]),
    // The same, and behind it the sync extension 0x2b7: SBR at 48 kHz.
    ("v1 backward compatible", "v1", &[0x13, 0x10, 0x56, 0xe5, 0x98]),
    // Object type 5 in front of the core.
    ("v1 explicit", "v1", &[0x2b, 0x11, 0x88, 0x00]),
    ("v2 implicit", "v2", &[0x13, 0x08]),
    // Both extensions: SBR, and behind it 0x548 for parametric stereo.
    ("v2 backward compatible", "v2", &[0x13, 0x08, 0x56, 0xe5, 0x9d, 0x48, 0x80]),
    // Object type 29.
    ("v2 explicit", "v2", &[0xeb, 0x09, 0x88, 0x00]),
];

/// Small pictures with numbers, keyframes each 2 s, flashes and beeps each second.
pub fn plain() -> Source {
    Source::new(160, 90, 15, SECONDS, 100)
}

fn feed(edit: impl FnOnce(&mut Vec<Tag>)) -> Feed {
    Feed::of(&plain()).edit(|tags| {
        edit(tags);
        // What was moved is sent in its turn.
        tags.sort_by_key(|tag| tag.due_ms);
    })
}

/// Everything of `kind` begins at [`AWAY_FROM_MS`], its configuration too.
fn late(kind: Kind) -> Feed {
    feed(|tags| {
        tags.retain(|tag| tag.kind != kind || tag.is_config() || tag.due_ms >= AWAY_FROM_MS);
        let config = tags.iter_mut().find(|tag| tag.kind == kind && tag.is_config()).expect("a configuration");
        (config.due_ms, config.stamp_ms) = (AWAY_FROM_MS - 10, AWAY_FROM_MS as u32 - 10);
    }) // Who watches from the beginning is there before it.
    .hold_from(AWAY_FROM_MS - 10)
}

fn vanishing(kind: Kind) -> Feed {
    let back_at = if kind == Kind::Audio { SOUND_BACK_AT_MS } else { BACK_AT_MS };
    let away = AWAY_FROM_MS..back_at;
    feed(|tags| tags.retain(|tag| tag.kind != kind || !away.contains(&tag.due_ms)))
}

/// The sound of [`plain`], beginning in the first of [`FORMS`] and going over to the others.
fn changing_sound() -> Feed {
    feed(|tags| {
        tags.retain(|tag| tag.kind == Kind::Video);
        let begins = [0].into_iter().chain(CHANGES_MS);
        let ends = CHANGES_MS.into_iter().chain([u64::MAX]);
        for ((rate, channels), (begin, end)) in FORMS.into_iter().zip(begins.zip(ends)) {
            let sound = sound_as(rate, channels).into_iter();
            let heard = sound.filter(|tag| tag.is_config() || (begin..end).contains(&tag.due_ms));
            let at_begin = |tag: Tag| Tag { due_ms: begin, stamp_ms: begin as u32, ..tag };
            tags.extend(heard.map(|tag| if tag.is_config() { at_begin(tag) } else { tag }));
        }
    })
}

/// The sound of [`plain`] in another form, each frame at its old place beside the pictures.
fn sound_as(rate: u32, channels: u32) -> Vec<Tag> {
    let (folder, source) = (tempfile::tempdir().expect("a folder"), plain());
    let path = folder.path().join("sound.flv");
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-hide_banner", "-loglevel", "error", "-i"]).arg(&source.path);
    command.args(["-c:v", "copy", "-c:a", "aac", "-b:a", "128k", "-ar", &rate.to_string()]);
    output(command.args(["-ac", &channels.to_string(), "-f", "flv"]).arg(&path));
    let stamps = |tags: &[Tag]| tags.iter().filter(|tag| tag.is_picture()).map(|tag| tag.stamp_ms).collect::<Vec<_>>();
    let (made, sent) = (tags(&Source { path, ..source.clone() }), tags(&source));
    assert_eq!(stamps(&made), stamps(&sent), "the pictures stay where they are");
    made.into_iter().filter(|tag| tag.kind == Kind::Audio).collect()
}

/// What a ladder is made of.
pub fn encoded() -> Vec<Case> {
    let tones = TONES.iter().map(|(rate, layout)| (format!("{rate} Hz {layout}"), tone(*rate, layout)));
    let high_efficiency = SIGNALLED.iter().map(|(name, fixture, config)| ((*name).to_owned(), he_aac(fixture, config)));
    tones.chain(high_efficiency).chain(tracks()).collect()
}

/// What is copied, sound and pictures.
pub fn copied() -> Vec<Case> {
    let high_efficiency = SIGNALLED.iter().filter(|(name, ..)| name.ends_with("explicit"));
    let high_efficiency = high_efficiency.map(|(name, fixture, config)| ((*name).to_owned(), he_aac(fixture, config)));
    high_efficiency.chain(tracks()).collect()
}

/// Tracks that are missing, late or lost, or change: what is both encoded and copied.
fn tracks() -> impl Iterator<Item = Case> {
    let cases = [
        ("video only", feed(|tags| tags.retain(|tag| tag.kind == Kind::Video))),
        ("audio only", feed(|tags| tags.retain(|tag| tag.kind == Kind::Audio))),
        ("sound late", late(Kind::Audio)),
        ("pictures late", late(Kind::Video)),
        ("sound vanishes", vanishing(Kind::Audio)),
        ("pictures vanish", vanishing(Kind::Video)),
        ("sound changes", changing_sound()),
    ];
    cases.into_iter().map(|(name, feed)| (name.to_owned(), feed))
}

/// What a message begins with that is not carried, and how it is called in the refusal.
pub type Refused = (&'static [u8], &'static str);

/// Sound that is not carried.
pub const REFUSED_SOUND: [Refused; 8] = [
    (&[0xb6, 0x00], "audio codec Speex is not supported: set the encoder to AAC"),
    (&[0x72, 0x00], "audio codec G.711 A-law is not supported: set the encoder to AAC"),
    (&[0x82, 0x00], "audio codec G.711 mu-law is not supported: set the encoder to AAC"),
    (&[0x52, 0x00], "audio codec Nellymoser is not supported: set the encoder to AAC"),
    (&[0x3e, 0x00], "audio codec PCM is not supported: set the encoder to AAC"),
    (b"\x91dtsc", "audio codec with FourCC dtsc is not supported: set the encoder to AAC"),
    // AAC Main, and 13 for a sampling frequency.
    (
        &[0xaf, 0x00, 0x09, 0x90],
        "the audio configuration cannot be used: AAC audio object type 1 is not supported: set the encoder to AAC-LC",
    ),
    (
        &[0xaf, 0x00, 0x16, 0x90],
        "the audio configuration cannot be used: AAC sampling frequency 13 is not supported: set the encoder to 44100 or \
         48000 Hz",
    ),
];

/// Pictures that are not carried: by codec id, and by FourCC in an enhanced header, the last one for several tracks.
pub const REFUSED_PICTURES: [Refused; 7] = [
    (&[0x1d, 0, 0, 0, 0], "video codec AV1 (codec id 13) is not supported: set the encoder to H.264"),
    (&[0x14, 0], "video codec VP6 is not supported: set the encoder to H.264"),
    (&[0x15, 0], "video codec VP6 is not supported: set the encoder to H.264"),
    (&[0x12, 0], "video codec Sorenson H.263 is not supported: set the encoder to H.264"),
    (b"\x91vvc1", "video codec VVC (FourCC vvc1) is not supported: set the encoder to H.264"),
    (b"\x91vp08", "video codec VP8 (FourCC vp08) is not supported: set the encoder to H.264"),
    (b"\x96\x01vvc1\x00", "video codec VVC (FourCC vvc1) is not supported: set the encoder to H.264"),
];

/// [`plain`], of which everything of `kind` is one message that begins with `bytes`.
pub fn refused(kind: Kind, bytes: &[u8]) -> Feed {
    feed(|tags| {
        tags.retain(|tag| tag.kind != kind);
        tags.insert(0, Tag { kind, due_ms: 0, stamp_ms: 0, body: bytes.to_vec() });
    })
}

/// A tone of 500 Hz in all channels, beside a picture.
fn tone(rate: u32, layout: &str) -> Feed {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tone.flv");
    let channels = if layout == "5.1" { 6 } else { usize::from(layout == "stereo") + 1 };
    let sound = vec!["0.2*sin(2*PI*500*t)"; channels].join("|");
    let sound = format!("aevalsrc='{sound}':c={layout}:s={rate}:d={TONE_SECONDS}");
    let picture = format!("testsrc2=s=160x90:r=10:d={TONE_SECONDS}");
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-hide_banner", "-loglevel", "error", "-f", "lavfi", "-i", &picture]);
    command.args(["-f", "lavfi", "-i", &sound, "-c:v", "libx264", "-preset", "ultrafast", "-g", "20"]);
    // With less, the encoder itself breaks a tone in this many channels.
    let bitrate = if channels == 6 { "448k" } else { "256k" };
    command.args(["-c:a", "aac", "-b:a", bitrate, "-f", "flv"]).arg(&path);
    output(&mut command);
    Feed::from(tags(&Source { path, width: 160, height: 90, fps: 10, seconds: TONE_SECONDS }))
}

/// HE-AAC beside the pictures of [`plain`], described by `config`. Each frame lasts 1024 samples of its core at 24 kHz.
fn he_aac(fixture: &str, config: &[u8]) -> Feed {
    feed(|tags| {
        tags.retain(|tag| tag.kind == Kind::Video && tag.due_ms < u64::from(HE_SECONDS) * 1_000);
        let body = |kind: u8, payload: &[u8]| [&[0xaf, kind], payload].concat();
        tags.push(Tag { kind: Kind::Audio, due_ms: 0, stamp_ms: 0, body: body(0, config) });
        for (n, frame) in adts_frames(&fixture_path(fixture)).iter().enumerate() {
            let ms = n as u64 * 1_024 * 1_000 / 24_000;
            tags.push(Tag { kind: Kind::Audio, due_ms: ms, stamp_ms: ms as u32, body: body(1, frame) });
        }
    })
}

fn fixture_path(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/fdk-aac-2.0-he-{version}.aac"))
}

/// The raw frames of an ADTS file (ISO/IEC 14496-3 1.A.3.2) without checksums.
fn adts_frames(path: &Path) -> Vec<Vec<u8>> {
    const HEADER_BYTES: usize = 7;
    let file = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut rest, mut frames) = (&file[..], Vec::new());
    while let [0xff, 0xf1, _, high, middle, low, ..] = rest {
        let length = usize::from(high & 3) << 11 | usize::from(*middle) << 3 | usize::from(low >> 5);
        frames.push(rest[HEADER_BYTES..length].to_vec());
        rest = &rest[length..];
    }
    assert!(rest.is_empty() && !frames.is_empty(), "{} is not whole", path.display());
    frames
}
