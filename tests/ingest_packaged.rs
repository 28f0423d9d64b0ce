//! What publishers do to the clock, as players are given it: through ingest and packager, decode times without a hole, equal dates in
//! both renditions, sound beside its pictures, and no discontinuity but the ones that are stated.

mod ingest_support;

use std::time::Duration;

use bytes::Bytes;
use ingest_support::packaged::{Given, Packaged};
use ingest_support::{NOON, Publisher, Rig};
use millstream::ingest::Settings;
use millstream::media::{Kind, Span, Timestamp};
use millstream::wire::flv::{Tag, TagKind};

/// What is promised of sound beside picture. Stamps in milliseconds are part of it.
const AV_LIMIT_MS: i64 = 20;
/// A track that is away and back was one piece: what its clock said is kept to the millisecond of each stamp.
const STAMP_MS: i64 = 2;

/// A message of the source, by its number.
#[derive(Clone, Copy)]
struct Sent {
    /// When it is presented, by the source's clock of its piece.
    shown_ms: i64,
    /// Pieces are what lies between two breaks that the test makes.
    piece: usize,
}

/// A session whose publisher's messages are numbered throughout.
struct Broadcast {
    rig: Rig,
    packaged: Packaged,
    sent: [Vec<Sent>; 2],
    given: Vec<Given>,
    piece: usize,
    /// Parameter sets stand before each keyframe as well.
    in_band_sets: bool,
}

impl Broadcast {
    fn new(publisher: &Publisher) -> Self {
        let mut rig = Rig::new(Settings::default());
        rig.connect(publisher);
        let (sent, given) = ([Vec::new(), Vec::new()], Vec::new());
        Broadcast { rig, packaged: Packaged::new(), sent, given, piece: 0, in_band_sets: false }
    }

    /// Numbers a message and notes when it is shown.
    fn number(&mut self, publisher: &Publisher, ms: i64, mut tag: Tag) -> Tag {
        let (kind, composition_ms) = match tag.kind {
            TagKind::Video => (Kind::Video, i64::from(i32::from_be_bytes([0, tag.data[2], tag.data[3], tag.data[4]]))),
            _ => (Kind::Audio, 0),
        };
        let sent = &mut self.sent[kind as usize];
        let mut data = tag.data.to_vec();
        let number_at = data.len() - 8;
        data[number_at..].copy_from_slice(&(sent.len() as i64).to_be_bytes());
        sent.push(Sent { shown_ms: ms + composition_ms, piece: self.piece });
        let keyframe = kind == Kind::Video && data[0] >> 4 == 1;
        if self.in_band_sets && keyframe {
            // Behind codec, kind and composition time: length, then set.
            let sets = publisher
                .parameter_sets()
                .into_iter()
                .flat_map(|set| [&(set.len() as u32).to_be_bytes(), set].concat());
            data.splice(5..5, sets);
        }
        tag.data = Bytes::from(data);
        tag
    }

    /// Sends what `publisher` has, in real time.
    fn play(&mut self, publisher: &Publisher, from_ms: i64, to_ms: i64) {
        let mut sent_until = from_ms;
        for (ms, tag) in publisher.media(from_ms, to_ms) {
            self.rig.wait((ms - sent_until) as u64);
            sent_until = ms;
            let tag = self.number(publisher, ms, tag);
            self.rig.tag(tag);
        }
        self.rig.wait((to_ms - sent_until) as u64);
        self.package();
    }

    /// Sends all of it at once, as after a hole that TCP made good.
    fn burst(&mut self, publisher: &Publisher, from_ms: i64, to_ms: i64) {
        for (ms, tag) in publisher.media(from_ms, to_ms) {
            let tag = self.number(publisher, ms, tag);
            self.rig.tag(tag);
        }
        self.package();
    }

    fn wait(&mut self, ms: u64) {
        self.rig.wait(ms);
    }

    /// What comes now has another clock than what came before.
    fn break_here(&mut self) {
        self.piece += 1;
    }

    fn reconnect_after(&mut self, ms: u64, publisher: &Publisher) {
        self.rig.disconnect();
        self.wait(ms);
        self.rig.connect(publisher);
        self.break_here();
    }

    fn package(&mut self) {
        let given = &mut self.given;
        self.packaged.take(self.rig.units.drain(..), &mut |sample| given.push(sample));
    }

