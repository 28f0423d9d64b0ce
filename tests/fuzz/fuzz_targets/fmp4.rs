//! libFuzzer's entry to `targets/fmp4.rs`.
#![no_main]

#[path = "../targets/source.rs"]
mod source;
#[path = "../targets/fmp4.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
