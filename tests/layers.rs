//! The layer table of DESIGN.md section 2, read from `src/` and enforced. A failure names file, line and rule.
//!
//! Exempt: comments and documentation, and code behind `#[cfg(test)]`, which may bring in what it likes to test with.
//! Beside it: no file outgrows its room, what the README and the documents name is there, metrics have one table, and `deploy/` uses no others.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "layers/deploy.rs"]
mod deploy;
#[path = "layers/documents.rs"]
mod documents;
#[path = "layers/metrics.rs"]
mod metrics;
#[path = "layers/scan.rs"]
mod scan;

use scan::Named;

/// Longest file in `src`, tests included.
const MAX_LINES: usize = 600;

const WORDS: &[&str] = &["media", "clock", "config", "telemetry"];
const MOVEMENT: &[&str] = &["wire", "flow", "tls"];
const STAGES: &[&str] = &["listen", "ingest", "transcode", "package", "store", "record", "forward"];

/// What a rule keeps out, by the paths that give it away.
struct Forbidden {
    what: &'static str,
    paths: &'static [&'static str],
}

const LIBAV: Forbidden = Forbidden { what: "libav", paths: &["ffmpeg_next", "ffmpeg_sys_next"] };
const SOCKETS: Forbidden = Forbidden {
    what: "sockets",
    paths: &["tokio::net", "TcpListener", "TcpStream", "TcpSocket", "UdpSocket", "UnixListener", "UnixStream"],
};
const FILES: Forbidden = Forbidden { what: "files", paths: &["std::fs", "tokio::fs", "rustix::fs", "object_store"] };
const SYSTEM_CLOCK: Forbidden =
    Forbidden { what: "the system clock", paths: &["Instant::now", "SystemTime", "OffsetDateTime::now_utc"] };
const TOKIO: Forbidden = Forbidden { what: "tokio", paths: &["tokio", "tokio_util"] };
const AXUM: Forbidden = Forbidden { what: "axum", paths: &["axum"] };
const SQL: Forbidden = Forbidden { what: "SQL", paths: &["sqlx"] };
const UNSAFE: Forbidden = Forbidden { what: "unsafe code", paths: &["unsafe"] };

/// One module's row of the table.
struct Room {
    may_import: Vec<&'static str>,
    must_not_touch: Vec<Forbidden>,
}

/// The table. `None`: the module has no row, so nobody has agreed what it may do.
fn room(module: &str) -> Option<Room> {
    let below = |groups: &[&[&'static str]]| groups.concat();
    let (may_import, must_not_touch) = match module {
        // Layer 0. The table's "config -> media" holds for clock and telemetry as well: media holds the words of time. The log
        // of panics has an interval of its own, wherever they happen.
        "media" => (vec![], vec![LIBAV, SOCKETS, SYSTEM_CLOCK, FILES]),
        "clock" => (vec!["media"], vec![LIBAV, SOCKETS, FILES]),
        "config" => (vec!["media"], vec![LIBAV, SOCKETS, SYSTEM_CLOCK]),
        "telemetry" => (vec!["media", "clock"], vec![LIBAV, SOCKETS, SYSTEM_CLOCK, FILES]),
        // Layer 1.
        "wire" => (below(&[WORDS]), vec![TOKIO, SOCKETS, FILES, LIBAV, SYSTEM_CLOCK]),
        "flow" => (below(&[WORDS]), vec![SOCKETS, LIBAV, AXUM]),
        // What doors of stages and of the edge have in common.
        "tls" => (below(&[WORDS]), vec![LIBAV, AXUM, SQL]),
        // Layer 2.
        "record" => (below(&[WORDS, MOVEMENT, &["store"]]), vec![]),
        stage if STAGES.contains(&stage) => (below(&[WORDS, MOVEMENT]), vec![]),
        // Layers 3 to 5.
        "live" => (below(&[WORDS, MOVEMENT, STAGES]), vec![AXUM, SQL]),
        "control" => (below(&[WORDS, &["live"]]), vec![AXUM]),
        "web" => (below(&[WORDS, &["wire::hls", "tls", "control"]]), vec![SQL]),
        "api" | "cli" => (below(&[WORDS, &["wire::hls", "control"]]), vec![SQL]),
        _ => return None,
    };
    Some(Room { may_import, must_not_touch })
}

/// Layer 6: may name everything.
const ROOT: [&str; 3] = ["app", "main", "lib"];

#[derive(Debug, PartialEq, Eq)]
struct Violation {
    file: String,
    line: usize,
    rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.rule)
    }
}

