//! SRT from callers that we did not write, over networks that lose, delay, reorder and double.

#[path = "../support/relay.rs"]
mod relay;
