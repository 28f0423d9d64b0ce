//! Streams, keys, sessions: what outlives a broadcast.
