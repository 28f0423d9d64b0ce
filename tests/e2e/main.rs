//! End-to-end tests: the built binary, pushed to by the real `ffmpeg`, read by `ffprobe`, `ffmpeg`, Chromium and by readers
//! of our own. One binary, because each test crate links the whole daemon once more.
//!
//! | module | shows |
//! |---|---|
//! | [`instruments`] | that the readers and measures of these tests are right, on the source itself |
//! | [`ladder`] | an encoded ladder: every frame once in every rung, sound with the picture, playlists true |
//! | [`copied`] | a copied top rung above encoded ones, and a copied rung alone |
//! | [`source_video`] | odd pictures: formats, fields, pixels, sizes, rates, changes in mid-stream |
//! | [`source_time`] | sources whose clock, chunks or keyframes are odd |
//! | [`source_tracks`] | sources with odd sound, and with tracks that are missing, late or lost |
//! | [`full_ladder`] | the default 1080p/720p/480p ladder |
//! | [`admission`] | wrong and revoked keys |
//! | [`continuity`] | lost and returning publishers, jumps of clocks, changes of the source: the table of continuity |
//! | [`lifecycle`] | stop, start and continue; the end of a session |
//! | [`restarts`] | stops and kills at random moments, one session |
//! | [`overload`] | too little CPU: dropping evenly and recovering, fewer rungs, refusal |
//! | [`memory`] | what a session holds at most, with the worst sources |
//! | [`rtmps`] | RTMP over TLS |
//! | [`srt`] | SRT: every codec, encryption, refusals, continuity across protocols |
//! | [`codecs`] | enhanced RTMP: every codec, in every wrapping; what other tools say of what is carried as it came |
//! | [`stored`] | what lies in the store |
//! | [`playback`] | content types, caching, ranges, compression, errors |
//! | [`operations`] | health, readiness, metrics, `check` |
//! | [`traces`] | a trace per stored segment, and collectors that never answer |
//! | [`attacks`] | strangers at the door, beside a canary that loses nothing |
//! | [`browser`] | the watch page in Chromium |
//! | [`players`] | hls.js and Shaka Player in Chromium, through a reconnect, a takeover and a restart |
//!
//! [`broadcast`] pushes a source through a daemon and keeps everything that came out; [`checks`] asks questions of that.

#[path = "../support/mod.rs"]
mod support;

mod admission;
mod attacks;
mod broadcast;
mod browser;
mod checks;
mod codecs;
mod continuity;
mod copied;
mod full_ladder;
mod https;
mod instruments;
mod ladder;
mod lifecycle;
mod memory;
mod operations;
mod overload;
mod playback;
mod players;
mod restarts;
mod rtmps;
mod source_time;
mod source_tracks;
mod source_video;
mod srt;
mod stored;
mod takeover;
mod traces;
