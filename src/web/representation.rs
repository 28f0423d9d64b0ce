//! Bodies that are made once and shared by everybody who asks.

use std::io::Write;
use std::sync::{Arc, OnceLock};

use axum::http::HeaderValue;
use brotli::enc::BrotliEncoderParams;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// Bytes of the digest that make an ETag. Two texts of one URL that share 128 bits do not happen.
const TAG_BYTES: usize = 16;

/// What [`Text::brotli`] is made with (0 to 11): in the middle, because it is made while somebody waits; the highest take many times as long.
const BROTLI_QUALITY: i32 = 5;
/// Its window: 256 KiB. Playlists are smaller, and the encoder's memory goes by it.
const BROTLI_WINDOW_BITS: i32 = 18;

/// How a text goes over the wire (RFC 9110 section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
}

impl Coding {
    /// Its name in Content-Encoding; `None` for what needs none.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Coding::Identity => None,
            Coding::Gzip => Some("gzip"),
            Coding::Brotli => Some("br"),
        }
    }
}

/// A text with its compressed forms and its tags. Compressed and tagged when first asked for, at most once, for all clones.
#[derive(Clone, Debug)]
pub struct Text(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    plain: Bytes,
    gzip: OnceLock<Bytes>,
    brotli: OnceLock<Bytes>,
    tags: OnceLock<Tags>,
}

#[derive(Debug)]
struct Tags {
    plain: HeaderValue,
    gzip: HeaderValue,
    brotli: HeaderValue,
}

impl Text {
    /// Wraps `plain`; does no work yet.
    pub fn new(plain: Bytes) -> Self {
        Text(Arc::new(Inner { plain, gzip: OnceLock::new(), brotli: OnceLock::new(), tags: OnceLock::new() }))
    }

    /// As it is.
    pub fn plain(&self) -> &Bytes {
        &self.0.plain
    }

    /// In gzip (RFC 1952). Whoever comes while another compresses waits for that one.
    pub fn gzip(&self) -> &Bytes {
        self.0.gzip.get_or_init(|| compress(&self.0.plain))
    }

    /// In br (RFC 7932). The same holds.
    pub fn brotli(&self) -> &Bytes {
        self.0.brotli.get_or_init(|| compress_more(&self.0.plain))
    }

    /// In `coding`.
    pub fn coded(&self, coding: Coding) -> &Bytes {
        match coding {
            Coding::Identity => self.plain(),
            Coding::Gzip => self.gzip(),
            Coding::Brotli => self.brotli(),
        }
    }

    /// The strong ETag of the bytes in `coding`. It depends on nothing but the text, so it is right across restarts, sessions
    /// and nodes, and two sessions behind one URL never share one.
    pub fn etag(&self, coding: Coding) -> &HeaderValue {
        let tags = self.0.tags.get_or_init(|| Tags::of(&self.0.plain));
        match coding {
            Coding::Identity => &tags.plain,
            Coding::Gzip => &tags.gzip,
            Coding::Brotli => &tags.brotli,
        }
    }
}

impl Tags {
    fn of(text: &[u8]) -> Self {
        let digest = HEXLOWER.encode(&Sha256::digest(text)[..TAG_BYTES]);
        let value = |suffix: &str| {
            HeaderValue::try_from(format!("\"{digest}{suffix}\"")).expect("hex, hyphen and quotes are visible ASCII")
        };
        Tags { plain: value(""), gzip: value("-gz"), brotli: value("-br") }
    }
}

fn compress(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4 + 64), Compression::default());
    encoder.write_all(plain).expect("writing to a Vec cannot fail");
    encoder.finish().expect("writing to a Vec cannot fail").into()
}

fn compress_more(plain: &[u8]) -> Bytes {
    let params = BrotliEncoderParams {
        quality: BROTLI_QUALITY,
        lgwin: BROTLI_WINDOW_BITS,
        size_hint: plain.len(),
        ..BrotliEncoderParams::default()
    };
    let mut compressed = Vec::with_capacity(plain.len() / 4 + 64);
    brotli::BrotliCompress(&mut &*plain, &mut compressed, &params).expect("writing to a Vec cannot fail");
    compressed.into()
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
    fn each_compressed_form_is_made_once_for_all_clones_and_equals_the_plain_one() {
        let playlist = Playlist::new("#EXTM3U\n".repeat(200), false);
        let other = playlist.clone();
        for coding in [Coding::Gzip, Coding::Brotli] {
            assert_eq!(playlist.text().coded(coding).as_ptr(), other.text().coded(coding).as_ptr());
        }
        let (mut unzipped, mut unpacked) = (Vec::new(), Vec::new());
        GzDecoder::new(playlist.text().gzip().as_ref()).read_to_end(&mut unzipped).unwrap();
        brotli::BrotliDecompress(&mut playlist.text().brotli().as_ref(), &mut unpacked).unwrap();
        let plain = playlist.text().coded(Coding::Identity);
        assert_eq!((&unzipped, &unpacked), (&plain.to_vec(), &plain.to_vec()));
    }

    #[test]
    fn tags_tell_texts_and_codings_apart_and_nothing_else() {
        let tag = |text: &'static str, coding| Text::new(Bytes::from_static(text.as_bytes())).etag(coding).clone();
        assert_eq!(tag("a", Coding::Identity), "\"ca978112ca1bbdcafac231b39a23dc4d\"");
        assert_eq!(tag("a", Coding::Gzip), "\"ca978112ca1bbdcafac231b39a23dc4d-gz\"");
        assert_eq!(tag("a", Coding::Brotli), "\"ca978112ca1bbdcafac231b39a23dc4d-br\"");
        assert_ne!(tag("a", Coding::Identity), tag("b", Coding::Identity));
    }

    #[test]
    fn media_knows_the_length_of_its_chain() {
        let media =
            Media::new(vec![Bytes::from_static(b"ab"), Bytes::new(), Bytes::from_static(b"c")], ContentType::AudioMp4);
        assert_eq!((media.len(), media.is_empty(), media.content_type().as_str()), (3, false, "audio/mp4"));
    }
}
