//! libFuzzer's entry to `targets/av1.rs`.
#![no_main]

#[path = "../targets/source.rs"]
mod source;
#[path = "../targets/av1.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
