//! Sessions and store, as metrics, as readiness and as the API's details.

use std::pin::Pin;
use std::sync::Arc;

use crate::api::operations::{Check, Readiness};
use crate::api::{LeftOutRung, LiveDetails, LiveRendition, LiveSessions};
use crate::control::{Control, SessionId};
use crate::ingest::Dropped;
use crate::listen::srt::SrtConnections;
use crate::live::stats::SessionStats;
use crate::live::{Session, SessionState, Sessions};
use crate::media::Kind;
use crate::media::segment::RenditionId;
use crate::package::{Totals, View, Window};
use crate::store::{Alarms, Puts, Store};
use crate::telemetry::names::{self, Metric};
use crate::telemetry::samples::Value;
use crate::telemetry::{Collect, Samples};
use crate::wire::srt;

/// Segments whose bitrate is told as that of now.
const RECENT_SEGMENTS: usize = 3;

/// Metrics and readiness of a running daemon.
#[derive(Clone, Debug)]
pub struct Figures {
    control: Control,
    sessions: Sessions,
    store: Arc<Store>,
    callers: SrtConnections,
}

impl Figures {
    /// The figures of these parts.
    pub fn new(control: Control, sessions: Sessions, store: Arc<Store>, callers: SrtConnections) -> Self {
        Figures { control, sessions, store, callers }
    }
}

impl Readiness for Figures {
    async fn checks(&self) -> Vec<Check> {
        let database = match self.control.open_sessions().await {
            Ok(_) => Check::passed("database"),
            Err(failure) => Check::failed("database", failure.to_string()),
        };
        let alarms = self.store.stats().alarms;
        let check = |name: &'static str, raised: bool, reason: &str| {
            if raised { Check::failed(name, reason) } else { Check::passed(name) }
        };
        vec![
            database,
            check("disk", alarms.disk, "the spool's disk fails: live goes on, nothing is recorded"),
            check("spool", alarms.spool_full, "the spool is full: the oldest media is dropped before it is stored"),
            check("store", alarms.objects, "the object store fails: uploads wait in the spool"),
        ]
    }
}

impl Collect for Figures {
    fn collect(&self, samples: &mut Samples) {
        let sessions = self.sessions.all();
        for state in [SessionState::Starting, SessionState::Live, SessionState::Reconnecting] {
            let count = sessions.iter().filter(|session| session.state() == state).count();
            samples.add(&names::SESSIONS, &[("state", state.as_str())], count as u64);
        }
        for session in sessions.iter().filter(|session| session.state() != SessionState::Ended) {
            collect_session(session, samples);
        }
        self.callers
            .each(|stream, session, stats| collect_caller(&mut SessionSamples { stream, session, samples }, stats));
        let (capacity, in_use) = self.sessions.capacity().figures();
        samples.add(&names::ENCODE_CAPACITY, &[], capacity.unwrap_or_default().kilopixels().saturating_mul(1_000));
        samples.add(&names::ENCODE_IN_USE, &[], in_use.kilopixels().saturating_mul(1_000));
        let stats = self.store.stats();
        samples.add(&names::STORE_SPOOL_BYTES, &[], stats.spool_bytes);
        samples.add(&names::STORE_SPOOL_MAX, &[], stats.spool_max_bytes);
        samples.add(&names::STORE_BACKLOG_OLDEST, &[], stats.backlog_oldest.as_secs_f64());
        let Alarms { disk, spool_full, objects } = stats.alarms;
        for (alarm, raised) in [("disk", disk), ("spool", spool_full), ("store", objects)] {
            samples.add(&names::STORE_ALARM, &[("alarm", alarm)], u64::from(raised));
        }
        samples.add(&names::STORE_BACKLOG, &[], stats.backlog_objects);
        samples.add(&names::STORE_BACKLOG_BYTES, &[], stats.backlog_bytes);
        let Puts { inits, segments, playlists } = stats.puts;
        for (kind, count) in [("init", inits), ("segment", segments), ("playlist", playlists)] {
            samples.add(&names::STORE_WRITTEN, &[("kind", kind)], count);
        }
        samples.add(&names::STORE_WRITTEN_BYTES, &[], stats.put_bytes);
        samples.add(&names::STORE_DELETED, &[], stats.deletes);
        samples.add(&names::STORE_FAILURES, &[("operation", "object")], stats.object_failures);
        samples.add(&names::STORE_FAILURES, &[("operation", "journal")], stats.append_failures);
        samples.add(&names::STORE_LOST_SEGMENTS, &[], stats.lost_segments);
    }
}

