//! The SRT listener over real sockets, with callers good and bad.

mod doors;
mod encryption;
mod hostile;
mod publishing;
#[path = "../support/srt/mod.rs"]
mod srt;
