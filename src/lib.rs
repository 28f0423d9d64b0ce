//! Millstream: a live push in, something the world can watch and keep out.

pub mod api;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod flow;
pub mod ingest;
pub mod listen;
pub mod live;
pub mod media;
pub mod package;
pub mod store;
pub mod telemetry;
pub mod transcode;
pub mod web;
pub mod wire;
