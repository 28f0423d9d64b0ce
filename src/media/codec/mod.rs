//! Parsers of parameter sets: what a playlist, an init segment and the ladder's plan must know of a track.
//!
//! | module | holds |
//! |---|---|
//! | [`h264`] | NAL units, the avcC record, sequence parameter sets |
//! | [`hevc`] | the same of HEVC |
//! | [`av1`] | OBUs, the av1C record, sequence headers |
//! | [`vp9`] | headers of key frames, the vpcC record |
//! | [`aac`] | AudioSpecificConfig, and AAC in ADTS and LATM |
//! | [`opus`] | OpusHead, durations of packets |
//! | [`ac3`] | frame headers of AC-3 and E-AC-3 |
//! | [`mpeg_audio`] | frame headers of MP2 and MP3 |
//! | [`flac`] | STREAMINFO, lengths of frames |
//! | [`picture`] | what pictures are made of: words of all video codecs |
//! | [`nal`] | splitting access units into NAL units, Annex B and length-prefixed |
//! | [`bits`] | the bit reader under all |
//!
//! All of them read bytes of strangers: no value leads to a panic, to a loop longer than the input, or to memory beyond
//! the input's size. Nothing here decodes pictures or sound.

pub mod aac;
pub mod ac3;
pub mod av1;
pub mod bits;
pub mod flac;
pub mod h264;
pub mod hevc;
pub mod mpeg_audio;
pub mod nal;
pub mod opus;
pub mod picture;
pub mod vp9;
