//! The live window of one session: what its playlists list, and the newest media.
//!
//! One thread writes ([`Window::apply`], in the order in which package yields), any number of readers look on. A reader
//! takes a [`View`] without a lock, or copies handles of bytes under a lock that is held for as long as it takes to
//! find them. Bytes are there before the view that names them.
//!
//! Segments leave from the front only, when those behind them last for the window and for three target durations
//! (RFC 8216 6.2.2). Nothing here renders a text unless a reader asks, and nothing decides what goes to the store.

mod chain;
mod memory;
mod multivariant;
#[cfg(test)]
mod tests;
mod view;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use tokio::sync::watch;

use crate::media::naming::MediaName;
use crate::media::segment::{
    Init, Joined, Part, PartEntry, Rendition, RenditionId, Renditions, SegmentEnd, SegmentStart,
};
use crate::media::{Output, Segment, Span};
use crate::wire::hls::{Multivariant, describe};

use chain::Chain;
use memory::Memory;
use view::Texts;
pub use view::View;

/// Memory holds at least this much media, so that a player that is a playlist behind still finds it.
const MIN_HORIZON: Span = Span::from_secs(16);
/// Memory holds at most this much media, however long the window.
const MAX_HORIZON: Span = Span::from_secs(60);

/// How much media of a rendition memory holds behind the open segment, for a window of this length; less than a segment
/// more until the oldest leaves.
pub fn horizon(window: Span) -> Span {
    window.clamp(MIN_HORIZON, MAX_HORIZON)
}

/// What is fixed for a session's life, and where it goes on.
#[derive(Clone, Debug, Default)]
pub struct WindowSettings {
    /// Media time that playlists list.
    pub window: Span,
    /// What the cut clock aims at: EXT-X-TARGETDURATION is this, rounded by [`describe::target_duration_secs`].
    pub segment_target: Span,
    /// What the session listed before this daemon began, in the order of the renditions. Missing ones begin anew.
    pub start: Vec<RenditionStart>,
}

/// What a rendition listed before.
#[derive(Clone, Debug, Default)]
pub struct RenditionStart {
    /// Closed segments, oldest first.
    pub segments: Vec<Segment>,
    /// EXT-X-DISCONTINUITY-SEQUENCE in front of the first of them.
    pub discontinuity_sequence: u64,
    /// Init segments that they refer to, oldest first, and the newest.
    pub inits: Vec<Init>,
}

/// The live window. Share it by `Arc`.
#[derive(Debug)]
pub struct Window {
    /// Grows when renditions join.
    lanes: ArcSwap<Lanes>,
    window: Span,
    segment_target: Span,
    multivariant: ArcSwapOption<Multivariant>,
    changes: watch::Sender<u64>,
}

/// All renditions at one moment.
#[derive(Debug)]
struct Lanes {
    renditions: Renditions,
    /// How many of them the session began with.
    founding: usize,
    shared: Vec<Arc<Shared>>,
}

/// One rendition: what readers see, and what the writer keeps beside it.
#[derive(Debug)]
struct Shared {
    view: ArcSwap<View>,
    state: Mutex<State>,
}

/// Counts of one rendition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Parts.
    pub parts: u64,
    /// Segments closed, gaps included.
    pub segments: u64,
    /// Bytes of the parts.
    pub bytes: u64,
    /// Samples in the parts: pictures, or frames of sound.
    pub samples: u64,
}

#[derive(Debug)]
struct State {
    totals: Totals,
    /// The newest view, which is changed and given out as a copy.
    view: View,
    open: Option<Segment>,
    memory: Memory,
    /// Sum of the listed durations.
    listed: Span,
    /// Listed media time that is kept.
    keep: Span,
    /// Bits per second that were promised, and the most that a segment had which is not too short to be judged.
    promised: u64,
    peak: u64,
    shortest: Span,
}

impl Window {
    /// A window that lists what `settings.start` says.
    pub fn new(renditions: Renditions, settings: WindowSettings) -> Self {
        let WindowSettings { window, segment_target, start } = settings;
        let mut start = start.into_iter();
        let shared = renditions.iter().map(|rendition| {
            Arc::new(Shared::new(rendition, window, segment_target, start.next().unwrap_or_default()))
        });
        let shared = shared.collect();
        let lanes = ArcSwap::from_pointee(Lanes { founding: renditions.len(), renditions, shared });
        let (multivariant, changes) = (ArcSwapOption::empty(), watch::Sender::new(0));
        let window = Window { lanes, window, segment_target, multivariant, changes };
        window.describe();
        window
    }

