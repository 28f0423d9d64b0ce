//! What reads bytes of strangers, compiled by path from `src/`.
//!
//! These modules need neither libav nor SQLite nor a socket, so the fuzz targets do not link them: they build in a
//! minute, and everything in the binary is instrumented.

#[path = "../../src/clock.rs"]
pub mod clock;
#[path = "../../src/config/mod.rs"]
pub mod config;
#[path = "../../src/flow/mod.rs"]
pub mod flow;
#[path = "../../src/ingest/mod.rs"]
pub mod ingest;
#[path = "../../src/media/mod.rs"]
pub mod media;
#[path = "../../src/store/mod.rs"]
pub mod store;
#[path = "../../src/telemetry/mod.rs"]
pub mod telemetry;
#[path = "../../src/wire/mod.rs"]
pub mod wire;
