//! The catalog without a disk: what playlists list, and that a snapshot says all that is known.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::settle::UNSYNCED_SEGMENTS;
use super::shared::SharedCatalog;
use super::*;
use crate::media::segment::{PartEntry, Rendition};
use crate::media::{AudioCodec, AudioTrack, Kind, Track};
use crate::store::journal::format::{RECORD_HEADER_BYTES, RecordHeader};
use crate::store::journal::writer::Snapshot;
use crate::store::spool::{Holds, Tenant};

const ID: RenditionId = RenditionId(0);
const NOON: WallTime = WallTime::from_unix_millis(1_795_262_400_000);
const WINDOW: Span = Span::from_secs(8);

fn catalog() -> Catalog {
    let rendition = |name: &str| Rendition {
        name: name.to_owned(),
        kind: Kind::Audio,
        copied: false,
        bandwidth: 128_000,
        frame_rate: None,
    };
    let mut catalog = Catalog::new(SessionHead {
        stream: "t".to_owned(),
        session: "s".to_owned(),
        epoch: 1,
        renditions: [rendition("a"), rendition("b")].into(),
        segment_target: Span::from_secs(2),
        part_target: Span::from_secs(1),
    });
    catalog.init(init(ID, 0)).expect("in order");
    catalog.stored(ID, MediaName::Init { number: 0 });
    catalog
}

/// The head of a later file, as its writer saw it.
fn later_head(change: impl FnOnce(&mut SessionHead)) -> Record {
    let mut session = catalog().head;
    session.epoch = 2;
    change(&mut session);
    Record::Head(crate::store::journal::record::Head { session, boot: String::new() })
}

#[test]
fn a_head_that_is_not_of_this_session_and_its_renditions_is_refused() {
    let renamed = |head: &mut SessionHead| {
        let mut renditions = head.renditions.to_vec();
        renditions.swap(0, 1);
        head.renditions = renditions.into();
    };
    for refused in [
        later_head(|head| head.renditions = head.renditions[..1].into()),
        later_head(|head| head.renditions = [].into()),
        later_head(renamed),
        later_head(|head| head.renditions = vec![head.renditions[0].clone(); 256].into()),
        later_head(|head| head.session = "another".to_owned()),
        later_head(|head| head.stream = "another".to_owned()),
    ] {
        let mut catalog = catalog();
        let before = format!("{catalog:?}");
        assert_eq!(catalog.replay(refused, None).map_err(|disorder| disorder.what), Err("head"));
        assert_eq!(format!("{catalog:?}"), before, "as if it were not there");
    }
    let mut known = catalog();
    let joined = |head: &mut SessionHead| {
        let late = Rendition { name: "late".to_owned(), ..head.renditions[0].clone() };
        head.renditions = head.renditions.iter().cloned().chain([late]).collect();
    };
    known.replay(later_head(joined), None).expect("the file where the third joined may be gone");
    assert_eq!((known.head.epoch, known.head.renditions.len(), known.renditions.len()), (2, 3, 3));
}

fn init(rendition: RenditionId, number: u32) -> Init {
    let track = Arc::new(Track::Audio(AudioTrack {
        codec: AudioCodec::Aac,
        config: Bytes::new(),
        codecs: "mp4a.40.2".to_owned(),
        sample_rate: 48_000,
        channels: 2,
        samples_per_frame: 1_024,
    }));
    Init { rendition, number, track, bytes: Bytes::from_static(b"init") }
}

fn start(rendition: RenditionId, msn: u64) -> SegmentStart {
    SegmentStart {
        rendition,
        msn,
        epoch: 1,
        at: Timestamp::from_millis(2_000 * msn as i64),
        wall: WallTime::from_unix_millis(2_000 * msn as i64),
        discontinuity: false,
        gap: false,
        init: 0,
    }
}

fn part(rendition: RenditionId, msn: u64, index: u32) -> PartHead {
    let entry = PartEntry { duration: Span::from_secs(1), independent: true, size: 100 };
    PartHead { rendition, msn, epoch: 1, index, entry }
}

fn extent(file: u64) -> Option<Extent> {
    Some(Extent { file, offset: 16, len: 100 })
}