    /// Ends the session and judges sound against picture, piece by piece.
    fn end(mut self) -> Ended {
        let now = self.rig.now();
        self.rig.ingest.end(now, &mut self.rig.units);
        self.package();
        let mut pictures: Vec<Option<i64>> = vec![None; self.piece + 1];
        let mut counts = [0; 2];
        for kind in [Kind::Video, Kind::Audio] {
            for given in self.given.iter().filter(|given| given.kind == kind) {
                let Some(number) = given.number else { continue };
                counts[kind as usize] += 1;
                let sent = self.sent[kind as usize][number as usize];
                let offset = (given.pts - Timestamp::ZERO).to_millis() - sent.shown_ms;
                let beside = *pictures[sent.piece].get_or_insert(offset);
                let limit = if kind == Kind::Video { STAMP_MS } else { AV_LIMIT_MS };
                assert!(
                    (offset - beside).abs() <= limit,
                    "{given:?} of piece {}: {offset}, not {beside} ms",
                    sent.piece
                );
            }
        }
        let newest = self.packaged.newest.as_ref().expect("segments");
        Ended {
            discontinuities: self.packaged.discontinuities,
            gaps: self.packaged.gaps,
            inits: self.packaged.inits(),
            lost_pictures: self.sent[Kind::Video as usize].len() - counts[Kind::Video as usize],
            silent_frames: self.rig.ingest.stats().silent_frames,
            // Dates of a live edge that nothing held up are the wall clock's.
            behind_ms: (Span::from_std(self.rig.monotonic) - Span::from_secs(1_000) - newest.wall.since(NOON))
                .to_millis(),
        }
    }
}

#[derive(Debug)]
struct Ended {
    discontinuities: u64,
    gaps: u64,
    inits: [usize; 2],
    lost_pictures: usize,
    silent_frames: u64,
    behind_ms: i64,
}

impl Ended {
    /// So many breaks, no gap, one configuration of each track, every picture.
    fn assert_whole(&self, what: &str, discontinuities: u64) {
        let found = (self.discontinuities, self.gaps, self.inits, self.lost_pictures);
        assert_eq!(found, (discontinuities, 0, [1, 1], 0), "{what}: {self:?}");
    }

    /// The last segment began with a keyframe 2 s or less before the end.
    fn assert_dated(&self, what: &str) {
        assert!((1_990..=2_010).contains(&self.behind_ms), "{what}: {self:?}");
    }
}

const HOUR_MS: i64 = 3_600_000;

#[test]
fn a_clock_that_restarts_or_jumps_hours_is_one_discontinuity_and_nothing_else() {
    let from = Publisher { start_ms: 30_000_000, ..Publisher::default() };
    for (what, to_ms) in [
        ("to zero", 0),
        ("6 h ahead", 30_004_000 + 6 * HOUR_MS),
        ("6 h back", 30_004_000 - 6 * HOUR_MS),
        ("over the wrap", (1 << 32) - 2_000),
    ] {
        let to = Publisher { start_ms: to_ms as u64, ..Publisher::default() };
        let mut jump = Broadcast::new(&from);
        jump.play(&from, 0, 4_000);
        jump.break_here();
        jump.play(&to, 0, 6_000);
        let ended = jump.end();
        ended.assert_whole(what, 1);
        ended.assert_dated(what);

        let mut reconnect = Broadcast::new(&from);
        reconnect.play(&from, 0, 4_000);
        reconnect.reconnect_after(300, &to);
        reconnect.play(&to, 0, 6_000);
        let ended = reconnect.end();
        ended.assert_whole(what, 1);
        ended.assert_dated(what);
    }
}

#[test]
fn three_restarts_of_the_clock_are_three_discontinuities_and_keep_sound_in_place() {
    let publisher = Publisher { rate: 44_100, asc: &[0x12, 0x10], ..Publisher::default() };
    let mut broadcast = Broadcast::new(&publisher);
    broadcast.play(&publisher, 0, 4_000);
    for _ in 0..3 {
        broadcast.break_here();
        broadcast.play(&publisher, 0, 4_000);
    }
    let ended = broadcast.end();
    ended.assert_whole("restarts", 3);
    ended.assert_dated("restarts");
}

#[test]
fn a_hole_of_10_s_in_the_network_is_a_break_only_if_media_is_missing() {
    let publisher = Publisher::default();
    // What was sent meanwhile is lost: the stamps are 10 s later at once. Dates step with them.
    let mut lost = Broadcast::new(&publisher);
    lost.play(&publisher, 0, 4_000);
    lost.wait(10_000);
    lost.break_here();
    lost.play(&publisher, 14_000, 20_000);
    let ended = lost.end();
    ended.assert_whole("lost", 1);
    ended.assert_dated("lost");

    // It was held back and comes at once: nothing is missing, and dates are those of a stream that was never late.
    let mut held = Broadcast::new(&publisher);
    held.play(&publisher, 0, 4_000);
    held.wait(10_000);
    held.burst(&publisher, 4_000, 14_000);
    held.play(&publisher, 14_000, 20_000);
    let ended = held.end();
    ended.assert_whole("held back", 0);
    ended.assert_dated("held back");

    // The encoder stood still, and its clock with it: the stream is 10 s behind from then on, and its dates say so.
    let mut stood = Broadcast::new(&publisher);
    stood.play(&publisher, 0, 4_000);
    stood.wait(10_000);
    stood.play(&publisher, 4_000, 10_000);
    let ended = stood.end();
    ended.assert_whole("stood still", 0);
    assert!((11_990..=12_000).contains(&ended.behind_ms), "{ended:?}");
}

