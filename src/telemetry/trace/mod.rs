//! A trace per stored segment: where the time went between its first packet and its object.
//!
//! Nothing is measured here. Whoever has a segment in hands notes when it came through, in monotonic times; once it is
//! stored, the whole trace is made of these figures at once. So a packet costs nothing, and with traces off a segment
//! costs nothing either: nobody notes.
//!
//! ```text
//! segment   first packet ──────────────────────────────────────────────────────▶ stored
//! receive   first packet ─▶ last packet
//! process                   last packet ─▶ last part (decode, scale, encode, package)
//! journal                                  last part ─▶ in the spool's journal
//! queue                                                 journal ─▶ first attempt
//! upload                                                           first attempt ─▶ put
//! settle                                                                            put ─▶ on disk (folders only)
//! ```

mod queue;

use std::time::{Duration, UNIX_EPOCH};

use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, InstrumentationScope, Key, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanProcessor};

pub use queue::{Queue, Spans, queue};

use crate::media::{Span, WallTime};

/// What the resource is called when `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` do not say.
const SERVICE: &str = "millstream";
/// What the SDK calls it then.
const UNNAMED: &str = "unknown_service";

/// When a segment came through the stations of its way; all of one monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The source's first packet of it came in.
    pub first: Duration,
    /// The source's last packet of it came in.
    pub last: Duration,
    /// Its last part came out of packaging.
    pub packaged: Duration,
    /// All of it is in the spool's journal, and its upload in line.
    pub journalled: Duration,
    /// The first attempt to upload it began.
    pub upload_began: Duration,
    /// The attempt that succeeded ended.
    pub uploaded: Duration,
    /// It is durable there. The same as `uploaded` where an upload is that by itself.
    pub stored: Duration,
}

/// A part of a segment's way.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stage {
    name: &'static str,
    kind: SpanKind,
    from: Duration,
    to: Duration,
}

impl Way {
    /// The stages in their order, each from the end of the one before it; those that took no time are left out. What was
    /// noted out of order (a picture that is shown late came early) is moved up, so that none ends before it begins.
    fn stages(&self) -> impl Iterator<Item = Stage> + use<> {
        let ends = [
            ("receive", SpanKind::Internal, self.last),
            ("process", SpanKind::Internal, self.packaged),
            ("journal", SpanKind::Internal, self.journalled),
            ("queue", SpanKind::Internal, self.upload_began),
            ("upload", SpanKind::Client, self.uploaded),
            ("settle", SpanKind::Internal, self.stored),
        ];
        let mut at = self.first;
        let stage = move |(name, kind, end): (_, _, Duration)| {
            let from = at;
            at = end.max(from);
            Stage { name, kind, from, to: at }
        };
        ends.into_iter().map(stage).filter(|stage| stage.from < stage.to)
    }

    /// The last of all its times.
    fn end(&self) -> Duration {
        let times = [self.last, self.packaged, self.journalled, self.upload_began, self.uploaded, self.stored];
        times.into_iter().fold(self.first, Duration::max)
    }
}

/// A stored segment.
#[derive(Clone, Copy, Debug)]
pub struct SegmentTrace<'a> {
    /// Id of its stream.
    pub stream: &'a str,
    /// Its session.
    pub session: &'a str,
    /// Its rung.
    pub rung: &'a str,
    /// The rung began as a copy of the source.
    pub copied: bool,
    /// Its number.
    pub msn: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Its media time (EXTINF).
    pub duration: Span,
    /// How often its upload was tried.
    pub attempts: u32,
    /// When it came through where.
    pub way: Way,
}

/// One moment on both clocks: what a monotonic time is told from.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Monotonic.
    pub monotonic: Duration,
    /// On the wall.
    pub wall: WallTime,
}

impl Moment {
    /// Time since 1970 at `monotonic`, by the wall clock of this moment: within a trace no step of it can show.
    fn wall_at(&self, monotonic: Duration) -> Duration {
        let ago = self.monotonic.saturating_sub(monotonic);
        let ahead = monotonic.saturating_sub(self.monotonic);
        let now = Duration::from_nanos(u64::try_from(self.wall.unix_nanos()).unwrap_or(0));
        now.saturating_add(ahead).saturating_sub(ago)
    }
}

/// Where traces go. Off by default, and then nothing is noted. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<SdkTracer>);

impl Traces {
    /// Traces go to `processor`. Sampling and limits are what the `OTEL_*` variables say.
    pub fn to(processor: impl SpanProcessor + 'static, resource: Resource) -> Self {
        let provider = SdkTracerProvider::builder().with_resource(resource).with_span_processor(processor).build();
        let scope = InstrumentationScope::builder(SERVICE).with_version(env!("CARGO_PKG_VERSION")).build();
        Traces(Some(provider.tracer_with_scope(scope)))
    }

    /// Whether times are to be noted.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Makes the trace of a segment that is stored. `now` is the moment of the call. Never blocks.
    pub fn segment(&self, segment: &SegmentTrace<'_>, now: Moment) {
        let Some(tracer) = &self.0 else { return };
        let at = |monotonic| UNIX_EPOCH + now.wall_at(monotonic);
        let root = SpanBuilder::from_name("segment")
            .with_start_time(at(segment.way.first))
            .with_attributes(attributes(segment));
        let root = Context::new().with_span(tracer.build_with_context(root, &Context::new()));
        for stage in segment.way.stages() {
            let mut builder = SpanBuilder::from_name(stage.name).with_kind(stage.kind).with_start_time(at(stage.from));
            if stage.name == "upload" {
                builder = builder.with_attributes([KeyValue::new("attempts", i64::from(segment.attempts))]);
            }
            tracer.build_with_context(builder, &root).end_with_timestamp(at(stage.to));
        }
        root.span().end_with_timestamp(at(segment.way.end()));
    }
}

fn attributes(segment: &SegmentTrace<'_>) -> [KeyValue; 7] {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    [
        KeyValue::new("stream", segment.stream.to_owned()),
        KeyValue::new("session", segment.session.to_owned()),
        KeyValue::new("rung", segment.rung.to_owned()),
        KeyValue::new("copied", segment.copied),
        KeyValue::new("msn", count(segment.msn)),
        KeyValue::new("bytes", count(segment.bytes)),
        KeyValue::new("duration_ms", segment.duration.to_units(1_000)),
    ]
}

/// Who sends the traces: the daemon, unless the `OTEL_*` variables say otherwise, and what they add.
pub fn resource() -> Resource {
    let named = Resource::builder().build();
    let is_named = named.get(&Key::new("service.name")).is_some_and(|name| !name.as_str().starts_with(UNNAMED));
    let builder = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if is_named { builder.build() } else { builder.with_service_name(SERVICE).build() }
}

#[cfg(test)]
mod tests;
