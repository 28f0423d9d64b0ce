//! Every message of a refused preset, and what the embedded ones say.

use super::*;

/// A preset that is accepted, to be spoiled line by line.
const GOOD: &str = r#"
decode_threads = 2
[[rung]]
name = "540p"
mode = "encode"
width = 960
height = 540
bitrate = "2M"
maxrate = 2400000
buffer = "2000k"
fps = 30
[rung.x264]
preset = "veryfast"
tune = "film"
profile = "main"
level = "3.1"
threads = 3
threading = "slice"
bframes = 1
lookahead = 10
refs = 2
[[rung]]
name = "source"
mode = "copy"
copy_limit = "8M"
[audio]
mode = "encode"
bitrate = "96k"
sample_rate = 44100
channels = 1
"#;

fn refused(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "`{from}` is in the text");
    Preset::parse("p.toml", &GOOD.replacen(from, to, 1)).expect_err("spoiled").to_string()
}

#[test]
fn every_key_arrives() {
    let x264 = X264Preset {
        preset: "veryfast".to_owned(),
        tune: Some("film".to_owned()),
        profile: "main".to_owned(),
        level: Some("3.1".to_owned()),
        threads: 3,
        sliced: true,
        bframes: Some(1),
        lookahead: Some(10),
        refs: Some(2),
    };
    let encode = EncodePreset {
        width: 960,
        height: 540,
        bitrate: 2_000_000,
        maxrate: 2_400_000,
        buffer: 2_000_000,
        fps: Some(30),
        x264,
    };
    let expected = Preset {
        name: "p.toml".to_owned(),
        decode_threads: 2,
        rungs: vec![
            Rung { name: "source".to_owned(), mode: RungMode::Copy, copy_limit: Some(8_000_000), encode: None },
            Rung { name: "540p".to_owned(), mode: RungMode::Encode, copy_limit: None, encode: Some(encode) },
        ],
        audio: AudioPreset { mode: AudioMode::Encode, bitrate: 96_000, sample_rate: 44_100, channels: 1 },
    };
    assert_eq!(Preset::parse("p.toml", GOOD), Ok(expected));
}

#[test]
fn what_is_left_out_has_a_default() {
    let text = r#"
[[rung]]
name = "a"
mode = "auto"
width = 64
height = 64
bitrate = "100k"
maxrate = "120k"
buffer = "100k"
x264 = { preset = "ultrafast", tune = "none", level = "auto" }
[audio]
mode = "encode"
"#;
    let preset = Preset::parse("p.toml", text).expect("accepted");
    let x264 = X264Preset {
        preset: "ultrafast".to_owned(),
        tune: None,
        profile: "high".to_owned(),
        level: None,
        threads: 1,
        sliced: false,
        bframes: None,
        lookahead: None,
        refs: None,
    };
    assert_eq!((preset.decode_threads, preset.rungs[0].copy_limit), (1, Some(120_000)));
    assert_eq!(preset.rungs[0].encode.as_ref().map(|encode| (encode.fps, &encode.x264)), Some((None, &x264)));
    let audio = AudioPreset { mode: AudioMode::Encode, bitrate: 128_000, sample_rate: 48_000, channels: 2 };
    assert_eq!(preset.audio, audio);
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    for (from, to, message) in [
        ("bframes = 1", "bframe = 1", "p.toml: rung[0].x264.bframe: unknown key (did you mean `bframes`?)"),
        ("maxrate = 2400000", "max_rate = 1", "p.toml: rung[0].max_rate: unknown key (did you mean `maxrate`?)"),
        ("channels = 1", "chanels = 1", "p.toml: audio.chanels: unknown key (did you mean `channels`?)"),
        (
            "decode_threads = 2",
            "decode_thread = 2",
            "p.toml: decode_thread: unknown key (did you mean `decode_threads`?)",
        ),
        ("preset = \"veryfast\"", "present = 1", "p.toml: rung[0].x264.present: unknown key (did you mean `preset`?)"),
    ] {
        assert_eq!(refused(from, to), message);
    }
}

