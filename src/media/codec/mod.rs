//! Parsers of parameter sets: what a playlist, an init segment and the ladder's plan must know of a track.
//!
//! | module | holds |
//! |---|---|
//! | [`h264`] | NAL units, the avcC record, sequence parameter sets |
//! | [`aac`] | AudioSpecificConfig |
//! | [`bits`] | the bit reader under both |
//!
//! All of them read bytes of strangers: no value leads to a panic, to a loop longer than the input, or to memory beyond
//! the input's size. Nothing here decodes pictures or sound.

pub mod aac;
pub mod bits;
pub mod h264;