/// The samples of one session: its labels stand before those of each.
struct SessionSamples<'a> {
    stream: &'a str,
    session: &'a str,
    samples: &'a mut Samples,
}

impl SessionSamples<'_> {
    fn add(&mut self, metric: &'static Metric, extra: &[(&'static str, &str)], value: impl Into<Value>) {
        let mut labels = vec![("stream", self.stream), ("session", self.session)];
        labels.extend_from_slice(extra);
        self.samples.add(metric, &labels, value);
    }
}

fn collect_caller(out: &mut SessionSamples, stats: &srt::Stats) {
    out.add(&names::SRT_RTT, &[], stats.rtt.as_secs_f64());
    out.add(&names::SRT_LATENCY, &[], stats.latency.as_secs_f64());
    out.add(&names::SRT_BUFFER, &[], stats.buffer_span.as_secs_f64());
    let packets = [
        ("received", stats.packets),
        ("unique", stats.unique_packets),
        ("lost", stats.lost),
        ("retransmitted", stats.retransmitted),
        ("dropped", stats.dropped),
        ("belated", stats.belated),
        ("undecryptable", stats.undecryptable),
    ];
    for (what, count) in packets {
        out.add(&names::SRT_PACKETS, &[("what", what)], count);
    }
    for (what, count) in [("ack", stats.acks), ("nak", stats.naks)] {
        out.add(&names::SRT_REPORTS, &[("what", what)], count);
    }
    out.add(&names::SRT_RATE, &[], stats.bytes_per_second);
    let packet = stats.bytes.checked_div(stats.packets).unwrap_or(0);
    out.add(&names::SRT_LINK, &[], stats.link_packets_per_second.saturating_mul(packet));
}

fn collect_session(session: &Session, samples: &mut Samples) {
    let spec = session.spec();
    let mut out = SessionSamples { stream: &spec.stream, session: &spec.session, samples };
    let stats = session.stats();
    collect_intake(&stats, &mut out);
    for edge in &stats.edges {
        let label = [("edge", edge.name)];
        out.add(&names::EDGE_ITEMS, &label, edge.items as u64);
        out.add(&names::EDGE_BYTES, &label, edge.bytes as u64);
        out.add(&names::EDGE_DROPPED, &label, edge.dropped);
    }
    if let Some(ladder) = &stats.ladder {
        out.add(&names::TRANSCODE_DROPPED, &[], ladder.shed_frames);
        out.add(&names::TRANSCODE_OVERLOADED, &[], u64::from(ladder.overloaded));
        out.add(&names::TRANSCODE_BACKLOG, &[], ladder.backlog.as_secs_f64());
        for (rung, speed) in ladder.rungs.iter().zip(&stats.encode_speeds) {
            let label = [("rung", rung.name.as_str())];
            out.add(&names::TRANSCODE_FRAMES, &label, rung.encoded_frames);
            out.add(&names::TRANSCODE_QUEUE, &label, rung.queued_frames as u64);
            out.add(&names::TRANSCODE_SPEED, &label, *speed);
        }
    }
    if let Some(window) = session.window().borrow().as_ref() {
        out.add(&names::PACKAGE_MEMORY, &[], window.memory_bytes() as u64);
        let late = stats.late_packets.iter().copied().chain(std::iter::repeat(0));
        for (Lane { name, kind, view, totals }, late) in lanes(window).zip(late) {
            let label = [("rung", name.as_str())];
            if kind == Kind::Video {
                out.add(&names::PACKAGE_FRAMES, &label, totals.samples);
            }
            out.add(&names::PACKAGE_BYTES, &label, totals.bytes);
            out.add(&names::PACKAGE_PARTS, &label, totals.parts);
            out.add(&names::PACKAGE_SEGMENTS, &label, totals.segments);
            out.add(&names::PACKAGE_DROPPED, &label, late);
            out.add(&names::PACKAGE_BITRATE, &label, recent_bitrate(&view));
        }
    }
}

