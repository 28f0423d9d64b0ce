//! Whole sessions in one process: real threads, a real store in a folder of its own, a clock that moves when it is told to.
//!
//! What a publisher sends is made by hand and passed through; where something must be encoded, the `ffmpeg` binary made it.
//! Nothing here sleeps: each wait is for an event, with a limit that only a failure reaches.

mod connections;
mod failures;
mod handlers;
mod late_tracks;
mod newcomers;
mod power;
mod restarts;
mod rig;
mod takeover;
mod tripwire;

#[path = "../ingest_support/mod.rs"]
mod ingest_support;
#[path = "../store_support/mod.rs"]
mod store_support;
