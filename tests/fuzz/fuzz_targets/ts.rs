//! libFuzzer's entry to `targets/ts.rs`.
#![no_main]

#[path = "../targets/source.rs"]
mod source;
#[path = "../targets/ts.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