#[test]
fn missing_keys_say_what_they_are_for() {
    for (from, message) in [
        ("name = \"540p\"", "p.toml: rung[0].name: missing; it goes into URLs, e.g. \"720p\""),
        ("mode = \"encode\"\nwidth", "p.toml: rung[0].mode: missing; one of auto, encode, copy"),
        ("width = 960", "p.toml: rung[0].width: missing; the box in pixels to fit the picture into"),
        ("height = 540", "p.toml: rung[0].height: missing; the box in pixels to fit the picture into"),
        ("bitrate = \"2M\"", "p.toml: rung[0].bitrate: missing; average bits per second, e.g. \"3000k\""),
        ("maxrate = 2400000", "p.toml: rung[0].maxrate: missing; peak bits per second, which BANDWIDTH promises"),
        (
            "buffer = \"2000k\"",
            "p.toml: rung[0].buffer: missing; bits of the decoder's buffer, e.g. as much as one second",
        ),
        ("preset = \"veryfast\"", "p.toml: rung[0].x264.preset: missing; e.g. \"superfast\""),
        (
            "copy_limit = \"8M\"",
            "p.toml: rung[1].copy_limit: missing; BANDWIDTH must promise something, e.g. \"10000k\"",
        ),
        ("mode = \"encode\"\nbitrate = \"96k\"", "p.toml: audio.mode: missing; one of encode, copy"),
    ] {
        let to = if from.ends_with("width") { "width" } else { "" };
        assert_eq!(refused(from, to), message);
    }
    let empty = |text: &str| Preset::parse("p.toml", text).expect_err("incomplete").to_string();
    assert_eq!(empty(""), "p.toml: rung: missing; write at least one [[rung]]");
    let copy = "[[rung]]\nname = \"a\"\nmode = \"copy\"\ncopy_limit = \"1M\"\n";
    assert_eq!(empty(copy), "p.toml: audio: missing; audio needs at least its mode");
    let no_x264 = &GOOD[..GOOD.find("[rung.x264]").expect("is there")];
    assert_eq!(empty(no_x264), "p.toml: rung[0].x264: missing; the encoder needs at least its preset");
}

#[test]
fn impossible_values_say_what_is_allowed() {
    for (from, to, message) in [
        (
            "name = \"540p\"",
            "name = \"a/b\"",
            "p.toml: rung[0].name: `a/b` cannot stand in a URL; use 1 to 64 of a-z A-Z 0-9 _ -",
        ),
        ("name = \"540p\"", "name = \"audio\"", "p.toml: rung[0].name: `audio` is the name of the audio rendition"),
        ("name = \"540p\"", "name = \"source\"", "p.toml: rung[1].name: two rungs are called `source`"),
        ("name = \"540p\"", "name = 540", "p.toml: rung[0].name: expected a string, found integer"),
        (
            "mode = \"encode\"\nwidth",
            "mode = \"encoded\"\nwidth",
            "p.toml: rung[0].mode: `encoded` is not one of auto, encode, copy",
        ),
        ("fps = 30", "copy_limit = \"1M\"", "p.toml: rung[0].copy_limit: has no meaning with mode = \"encode\""),
        (
            "copy_limit = \"8M\"",
            "copy_limit = \"8M\"\nfps = 1",
            "p.toml: rung[1].fps: has no meaning with mode = \"copy\", which carries the source as it is",
        ),
        ("width = 960", "width = 961", "p.toml: rung[0].width: 961 is odd; 4:2:0 pictures have even sides"),
        ("width = 960", "width = 16", "p.toml: rung[0].width: 16 is outside of 32 to 8192"),
        ("height = 540", "height = -2", "p.toml: rung[0].height: -2 is outside of 32 to 8192"),
        ("height = 540", "height = 5.5", "p.toml: rung[0].height: expected an integer, found float"),
        ("maxrate = 2400000", "maxrate = \"1M\"", "p.toml: rung[0].maxrate: 1000000 is below bitrate (2000000)"),
        (
            "bitrate = \"2M\"",
            "bitrate = \"2m\"",
            "p.toml: rung[0].bitrate: `2m` is not bits as an integer or as a string like \"3000k\" or \"3M\"",
        ),
        (
            "bitrate = \"2M\"",
            "bitrate = true",
            "p.toml: rung[0].bitrate: expected bits as an integer or as a string like \"3000k\" or \"3M\", found boolean",
        ),
        (
            "bitrate = \"2M\"",
            "bitrate = \"99999999999999999999k\"",
            "p.toml: rung[0].bitrate: 99999999999999999999k is outside of 10000 to 400000000",
        ),
        ("buffer = \"2000k\"", "buffer = 1", "p.toml: rung[0].buffer: 1 is outside of 10000 to 400000000"),
        ("fps = 30", "fps = 0", "p.toml: rung[0].fps: 0 is outside of 1 to 240"),
        ("threads = 3", "threads = 17", "p.toml: rung[0].x264.threads: 17 is outside of 0 to 16"),
        (
            "threading = \"slice\"",
            "threading = \"both\"",
            "p.toml: rung[0].x264.threading: `both` is not one of frame, slice",
        ),
        (
            "profile = \"main\"",
            "profile = \"high10\"",
            "p.toml: rung[0].x264.profile: `high10` is not one of baseline, main, high",
        ),
        (
            "profile = \"main\"",
            "profile = \"baseline\"",
            "p.toml: rung[0].x264.bframes: profile \"baseline\" has none; set 0 or another profile",
        ),
        ("bframes = 1", "bframes = 17", "p.toml: rung[0].x264.bframes: 17 is outside of 0 to 16"),
        (
            "sample_rate = 44100",
            "sample_rate = 22050",
            "p.toml: audio.sample_rate: 22050 is not one of 32000, 44100, 48000",
        ),
        ("channels = 1", "channels = 6", "p.toml: audio.channels: 6 is outside of 1 to 2"),
        (
            "mode = \"encode\"\nbitrate",
            "mode = \"copy\"\nbitrate",
            "p.toml: audio.sample_rate: has no meaning with mode = \"copy\"",
        ),
        ("[rung.x264]", "x264 = 1\n[audio.x264]", "p.toml: rung[0].x264: expected a table, found integer"),
    ] {
        let found = if to.contains("[audio.x264]") {
            let text =
                GOOD[..GOOD.find("[rung.x264]").expect("is there")].to_owned() + "x264 = 1\n[audio]\nmode = \"copy\"";
            Preset::parse("p.toml", &text).expect_err("spoiled").to_string()
        } else {
            refused(from, to)
        };
        assert_eq!(found, message);
    }
}

