//! A player without a picture: follows a stream's playlists, fetches every segment of every rendition as it is listed, and
//! checks what must hold between two versions of a playlist.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::boxes::{self, Init, Sample};
use super::http::{Client, until};
use super::playlist::{Entry, Media, Multivariant, Variant, resolve};

/// Follows one stream.
pub struct Follower {
    client: Client,
    base: String,
    /// Path of the multivariant playlist.
    pub path: String,
    /// The multivariant playlist as it was first served.
    pub multivariant: Multivariant,
    /// Video rungs in the playlist's order, then audio.
    pub renditions: Vec<Rendition>,
}

/// What was seen of one rendition.
pub struct Rendition {
    /// Name of the rendition, which is its folder.
    pub name: String,
    /// Path of its playlist.
    pub path: String,
    /// Its line in the multivariant playlist; `None` for audio.
    pub variant: Option<Variant>,
    /// The newest version of its playlist.
    pub playlist: Option<Media>,
    /// Every segment that was ever listed.
    pub segments: Vec<Segment>,
    /// EXT-X-MEDIA-SEQUENCE and EXT-X-DISCONTINUITY-SEQUENCE of all versions, each pair once in a row.
    pub fronts: Vec<(u64, u64)>,
    /// Init segments by URI.
    pub inits: BTreeMap<String, Vec<u8>>,
}

/// A listed segment and its bytes; a gap has none.
pub struct Segment {
    /// Its lines in the playlist.
    pub entry: Entry,
    /// The whole file.
    pub bytes: Vec<u8>,
}

/// Segments that follow on each other, with the init segment that describes all of them.
pub struct Run<'a> {
    /// Name of the rendition.
    pub name: &'a str,
    /// The init segment.
    pub init: &'a [u8],
    /// At least one, none of them a gap.
    pub segments: Vec<&'a Segment>,
}

impl Follower {
    /// Waits until the stream is listed and takes its renditions from the multivariant playlist.
    pub fn open(base: &str, stream: &str, limit: Duration) -> Self {
        let client = Client::default();
        let path = format!("/live/{stream}/index.m3u8");
        let text = client
            .poll(&format!("{base}{path}"), limit, |answer| (answer.status == 200).then(|| answer.text().to_owned()));
        let multivariant = Multivariant::parse(&text);
        let videos = multivariant.variants.iter().map(|variant| (&variant.uri, Some(variant.clone())));
        let audios = multivariant.audio.iter().map(|audio| (&audio.uri, None));
        let renditions = videos.chain(audios).map(|(uri, variant)| Rendition::new(resolve(&path, uri), variant));
        Follower { renditions: renditions.collect(), client, base: base.to_owned(), path, multivariant }
    }

    /// Goes on with the same stream at this address: the daemon was started anew, and connections with the one before are gone.
    pub fn move_to(&mut self, base: &str) {
        self.base = base.to_owned();
        self.client = Client::default();
    }

    /// Fetches what is new in all renditions.
    pub fn update(&mut self) {
        for rendition in &mut self.renditions {
            rendition.update(&self.client, &self.base);
        }
    }

    /// Updates until `done` says so.
    pub fn until(&mut self, limit: Duration, what: &str, mut done: impl FnMut(&[Rendition]) -> bool) {
        until(limit, what, || {
            self.update();
            done(&self.renditions).then_some(())
        });
    }

    /// Updates until every rendition has `count` segments with media.
    pub fn until_segments(&mut self, count: usize, limit: Duration) {
        self.until(limit, &format!("{count} segments"), |renditions| {
            renditions.iter().all(|rendition| rendition.media_segments().count() >= count)
        });
    }

    /// Updates until every rendition has its ENDLIST.
    pub fn until_ended(&mut self, limit: Duration) {
        self.until(limit, "ENDLIST", |renditions| {
            renditions.iter().all(|rendition| rendition.playlist.as_ref().is_some_and(|playlist| playlist.ended))
        });
    }

    /// The video rungs.
    pub fn videos(&self) -> impl Iterator<Item = &Rendition> {
        self.renditions.iter().filter(|rendition| rendition.variant.is_some())
    }

    /// The audio rendition.
    pub fn audio(&self) -> &Rendition {
        self.renditions.iter().find(|rendition| rendition.variant.is_none()).expect("an audio rendition")
    }

    /// The rung called `name`.
    pub fn rung(&self, name: &str) -> &Rendition {
        let names: Vec<_> = self.renditions.iter().map(|rendition| &rendition.name).collect();
        self.renditions.iter().find(|rung| rung.name == name).unwrap_or_else(|| panic!("no {name} in {names:?}"))
    }
}

impl Rendition {
    fn new(path: String, variant: Option<Variant>) -> Self {
        let name = path.rsplit('/').nth(1).expect("a playlist lies in its rendition's folder").to_owned();
        Rendition {
            name,
            path,
            variant,
            playlist: None,
            segments: Vec::new(),
            fronts: Vec::new(),
            inits: BTreeMap::new(),
        }
    }

