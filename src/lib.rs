//! Millstream: one daemon that turns a live push into something the world can watch and keep.
//!
//! An encoder pushes H.264 and AAC over RTMP with a stream key. Millstream puts the packets on one timeline, makes a
//! ladder of renditions that are all cut at the same times, packages them as CMAF, writes them to a journal and from
//! there to a store, and serves them as HLS. SQLite and a folder are all that it needs beside itself.
//!
//! # The packet's path
//!
//! ```text
//! encoder ─▶ listen ─▶ ingest ─┬─▶ hub ─▶ transcode: decode, scale, encode ─┬─▶ package ─▶ journal ─▶ window ─▶ web ─▶ viewers
//!            RTMP,     one     │                     (a thread per rung)    │   parts,      │ (store)
//!            admission timeline└─▶ copied rung and audio ───────────────────┘   segments    └─▶ uploads ─▶ objects
//!                      and cuts
//! ```
//!
//! Sockets, HTTP and uploads are tokio tasks. What works on media is a named thread per stage: intake (which runs
//! ingest), decode, one per encoded rung, audio, package, store. The two worlds meet in [`flow::channel`]; every queue
//! has a bound and says what happens when it is full; all threads and queues of a session are in [`live::wiring`].
//!
//! # The house
//!
//! | layer | module | holds |
//! |---|---|---|
//! | 0 words | [`media`] | time, packets, tracks, cuts, segments, names: all that two stages say to each other |
//! | | [`clock`] | what time it is, and a clock that tests turn by hand |
//! | | [`config`] | flags, environment and file to typed values; ladder presets |
//! | | [`telemetry`] | the log, and the one table of metrics |
//! | 1 movement | [`wire`] | RTMP, FLV, fMP4 and HLS: bytes in, events and bytes out, no IO |
//! | | [`flow`] | bounded queues, the hub, the stage thread |
//! | | [`tls`] | the certificate that listeners show, read again when its files change |
//! | 2 stages | [`listen`] | the door: RTMP sockets, limits, refusals in words |
//! | | [`ingest`] | FLV to one timeline per session, and the times at which every rendition is cut |
//! | | [`transcode`] | the ladder: decode once, scale and encode per rung; all `unsafe` is in its `libav` |
//! | | [`package`] | CMAF parts and segments, and the live window that is served from memory |
//! | | [`store`] | the journal, uploads, stored playlists, retention |
//! | 3 | [`live`] | one running session: its threads, its state, its grace time |
//! | 4 | [`control`] | streams, keys and the records of sessions, in SQLite |
//! | 5 edge | [`api`] | `/api/v1`, over TCP and on the control socket; health and metrics |
//! | | [`web`] | playback and the watch page |
//! | | [`cli`] | one file per command |
//! | 6 root | [`app`] | names every module: what starts, in which order, and how it stops |
//!
//! A module imports only from layers above it in this table (and from [`media`]), and a stage not from another stage.
//! What it needs of the rest it says in a small trait ([`listen::Admission`], [`web::PlaybackSource`]), which [`app`]
//! implements. `tests/layers.rs` has the exact table; it reads this folder and fails on anything else.
//!
//! # What is not here
//!
//! Recordings and archives (`record`), pushing on to other servers (`forward`), low-latency playlists
//! (parts are made, but not listed yet) and S3 come later. Never here: an `ffmpeg` process (libav runs inside), floats in
//! decisions about time, a media queue without a bound.
//!
//! # Where to begin
//!
//! [`media::packet`] and [`media::cut`] for the words; [`live::wiring`] for the whole of a session on one screen;
//! [`ingest`] for the promises that everything behind it relies on; then any one stage by its own page; [`app`] last.
//! `docs/architecture.md` tells the same at more length, `docs/decisions/` why it is so.

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
pub mod tls;
pub mod transcode;
pub mod web;
pub mod wire;
