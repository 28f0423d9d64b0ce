//! Bodies that are made once and shared by everybody who asks.

use std::io::Write;
use std::sync::{Arc, OnceLock};

use axum::http::HeaderValue;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// Bytes of the digest that make an ETag. Two texts of one URL that share 128 bits do not happen.
const TAG_BYTES: usize = 16;

/// A text with its compressed form and its tags. Compressed and tagged when first asked for, at most once, for all clones.
#[derive(Clone, Debug)]
pub struct Text(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    plain: Bytes,
    gzip: OnceLock<Bytes>,
    tags: OnceLock<Tags>,
}

#[derive(Debug)]
struct Tags {
    plain: HeaderValue,
    gzip: HeaderValue,
}

impl Text {
    /// Wraps `plain`; does no work yet.
    pub fn new(plain: Bytes) -> Self {
        Text(Arc::new(Inner { plain, gzip: OnceLock::new(), tags: OnceLock::new() }))
    }

    /// As it is.
    pub fn plain(&self) -> &Bytes {
        &self.0.plain
    }

    /// In gzip (RFC 1952). Whoever comes while another compresses waits for that one.
    pub fn gzip(&self) -> &Bytes {
        self.0.gzip.get_or_init(|| compress(&self.0.plain))
    }

    /// The strong ETag of the plain or the compressed bytes. It depends on nothing but the text, so it is right across restarts,
    /// sessions and nodes, and two sessions behind one URL never share one.
    pub fn etag(&self, gzip: bool) -> &HeaderValue {
        let tags = self.0.tags.get_or_init(|| Tags::of(&self.0.plain));
        if gzip { &tags.gzip } else { &tags.plain }
    }
}

impl Tags {
    fn of(text: &[u8]) -> Self {
        let digest = HEXLOWER.encode(&Sha256::digest(text)[..TAG_BYTES]);
        let value = |text: String| HeaderValue::try_from(text).expect("hex, hyphen and quotes are visible ASCII");
        Tags { plain: value(format!("\"{digest}\"")), gzip: value(format!("\"{digest}-gz\"")) }
    }
}

fn compress(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4 + 64), Compression::default());
    encoder.write_all(plain).expect("writing to a Vec cannot fail");
    encoder.finish().expect("writing to a Vec cannot fail").into()
}

/// A playlist as rendered at one change. Clone the one that is there until it changes; do not render per viewer.
#[derive(Clone, Debug)]
pub struct Playlist {
    text: Text,
    ended: bool,
}

impl Playlist {
    /// A rendered playlist. `ended`: it has ENDLIST and will not change any more, so caches may keep it longer.
    pub fn new(text: impl Into<Bytes>, ended: bool) -> Self {
        Playlist { text: Text::new(text.into()), ended }
    }

    /// The text and its other forms.
    pub fn text(&self) -> &Text {
        &self.text
    }

    /// Whether it has ENDLIST.
    pub fn ended(&self) -> bool {
        self.ended
    }
}

/// What media bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    /// `video/mp4`
    VideoMp4,
    /// `audio/mp4`
    AudioMp4,
}

impl ContentType {
    /// The header's text.
    pub fn as_str(self) -> &'static str {
        match self {
            ContentType::VideoMp4 => "video/mp4",
            ContentType::AudioMp4 => "audio/mp4",
        }
    }
}

/// An init segment, a segment or a part: a chain of the buffers that package made. A segment is the chain of its parts.
#[derive(Clone, Debug)]
pub struct Media {
    chunks: Arc<[Bytes]>,
    len: u64,
    content_type: ContentType,
}

impl Media {
    /// The media in `chunks`, one after the other. An `Arc` that the source keeps is shared as it is.
    pub fn new(chunks: impl Into<Arc<[Bytes]>>, content_type: ContentType) -> Self {
        let chunks = chunks.into();
        let len = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Media { chunks, len, content_type }
    }

    /// The buffers.
    pub fn chunks(&self) -> &Arc<[Bytes]> {
        &self.chunks
    }

    /// Bytes of all buffers.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the bytes are.
    pub fn content_type(&self) -> ContentType {
        self.content_type
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;

    #[test]
    fn the_compressed_form_is_made_once_for_all_clones_and_equals_the_plain_one() {
        let playlist = Playlist::new("#EXTM3U\n".repeat(200), false);
        let other = playlist.clone();
        assert_eq!(playlist.text().gzip().as_ptr(), other.text().gzip().as_ptr());
        let mut plain = Vec::new();
        GzDecoder::new(playlist.text().gzip().as_ref()).read_to_end(&mut plain).unwrap();
        assert_eq!(&plain, playlist.text().plain());
    }

    #[test]
    fn tags_tell_texts_and_encodings_apart_and_nothing_else() {
        let tag = |text: &'static str, gzip| Text::new(Bytes::from_static(text.as_bytes())).etag(gzip).clone();
        assert_eq!(tag("a", false), "\"ca978112ca1bbdcafac231b39a23dc4d\"");
        assert_eq!(tag("a", true), "\"ca978112ca1bbdcafac231b39a23dc4d-gz\"");
        assert_ne!(tag("a", false), tag("b", false));
    }

    #[test]
    fn media_knows_the_length_of_its_chain() {
        let media =
            Media::new(vec![Bytes::from_static(b"ab"), Bytes::new(), Bytes::from_static(b"c")], ContentType::AudioMp4);
        assert_eq!((media.len(), media.is_empty(), media.content_type().as_str()), (3, false, "audio/mp4"));
    }
}
