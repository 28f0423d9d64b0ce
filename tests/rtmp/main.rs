//! RTMP, from captured bytes to publishers that we did not write.

mod captures;
mod hostile;
mod listener;
mod publishers;
mod support;
mod tls;
#[path = "../support/trap.rs"]
mod trap;
