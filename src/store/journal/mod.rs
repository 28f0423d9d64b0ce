//! The journal: every output of packaging, written before it is published.
//!
//! A session has one journal, a row of numbered files in `spool/<stream>/<session>/`. Each file begins with a snapshot of
//! all that the session's store knows, so that any older file may go once its media is stored.
//!
//! | module | holds |
//! |---|---|
//! | [`mod@format`] | file header, record framing and checksums, the bounds of a record |
//! | [`record`] | the kinds of record and their bodies |
//! | [`writer`] | appending, rotation, recovery from a failed write |
//! | [`replay`] | reading a file to its end, its torn tail or its damage |
//! | [`sync`] | one thread that makes the writes of all sessions durable together |
//!
//! What the records mean is not known here; [`super::catalog`] knows.

pub(crate) mod format;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod sync;
mod wire;
pub(crate) mod writer;

pub(crate) use format::VERSION;
pub(crate) use record::{Head, Record};