/// The module path of a file below `src`: `listen/rtmp/mod.rs` is `listen`, `rtmp`.
fn module_path(file: &str) -> Vec<&str> {
    let stem = file.strip_suffix(".rs").unwrap_or(file);
    let mut path: Vec<_> = stem.split('/').collect();
    path.pop_if(|last| *last == "mod");
    path
}

/// The path that `name` means inside the crate, from the crate's root; `None` for other crates and local names.
fn inside_crate<'a>(file_module: &[&'a str], name: &'a Named) -> Option<Vec<&'a str>> {
    let segments: Vec<_> = name.segments.iter().map(String::as_str).collect();
    match segments.first().copied() {
        Some("crate" | "millstream") => Some(segments[1..].to_vec()),
        Some("super") => {
            let supers = segments.iter().take_while(|segment| **segment == "super").count();
            let parent = file_module.get(..file_module.len().checked_sub(supers)?)?;
            Some([parent, &segments[supers..]].concat())
        }
        _ => None,
    }
}

fn contains(segments: &[String], needle: &str) -> bool {
    let needle: Vec<_> = needle.split("::").collect();
    segments.windows(needle.len()).any(|window| window.iter().eq(needle.iter()))
}

/// Checks the text of one file; `file` is its path below `src`.
fn check(file: &str, text: &str) -> Vec<Violation> {
    let module_path = module_path(file);
    let module = module_path[0];
    let mut found = Vec::new();
    let mut violate = |line, rule| found.push(Violation { file: format!("src/{file}"), line, rule });
    let lines = text.lines().count();
    if lines > MAX_LINES {
        violate(lines, format!("{lines} lines: a file of one idea has at most {MAX_LINES}"));
    }
    let names = scan::scan(text).names;
    if !file.starts_with("transcode/libav/") {
        for name in names.iter().filter(|name| contains(&name.segments, "unsafe")) {
            violate(name.line, format!("{module} must not touch {}: it lives in transcode/libav", UNSAFE.what));
        }
    }
    if ROOT.contains(&module) {
        return found;
    }
    let Some(room) = room(module) else {
        violate(1, format!("{module} has no row in the layer table: give it one in DESIGN and in tests/layers.rs"));
        return found;
    };
    for name in &names {
        for forbidden in &room.must_not_touch {
            if forbidden.paths.iter().any(|path| contains(&name.segments, path)) {
                let path = name.segments.join("::");
                violate(name.line, format!("{module} must not touch {}, but names {path}", forbidden.what));
            }
        }
        let Some(target) = inside_crate(&module_path, name) else { continue };
        let known = target.first().is_some_and(|first| self::room(first).is_some() || ROOT.contains(first));
        let target = target.join("::");
        let reaches = |allowed: &&str| target == **allowed || target.starts_with(&format!("{allowed}::"));
        if known && !reaches(&module) && !room.may_import.iter().any(reaches) {
            let allowed = if room.may_import.is_empty() { "nothing".to_owned() } else { room.may_import.join(", ") };
            violate(name.line, format!("{module} may import {allowed}, but names crate::{target}"));
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Rust files below `src` that are not test code, by their path there.
fn sources() -> Vec<(String, String)> {
    let src = root().join("src");
    let mut found = Vec::new();
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("src is a folder") {
            let path = entry.expect("an entry of src").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&src).expect("it was found there").to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).expect("a source file is text")));
            }
        }
    }
    let tests = test_files(&found);
    found.retain(|(name, _)| {
        !tests.iter().any(|test| Path::new(name).starts_with(test.with_extension("")) || test == Path::new(name))
    });
    found.sort();
    found
}

/// Files of modules that are declared behind `#[cfg(test)]`.
fn test_files(sources: &[(String, String)]) -> BTreeSet<PathBuf> {
    let declared = sources.iter().flat_map(|(name, text)| {
        let folder: PathBuf = module_path(name).iter().collect();
        let folder = if name == "lib.rs" || name == "main.rs" { PathBuf::new() } else { folder };
        scan::scan(text).test_modules.into_iter().map(move |module| folder.join(format!("{module}.rs")))
    });
    declared.collect()
}