fn collect_intake(stats: &SessionStats, out: &mut SessionSamples<'_>) {
    let ingest = &stats.ingest;
    out.add(&names::INGEST_BYTES, &[], ingest.bytes);
    out.add(&names::INGEST_MESSAGES, &[("kind", "video")], ingest.video_messages);
    out.add(&names::INGEST_MESSAGES, &[("kind", "audio")], ingest.audio_messages);
    out.add(&names::INGEST_BITRATE, &[], stats.rates.bits_per_second);
    out.add(&names::INGEST_FPS, &[], stats.rates.frames_per_second);
    out.add(&names::INGEST_DRIFT, &[], ingest.drift.as_secs_f64());
    out.add(&names::INGEST_DRIFT_CORRECTED, &[], ingest.drift_corrected.as_secs_f64());
    out.add(&names::INGEST_DATE_AHEAD, &[], ingest.date_ahead.as_secs_f64());
    for (kind, clock) in [("video", ingest.video_clock), ("audio", ingest.audio_clock)] {
        let label = [("kind", kind)];
        out.add(&names::INGEST_CLOCK_AHEAD, &label, clock.ahead.as_secs_f64());
        // Not known is not the same as right.
        if let Some(ppm) = clock.ppm {
            out.add(&names::INGEST_CLOCK_SKEW, &label, ppm as f64 / 1e6);
        }
    }
    out.add(&names::INGEST_REPAIRS, &[], ingest.repairs);
    out.add(&names::INGEST_DISCONTINUITIES, &[], ingest.discontinuities);
    out.add(&names::INGEST_SILENCE, &[], ingest.silent_frames);
    let Dropped { damaged, unconfigured, empty, before_keyframe, trimmed_audio, stale, late_track } = ingest.dropped;
    for (reason, count) in [
        ("damaged", damaged),
        ("unconfigured", unconfigured),
        ("empty", empty),
        ("before_keyframe", before_keyframe),
        ("trimmed_audio", trimmed_audio),
        ("stale", stale),
        ("late_track", late_track),
    ] {
        out.add(&names::INGEST_DROPPED, &[("reason", reason)], count);
    }
}

/// A rendition as it is now.
struct Lane {
    name: String,
    kind: Kind,
    view: Arc<View>,
    totals: Totals,
}

fn lanes(window: &Window) -> impl Iterator<Item = Lane> + '_ {
    let renditions: Vec<_> = window.renditions().iter().map(|it| (it.name.clone(), it.kind)).collect();
    (0..=u8::MAX).map(RenditionId).zip(renditions).filter_map(|(id, (name, kind))| {
        Some(Lane { name, kind, view: window.rendition(id)?, totals: window.totals(id)? })
    })
}

/// Bits per second of the newest segments, container included.
fn recent_bitrate(view: &View) -> f64 {
    let newest = view.segments().skip(view.len().saturating_sub(RECENT_SEGMENTS));
    let (bytes, secs) = newest.filter(|segment| !segment.gap).fold((0.0, 0.0), |(bytes, secs), segment| {
        (bytes + segment.size() as f64, secs + segment.duration.unwrap_or_default().as_secs_f64())
    });
    if secs > 0.0 { bytes * 8.0 / secs } else { 0.0 }
}

/// The running sessions, for the API.
#[derive(Clone, Debug)]
pub struct LiveTable {
    sessions: Sessions,
}

impl LiveTable {
    /// The details of these sessions.
    pub fn new(sessions: Sessions) -> Self {
        LiveTable { sessions }
    }

    fn find(&self, id: &SessionId) -> Option<Arc<Session>> {
        self.sessions.all().into_iter().find(|running| running.spec().session == id.as_str())
    }
}

impl LiveSessions for LiveTable {
    fn details(&self, session: &SessionId) -> Option<LiveDetails> {
        let session = self.find(session)?;
        let stats: Arc<SessionStats> = session.stats();
        let window = session.window().borrow().clone();
        let renditions = window.as_deref().map(|window| {
            let listed = window.renditions();
            let listed = listed.iter().zip(lanes(window)).map(|(rendition, Lane { name, view, .. })| LiveRendition {
                reason: stats.reasons.iter().find(|(rung, _)| *rung == name).map(|(_, why)| why.clone()),
                name,
                copied: rendition.copied,
                bits_per_second: recent_bitrate(&view) as u64,
            });
            listed.collect()
        });
        let is_there = |name: &str| {
            window.as_deref().is_some_and(|window| window.renditions().iter().any(|rendition| rendition.name == name))
        };
        let left_out = stats.reasons.iter().filter(|(rung, _)| !is_there(rung));
        Some(LiveDetails {
            dropped_frames: stats.ladder.as_ref().map_or(0, |ladder| ladder.shed_frames),
            left_out: left_out.map(|(rung, why)| LeftOutRung { name: rung.clone(), reason: why.clone() }).collect(),
            peer: session.peer().map(|peer| peer.to_string()),
            ingest_bits_per_second: stats.rates.bits_per_second as u64,
            overloaded: stats.ladder.as_ref().is_some_and(|ladder| ladder.overloaded),
            renditions: renditions.unwrap_or_default(),
        })
    }

    fn end<'a>(&'a self, session: &'a SessionId) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async {
            if let Some(session) = self.find(session) {
                session.end().await;
            }
        })
    }
}
