//! What the store's tests share: sessions made by hand, and doubles of the disk and the object store.
#![allow(dead_code, missing_docs, unused_imports)] // each test binary uses its part

pub mod disk;
pub mod objects;
pub mod power;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream::clock::{ManualClock, SharedClock};
use millstream::media::naming::MediaName;
use millstream::media::segment::{Init, Rendition, RenditionId, SegmentEnd, SegmentStart};
use millstream::media::{
    AudioCodec, AudioTrack, Kind, Output, Part, Span, Timestamp, Track, VideoCodec, VideoTrack, WallTime,
};
use millstream::store::{
    Backend, Files, OsFiles, RecoveredSession, ResumePoint, SessionHead, SessionWriter, Store, StoreSettings,
    StoreStats,
};

pub use disk::FaultyDisk;
pub use objects::ScriptedObjects;

/// Parts of each segment.
pub const PARTS: u32 = 3;
pub const VIDEO: RenditionId = RenditionId(0);
pub const AUDIO: RenditionId = RenditionId(1);
pub const RENDITIONS: [&str; 2] = ["720p", "audio"];
/// PROGRAM-DATE-TIME of MSN 0.
pub const START: WallTime = WallTime::from_unix_millis(1_795_244_400_000);

pub fn head(session: &str, epoch: u32) -> SessionHead {
    let rendition = |name: &str, kind, frame_rate| Rendition {
        name: name.to_owned(),
        kind,
        copied: false,
        bandwidth: 2_000_000,
        frame_rate,
    };
    SessionHead {
        stream: "stream1".to_owned(),
        session: session.to_owned(),
        epoch,
        renditions: [rendition("720p", Kind::Video, Some((30, 1))), rendition("audio", Kind::Audio, None)].into(),
        segment_target: Span::from_secs(2),
        part_target: Span::from_millis(700),
    }
}

pub fn track(rendition: RenditionId) -> Arc<Track> {
    Arc::new(if rendition == VIDEO {
        Track::Video(VideoTrack {
            codec: VideoCodec::H264,
            config: Bytes::from_static(b"avcC"),
            codecs: "avc1.64001f".to_owned(),
            width: 1_280,
            height: 720,
            sample_aspect: (1, 1),
            frame_rate: None,
            plain: true,
        })
    } else {
        Track::Audio(AudioTrack {
            codec: AudioCodec::Aac,
            config: Bytes::from_static(&[0x11, 0x90]),
            codecs: "mp4a.40.2".to_owned(),
            sample_rate: 48_000,
            channels: 2,
            samples_per_frame: 1_024,
        })
    })
}

/// Bytes of an init: small, and unlike any other's.
pub fn init_bytes(rendition: RenditionId, number: u32) -> Bytes {
    format!("init {number} of {}", rendition.0).into()
}

/// Bytes of a part: unlike any other's, 1 to 2 KB.
pub fn part_bytes(rendition: RenditionId, msn: u64, index: u32) -> Bytes {
    let line = format!("part {index} of segment {msn} of rendition {};", rendition.0);
    line.repeat(30 + (msn % 7) as usize).into()
}

pub fn segment_bytes(rendition: RenditionId, msn: u64) -> Bytes {
    (0..PARTS).flat_map(|index| part_bytes(rendition, msn, index)).collect()
}

pub fn part_duration() -> Span {
    Span::from_units(60_000, 90_000)
}

pub fn at(msn: u64) -> Timestamp {
    Timestamp::from_millis(10_000 + 2_000 * msn as i64)
}

pub fn wall(msn: u64) -> WallTime {
    START.saturating_add(Span::from_secs(2 * msn as i64))
}

pub fn init(rendition: RenditionId, number: u32) -> Output {
    Output::Init(Init { rendition, number, track: track(rendition), bytes: init_bytes(rendition, number) })
}

pub fn open(rendition: RenditionId, epoch: u32, msn: u64) -> Output {
    let (discontinuity, gap, init) = (false, false, 0);
    Output::Open(SegmentStart { rendition, msn, epoch, at: at(msn), wall: wall(msn), discontinuity, gap, init })
}

pub fn part(rendition: RenditionId, epoch: u32, msn: u64, index: u32) -> Output {
    let (duration, independent) = (part_duration(), index == 0);
    let (last_pts, bytes) = (Timestamp::ZERO, part_bytes(rendition, msn, index));
    Output::Part(Part { rendition, msn, epoch, index, samples: 10, duration, last_pts, independent, bytes })
}

pub fn close(rendition: RenditionId, msn: u64) -> Output {
    Output::Close(SegmentEnd { rendition, msn, duration: Span::from_secs(2) })
}