/// A closed segment of two parts whose bytes lie in `file`, or nowhere.
fn add(catalog: &mut Catalog, msn: u64, file: Option<u64>) -> Placement {
    catalog.open(&start(ID, msn)).expect("in order");
    for index in 0..2 {
        catalog.part(&part(ID, msn, index), file.and_then(extent)).expect("in order");
    }
    catalog.close(&SegmentEnd { rendition: ID, msn, duration: Span::from_secs(2) }).expect("in order")
}

fn store(catalog: &mut Catalog, msn: u64) -> bool {
    catalog.stored(ID, MediaName::Segment { epoch: 1, msn })
}

/// MSN and gap of what is listed.
fn listed(listing: &listing::Listing) -> Vec<(u64, bool)> {
    listing.segments.iter().map(|segment| (segment.msn, segment.gap)).collect()
}

#[test]
fn a_listing_ends_before_the_first_that_is_not_stored() {
    let mut catalog = catalog();
    for msn in 0..4 {
        assert_eq!(add(&mut catalog, msn, Some(1)), Placement::Spooled);
    }
    assert_eq!(catalog.renditions[0].storable(WINDOW), None);
    for msn in [1, 2] {
        store(&mut catalog, msn);
    }
    assert_eq!(catalog.renditions[0].storable(WINDOW), None, "0 is not there");
    store(&mut catalog, 0);
    let listing = catalog.renditions[0].storable(WINDOW).expect("listed");
    assert_eq!((listed(&listing), listing.media_sequence), (vec![(0, false), (1, false), (2, false)], 0));
    assert!(!listing.ended);
    catalog.end(ID).expect("in order");
    assert!(!catalog.renditions[0].storable(WINDOW).expect("listed").ended, "3 is missing");
    store(&mut catalog, 3);
    assert!(catalog.renditions[0].storable(WINDOW).expect("listed").ended);
}

#[test]
fn a_segment_whose_init_is_not_stored_is_not_listed() {
    let mut catalog = catalog();
    catalog.init(init(ID, 1)).expect("in order");
    add(&mut catalog, 0, Some(1));
    catalog.open(&SegmentStart { init: 1, discontinuity: true, ..start(ID, 1) }).expect("in order");
    catalog.part(&part(ID, 1, 0), extent(1)).expect("in order");
    catalog.close(&SegmentEnd { rendition: ID, msn: 1, duration: Span::from_secs(1) }).expect("in order");
    (0..2).for_each(|msn| assert!(!store(&mut catalog, msn)));
    assert_eq!(listed(&catalog.renditions[0].storable(WINDOW).expect("listed")), [(0, false)]);
    catalog.stored(ID, MediaName::Init { number: 1 });
    assert_eq!(listed(&catalog.renditions[0].storable(WINDOW).expect("listed")), [(0, false), (1, false)]);
}

#[test]
fn the_window_slides_and_counts_what_left_it() {
    let mut catalog = catalog();
    for msn in 0..3 {
        add(&mut catalog, msn, Some(1));
    }
    catalog.open(&SegmentStart { discontinuity: true, ..start(ID, 3) }).expect("in order");
    catalog.part(&part(ID, 3, 0), extent(1)).expect("in order");
    catalog.close(&SegmentEnd { rendition: ID, msn: 3, duration: Span::from_secs(1) }).expect("in order");
    for msn in 4..9 {
        add(&mut catalog, msn, Some(1));
    }
    // Segment 3 is first: its discontinuity is still in the playlist. 1 + 5 * 2 s.
    let live = catalog.renditions[0].live(Span::from_secs(11));
    assert_eq!((live.media_sequence, live.discontinuity_sequence), (3, 0));
    let live = catalog.renditions[0].live(Span::from_secs(10));
    assert_eq!((live.media_sequence, live.discontinuity_sequence), (4, 1));
    // The count stays when the segment itself is forgotten.
    for msn in 0..4 {
        catalog.deleted(ID, MediaName::Segment { epoch: 1, msn });
    }
    assert_eq!(catalog.renditions[0].live(Span::from_secs(10)), live);
}

