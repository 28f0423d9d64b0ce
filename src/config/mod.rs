//! Configuration.

pub mod preset;
