//! Which of a publisher's tracks is taken: one of each kind.
//!
//! Enhanced RTMP can carry several of a kind; what has no track id is track 0. Taken is the lowest id of those whose configuration
//! or frame came before the first frame of what is taken, among the codecs that are carried; behind that frame nothing changes any
//! more. All others are told once and left out.

use bytes::Bytes;

use super::enhanced::{CODED_FRAMES, CODED_FRAMES_X, FourCc, Header};
use super::{FlvError, audio, video};
use crate::media::Kind;

/// Frames of a codec that is not carried that may come in a row on the track that was taken: stray ones are left out, but a
/// publisher that has changed its codec must be told.
const MAX_UNSUPPORTED_IN_A_ROW: u32 = 100;
/// Most notices of one connection: what a peer makes up is not all told.
const MAX_NOTICES: usize = 32;

/// What is left out of a publish, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Notice {
    /// A further track of a kind.
    #[error("{} track {id} is left out: one of its kind is taken already", .kind.as_str())]
    Track {
        /// Of which kind.
        kind: Kind,
        /// Its track id.
        id: u8,
    },
    /// Messages of a codec that is not carried, beside others that are.
    #[error("messages of {} codec {} are left out: it is not supported", .kind.as_str(), .format.name(*.kind))]
    Codec {
        /// Of which kind.
        kind: Kind,
        /// What the messages say.
        format: Format,
    },
    /// A packet type that is not known or not needed.
    #[error("messages of {} packet type {packet_type}{} are left out", .kind.as_str(), packet_type_name(*.kind, *.packet_type))]
    PacketType {
        /// Of which kind.
        kind: Kind,
        /// VideoPacketType or AudioPacketType of enhanced RTMP.
        packet_type: u8,
    },
    /// A multitrack type that is not known.
    #[error("multitrack messages of {} of an unknown type are left out", .kind.as_str())]
    Multitrack {
        /// Of which kind.
        kind: Kind,
    },
}

/// How a message says its codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// A legacy number: SoundFormat or CodecID.
    Id(u8),
    /// Enhanced RTMP.
    FourCc([u8; 4]),
}

impl Format {
    /// The codec in words, with what the message says.
    pub fn name(self, kind: Kind) -> String {
        match (self, kind) {
            (Format::FourCc(four_cc), _) => four_cc_name(four_cc),
            (Format::Id(id), Kind::Video) => video::codec_name(id),
            (Format::Id(id), Kind::Audio) => audio::format_name(id).to_owned(),
        }
    }
}

fn packet_type_name(kind: Kind, packet_type: u8) -> &'static str {
    match (kind, packet_type) {
        (Kind::Video, 5) => " (MPEG-2 TS sequence start)",
        _ => "",
    }
}

/// A FourCC with the codec's name where it is known; bytes that do not print are shown as dots.
fn four_cc_name(four_cc: FourCc) -> String {
    let text: String =
        four_cc.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' }).collect();
    let name = match &four_cc {
        b"vvc1" => "VVC",
        b"vp08" => "VP8",
        _ => return format!("with FourCC {text}"),
    };
    format!("{name} (FourCC {text})")
}

/// Reads the tag bodies of one connection.
#[derive(Debug, Default)]
pub struct TagReader {
    video: Selection,
    audio: Selection,
    notices: Vec<Notice>,
    /// How many of `notices` were given out.
    told: usize,
}

/// Which track of a kind is taken.
#[derive(Debug, Default)]
struct Selection {
    taken: Option<u8>,
    /// A frame of it has come.
    running: bool,
    unsupported_in_a_row: u32,
}

impl Selection {
    /// Which of this id and the taken one is to be followed.
    fn better(&self, id: u8) -> u8 {
        match self.taken {
            Some(taken) if self.running => taken,
            Some(taken) => taken.min(id),
            None => id,
        }
    }
}

/// The part of a message that is taken.
#[derive(Clone, Debug)]
pub(super) struct Taken<C> {
    pub codec: C,
    pub payload: Bytes,
}

impl TagReader {
    /// What was left out for the first time since the last call.
    pub fn new_notices(&mut self) -> &[Notice] {
        let told = std::mem::replace(&mut self.told, self.notices.len());
        &self.notices[told..]
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        if self.notices.len() < MAX_NOTICES && !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
    }

    fn selection(&mut self, kind: Kind) -> &mut Selection {
        match kind {
            Kind::Video => &mut self.video,
            Kind::Audio => &mut self.audio,
        }
    }

    /// Whether a configuration or frame of track `id` is to be taken; if so, it is the taken track from now on.
    pub(super) fn takes(&mut self, kind: Kind, id: u8, is_frame: bool) -> bool {
        let selection = self.selection(kind);
        if selection.better(id) != id {
            self.notice(Notice::Track { kind, id });
            return false;
        }
        selection.taken = Some(id);
        if is_frame {
            (selection.running, selection.unsupported_in_a_row) = (true, 0);
        }
        true
    }