    /// Takes in what package yielded. Outputs of a rendition that the session does not have are passed over.
    /// Only one thread may call this, in the order of package.
    pub fn apply(&self, output: &Output) {
        if let Output::Join(joined) = output {
            self.join(joined);
        }
        let Some(lane) = self.lane(output.rendition()) else { return };
        let mut state = lane.state();
        let before = state.peak;
        match output {
            Output::Join(_) => {}
            Output::Init(init) => state.init(init),
            Output::Open(start) => state.open(start),
            Output::Part(part) => state.part(part),
            Output::Close(end) => state.close(end),
            Output::End(_) => state.end(),
        }
        let rises = state.peak > before.max(state.promised);
        lane.view.store(Arc::new(state.view.clone()));
        drop(state);
        let first_close = matches!(output, Output::Close(_)) && self.waits_for_content(output.rendition());
        if matches!(output, Output::Init(_)) || rises || first_close {
            self.describe();
        }
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// Adds renditions behind those that are there. A join that does not follow on them is passed over.
    fn join(&self, joined: &Joined) {
        let lanes = self.lanes.load();
        if usize::from(joined.first.0) != lanes.renditions.len() {
            return;
        }
        let start = || RenditionStart { discontinuity_sequence: joined.discontinuities, ..RenditionStart::default() };
        let new = joined
            .renditions
            .iter()
            .map(|rendition| Arc::new(Shared::new(rendition, self.window, self.segment_target, start())));
        self.lanes.store(Arc::new(Lanes {
            renditions: lanes.renditions.iter().chain(joined.renditions.iter()).cloned().collect(),
            founding: lanes.founding,
            shared: lanes.shared.iter().cloned().chain(new).collect(),
        }));
    }

    /// Whether a segment of the rendition may be what the multivariant playlist waits for.
    fn waits_for_content(&self, rendition: RenditionId) -> bool {
        let late = usize::from(rendition.0) >= self.lanes.load().founding;
        let few = |view: Arc<View>| view.len() <= multivariant::LATE_SEGMENTS;
        self.multivariant.load().is_none() || (late && self.rendition(rendition).is_some_and(few))
    }

    fn lane(&self, rendition: RenditionId) -> Option<Arc<Shared>> {
        self.lanes.load().shared.get(usize::from(rendition.0)).cloned()
    }

    /// The session's renditions.
    pub fn renditions(&self) -> Renditions {
        self.lanes.load().renditions.clone()
    }

    /// The id of the rendition of that name.
    pub fn find(&self, name: &str) -> Option<RenditionId> {
        let index = self.lanes.load().renditions.iter().position(|rendition| rendition.name == name)?;
        u8::try_from(index).ok().map(RenditionId)
    }

    /// A rendition as it is now.
    pub fn rendition(&self, rendition: RenditionId) -> Option<Arc<View>> {
        Some(self.lane(rendition)?.view.load_full())
    }

    /// The bytes of a file from memory: one piece for an init segment or a part, one per part for a closed segment.
    /// `None` when memory does not have it: it is older than the horizon, not there yet, or never was.
    pub fn media(&self, rendition: RenditionId, name: MediaName) -> Option<Vec<Bytes>> {
        let lane = self.lane(rendition)?;
        let state = lane.state();
        match name {
            MediaName::Init { number } => {
                let init = state.view.inits.iter().find(|init| init.number == number)?;
                Some(vec![init.bytes.clone()])
            }
            MediaName::Segment { epoch, msn } => state.memory.segment(epoch, msn),
            MediaName::Part { epoch, msn, part } => state.memory.part(epoch, msn, part).map(|bytes| vec![bytes]),
        }
    }

    /// Counts every output that was applied. A reader that waits for something looks, waits for a change, looks again.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The multivariant playlist, once every rendition has a track and a closed segment. Those that joined late are in it from
    /// when a player can start on them.
    pub fn multivariant(&self) -> Option<Arc<Multivariant>> {
        self.multivariant.load_full()
    }

    /// Whether every rendition has ended.
    pub fn ended(&self) -> bool {
        self.lanes.load().shared.iter().all(|lane| lane.view.load().ended)
    }

    /// What a rendition has yielded since this window was made, for metrics.
    pub fn totals(&self, rendition: RenditionId) -> Option<Totals> {
        Some(self.lane(rendition)?.state().totals)
    }

    /// Bytes of media in memory, for metrics.
    pub fn memory_bytes(&self) -> usize {
        self.lanes.load().shared.iter().map(|lane| lane.state().memory.bytes()).sum()
    }

    fn describe(&self) {
        let lanes = self.lanes.load();
        let views: Vec<_> = lanes.shared.iter().map(|lane| (lane.view.load_full(), lane.state().peak)).collect();
        if let Some(playlist) = multivariant::describe(&lanes.renditions, lanes.founding, &views) {
            self.multivariant.store(Some(Arc::new(playlist)));
        }
    }
}

impl Shared {
    fn new(rendition: &Rendition, window: Span, segment_target: Span, start: RenditionStart) -> Self {
        let state = State::new(rendition, window, segment_target, start);
        Shared { view: ArcSwap::from_pointee(state.view.clone()), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(rendition: &Rendition, window: Span, segment_target: Span, start: RenditionStart) -> Self {
        let mut state = State {
            totals: Totals::default(),
            view: View {
                target_duration_secs: describe::target_duration_secs(segment_target),
                independent_segments: describe::independent_segments(rendition),
                closed: Chain::new(),
                open: None,
                media_sequence: start.segments.first().map_or(0, |first| first.msn),
                discontinuity_sequence: start.discontinuity_sequence,
                ended: false,
                version: 0,
                inits: start.inits.into(),
                texts: Arc::default(),
            },
            open: None,
            memory: Memory::new(horizon(window)),
            listed: Span::ZERO,
            keep: describe::kept_window(window, segment_target),
            promised: rendition.bandwidth,
            peak: 0,
            shortest: describe::shortest_judged(segment_target),
        };
        for segment in start.segments {
            state.list(segment);
        }
        state
    }

    fn init(&mut self, init: &Init) {
        self.view.inits = self.view.inits.iter().chain([init]).cloned().collect();
    }

    fn open(&mut self, start: &SegmentStart) {
        // MSNs in a playlist are consecutive. After an unclean restart they go on beyond any that can have been
        // published: what was listed before the jump leaves.
        let follows = self.view.closed.last().is_some_and(|last| last.msn.checked_add(1) == Some(start.msn));
        if !follows {
            while !self.view.closed.is_empty() {
                self.remove_first();
            }
            self.view.media_sequence = start.msn;
            self.text_changed();
        }
        self.memory.open(start);
        self.set_open(Some(Segment::open(start)));
    }

    fn part(&mut self, part: &Part) {
        self.totals.parts += 1;
        self.totals.bytes += part.bytes.len() as u64;
        self.totals.samples += u64::from(part.samples);
        self.memory.push(part.bytes.clone());
        if let Some(mut open) = self.open.take() {
            let (duration, independent, size) = (part.duration, part.independent, part.bytes.len());
            open.parts.push(PartEntry { duration, independent, size });
            self.set_open(Some(open));
        }
    }

    fn close(&mut self, end: &SegmentEnd) {
        let Some(mut segment) = self.open.take() else { return };
        self.totals.segments += 1;
        segment.duration = Some(end.duration);
        self.memory.close(end.duration);
        self.set_open(None);
        self.list(segment);
        self.drop_inits();
        self.text_changed();
    }

    fn end(&mut self) {
        self.view.ended = true;
        self.text_changed();
    }

    fn set_open(&mut self, open: Option<Segment>) {
        self.view.open = open.clone().map(Arc::new);
        self.open = open;
    }

    /// Appends a closed segment, and lets go of those at the front that the window is over with.
    fn list(&mut self, segment: Segment) {
        self.listed += segment.duration.unwrap_or(Span::ZERO);
        self.peak = self.peak.max(segment.bits_per_second(self.shortest).unwrap_or(0));
        self.view.closed.push(segment);
        while let Some(first) = self.view.closed.first()
            && self.listed - first.duration.unwrap_or(Span::ZERO) >= self.keep
        {
            self.remove_first();
        }
    }

    /// RFC 8216 6.2.2: the media sequence number counts removed segments, the discontinuity sequence number removed
    /// tags.
    fn remove_first(&mut self) {
        let Some(first) = self.view.closed.first() else { return };
        self.listed -= first.duration.unwrap_or(Span::ZERO);
        self.view.media_sequence = first.msn.saturating_add(1);
        self.view.discontinuity_sequence += u64::from(first.discontinuity);
        self.view.closed.pop_first();
    }

    /// Keeps the init segments that something here still needs.
    fn drop_inits(&mut self) {
        let listed = self.view.closed.first().map(|first| first.init);
        let Some(oldest) = listed.into_iter().chain(self.memory.oldest_init()).min() else { return };
        let newest = self.view.inits.last().map(|init| init.number);
        let needed = |init: &&Init| init.number >= oldest || Some(init.number) == newest;
        if !self.view.inits.iter().all(|init| needed(&init)) {
            self.view.inits = self.view.inits.iter().filter(needed).cloned().collect();
        }
    }

    fn text_changed(&mut self) {
        self.view.version += 1;
        self.view.texts = Arc::new(Texts::default());
    }
}
