//! What viewers meet: connections, playback and pages, over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

#[path = "../support/certificates.rs"]
mod certificates;
mod connections;
mod cors;
mod http2;
mod pages;
mod playback;
mod support;
mod tls;
#[path = "../support/trap.rs"]
mod trap;
