//! Playback over HTTP.