    fn update(&mut self, client: &Client, base: &str) {
        let started = Instant::now();
        let playlist = Media::parse(client.fetch(&format!("{base}{}", self.path)).text());
        self.compare(&playlist);
        let known = self.segments.last().map(|segment| segment.entry.msn);
        for entry in playlist.entries.iter().filter(|entry| known.is_none_or(|known| entry.msn > known)) {
            let fetch = |uri: &str| client.fetch(&format!("{base}{}", resolve(&self.path, uri))).body;
            let bytes = if entry.gap { Vec::new() } else { fetch(&entry.uri) };
            if !entry.gap && !self.inits.contains_key(&entry.map) {
                self.inits.insert(entry.map.clone(), fetch(&entry.map));
            }
            self.segments.push(Segment { entry: entry.clone(), bytes });
        }
        let front = (playlist.first_msn, playlist.discontinuity_sequence);
        if self.fronts.last() != Some(&front) {
            self.fronts.push(front);
        }
        self.playlist = Some(playlist);
        // What takes longer than a window cannot follow at all, and the machine is to blame rather than the daemon.
        assert!(started.elapsed() < Duration::from_secs(60), "{}: an update took {:?}", self.name, started.elapsed());
    }

    /// What must hold between two versions (RFC 8216 6.2.1 and 6.2.2).
    fn compare(&self, new: &Media) {
        let name = &self.name;
        let Some(old) = &self.playlist else { return };
        assert_eq!(new.target_seconds, old.target_seconds, "{name}: the target duration is fixed");
        assert!(new.first_msn >= old.first_msn, "{name}: MEDIA-SEQUENCE went back");
        assert!(new.last_msn() >= old.last_msn(), "{name}: a listed segment was taken back");
        assert!(new.discontinuity_sequence >= old.discontinuity_sequence, "{name}: DISCONTINUITY-SEQUENCE went back");
        if old.ended {
            assert_eq!(new, old, "{name}: a playlist with ENDLIST changed");
        }
        let first_new = new.entries.first().map(|entry| entry.msn);
        let last_known = self.segments.last().map(|segment| segment.entry.msn + 1);
        assert!(first_new <= last_known, "{name}: {first_new:?} is the oldest, {last_known:?} was to come");
        for entry in &new.entries {
            let known = self.segments.iter().find(|segment| segment.entry.msn == entry.msn);
            let known = known.map(|segment| &segment.entry);
            // There is nothing in a gap that an init segment is needed for: at the front of a window none is named for it.
            let is_known =
                |known: &Entry| *known == if known.gap { with_map(entry, &known.map) } else { entry.clone() };
            assert!(known.is_none_or(is_known), "{name}: {known:?} became {entry:?}");
        }
    }

    /// Segments that are no gaps.
    pub fn media_segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| !segment.entry.gap)
    }

    /// The only init segment.
    pub fn init(&self) -> &[u8] {
        assert_eq!(self.inits.len(), 1, "{}: one configuration: {:?}", self.name, self.inits.keys());
        self.inits.values().next().expect("one was counted")
    }

    /// The segments with media, divided at every discontinuity, gap and change of the init segment.
    pub fn runs(&self) -> Vec<Run<'_>> {
        let mut runs: Vec<Run<'_>> = Vec::new();
        let mut last: Option<&Entry> = None;
        for segment in &self.segments {
            let entry = &segment.entry;
            let follows = last.is_some_and(|last| !last.gap && !entry.discontinuity && last.map == entry.map);
            match runs.last_mut() {
                _ if entry.gap => {}
                Some(run) if follows => run.segments.push(segment),
                _ => runs.push(Run { name: &self.name, init: &self.inits[&entry.map], segments: vec![segment] }),
            }
            last = Some(entry);
        }
        runs
    }

    /// Units per second.
    pub fn timescale(&self) -> u32 {
        Init::parse(self.init()).timescale
    }

    /// All samples of all segments.
    pub fn samples(&self) -> Vec<Sample> {
        self.media_segments().flat_map(|segment| boxes::samples(&segment.bytes)).collect()
    }

    /// Writes the only init segment and all segments into one file: see [`Run::write`].
    pub fn write(&self, folder: &Path) -> PathBuf {
        Run { name: &self.name, init: self.init(), segments: self.media_segments().collect() }.write(folder)
    }
}

fn with_map(entry: &Entry, map: &str) -> Entry {
    Entry { map: map.to_owned(), ..entry.clone() }
}

impl Run<'_> {
    /// Writes the init segment and all segments into one file: a new one at each call, because tests that share a
    /// recording run at the same time, and one would read what another has just emptied to write it again.
    pub fn write(&self, folder: &Path) -> PathBuf {
        static WRITTEN: AtomicU32 = AtomicU32::new(0);
        let path = folder.join(format!("{}-{}.mp4", self.name, WRITTEN.fetch_add(1, Ordering::Relaxed)));
        let mut whole = self.init.to_vec();
        self.segments.iter().for_each(|segment| whole.extend_from_slice(&segment.bytes));
        fs::write(&path, whole).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// All samples in decoding order.
    pub fn samples(&self) -> Vec<Sample> {
        self.segments.iter().flat_map(|segment| boxes::samples(&segment.bytes)).collect()
    }
}
