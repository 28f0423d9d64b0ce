//! Every kind of record, there and back.

use super::*;
use bytes::Bytes;
use proptest::prelude::*;

fn head() -> Head {
    let rendition = |name: &str, kind, frame_rate| Rendition {
        name: name.to_owned(),
        kind,
        copied: kind == Kind::Video,
        bandwidth: 6_468_000,
        frame_rate,
    };
    let renditions = [rendition("1080p", Kind::Video, Some((30_000, 1_001))), rendition("audio", Kind::Audio, None)];
    let session = SessionHead {
        stream: "stream".to_owned(),
        session: "session".to_owned(),
        epoch: 7,
        renditions: renditions.into(),
        segment_target: Span::from_secs(2),
        part_target: Span::from_millis(334),
    };
    Head { session, boot: "b7e1".to_owned() }
}

fn init(track: Track) -> Record {
    let bytes = Bytes::from_static(b"ftypmoov");
    Record::Init(Init { rendition: RenditionId(1), number: 3, track: Arc::new(track), bytes })
}

fn start() -> SegmentStart {
    SegmentStart {
        rendition: RenditionId(1),
        msn: 1 << 40,
        epoch: 7,
        at: Timestamp::from_millis(-1),
        wall: WallTime::from_unix_millis(1_795_244_400_123),
        discontinuity: true,
        gap: false,
        init: 3,
    }
}

/// One of each kind, and of each form of its body.
fn all() -> Vec<Record> {
    let (video, audio) = (
        VideoTrack {
            codec: VideoCodec::H264,
            config: Bytes::from_static(b"avcC"),
            codecs: "avc1.64001f".to_owned(),
            width: 1_280,
            height: 720,
            sample_aspect: (4, 3),
            frame_rate: Some((25, 1)),
            plain: true,
        },
        AudioTrack {
            codec: AudioCodec::Aac,
            config: Bytes::from_static(&[0x11, 0x90]),
            codecs: "mp4a.40.2".to_owned(),
            sample_rate: 48_000,
            channels: 2,
            samples_per_frame: 1_024,
        },
    );
    let part = PartEntry { duration: Span::from_millis(334), independent: true, size: 12_345 };
    let mut segment = Segment::open(&start());
    segment.parts = vec![part.clone(), part];
    let known = |placement, duration| {
        let segment = Segment { duration, ..segment.clone() };
        Record::Known(Known { rendition: RenditionId(0), segment, at: Timestamp::from_millis(5), placement })
    };
    let (name, id) = (MediaName::Segment { epoch: 7, msn: 9 }, RenditionId(1));
    let anchor = (Timestamp::from_millis(10_000), WallTime::from_unix_nanos(-5));
    vec![
        Record::Head(head()),
        Record::Counters(Counters {
            rendition: id,
            first_msn: 5,
            next_msn: 9,
            next_init: 2,
            discontinuities_gone: 1,
            ended: true,
        }),
        init(Track::Video(video)),
        init(Track::Audio(audio)),
        Record::Open(start()),
        Record::Close(SegmentEnd { rendition: id, msn: 9, duration: Span::from_millis(2_002) }),
        Record::Checkpoint(ResumePoint { timeline_at: Timestamp::from_millis(12_000), next_msn: 10, anchor }),
        Record::End(id),
        Record::Finish(Finish::Suspended, WallTime::from_unix_millis(1)),
        Record::Finish(Finish::Ended, WallTime::from_unix_millis(2)),
        Record::Stored(id, name),
        Record::Deleted(id, MediaName::Init { number: 4 }),
        Record::Join(Joined { first: RenditionId(2), renditions: head().session.renditions, discontinuities: 3 }),
        Record::Jump(Jump { rendition: RenditionId(1), msn: 1 << 33, discontinuities: 16 }),
        known(Placement::Open, None),
        known(Placement::Spooled, Some(Span::from_secs(2))),
        known(Placement::Stored, Some(Span::from_secs(2))),
        known(Placement::Lost, Some(Span::from_secs(2))),
        known(Placement::Gap, Some(Span::from_secs(2))),
    ]
}

fn encoded(record: &Record) -> (RecordHeader, Vec<u8>) {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    let (header, body) = bytes.split_first_chunk::<RECORD_HEADER_BYTES>().expect("a header");
    (RecordHeader::decode(header).expect("a header"), body.to_vec())
}

#[test]
fn every_record_reads_back_as_it_was() {
    for record in all() {
        let (header, body) = encoded(&record);
        assert_eq!((header.len as usize, header.body_crc), (body.len(), crc32c::crc32c(&body)));
        let read = Record::decode(header.kind, &body).expect("decodes");
        assert_eq!(format!("{read:?}"), format!("{record:?}"));
    }
}

#[test]
fn a_body_cut_short_or_too_long_is_malformed() {
    for record in all() {
        let (header, mut body) = encoded(&record);
        for len in 0..body.len() {
            assert!(Record::decode(header.kind, &body[..len]).is_err(), "{record:?} cut to {len}");
        }
        body.push(0);
        assert!(Record::decode(header.kind, &body).is_err(), "{record:?} with a byte more");
    }
}