#[test]
fn a_hole_in_the_numbers_ends_the_window() {
    let mut catalog = catalog();
    add(&mut catalog, 0, Some(1));
    add(&mut catalog, 17, Some(1));
    (0..=17).for_each(|msn| {
        store(&mut catalog, msn);
    });
    let listing = catalog.renditions[0].storable(WINDOW).expect("listed");
    assert_eq!((listing.media_sequence, listed(&listing)), (17, vec![(17, false)]));
}

#[test]
fn what_was_lost_is_a_gap_and_may_still_get_through() {
    let mut catalog = catalog();
    add(&mut catalog, 0, Some(1));
    assert_eq!(add(&mut catalog, 1, None), Placement::Lost);
    add(&mut catalog, 2, Some(1));
    assert!(catalog.lose(ID, 2) && !catalog.lose(ID, 2) && !catalog.lose(ID, 9));
    store(&mut catalog, 0);
    let listing = catalog.renditions[0].storable(WINDOW).expect("listed");
    assert_eq!(listed(&listing), [(0, false), (1, true), (2, true)]);
    assert!(store(&mut catalog, 2), "its upload was under way");
    let listing = catalog.renditions[0].storable(WINDOW).expect("listed");
    assert_eq!(listed(&listing), [(0, false), (1, true), (2, false)]);
}

#[test]
fn a_session_that_could_never_store_does_not_grow() {
    let mut catalog = catalog();
    for msn in 0..1_000 {
        assert_eq!(add(&mut catalog, msn, None), Placement::Lost);
        assert_eq!(catalog.due(Duration::ZERO, WINDOW), []);
    }
    assert!(catalog.renditions[0].entries.len() <= 5);
    assert_eq!(catalog.renditions[0].next_msn, 1_000);
}

#[test]
fn an_init_goes_when_no_segment_needs_it_and_it_is_not_the_newest() {
    let mut catalog = catalog();
    add(&mut catalog, 0, Some(1));
    catalog.init(init(ID, 1)).expect("in order");
    catalog.stored(ID, MediaName::Init { number: 1 });
    assert_eq!(catalog.due(Duration::ZERO, WINDOW), []);
    catalog.deleted(ID, MediaName::Segment { epoch: 1, msn: 0 });
    assert_eq!(catalog.due(Duration::ZERO, WINDOW), [], "an earlier daemon's playlist may name it");
    catalog.renditions[0].listed_from = Some(0);
    assert_eq!(catalog.due(Duration::ZERO, WINDOW), [(ID, MediaName::Init { number: 0 })]);
    assert_eq!(catalog.due(Duration::ZERO, WINDOW), [], "it is ordered once");
}

#[test]
fn the_census_tells_originals_from_recent_copies() {
    let mut catalog = catalog();
    for msn in 0..40 {
        add(&mut catalog, msn, Some(1 + msn / 5));
    }
    (0..38).for_each(|msn| {
        store(&mut catalog, msn);
    });
    let shared = SharedCatalog::new(catalog, String::new());
    // 38 and 39 wait in file 8. Of the others those within 60 s of the end are kept: 10 and later.
    let census: Vec<_> = shared.census().into_iter().collect();
    let copies = (3..8).map(|file| (file, Holds::Copies));
    assert_eq!(census, copies.chain([(8, Holds::Originals)]).collect::<Vec<_>>());
    assert_eq!((shared.forget(3), shared.forget(8)), (0, 2));
    assert_eq!(shared.lock().renditions[0].entry(39).map(|entry| entry.placement), Some(Placement::Lost));
    assert!(!shared.census().contains_key(&8));
}

