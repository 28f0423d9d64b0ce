//! Parsers of parameter sets: what a playlist, an init segment and the ladder's plan must know of a track.
//!
//! | module | holds |
//! |---|---|
//! | [`h264`] | NAL units, the avcC record, sequence parameter sets |
//! | [`aac`] | AudioSpecificConfig, and AAC in ADTS and LATM |
//! | [`ac3`] | frame headers of AC-3 and E-AC-3 |
//! | [`mpeg_audio`] | frame headers of MP2 and MP3 |
//! | [`bits`] | the bit reader under both |
//!
//! All of them read bytes of strangers: no value leads to a panic, to a loop longer than the input, or to memory beyond
//! the input's size. Nothing here decodes pictures or sound.

pub mod aac;
pub mod ac3;
pub mod bits;
pub mod h264;
pub mod mpeg_audio;
