//! The power goes while a session is live, at seeded moments, on a disk that forgets what was not synced. What viewers saw before is
//! held against what they see when the machine is back and its publisher too.
//!
//! `POWER_SEED=17` runs one seed.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use millstream::live::{HlsSpec, Session, SessionSpec};
use millstream::media::naming::MediaName;
use millstream::media::segment::RenditionId;
use millstream::media::{Span, WallTime};
use millstream::wire::fmp4::read::read_chunks;
use millstream::wire::hls::read::{ReadSegment, read_media_playlist};

use crate::ingest_support::Publisher;
use crate::rig::{AUDIO, Encoder, Rig, VIDEO, listed, spec, until, window};
use crate::store_support::power::{PowerDisk, Random};

/// Seeds that every run tries.
const SEEDS: u64 = 20;
/// Cuts of each.
const CUTS: u32 = 3;
/// From keyframe to keyframe of the publisher, which is the target duration.
const GOP_MS: i64 = 2_000;

/// A listed segment, and how many discontinuities stand up to it in the session.
#[derive(Clone, Debug)]
struct Known {
    segment: ReadSegment,
    discontinuities: u64,
}

/// What viewers have seen of a rendition.
#[derive(Debug, Default)]
struct Lane {
    /// EXT-X-MEDIA-SEQUENCE and EXT-X-DISCONTINUITY-SEQUENCE of the newest version.
    front: (u64, u64),
    listed: BTreeMap<u64, Known>,
    files: BTreeMap<String, Bytes>,
    /// Where decoding has come to.
    decoded_to: u64,
}

impl Lane {
    /// Takes a version of the playlist in, with what it names.
    async fn read(&mut self, rig: &Rig, session: &Session, id: RenditionId) {
        let window = window(session).await;
        let view = window.rendition(id).expect("it is there");
        if view.is_empty() {
            return;
        }
        let playlist = read_media_playlist(&view.text()).expect("a playlist");
        let front = (playlist.media_sequence, playlist.discontinuity_sequence);
        assert!(front.0 >= self.front.0 && front.1 >= self.front.1, "{:?} became {front:?}", self.front);
        self.front = front;
        let mut discontinuities = playlist.discontinuity_sequence;
        let name = &window.renditions()[usize::from(id.0)].name;
        for segment in playlist.segments {
            discontinuities += u64::from(segment.discontinuity);
            let is_new = !self.listed.contains_key(&segment.msn);
            if !segment.gap {
                let map = segment.map.clone().expect("media has an init segment");
                for uri in [map, segment.uri.clone()] {
                    let file: MediaName = uri.parse().expect("a name of ours");
                    let in_memory = window.media(id, file).map(|chunks| chunks.concat().into());
                    let spec = session.spec();
                    let bytes = match in_memory {
                        Some(bytes) => bytes,
                        None => {
                            rig.store.read(&spec.stream, &spec.session, name, file).await.expect("read").expect("there")
                        }
                    };
                    self.fetched(uri, bytes, is_new && file == segment.name().expect("a name of ours"));
                }
            }
            self.compare(Known { segment, discontinuities });
        }
    }

    /// A name stands for the same bytes for ever, and decoding goes on.
    fn fetched(&mut self, uri: String, bytes: Bytes, is_new_segment: bool) {
        if is_new_segment {
            for chunk in read_chunks(&bytes).expect("chunks") {
                let at = chunk.base_decode_time;
                assert!(at >= self.decoded_to, "{uri}: decoded at {at}, behind {}", self.decoded_to);
                self.decoded_to = at + chunk.duration();
            }
        }
        let known = self.files.entry(uri.clone()).or_insert_with(|| bytes.clone());
        assert_eq!(*known, bytes, "{uri} has other content");
    }

    /// What was listed stays as it was, but that it may have become a gap; what is new is behind everything.
    fn compare(&mut self, new: Known) {
        let msn = new.segment.msn;
        if let Some(known) = self.listed.get(&msn) {
            let place = |known: &Known| (known.discontinuities, known.segment.discontinuity, known.segment.wall);
            assert_eq!(place(known), place(&new), "segment {msn}");
            let is_same = known.segment.uri == new.segment.uri && known.segment.duration == new.segment.duration;
            assert!(is_same || known.segment.gap || new.segment.gap, "{known:?} became {new:?}");
            return;
        }
        if let Some((last, before)) = self.listed.last_key_value() {
            assert!(msn > *last, "{msn} behind {last}");
            assert!(new.segment.wall > before.segment.wall, "PROGRAM-DATE-TIME: {new:?} behind {before:?}");
            let least = before.discontinuities + u64::from(new.segment.discontinuity);
            assert!(new.discontinuities >= least, "a discontinuity is counted twice: {new:?} behind {before:?}");
        }
        self.listed.insert(msn, new);
    }
}

/// What viewers have seen of the session.
#[derive(Debug, Default)]
struct Seen {
    lanes: [Lane; 2],
}

impl Seen {
    async fn read(&mut self, rig: &Rig, session: &Session) {
        for (lane, id) in self.lanes.iter_mut().zip([VIDEO, AUDIO]) {
            lane.read(rig, session, id).await;
        }
        let [video, audio] = &self.lanes;
        for (msn, one) in &video.listed {
            let line = |known: &Known| -> (Option<WallTime>, bool, u64) {
                (known.segment.wall, known.segment.discontinuity, known.discontinuities)
            };
            let other = audio.listed.get(msn);
            assert!(other.is_none_or(|other| line(other) == line(one)), "{one:?} and {other:?}");
        }
    }