#[test]
fn what_lacks_a_part_is_whole_in_the_store_alone_also_behind_its_next_snapshot() {
    let two_of_three = |catalog: &mut Catalog| {
        catalog.init(init(ID, 0)).expect("in order");
        catalog.open(&start(ID, 0)).expect("in order");
        (0..2).for_each(|index| catalog.part(&part(ID, 0, index), extent(1)).expect("in order"));
    };
    for (was_stored, placement) in [(true, Placement::Stored), (false, Placement::Lost)] {
        // A power cut took the third part's record, and left the end.
        let mut cut = catalog();
        two_of_three(&mut cut);
        cut.damaged = true;
        let end = SegmentEnd { rendition: ID, msn: 0, duration: Span::from_secs(3) };
        cut.replay(Record::Close(end), None).expect("in order");
        if was_stored {
            store(&mut cut, 0);
        }
        cut.settle();
        // The next start reads the older file again, and then the snapshot in the newer one.
        let segment = cut.renditions[0].entries[0].segment.clone();
        let mut again = catalog();
        two_of_three(&mut again);
        again
            .replay(Record::Known(Known { rendition: ID, segment, at: Timestamp::ZERO, placement }), None)
            .expect("in order");
        again.settle();
        for catalog in [&cut, &again] {
            let entry = &catalog.renditions[0].entries[0];
            assert_eq!((entry.placement, entry.spooled()), (placement, None));
        }
    }
}

#[test]
fn a_segment_whose_end_cannot_be_read_is_lost_when_another_stands_behind_it() {
    for (parts, wanted) in [(1, vec![(0, false), (1, true), (2, false)]), (0, vec![(2, false)])] {
        let mut catalog = catalog();
        add(&mut catalog, 0, Some(1));
        catalog.open(&start(ID, 1)).expect("in order");
        (0..parts).for_each(|index| catalog.part(&part(ID, 1, index), extent(1)).expect("in order"));
        // Neither its end nor what the next file's snapshot says of it; that one goes on.
        catalog.damaged = true;
        let segment = Segment { duration: Some(Span::from_secs(2)), ..Segment::open(&start(ID, 2)) };
        let known = Known { rendition: ID, segment, at: start(ID, 2).at, placement: Placement::Stored };
        catalog.replay(Record::Known(known), None).expect("in order");
        catalog.settle();
        let live = catalog.renditions[0].live(WINDOW);
        assert_eq!(listed(&live), wanted, "with {parts} parts");
        assert!(live.segments.iter().all(|segment| segment.duration.is_some()), "{live:?}");
        assert_eq!(catalog.raise_msn(false), 3);
    }
}

#[test]
fn the_next_msn_is_one_more_and_far_more_after_a_power_cut() {
    let mut catalog = catalog();
    assert_eq!(catalog.clone().raise_msn(false), 0);
    catalog.resume =
        Some(ResumePoint { timeline_at: Timestamp::ZERO, next_msn: 5, anchor: (Timestamp::ZERO, WallTime::default()) });
    assert_eq!(catalog.clone().raise_msn(false), 5, "a session that had announced its first cut");
    add(&mut catalog, 5, Some(1));
    assert_eq!(catalog.clone().raise_msn(false), 6);
    assert_eq!(catalog.clone().raise_msn(true), 6 + UNSYNCED_SEGMENTS);
    assert!(catalog.renditions.iter_mut().all(|log| log.next_msn <= 6));
    catalog.raise_msn(true);
    assert!(catalog.renditions.iter().all(|log| log.next_msn == 6 + UNSYNCED_SEGMENTS));
}

#[test]
fn a_gap_that_is_missing_in_a_torn_snapshot_is_made_again() {
    let mut catalog = catalog();
    let late = RenditionId(1);
    catalog.init(init(late, 0)).expect("in order");
    for msn in 0..2 {
        add(&mut catalog, msn, Some(1));
    }
    catalog.open(&start(late, 0)).expect("in order");
    catalog.part(&part(late, 0, 0), extent(1)).expect("in order");
    catalog.close(&SegmentEnd { rendition: late, msn: 0, duration: Span::from_secs(2) }).expect("in order");
    // The snapshot was written when segment 1 was a gap, and torn before it says so.
    let (first_msn, next_msn, next_init, discontinuities_gone, ended) = (0, 2, 1, 0, false);
    let counters = Counters { rendition: late, first_msn, next_msn, next_init, discontinuities_gone, ended };
    catalog.replay(Record::Counters(counters), None).expect("in order");
    catalog.settle();
    assert_eq!(listed(&catalog.renditions[1].live(WINDOW)), [(0, false), (1, true)]);
    assert_eq!(catalog.raise_msn(false), 2);
}