/// Found by the fuzz target `journal`: of a session without renditions no counter says which MSNs are used, and after a power cut
/// they went back.
#[test]
fn a_head_that_no_session_begins_with_is_malformed() {
    let good = || head().session;
    let renditions = |names: &[&str]| -> Renditions {
        names.iter().map(|name| Rendition { name: (*name).to_owned(), ..good().renditions[0].clone() }).collect()
    };
    for (what, session) in [
        ("no rendition", SessionHead { renditions: renditions(&[]), ..good() }),
        ("twins", SessionHead { renditions: renditions(&["a", "a"]), ..good() }),
        ("a rendition in another folder", SessionHead { renditions: renditions(&["../a", "b"]), ..good() }),
        ("a stream of two folders", SessionHead { stream: "a/b".to_owned(), ..good() }),
        ("no session", SessionHead { session: String::new(), ..good() }),
        ("segments of no length", SessionHead { segment_target: Span::ZERO, ..good() }),
        ("parts of no length", SessionHead { part_target: Span::ZERO, ..good() }),
        ("parts longer than segments", SessionHead { part_target: Span::from_secs(3), ..good() }),
    ] {
        let (header, body) = encoded(&Record::Head(Head { session, ..head() }));
        assert!(Record::decode(header.kind, &body).is_err(), "{what}");
    }
}

#[test]
fn media_that_goes_back_in_time_is_malformed() {
    let (rendition, back) = (RenditionId(1), Span::from_flicks(-1));
    let entry = |duration| PartEntry { duration, independent: true, size: 0 };
    let segment = |duration, parts| Segment { duration: Some(duration), parts, ..Segment::open(&start()) };
    let known = |segment| Known { rendition, segment, at: Timestamp::ZERO, placement: Placement::Stored };
    let records = |duration| {
        [
            Record::Close(SegmentEnd { rendition, msn: 9, duration }),
            Record::Part(PartHead { rendition, msn: 9, epoch: 7, index: 0, entry: entry(duration) }),
            Record::Known(known(segment(duration, Vec::new()))),
            Record::Known(known(segment(Span::ZERO, vec![entry(duration)]))),
        ]
    };
    let decodes = |record: &Record| {
        let (header, body) = encoded(record);
        Record::decode(header.kind, &body).is_ok()
    };
    assert_eq!(records(Span::ZERO).each_ref().map(decodes), [true; 4], "what rounds to nothing is no damage");
    assert_eq!(records(back).each_ref().map(decodes), [false; 4]);
}

#[test]
fn only_an_open_segment_has_no_duration() {
    use Placement::{Gap, Lost, Open, Spooled, Stored};
    for placement in [Open, Spooled, Stored, Lost, Gap] {
        let decodes = |duration| {
            let segment = Segment { duration, ..Segment::open(&start()) };
            let known = Known { rendition: RenditionId(0), segment, at: Timestamp::ZERO, placement };
            let (header, body) = encoded(&Record::Known(known));
            Record::decode(header.kind, &body).is_ok()
        };
        let open = placement == Open;
        assert_eq!((decodes(None), decodes(Some(Span::from_secs(2)))), (open, !open), "{placement:?}");
    }
}

#[test]
fn a_part_is_its_head_and_then_its_payload() {
    let part = Part {
        rendition: RenditionId(1),
        msn: 9,
        epoch: 7,
        index: 2,
        samples: 10,
        duration: Span::from_millis(334),
        last_pts: Timestamp::ZERO,
        independent: false,
        bytes: Bytes::from_static(b"moofmdat"),
    };
    let mut frame = vec![0xFF; 3]; // what was in the buffer before goes
    part_frame(&part, &mut frame);
    assert_eq!(frame.len(), RECORD_HEADER_BYTES + PART_HEAD_BYTES);
    let (header, body) = frame.split_first_chunk::<RECORD_HEADER_BYTES>().expect("a header");
    let header = RecordHeader::decode(header).expect("a header");
    assert_eq!(header.len as usize, PART_HEAD_BYTES + 8);
    assert_eq!(header.body_crc, crc32c::crc32c(&[body, b"moofmdat"].concat()));
    let Ok(Record::Part(mut head)) = Record::decode(header.kind, body) else { panic!("a part") };
    head.entry.size = 8; // the reader knows it from the header
    assert_eq!(head, PartHead::from(&part));
}

proptest! {
    #[test]
    fn any_body_is_read_or_refused(kind in any::<u8>(), body in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(record) = Record::decode(kind, &body) {
            // What is accepted says the same when it is written again.
            if !matches!(record, Record::Part(_)) {
                let (header, again) = encoded(&record);
                let read = Record::decode(header.kind, &again).expect("decodes");
                prop_assert_eq!(format!("{read:?}"), format!("{record:?}"));
            }
        }
    }
}