#[test]
fn rungs_are_counted_and_one_may_be_the_copy() {
    let copy = |name: usize| format!("[[rung]]\nname = \"c{name}\"\nmode = \"copy\"\ncopy_limit = \"1M\"\n");
    let parse = |text: String| Preset::parse("p.toml", &text).expect_err("refused").to_string();
    assert_eq!(parse(copy(0) + &copy(1)), "p.toml: rung[1].mode: only one rung can be the copy of the source");
    assert_eq!(parse((0..9).map(copy).collect()), "p.toml: rung: 9 of them; 1 to 8 are allowed");
    assert_eq!(parse("rung = []".to_owned()), "p.toml: rung: 0 of them; 1 to 8 are allowed");
    assert_eq!(parse("rung = [1]".to_owned()), "p.toml: rung: expected an array of tables, [[rung]], found integer");
    assert_eq!(parse("rung = 1".to_owned()), "p.toml: rung: expected an array of tables, [[rung]], found integer");
}

#[test]
fn broken_toml_is_refused_with_its_line() {
    let message = Preset::parse("p.toml", "a = \n").expect_err("broken").to_string();
    assert!(message.starts_with("p.toml: not valid TOML: TOML parse error at line 1, column 5"), "{message}");
}

#[test]
fn presets_are_found_by_name_or_path() {
    let message = Preset::load("pasthrough").expect_err("no such preset").to_string();
    assert_eq!(
        message,
        "no preset is called `pasthrough` (did you mean `passthrough`?); embedded are ladder-1080p-720p-480p, \
         encode-1080p-720p-480p, passthrough, low-cpu; or give the path of a .toml file"
    );
    let message = Preset::load("/nowhere/p.toml").expect_err("no such file").to_string();
    assert_eq!(message, "/nowhere/p.toml: cannot be read: No such file or directory (os error 2)");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mine.toml");
    std::fs::write(&path, GOOD).expect("written");
    let path = path.to_str().expect("UTF-8");
    assert_eq!(Preset::load(path).map(|preset| (preset.name, preset.rungs.len())), Ok((path.to_owned(), 2)));
}

#[test]
fn the_embedded_presets_are_whole_and_every_key_of_theirs_is_commented() {
    for (name, text) in EMBEDDED {
        let preset = Preset::load(name).expect("embedded presets are right");
        assert_eq!(preset.name, name);
        let mut commented = false;
        for line in text.lines() {
            // One comment may speak of two keys that stand together (width and height).
            assert!(!line.contains(" = ") || line.starts_with('#') || commented, "{name}: `{line}` has no comment");
            commented = line.starts_with('#') || (commented && line.contains(" = "));
        }
    }
    assert_eq!(Preset::DEFAULT, "ladder-1080p-720p-480p");
    assert_eq!(Preset::load(Preset::DEFAULT).map(|preset| preset.rungs[0].mode), Ok(RungMode::Auto));
}