#[test]
fn after_a_power_cut_nothing_is_used_again_that_may_have_been_published() {
    let mut catalog = catalog();
    catalog.resume = Some(ResumePoint { timeline_at: Timestamp::ZERO, next_msn: 0, anchor: (Timestamp::ZERO, NOON) });
    add(&mut catalog, 0, Some(1));
    catalog.open(&SegmentStart { discontinuity: true, ..start(ID, 1) }).expect("in order");
    catalog.part(&part(ID, 1, 0), extent(1)).expect("in order");
    catalog.lose_open();
    catalog.settle();
    let next = catalog.raise_msn(true);
    let later = |seconds| NOON.saturating_add(Span::from_secs(seconds));
    // 3 s are known, and 16 segments of 2 s may have followed.
    let point = |now| catalog.resume_point(next, now).map(|point| (point.timeline_at, point.anchor.1));
    assert_eq!(point(None), Some((Timestamp::from_millis(3_000), NOON)));
    let beyond = Timestamp::from_millis(35_000);
    assert_eq!(point(Some(later(60))), Some((beyond, later(60))), "dates go on from the wall clock");
    assert_eq!(point(Some(later(-60))), Some((beyond, later(35))), "and from what is known, if the clock was set back");
    let live = |catalog: &Catalog| {
        let live = catalog.renditions[0].live(WINDOW);
        (live.media_sequence, live.discontinuity_sequence, live.segments.iter().map(|it| it.gap).collect::<Vec<_>>())
    };
    assert_eq!(live(&catalog), (0, 0, vec![false, true]), "a name never stands for less than it did");
    catalog.open(&SegmentStart { discontinuity: true, epoch: 2, ..start(ID, next) }).expect("in order");
    catalog.part(&part(ID, next, 0), extent(2)).expect("in order");
    catalog.close(&SegmentEnd { rendition: ID, msn: next, duration: Span::from_secs(1) }).expect("in order");
    assert_eq!(live(&catalog), (2 + UNSYNCED_SEGMENTS, 1 + UNSYNCED_SEGMENTS, vec![false]));
}

/// Found by the fuzz target `journal`.
#[test]
fn counts_that_no_daemon_wrote_do_not_overflow() {
    use crate::store::journal::record::Jump;
    let mut catalog = catalog();
    let (first_msn, next_msn, next_init, discontinuities_gone, ended) = (0, 7, 1, u64::MAX - 1, false);
    let counters = Counters { rendition: ID, first_msn, next_msn, next_init, discontinuities_gone, ended };
    catalog.replay(Record::Counters(counters), None).expect("in order");
    let jump = Jump { rendition: ID, msn: 3, discontinuities: u64::MAX };
    catalog.replay(Record::Jump(jump), None).expect("in order");
    assert_eq!(catalog.renditions[0].nothing_before(7).discontinuity_sequence, u64::MAX);
    (7..9).for_each(|msn| {
        catalog.open(&SegmentStart { discontinuity: true, ..start(ID, msn) }).expect("in order");
        catalog.close(&SegmentEnd { rendition: ID, msn, duration: Span::from_secs(60) }).expect("in order");
    });
    assert_eq!(catalog.renditions[0].live(WINDOW).discontinuity_sequence, u64::MAX);
}

/// Reads a snapshot as a journal's reader would.
fn replayed(snapshot: &[u8]) -> Catalog {
    let (mut rest, mut read) = (snapshot, None);
    while let Some((header, body)) = rest.split_first_chunk::<RECORD_HEADER_BYTES>() {
        let header = RecordHeader::decode(header).expect("a header");
        let (body, behind) = body.split_at(header.len as usize);
        let record = Record::decode(header.kind, body).expect("decodes");
        if let (Record::Head(head), None) = (&record, &read) {
            read = Some(Catalog::new(head.session.clone()));
        }
        read.as_mut().expect("the head is first").replay(record, None).expect("in order");
        rest = behind;
    }
    read.expect("a head")
}