#[test]
fn a_track_that_is_away_for_seconds_comes_back_to_its_place() {
    let publisher = Publisher::default();
    let (pictures, sound) = (Publisher { rate: 0, ..publisher.clone() }, Publisher { fps: 0, ..publisher.clone() });
    let mut silent = Broadcast::new(&publisher);
    silent.play(&publisher, 0, 3_000);
    silent.play(&pictures, 3_000, 8_000);
    silent.play(&publisher, 8_000, 12_000);
    let ended = silent.end();
    ended.assert_whole("without sound", 0);
    ended.assert_dated("without sound");
    assert!((230..=236).contains(&ended.silent_frames), "5 s: {ended:?}");

    let mut blind = Broadcast::new(&publisher);
    blind.play(&publisher, 0, 4_000);
    blind.play(&sound, 4_000, 9_000);
    // Pictures come back between two keyframes: the rest of their group is no use.
    blind.play(&publisher, 9_000, 14_000);
    let ended = blind.end();
    assert_eq!((ended.discontinuities, ended.inits, ended.lost_pictures), (1, [1, 1], 30), "{ended:?}");
    ended.assert_dated("without pictures");
}

#[test]
fn parameter_sets_at_each_keyframe_and_a_reconnect_with_equal_ones_cost_nothing() {
    let publisher = Publisher::default();
    let mut broadcast = Broadcast::new(&publisher);
    broadcast.in_band_sets = true;
    for second in [0, 2, 4] {
        broadcast.rig.tag(publisher.video_config());
        broadcast.rig.tag(publisher.audio_config());
        broadcast.play(&publisher, second * 1_000, (second + 2) * 1_000);
    }
    broadcast.reconnect_after(500, &publisher);
    broadcast.play(&publisher, 0, 6_000);
    let ended = broadcast.end();
    ended.assert_whole("equal sets", 1);
    ended.assert_dated("equal sets");
}

/// After hours two clocks that stamp a track each are seconds apart. Then sound and pictures begin anew beside each other, instead of one
/// of them being too late for ever.
#[test]
fn tracks_with_clocks_of_their_own_are_aligned_anew_and_stay_audible() {
    const SECONDS: i64 = 7_200;
    for sound_ppm in [500, -500] {
        let publisher = Publisher::default();
        let mut rig = Rig::new(Settings::default());
        rig.connect(&publisher);
        let (begun, mut packaged) = (rig.monotonic, Packaged::new());
        let (mut sent, mut given) = ([0i64; 2], [0i64; 2]);
        while sent[Kind::Video as usize] < SECONDS * publisher.fps {
            let [sounds, pictures] = [Kind::Audio, Kind::Video].map(|kind| sent[kind as usize]);
            let comes = [
                (Kind::Video, pictures * 1_000 / publisher.fps),
                (Kind::Audio, sounds * 1_024 * 1_000_000 / (publisher.rate * (1_000_000 + sound_ppm) / 1_000)),
            ];
            let (kind, ms) = comes.into_iter().min_by_key(|(_, ms)| *ms).expect("two");
            let tag = if kind == Kind::Video { publisher.picture(pictures) } else { publisher.sound(sounds) };
            sent[kind as usize] += 1;
            rig.tag_at(begun + Duration::from_millis(ms.unsigned_abs()), tag);
            packaged.take(rig.units.drain(..), &mut |sample| {
                given[sample.kind as usize] += i64::from(sample.number.is_some());
            });
        }
        let stats = rig.ingest.stats();
        // 3.6 s in all: 1.5 s twice.
        assert_eq!((stats.discontinuities, packaged.inits()), (2, [1, 1]), "{sound_ppm}: {stats:?}");
        // Twice what was on its way in the one, or lay before the next keyframe in the other.
        let lost = [Kind::Audio, Kind::Video].map(|kind| sent[kind as usize] - given[kind as usize]);
        assert!(lost.iter().all(|lost| *lost < 400), "{sound_ppm}: {lost:?} of {sent:?}, {stats:?}");
        assert_eq!((stats.video_clock.ppm, stats.video_clock.ahead), (Some(0), Span::ZERO), "{sound_ppm}");
        let measured = stats.audio_clock.ppm.expect("an hour is enough");
        assert!((measured - sound_ppm).abs() <= 10, "{sound_ppm}: {measured}");
    }
}
