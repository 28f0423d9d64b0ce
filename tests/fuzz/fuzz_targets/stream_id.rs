//! libFuzzer's entry to `targets/stream_id.rs`.
#![no_main]

#[path = "../targets/source.rs"]
mod source;
#[path = "../targets/stream_id.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
