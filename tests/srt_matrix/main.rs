//! SRT from callers that we did not write, over networks that lose, delay, reorder and double.

mod losses;
#[path = "../support/machine.rs"]
#[allow(dead_code, reason = "no test here needs the machine alone")]
mod machine;
mod matrix;
#[path = "../support/process.rs"]
#[allow(dead_code, reason = "a part is used")]
mod process;
#[path = "../support/relay.rs"]
mod relay;
mod support;