#[test]
fn the_layers_hold() {
    let sources = sources();
    assert!(sources.len() > 10, "src was read: {sources:?}");
    let violations: Vec<_> = sources.iter().flat_map(|(name, text)| check(name, text)).map(|v| v.to_string()).collect();
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

fn rules(file: &str, text: &str) -> Vec<String> {
    check(file, text).iter().map(Violation::to_string).collect()
}

#[test]
fn a_stage_that_imports_a_stage_is_found_however_it_is_written() {
    let rule = "ingest may import media, clock, config, telemetry, wire, flow, tls, but names crate::store::spool";
    for (text, line) in [
        ("use crate::store::spool;", 1),
        ("\nuse crate::{\n    media::Span,\n    store::spool,\n};", 4),
        ("fn f() {\n    crate::store::spool();\n}", 2),
        ("use super::super::store::spool;", 1),
    ] {
        assert_eq!(rules("ingest/normalise.rs", text), [format!("src/ingest/normalise.rs:{line}: {rule}")], "{text}");
    }
    assert_eq!(
        rules("ingest/normalise.rs", "use crate::media::Span;\nuse super::cuts;\nuse crate::ingest::cuts;"),
        [""; 0]
    );
    assert_eq!(rules("record/mod.rs", "use crate::store::spool;"), [""; 0]);
}

#[test]
fn what_a_layer_must_not_touch_is_found() {
    for (file, text, what) in [
        ("media/time.rs", "use std::fs;", "media must not touch files, but names std::fs"),
        (
            "media/time.rs",
            "let t = std::time::SystemTime::now();",
            "media must not touch the system clock, but names std::time::SystemTime::now",
        ),
        ("wire/rtmp/mod.rs", "use tokio::sync::mpsc;", "wire must not touch tokio, but names tokio::sync::mpsc"),
        ("wire/rtmp/mod.rs", "let t = Instant::now();", "wire must not touch the system clock, but names Instant::now"),
        ("flow/hub.rs", "use std::net::TcpStream;", "flow must not touch sockets, but names std::net::TcpStream"),
        ("live/session.rs", "use axum::Router;", "live must not touch axum, but names axum::Router"),
        ("api/streams.rs", "sqlx::query(x);", "api must not touch SQL, but names sqlx::query"),
        ("control/keys.rs", "use axum::Json;", "control must not touch axum, but names axum::Json"),
        ("store/files.rs", "unsafe { f() }", "store must not touch unsafe code: it lives in transcode/libav"),
    ] {
        assert_eq!(rules(file, text), [format!("src/{file}:1: {what}")]);
    }
    assert_eq!(rules("transcode/libav/frame.rs", "unsafe { f() }"), [""; 0]);
    assert_eq!(rules("config/source.rs", "use std::fs;"), [""; 0]);
}

#[test]
fn the_edge_sees_control_and_playlists_only() {
    assert_eq!(rules("web/origin.rs", "use crate::wire::hls::Media;\nuse crate::control::Streams;"), [""; 0]);
    for (text, name) in
        [("use crate::wire::rtmp::Chunk;", "wire::rtmp::Chunk"), ("use crate::live::Session;", "live::Session")]
    {
        let rule = "web may import media, clock, config, telemetry, wire::hls, tls, control, but names crate::";
        assert_eq!(rules("web/origin.rs", text), [format!("src/web/origin.rs:1: {rule}{name}")]);
    }
}

#[test]
fn a_module_without_a_row_and_a_long_file_are_found() {
    let unknown =
        "src/helpers.rs:1: helpers has no row in the layer table: give it one in DESIGN and in tests/layers.rs";
    assert_eq!(rules("helpers.rs", ""), [unknown]);
    let long = "src/app.rs:601: 601 lines: a file of one idea has at most 600";
    assert_eq!(rules("app.rs", &"\n".repeat(601)), [long]);
}

#[test]
fn test_code_is_exempt() {
    assert_eq!(rules("media/time.rs", "#[cfg(test)]\nmod tests { use std::fs; use crate::store; }"), [""; 0]);
    assert_eq!(rules("media/time.rs", "/// See `crate::store` and [`std::fs`].\nstruct A;"), [""; 0]);
    let sources = [("wire/rtmp/mod.rs".to_owned(), "#[cfg(test)]\nmod cases;".to_owned())];
    assert_eq!(test_files(&sources).into_iter().collect::<Vec<_>>(), [PathBuf::from("wire/rtmp/cases.rs")]);
}
