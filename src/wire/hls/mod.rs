//! HLS playlists: text in, text out (RFC 8216 and draft-pantos-hls-rfc8216bis).
//!
//! | module | holds |
//! |---|---|
//! | [`describe`] | what playlists say of a session, from its renditions and tracks |
//! | [`media`] | writes media playlists, in integers and with five decimals |
//! | [`multivariant`] | writes multivariant playlists, by m3u8-rs |
//! | [`read`] | reads media playlists back, strictly |
//!
//! Which segments a playlist lists is decided by whoever fills in the description; nothing here counts time or removes.

pub mod describe;
pub mod media;
pub mod multivariant;
pub mod read;

pub use media::{MediaPlaylist, PlaylistType};
pub use multivariant::Multivariant;