#[test]
fn renditions_that_join_are_in_the_next_snapshot() {
    let mut catalog = catalog();
    let named = |name: &str| Rendition { name: name.to_owned(), ..catalog.head.renditions[0].clone() };
    let twin = Joined { first: RenditionId(2), renditions: [named("a")].into(), discontinuities: 5 };
    let joined = Joined { renditions: [named("c"), named("d")].into(), ..twin.clone() };
    assert!(catalog.replay(Record::Join(twin), None).is_err(), "two objects would have one name");
    catalog.replay(Record::Join(joined.clone()), None).expect("in order");
    assert!(catalog.replay(Record::Join(joined), None).is_err(), "they are there already");
    let late = RenditionId(3);
    catalog.init(init(late, 0)).expect("in order");
    catalog.open(&start(late, 7)).expect("in order");
    catalog.part(&part(late, 7, 0), extent(1)).expect("in order");
    catalog.close(&SegmentEnd { rendition: late, msn: 7, duration: Span::from_secs(1) }).expect("in order");
    let shared = SharedCatalog::new(catalog, "boot".to_owned());
    let mut snapshot = Vec::new();
    shared.snapshot(&mut snapshot);
    let again = replayed(&snapshot);
    assert_eq!(again.head.renditions.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    let live = again.renditions[3].live(WINDOW);
    assert_eq!((live.media_sequence, live.discontinuity_sequence), (7, 5));
    // A journal whose first file is older than the join: the head of the second one has them.
    let mut older =
        super::Catalog::new(SessionHead { renditions: again.head.renditions[..2].into(), ..again.head.clone() });
    let head = Record::Head(crate::store::journal::record::Head { session: again.head.clone(), boot: String::new() });
    older.replay(head, None).expect("in order");
    assert_eq!(older.renditions.len(), 4);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Segment { stored: bool, spooled: bool, discontinuity: bool },
    Init,
    Open,
    Delete(u64),
    PowerCut,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let segment = (any::<bool>(), any::<bool>(), any::<bool>())
        .prop_map(|(stored, spooled, discontinuity)| Step::Segment { stored, spooled, discontinuity });
    let step = prop_oneof![6 => segment, 1 => Just(Step::Init), 1 => Just(Step::Open), 2 => (0..20_u64).prop_map(Step::Delete), 1 => Just(Step::PowerCut)];
    proptest::collection::vec(step, 0..60)
}

fn take(catalog: &mut Catalog, step: Step) {
    let (msn, number) = (catalog.renditions[0].next_msn, catalog.renditions[0].next_init);
    match step {
        Step::Segment { stored, spooled, discontinuity } => {
            if catalog.open(&SegmentStart { discontinuity, ..start(ID, msn) }).is_err() {
                return; // one is open
            }
            catalog.part(&part(ID, msn, 0), spooled.then_some(1).and_then(extent)).expect("in order");
            catalog.close(&SegmentEnd { rendition: ID, msn, duration: Span::from_secs(1) }).expect("in order");
            if stored && spooled {
                store(catalog, msn);
            }
        }
        Step::Init => catalog.init(init(ID, number)).expect("in order"),
        Step::Open => drop(catalog.open(&start(ID, msn))),
        Step::Delete(msn) => catalog.deleted(ID, MediaName::Segment { epoch: 1, msn }),
        Step::PowerCut => {
            catalog.settle();
            catalog.raise_msn(true);
        }
    }
}

proptest! {
    #[test]
    fn a_snapshot_says_all_that_is_known(steps in steps()) {
        let mut catalog = catalog();
        steps.into_iter().for_each(|step| take(&mut catalog, step));
        let shared = SharedCatalog::new(catalog, "boot".to_owned());
        let mut snapshot = Vec::new();
        shared.snapshot(&mut snapshot);
        let again = SharedCatalog::new(replayed(&snapshot), "boot".to_owned());
        let mut second = Vec::new();
        again.snapshot(&mut second);
        prop_assert!(snapshot == second);
        let (first, second) = (shared.lock().renditions[0].live(WINDOW), again.lock().renditions[0].live(WINDOW));
        prop_assert_eq!(first, second);
    }
}
