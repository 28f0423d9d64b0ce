//! SRT from the caller's side.

pub mod caller;
pub mod packets;
