//! libFuzzer's entry to `targets/journal.rs`.
#![no_main]

#[path = "../targets/source.rs"]
mod source;
#[path = "../targets/journal.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