    /// A message of track `id` is of a codec that is not carried: left out, unless it shows that nothing else will come.
    pub(super) fn unsupported(&mut self, kind: Kind, id: u8, format: Format, is_frame: bool) -> Result<(), FlvError> {
        let selection = self.selection(kind);
        let hopeless = match selection.taken {
            _ if !is_frame => false,
            None => true,
            Some(taken) if taken == id => {
                selection.unsupported_in_a_row += 1;
                selection.unsupported_in_a_row >= MAX_UNSUPPORTED_IN_A_ROW
            }
            Some(_) => false,
        };
        if hopeless {
            return Err(FlvError::codec(kind, format.name(kind)));
        }
        self.notice(Notice::Codec { kind, format });
        Ok(())
    }

    /// The part of an enhanced message that is to be taken; `supported` knows the FourCCs of what is carried. Only
    /// configurations and frames decide what is taken: of others the part is that of the taken track.
    pub(super) fn choose<C>(
        &mut self,
        kind: Kind,
        body: &Bytes,
        header: &Header,
        supported: impl Fn(FourCc) -> Option<C>,
    ) -> Result<Option<Taken<C>>, FlvError> {
        let is_frame = matches!(header.packet_type, CODED_FRAMES | CODED_FRAMES_X);
        if header.is_unknown() {
            self.notice(Notice::Multitrack { kind });
        }
        let mut lowest: Option<u8> = None;
        for track in header.tracks(kind, body) {
            let track = track?;
            if supported(track.four_cc).is_some() {
                lowest = Some(lowest.map_or(track.id, |lowest| lowest.min(track.id)));
            }
        }
        let target = lowest.map(|lowest| self.selection(kind).better(lowest));
        let mut taken = None;
        for track in header.tracks(kind, body) {
            let track = track?;
            match supported(track.four_cc) {
                // The first of several with one id.
                Some(codec) if Some(track.id) == target && taken.is_none() && self.takes(kind, track.id, is_frame) => {
                    taken = Some(Taken { codec, payload: body.slice(track.payload) });
                }
                Some(_) if Some(track.id) == target => {}
                Some(_) => self.notice(Notice::Track { kind, id: track.id }),
                // Beside one that is carried it is no reason to refuse.
                None => {
                    let counts = is_frame && lowest.is_none();
                    self.unsupported(kind, track.id, Format::FourCc(track.four_cc), counts)?;
                }
            }
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AudioTag, VideoTag};
    use super::*;

    /// A part of a message with many codecs: id, FourCC, payload.
    type Part<'a> = (u8, &'a [u8; 4], &'a [u8]);

    /// A message of these tracks, with so few words as that takes.
    fn many(first: u8, multitrack: u8, packet_type: u8, parts: &[Part<'_>]) -> Bytes {
        let mut body = vec![first | multitrack, 0x20 | packet_type];
        for (id, four_cc, payload) in parts {
            body.extend_from_slice(&four_cc[..]);
            body.push(*id);
            body.extend(&(payload.len() as u32).to_be_bytes()[1..]);
            body.extend_from_slice(payload);
        }
        Bytes::from(body)
    }

    fn video(packet_type: u8, parts: &[Part<'_>]) -> Bytes {
        many(0x90, 6, packet_type, parts)
    }

    #[derive(Default)]
    struct Heard(TagReader);

    impl Heard {
        /// The payload that is taken of a video message, or `-`.
        fn video(&mut self, body: &Bytes) -> String {
            let bytes = match self.0.video(body).expect("nothing to refuse") {
                VideoTag::Config { config: bytes, .. } | VideoTag::Frame { data: bytes, .. } => bytes,
                _ => Bytes::from_static(b"-"),
            };
            String::from_utf8_lossy(&bytes).into_owned()
        }

        fn told(&mut self) -> Vec<String> {
            self.0.new_notices().iter().map(Notice::to_string).collect()
        }
    }

    #[test]
    fn track_0_is_taken_and_the_others_are_told_once() {
        let mut heard = Heard::default();
        let starts = [(1, b"av01", &b"one"[..]), (0, b"av01", b"zero"), (2, b"av01", b"two")];
        assert_eq!(heard.video(&video(0, &starts)), "zero");
        assert_eq!(
            heard.told(),
            [
                "video track 1 is left out: one of its kind is taken already",
                "video track 2 is left out: one of its kind is taken already"
            ]
        );
        for _ in 0..3 {
            assert_eq!(heard.video(&video(1, &starts)), "zero");
            assert_eq!(heard.video(&video(1, &[starts[0]])), "-");
            assert_eq!(heard.video(&Bytes::from_static(b"\x91av01frame")), "frame", "without an id it is track 0");
        }
        assert!(heard.told().is_empty());
    }

    #[test]
    fn the_lowest_that_came_before_the_first_frame_is_taken() {
        let mut heard = Heard::default();
        assert_eq!(heard.video(&video(0, &[(2, b"hvc1", b"two")])), "two");
        assert_eq!(heard.video(&video(0, &[(1, b"hvc1", b"one")])), "one");
        assert_eq!(heard.video(&video(3, &[(2, b"hvc1", b"-2")])), "-");
        assert_eq!(heard.video(&video(3, &[(1, b"hvc1", b"frame")])), "frame");
        assert_eq!(heard.video(&video(0, &[(0, b"hvc1", b"zero")])), "-", "it comes too late");
        assert_eq!(heard.video(&Bytes::from_static(b"\x17\x01\0\0\0avc")), "-");
        assert_eq!(heard.video(&video(3, &[(0, b"hvc1", b"zero"), (1, b"hvc1", b"frame")])), "frame");
        let text = "is left out: one of its kind is taken already";
        assert_eq!(heard.told(), [format!("video track 2 {text}"), format!("video track 0 {text}")]);
    }

    #[test]
    fn the_kinds_are_chosen_apart() {
        let mut heard = Heard::default();
        assert_eq!(heard.video(&video(3, &[(1, b"hvc1", b"frame")])), "frame");
        let sound = many(0x90, 5, 1, &[(0, b"Opus", b"sound"), (1, b"mp4a", b"other")]);
        let expected = AudioTag::frame(crate::media::AudioCodec::Opus, Bytes::from_static(b"sound"));
        assert_eq!(heard.0.audio(&sound), Ok(expected));
        assert_eq!(heard.told(), ["audio track 1 is left out: one of its kind is taken already"]);
    }

    #[test]
    fn a_codec_that_is_not_carried_is_left_out_beside_one_that_is() {
        let mut heard = Heard::default();
        assert_eq!(heard.video(&Bytes::from_static(b"\x90vvc1config")), "-", "something else may come");
        assert_eq!(heard.video(&video(1, &[(0, b"vvc1", b"no"), (1, b"av01", b"frame")])), "frame");
        assert_eq!(heard.video(&Bytes::from_static(b"\x91vvc1frame")), "-");
        assert_eq!(heard.video(&Bytes::from_static(b"\x95av01ts")), "-");
        assert_eq!(heard.video(&Bytes::from_static(b"\x96\x70what")), "-");
        assert_eq!(
            heard.told(),
            [
                "messages of video codec VVC (FourCC vvc1) are left out: it is not supported",
                "messages of video packet type 5 (MPEG-2 TS sequence start) are left out",
                "multitrack messages of video of an unknown type are left out",
            ]
        );
        for _ in 0..3 * MAX_UNSUPPORTED_IN_A_ROW {
            assert_eq!(heard.video(&Bytes::from_static(b"\x91vvc1frame")), "-", "of another track than is taken");
        }
    }

    #[test]
    fn a_codec_that_is_not_carried_is_refused_when_nothing_else_comes() {
        let mut reader = TagReader::default();
        assert_eq!(reader.video(&Bytes::from_static(b"\x90vvc1config")), Ok(VideoTag::Ignored));
        let frame = Bytes::from_static(b"\x91vvc1frame");
        let refused = Err(FlvError::VideoCodec("VVC (FourCC vvc1)".to_owned()));
        assert_eq!(reader.video(&frame), refused);

        let (mut reader, good) = (TagReader::default(), Bytes::from_static(b"\x91av01frame"));
        for count in [0, MAX_UNSUPPORTED_IN_A_ROW - 1] {
            assert!(matches!(reader.video(&good), Ok(VideoTag::Frame { .. })));
            (0..count).for_each(|_| assert_eq!(reader.video(&frame), Ok(VideoTag::Ignored)));
        }
        assert_eq!(reader.video(&frame), refused, "a hundred in a row");
        let mut reader = TagReader::default();
        assert!(matches!(reader.audio(&Bytes::from_static(b"\xaf\x01sound")), Ok(AudioTag::Frame { .. })));
        assert_eq!(reader.audio(&Bytes::from_static(b"\xb2speex")), Ok(AudioTag::Ignored));
        assert_eq!(reader.video(&frame), refused, "sound does not help pictures");
    }

    #[test]
    fn what_a_peer_makes_up_is_not_all_kept() {
        let mut reader = TagReader::default();
        assert!(reader.video(&Bytes::from_static(b"\x91av01frame")).is_ok());
        for id in 0..=255 {
            let _any_result = reader.video(&video(1, &[(id, b"hvc1", b"x"), (id, &[id; 4], b"y")]));
        }
        assert_eq!(reader.new_notices().len(), MAX_NOTICES);
        assert!(reader.new_notices().is_empty());
    }
}