/// A whole segment of one rendition.
pub fn segment(rendition: RenditionId, epoch: u32, msn: u64) -> Vec<Output> {
    let parts = (0..PARTS).map(|index| part(rendition, epoch, msn, index));
    [open(rendition, epoch, msn)].into_iter().chain(parts).chain([close(rendition, msn)]).collect()
}

pub fn checkpoint(msn: u64) -> ResumePoint {
    ResumePoint { timeline_at: at(msn), next_msn: msn, anchor: (at(0), wall(0)) }
}

/// Both inits.
pub fn append_inits(writer: &mut SessionWriter) {
    for rendition in [VIDEO, AUDIO] {
        writer.append(&init(rendition, 0)).expect("journalled");
    }
}

/// A cut and a whole segment of both renditions.
pub fn append_segment(writer: &mut SessionWriter, epoch: u32, msn: u64) {
    writer.checkpoint(&checkpoint(msn)).expect("journalled");
    for rendition in [VIDEO, AUDIO] {
        for output in segment(rendition, epoch, msn) {
            writer.append(&output).expect("journalled");
        }
    }
}

/// A store in `folder/spool` with a clock that stands still at [`START`].
pub struct Bench {
    pub settings: StoreSettings,
    pub clock: Arc<ManualClock>,
    pub backend: Backend,
    pub files: Arc<dyn Files>,
}

impl Bench {
    pub fn new(folder: &Path, backend: Backend) -> Self {
        let mut settings = StoreSettings::new("memory:", folder.join("spool"));
        settings.window = Span::from_secs(8);
        Bench { settings, clock: ManualClock::new(START), backend, files: Arc::new(OsFiles) }
    }

    pub fn in_memory(folder: &Path) -> Self {
        Self::new(folder, Backend::from_url("memory:").expect("usable"))
    }

    pub fn scripted(folder: &Path) -> (Self, Arc<ScriptedObjects>) {
        let objects = Arc::new(ScriptedObjects::default());
        (Self::new(folder, Backend::remote(objects.clone())), objects)
    }

    pub fn with_disk<F: Files + 'static>(mut self, disk: &Arc<F>) -> Self {
        self.files = disk.clone();
        self
    }

    pub async fn open(&self) -> (Arc<Store>, Vec<RecoveredSession>) {
        let clock: SharedClock = self.clock.clone();
        let opened = Store::open_with(self.settings.clone(), clock, self.backend.clone(), self.files.clone());
        opened.await.expect("the store opens")
    }

    /// Opens the store and expects one session in it.
    pub async fn reopen(&self) -> (Arc<Store>, RecoveredSession) {
        let (store, mut sessions) = self.open().await;
        assert_eq!(sessions.len(), 1);
        (store, sessions.remove(0))
    }
}

/// Waits until the store's figures are as wanted; a minute without that is a failure.
pub async fn until(store: &Store, wanted: impl Fn(&StoreStats) -> bool) {
    let mut progress = store.progress();
    let reached = async {
        while !wanted(&store.stats()) {
            progress.changed().await.expect("the store lives");
        }
    };
    // Real time also when tokio's is paused: the runtime does not move it while a thread is at work.
    if tokio::time::timeout(Duration::from_secs(3_600), reached).await.is_err() {
        panic!("never reached: {:?}", store.stats());
    }
}

pub async fn until_uploaded(store: &Store) {
    until(store, |stats| stats.backlog_objects == 0).await;
}

/// Waits until a stored playlist is as wanted, and returns it.
pub async fn until_playlist(
    store: &Store,
    session: &str,
    rendition: Option<&str>,
    wanted: impl Fn(&str) -> bool,
) -> String {
    let mut progress = store.progress();
    loop {
        let read = store.read_playlist("stream1", session, rendition).await.expect("read");
        let text = read.map(|bytes| String::from_utf8(bytes.to_vec()).expect("text")).unwrap_or_default();
        if wanted(&text) {
            return text;
        }
        if tokio::time::timeout(Duration::from_secs(3_600), progress.changed()).await.is_err() {
            panic!("the playlist stays {text}");
        }
    }
}

/// The names that a media playlist lists as media, gaps left out.
pub fn listed(playlist: &str) -> Vec<String> {
    let mut gap = false;
    let mut names = Vec::new();
    for line in playlist.lines() {
        if line == "#EXT-X-GAP" {
            gap = true;
        } else if let Some(map) = line.strip_prefix("#EXT-X-MAP:URI=\"") {
            names.push(map.trim_end_matches('"').to_owned());
        } else if !line.starts_with('#') && !std::mem::take(&mut gap) {
            names.push(line.to_owned());
        }
    }
    names
}

pub async fn read_segment(store: &Store, session: &str, rendition: RenditionId, epoch: u32, msn: u64) -> Option<Bytes> {
    let name = MediaName::Segment { epoch, msn };
    store.read("stream1", session, RENDITIONS[usize::from(rendition.0)], name).await.expect("read")
}
