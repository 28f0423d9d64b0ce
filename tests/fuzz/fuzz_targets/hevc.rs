//! libFuzzer's entry to `targets/hevc.rs`.
#![no_main]

#[path = "../targets/source.rs"]
mod source;
#[path = "../targets/hevc.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
