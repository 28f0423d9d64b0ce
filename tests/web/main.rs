//! What viewers meet: connections, playback and pages, over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod connections;
mod pages;
mod playback;
mod support;
#[path = "../support/trap.rs"]
mod trap;