    /// Discontinuities among all that was listed from `msn` on.
    fn breaks_from(&self, msn: u64) -> [usize; 2] {
        let breaks = |lane: &Lane| lane.listed.range(msn..).filter(|(_, known)| known.segment.discontinuity).count();
        [breaks(&self.lanes[0]), breaks(&self.lanes[1])]
    }
}

/// The newest segment of video that is no gap, open or listed.
fn newest_media(session: &Session) -> Option<u64> {
    let view = session.window().borrow().as_ref()?.rendition(VIDEO)?;
    let media = view.segments().chain(view.open_segment()).filter(|segment| !segment.gap).map(|segment| segment.msn);
    media.max()
}

/// One seed.
struct Run {
    random: Random,
    seen: Seen,
    /// Publishers so far: each sends pictures of its own.
    publishers: i64,
}

impl Run {
    /// Publishes for `ms`, in the clock's time, and lets viewers look on.
    async fn play(&mut self, rig: &Rig, encoder: &Encoder, ms: i64) {
        let source = Publisher { first: 100_000 * self.publishers, ..Publisher::default() };
        self.publishers += 1;
        for tag in [source.video_config(), source.audio_config()] {
            encoder.send(tag).await.expect("a configuration is taken");
        }
        let (before, mut begun) = (newest_media(&encoder.session), None);
        for from in (0..ms).step_by(GOP_MS as usize) {
            let to = ms.min(from + GOP_MS);
            rig.clock.advance(Duration::from_millis((to - from) as u64));
            for (_, tag) in source.media(from, to) {
                encoder.send(tag).await.expect("media is taken");
            }
            // The clock does not run far ahead of what was handed in: the connection has begun, then each group is closed by the
            // keyframe behind it.
            let window = window(&encoder.session).await;
            let newest = || newest_media(&encoder.session);
            until("it has begun", window.changed(), || (newest() > before).then_some(())).await;
            let closed = || window.totals(VIDEO).map_or(0, |totals| totals.segments);
            let target = (*begun.get_or_insert_with(closed) + (from / GOP_MS) as u64).saturating_sub(1);
            until("the groups before are listed", window.changed(), || (closed() >= target).then_some(())).await;
            self.seen.read(rig, &encoder.session).await;
        }
    }

    /// The publisher is lost and comes back.
    async fn reconnect(&mut self, rig: &Rig, encoder: Encoder) -> Encoder {
        drop(encoder.vanish().await);
        rig.join("a", "first").await
    }

    async fn run(mut self) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut disk = PowerDisk::new(folder.path());
        disk.let_commit();
        let settings = SessionSpec { hls: HlsSpec { window: Span::from_secs(8), ..spec("a").hls }, ..spec("a") };
        let mut rig = Rig::on_disk(folder, disk.clone()).await;
        let mut encoder = rig.start(settings.clone()).await;
        for cut in 1..=CUTS {
            let durable_ms = 3 * GOP_MS + self.random.below(4_000) as i64;
            self.play(&rig, &encoder, durable_ms).await;
            assert!(disk.commit());
            // What comes now may be lost: some of it, or all.
            for _ in 0..self.random.below(3) {
                encoder = self.reconnect(&rig, encoder).await;
                let ms = 1 + self.random.below(3 * GOP_MS as usize) as i64;
                self.play(&rig, &encoder, ms).await;
            }
            let syncs = self.random.below(4);
            disk.cut_in_commit(syncs);
            disk = disk.restarted(&mut self.random);
            disk.let_commit();
            rig.clock.advance(Duration::from_secs(10));

            let (back, mut recovered) = rig.after_power_cut(disk.clone()).await;
            rig = back;
            let recovered = recovered.pop().expect("the session is in the journal");
            let (next, power_was_cut) = (recovered.next_msn, recovered.power_was_cut);
            assert!(power_was_cut);
            rig.sessions.resume(SessionSpec { epoch: cut + 1, ..settings.clone() }, recovered).expect("it is resumed");
            let session = rig.sessions.find("a").expect("it runs");
            self.seen.read(&rig, &session).await;
            if self.random.chance(50) {
                rig.clock.advance(Duration::from_secs(4));
                listed(&session, next + 1).await;
                self.seen.read(&rig, &session).await;
            }
            encoder = rig.join("a", "first").await;
            self.play(&rig, &encoder, 3 * GOP_MS).await;
            let window = window(&session).await;
            let is_back = |id| {
                let view = window.rendition(id).expect("it is there");
                view.segments().any(|segment| segment.msn >= next && segment.discontinuity)
            };
            let all = || [VIDEO, AUDIO].into_iter().all(is_back).then_some(());
            until("the return is listed", window.changed(), all).await;
            self.seen.read(&rig, &session).await;
            assert_eq!(self.seen.breaks_from(next), [1, 1], "one discontinuity for the return");
        }
    }
}

#[tokio::test]
async fn a_power_cut_under_a_live_session_takes_nothing_back_that_viewers_saw() {
    let one = std::env::var("POWER_SEED").ok().and_then(|text| text.parse::<u64>().ok());
    for seed in one.map_or(0..SEEDS, |seed| seed..seed + 1) {
        eprintln!("POWER_SEED={seed}");
        Run { random: Random(seed), seen: Seen::default(), publishers: 0 }.run().await;
    }
}
