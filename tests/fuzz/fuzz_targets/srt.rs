//! libFuzzer's entry to `targets/srt.rs`.
#![no_main]

#[path = "../targets/source.rs"]
mod source;
#[path = "../targets/srt.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
