//! HTTP API and operations.

pub mod operations;
