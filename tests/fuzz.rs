//! The fuzz targets of `tests/fuzz/`, on the stable toolchain: the whole committed corpus, then a fixed number of mutations of
//! it, the same ones in every run. `./dev fuzz` goes on from there with libFuzzer.

use std::cell::Cell;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

#[path = "fuzz/targets/aac.rs"]
mod aac;
#[path = "fuzz/targets/amf0.rs"]
mod amf0;
#[path = "fuzz/targets/config.rs"]
mod config;
#[path = "fuzz/targets/flv.rs"]
mod flv;
#[path = "fuzz/targets/fmp4.rs"]
mod fmp4;
#[path = "fuzz/targets/h264.rs"]
mod h264;
#[path = "fuzz/targets/hls.rs"]
mod hls;
#[path = "fuzz/targets/ingest.rs"]
mod ingest;
#[path = "fuzz/targets/journal.rs"]
mod journal;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/targets/rtmp.rs"]
mod rtmp;
#[path = "fuzz/targets/source.rs"]
mod source;
#[path = "fuzz/targets/srt.rs"]
mod srt;
#[path = "fuzz/targets/stream_id.rs"]
mod stream_id;

/// With this set to a number, a test runs that one mutation and nothing else.
const SEED: &str = "FUZZ_SEED";
/// A corpus is read on every run and lies in every clone.
const MAX_CORPUS_BYTES: u64 = 200 * 1_024;

#[test]
fn aac() {
    fuzz("aac", aac::run, 50_000);
}

#[test]
fn amf0() {
    fuzz("amf0", amf0::run, 20_000);
}

#[test]
fn config() {
    fuzz("config", config::run, 1_000);
}

#[test]
fn flv() {
    fuzz("flv", flv::run, 20_000);
}

#[test]
fn fmp4() {
    fuzz("fmp4", fmp4::run, 20_000);
}

#[test]
fn h264() {
    fuzz("h264", h264::run, 20_000);
}

#[test]
fn hls() {
    fuzz("hls", hls::run, 5_000);
}

#[test]
fn ingest() {
    fuzz("ingest", ingest::run, 200);
}

#[test]
fn journal() {
    fuzz("journal", journal::run, 400);
}

#[test]
fn rtmp() {
    fuzz("rtmp", rtmp::run, 3_000);
}

#[test]
fn srt() {
    fuzz("srt", srt::run, 2_000);
}

#[test]
fn stream_id() {
    fuzz("stream_id", stream_id::run, 20_000);
}

/// The fuzz crate compiles our sources against its own list of crates.
#[test]
fn the_fuzz_crate_takes_the_versions_and_features_of_the_daemon() {
    let dependencies = |path: &str| -> toml::Table {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let manifest: toml::Table = text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        manifest["dependencies"].as_table().expect("a table").clone()
    };
    let (ours, theirs) = (dependencies("Cargo.toml"), dependencies("tests/fuzz/Cargo.toml"));
    for (name, wanted) in theirs.iter().filter(|(name, _)| *name != "libfuzzer-sys") {
        let found = ours.get(name).unwrap_or_else(|| panic!("{name} is no dependency of the daemon"));
        assert_eq!(wanted, found, "{name}");
    }
}

/// Runs a target on its corpus, and on `mutations` of it.
fn fuzz(name: &str, target: fn(&[u8]), mutations: u64) {
    note_panics_of_other_threads();
    let corpus = corpus(name);
    let files: Vec<&[u8]> = corpus.iter().map(|(_, bytes)| &bytes[..]).collect();
    if let Ok(seed) = std::env::var(SEED) {
        let seed = seed.parse().unwrap_or_else(|_| panic!("{SEED} is not a number: {seed}"));
        return target(&mutate::mutate(&files, seed));
    }
    for (path, bytes) in &corpus {
        if !survives(target, bytes) {
            panic!("{name} fails on {0}: cargo +nightly fuzz run --fuzz-dir tests/fuzz {name} {0}", path.display());
        }
    }
    for seed in 0..mutations {
        let input = mutate::mutate(&files, seed);
        if !survives(target, &input) {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}-{seed}"));
            fs::write(&path, &input).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let again = format!("{SEED}={seed} cargo test --test fuzz -- --exact {name}");
            panic!("{name} fails with seed {seed}; again: {again}; the input is in {}", path.display());
        }
    }
}

/// The committed inputs in a fixed order. Every clone has them, and they are small.
fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, bytes)
    };
    let corpus: Vec<_> = paths.into_iter().map(read).collect();
    let total: u64 = corpus.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    assert!(!corpus.is_empty(), "no corpus in {}", folder.display());
    assert!(total <= MAX_CORPUS_BYTES, "{} holds {total} bytes: minimise it", folder.display());
    corpus
}

thread_local! {
    static IN_TARGET: Cell<bool> = const { Cell::new(false) };
}
static OTHER_THREAD_PANICKED: AtomicBool = AtomicBool::new(false);

/// Whether the target comes back, with no panic in a thread that it started either.
fn survives(target: fn(&[u8]), input: &[u8]) -> bool {
    IN_TARGET.set(true);
    let came_back = panic::catch_unwind(|| target(input)).is_ok();
    IN_TARGET.set(false);
    came_back && !OTHER_THREAD_PANICKED.swap(false, Ordering::SeqCst)
}

/// Only `journal` starts threads. The runtime would turn their panics into errors, which nobody would see.
fn note_panics_of_other_threads() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !IN_TARGET.get() {
                OTHER_THREAD_PANICKED.store(true, Ordering::SeqCst);
            }
            before(panic);
        }));
    });
}
