//! Movement: how values get from one thread or task to the next.
//!
//! | module | holds |
//! |---|---|
//! | [`channel`] | bounded queues in items and bytes; the one place where tokio tasks and threads meet |
//! | [`hub`] | one writer, many readers, and what happens when a reader is slow |
//! | [`stage`] | a named thread with a span whose panic is contained and reported |
//!
//! Nothing here knows what it moves. No queue is unbounded, and none drops without counting.

pub mod channel;
pub mod hub;
pub mod stage;
