//! The contract of continuity (DESIGN.md, section 4), asked of everything that a player saw of a session.
//!
//! A [`History`] is what all versions of all playlists listed, with the media and the pictures in it. A test tells it as
//! [`Stretch`]es: what was sent in one go, and how long nothing came behind it. Rules, each of them a function here:
//!
//! | rule | says |
//! |---|---|
//! | [`sequence`] | MSNs rise by one from 0, names never repeat, DISCONTINUITY-SEQUENCE counts what has left the window |
//! | [`aligned`] | at the same MSN all renditions have equal dates, discontinuities and gaps, and begin at the same time |
//! | [`broken`] | discontinuities stand between the stretches and nowhere else, gaps only before them, as many as fit into the hole |
//! | [`dated`] | dates advance by durations, and over a hole by its length |
//! | [`timed`] | tfdt has no gap and no overlap within a discontinuity and never goes back; EXTINF is what the samples last |
//! | [`stored`] | the stored playlist says of each segment what was said live |
//! | [`shown`] | the pictures of each stretch are all there, once and in order |
//!
//! Behind a restart of the daemon ([`Hole::Restart`]) a hole has no length that a test could know: dates lie between two moments of
//! the wall clock instead. What was open in a daemon that was killed may be shorter in one rendition than in another, or a gap.
//!
//! What must hold between two versions of a playlist, the follower itself asserts.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::boxes::{self, Init, Sample};
use super::content;
use super::follower::{Follower, Rendition};
use super::machine;
use super::playlist::{Entry, Media};

/// A date leaves media time by at most 0.5 ms per segment, and is written in whole milliseconds.
const SLEW_US: i64 = 1_500;
/// EXTINF has five decimals: half of the last one, and one microsecond for our own division.
const DECIMALS_US: u64 = 6;
/// What the daemon takes for a hole ends with the arrival of media, and begins with the end of the last picture, which was shown
/// some frames behind its sending. On a busy machine arrivals are late; the time that it stood still comes on top.
const ARRIVAL_US: i64 = 300_000;
/// What a test does between its start and the first picture's arrival.
const BEFORE_FIRST: Duration = Duration::from_secs(10);
/// Where a hole ends, the timeline goes on where it was: to a frame of 10 frames/s, and one of sound.
const JOINT_US: i64 = 125_000;
/// A daemon that was started anew goes on so far behind what its journal knows.
const RESUME_US: i64 = 1_000_000;
const FLICKS: i64 = 705_600_000;

/// What a test has sent without a break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Numbers of its pictures.
    pub pictures: Range<u32>,
    /// How long nothing came behind it until the next stretch began. Of the last one it says nothing.
    pub away: Duration,
    /// How much longer that may have been because the machine stood still meanwhile.
    pub late: Duration,
}

/// What lies between a stretch and the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hole {
    /// Nothing came for so long, at least and at most.
    Away(RangeInclusive<Duration>),
    /// The daemon was started anew meanwhile, perhaps more than once.
    Restart {
        /// When the next publisher was started at the earliest, and when its first segment had been seen: microseconds since 1970.
        dates: RangeInclusive<i64>,
    },
}

impl Stretch {
    /// Pictures with a hole behind them.
    pub fn new(pictures: Range<u32>, away: Duration) -> Self {
        Stretch { pictures, away, late: Duration::ZERO }
    }

    /// The same, where the next stretch came after `longest` at the latest: with the time that this one's pictures lasted.
    #[must_use]
    pub fn within(self, longest: Duration, pictures_last: Duration) -> Self {
        Stretch { late: longest.saturating_sub(pictures_last + self.away), ..self }
    }
}

/// Everything that was listed of a session.
#[derive(Clone, Debug)]
pub struct History {
    /// How long the machine stood still meanwhile: arrivals may be so much later than they were sent.
    pub stalled: Duration,
    /// Video rungs, then audio.
    pub lanes: Vec<Lane>,
}

/// Everything that was listed of a rendition.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Name of the rendition.
    pub name: String,
    /// Target duration of the playlist.
    pub target: Duration,
    /// In order.
    pub listed: Vec<Listed>,
    /// First MSN and DISCONTINUITY-SEQUENCE of each version.
    pub fronts: Vec<(u64, u64)>,
    /// Numbers of the pictures between two discontinuities, in the order of presentation; `None` in each place where one cannot be
    /// read. Empty for sound.
    pub pictures: Vec<Vec<Option<u32>>>,
}

/// A segment as it was listed.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its lines in the playlist.
    pub entry: Entry,
    /// What it holds; a gap holds nothing.
    pub media: Option<Coded>,
}

/// What a segment holds.
#[derive(Clone, Debug)]
pub struct Coded {
    /// Units per second.
    pub timescale: u32,
    /// In decoding order.
    pub samples: Vec<Sample>,
}

/// A rule holds, or the words that say where it does not.
pub type Checked = Result<(), String>;

impl History {
    /// Reads all of what `seen` has; `folder` takes the files that are decoded.
    pub fn of(seen: &Follower, folder: &Path) -> Self {
        let lanes: Vec<_> = seen.renditions.iter().map(|rendition| Lane::of(rendition, folder)).collect();
        let first = lanes.iter().find_map(|lane| unix_micros(&lane.listed.first()?.entry.wall));
        let began = Duration::from_micros(first.map_or(0, i64::cast_unsigned)).saturating_sub(BEFORE_FIRST);
        History { stalled: machine::stalled_since(SystemTime::UNIX_EPOCH + began), lanes }
    }

    /// Asserts every rule of a session that was sent in these stretches.
    pub fn assert_continuous(&self, stretches: &[Stretch]) {
        self.check(stretches).unwrap_or_else(|fault| panic!("{fault}\nsent: {stretches:?}\n{}", self.shape()));
    }

    /// The first rule that is broken.
    ///
    /// # Errors
    ///
    /// Says which rendition broke it, and where.
    pub fn check(&self, stretches: &[Stretch]) -> Checked {
        // Of what lies behind the last stretch nothing is known.
        let between = stretches.split_last().map_or(&[][..], |(_, between)| between);
        let away = |stretch: &Stretch| Hole::Away(stretch.away..=stretch.away + stretch.late);
        let holes: Vec<_> = between.iter().map(|stretch| self.widened(&away(stretch))).collect();
        for lane in &self.lanes {
            within(lane, check_lane(lane, &holes))?;
            within(lane, shown(lane, stretches))?;
        }
        aligned(&self.lanes, &holes, self.stalled)
    }

    /// A hole as it may be on a machine that stood still meanwhile.
    fn widened(&self, hole: &Hole) -> Hole {
        match hole {
            Hole::Away(away) => Hole::Away(away.start().saturating_sub(self.stalled)..=*away.end() + self.stalled),
            Hole::Restart { dates } => Hole::Restart { dates: *dates.start()..=dates.end() + micros(self.stalled) },
        }
    }

    /// Asserts every rule but the one about pictures, of a session that was sent with these holes.
    pub fn assert_playlists(&self, holes: &[Hole]) {
        let holes: Vec<_> = holes.iter().map(|hole| self.widened(hole)).collect();
        let holes = &holes[..];
        let mut lanes = self.lanes.iter().map(|lane| within(lane, check_lane(lane, holes)));
        let checked = lanes.find(Result::is_err).unwrap_or_else(|| aligned(&self.lanes, holes, self.stalled));
        checked.unwrap_or_else(|fault| panic!("{fault}\nholes: {holes:?}\n{}", self.shape()));
    }

    /// Asserts that the stored playlists, in the order of the renditions, say what was said live.
    pub fn assert_stored(&self, playlists: &[Media]) {
        for (lane, playlist) in self.lanes.iter().zip(playlists) {
            within(lane, stored(lane, playlist)).unwrap_or_else(|fault| panic!("{fault}\n{}", self.shape()));
        }
    }

    /// One letter per segment of each rendition: `s`egment, `g`ap, `|` before a discontinuity.
    pub fn shape(&self) -> String {
        let letters = |listed: &Listed| {
            let bar = if listed.entry.discontinuity { "|" } else { "" };
            format!("{bar}{}", if listed.entry.gap { 'g' } else { 's' })
        };
        let line = |lane: &Lane| format!("{}: {}", lane.name, lane.listed.iter().map(letters).collect::<String>());
        self.lanes.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

impl Lane {
    fn of(rendition: &Rendition, folder: &Path) -> Self {
        let listed = rendition.segments.iter().map(|segment| {
            let timescale = || Init::parse(&rendition.inits[&segment.entry.map]).timescale;
            let coded = || Coded { timescale: timescale(), samples: boxes::samples(&segment.bytes) };
            Listed { entry: segment.entry.clone(), media: (!segment.entry.gap).then(coded) }
        });
        let numbers = |file: &Path| content::frames(file).iter().map(|frame| frame.number).collect();
        let runs = if rendition.variant.is_some() { rendition.runs() } else { Vec::new() };
        Lane {
            name: rendition.name.clone(),
            target: Duration::from_secs(rendition.playlist.as_ref().map_or(0, |playlist| playlist.target_seconds)),
            listed: listed.collect(),
            fronts: rendition.fronts.clone(),
            pictures: runs.iter().map(|run| numbers(&run.write(folder))).collect(),
        }
    }

    /// Indices of the discontinuities behind the first segment.
    fn breaks(&self) -> Vec<usize> {
        (1..self.listed.len()).filter(|at| self.listed[*at].entry.discontinuity).collect()
    }

    /// The segments between two discontinuities.
    fn runs(&self) -> Vec<&[Listed]> {
        let (breaks, end) = (self.breaks(), [self.listed.len()]);
        let bounds: Vec<_> = [0].iter().chain(&breaks).chain(&end).copied().collect();
        bounds.windows(2).map(|pair| &self.listed[pair[0]..pair[1]]).collect()
    }
}

impl Coded {
    fn us(&self, units: i64) -> i64 {
        let us = i128::from(units) * 1_000_000 / i128::from(self.timescale);
        i64::try_from(us).expect("a session's time")
    }

    /// When its first sample is presented, and when its last one has been.
    fn shown_units(&self) -> Range<i64> {
        let begins = self.samples.iter().map(|sample| sample.pts).min().unwrap_or(0);
        let ends = self.samples.iter().map(|sample| sample.pts + i64::from(sample.duration)).max().unwrap_or(0);
        begins..ends
    }

    fn shown_us(&self) -> Range<i64> {
        let units = self.shown_units();
        self.us(units.start)..self.us(units.end)
    }
}

fn within(lane: &Lane, checked: Checked) -> Checked {
    checked.map_err(|words| format!("{}: {words}", lane.name))
}

/// The rules that are about one rendition.
fn check_lane(lane: &Lane, holes: &[Hole]) -> Checked {
    sequence(lane)?;
    broken(lane, holes)?;
    dated(lane, holes)?;
    timed(lane, holes)
}

/// A rule: true, or the words.
fn rule(holds: bool, words: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(words()) }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).expect("a test's time")
}

/// MSNs rise by one from 0, no name comes twice, and what DISCONTINUITY-SEQUENCE says of each version's front is true
/// (RFC 8216 6.2.2).
fn sequence(lane: &Lane) -> Checked {
    let mut names = BTreeSet::new();
    for (expected, Listed { entry, .. }) in (0..).zip(&lane.listed) {
        rule(entry.msn == expected, || format!("MSN {} where {expected} was to come", entry.msn))?;
        rule(entry.gap || names.insert(&entry.uri), || format!("{} names two segments", entry.uri))?;
    }
    let breaks = lane.breaks();
    for (first, number) in &lane.fronts {
        let gone = breaks.iter().filter(|at| (**at as u64) < *first).count() as u64;
        rule(gone == *number, || {
            format!("DISCONTINUITY-SEQUENCE is {number} when {first} is the oldest, behind {gone} discontinuities")
        })?;
    }
    Ok(())
}

/// One discontinuity between two stretches. Gaps stand before a discontinuity or at the end, and there are as many as fit into the
/// hole; behind the last stretch and before a restart any number, which only their dates bound.
fn broken(lane: &Lane, holes: &[Hole]) -> Checked {
    let runs = lane.runs();
    let sent = holes.len() + 1;
    rule(runs.len() == sent, || format!("{} stretches for {sent} that were sent", runs.len()))?;
    for (at, run) in runs.iter().enumerate() {
        let media = run.iter().take_while(|listed| !listed.entry.gap).count();
        let gaps = run.len() - media;
        rule(run[media..].iter().all(|listed| listed.entry.gap), || {
            format!("stretch {at}: media behind a gap without a discontinuity")
        })?;
        rule(media > 0, || format!("stretch {at} has no media"))?;
        if let Some(Hole::Away(away)) = holes.get(at) {
            let expected = gaps_in(away, lane.target);
            rule(expected.contains(&gaps), || {
                format!("stretch {at}: {gaps} gaps where {expected:?} fit into {away:?}")
            })?;
        }
    }
    Ok(())
}

/// How many gaps fit into a hole: one is announced when its time is over.
fn gaps_in(away: &RangeInclusive<Duration>, target: Duration) -> RangeInclusive<usize> {
    let count = |us: i64| usize::try_from(us.max(0) / micros(target).max(1)).unwrap_or(0);
    count(micros(*away.start()) - ARRIVAL_US)..=count(micros(*away.end()) + ARRIVAL_US)
}

/// Dates advance by durations within a stretch and through gaps; over a discontinuity, by the length of the hole. Behind a restart
/// they are those of the new publisher.
fn dated(lane: &Lane, holes: &[Hole]) -> Checked {
    // Sound is cut at its first frame behind the cut, so its durations are off by up to a frame: its dates are those of the video.
    if lane.pictures.is_empty() {
        return Ok(());
    }
    let date = |listed: &Listed| unix_micros(&listed.entry.wall).ok_or_else(|| format!("no date: {:?}", listed.entry));
    let until = |listed: &Listed| date(listed).map(|date| date + listed.entry.duration_us.cast_signed());
    let runs = lane.runs();
    for (at, run) in runs.iter().enumerate() {
        let restarted = matches!(holes.get(at), Some(Hole::Restart { .. }));
        for pair in run.windows(2) {
            let off = date(&pair[1])? - until(&pair[0])?;
            // Gaps begin where the longest of pictures and sound ended; what a killed daemon had open is as long as it got.
            let begins_gaps = pair[1].entry.gap && !pair[0].entry.gap;
            let most = match (begins_gaps, restarted) {
                (true, true) => micros(lane.target),
                (true, false) => JOINT_US,
                (false, _) => SLEW_US,
            };
            rule((-SLEW_US..=most).contains(&off), || format!("the date of {} is off by {off} us", pair[1].entry.msn))?;
        }
    }
    for (pair, hole) in runs.windows(2).zip(holes) {
        let (next, msn) = (date(&pair[1][0])?, pair[1][0].entry.msn);
        let left_out = next - until(&pair[0][pair[0].len() - 1])?;
        rule(left_out >= -SLEW_US, || format!("the date of {msn} goes back by {} us", -left_out))?;
        match hole {
            Hole::Away(away) => {
                let last = pair[0].iter().rfind(|listed| !listed.entry.gap).ok_or("a stretch without media")?;
                let (hole, allowed) = (next - until(last)?, micros(*away.start())..=micros(*away.end()));
                rule((allowed.start() - ARRIVAL_US..=allowed.end() + ARRIVAL_US).contains(&hole), || {
                    format!("dates step by {hole} us before {msn}, over a hole of {allowed:?}")
                })?;
            }
            Hole::Restart { dates } => {
                // What the timeline passes over behind the journal is no time that went by.
                let allowed = dates.start() - SLEW_US..=dates.end() + JOINT_US;
                rule(allowed.contains(&next), || format!("{msn} is dated {next}, and came within {dates:?}"))?;
            }
        }
    }
    Ok(())
}

/// Each sample begins where the one before it ended, until the next discontinuity; over that, the timeline goes on where media and
/// gaps ended, behind a restart at most a second later, and as much as another rendition was longer. EXTINF says how long a
/// segment's samples last.
fn timed(lane: &Lane, holes: &[Hole]) -> Checked {
    let mut ended_us: Option<i64> = None;
    for (at, run) in lane.runs().into_iter().enumerate() {
        let mut next_dts = None;
        let mut gaps_us = 0;
        for listed in run {
            let (entry, Some(coded)) = (&listed.entry, &listed.media) else {
                gaps_us += listed.entry.duration_us.cast_signed();
                continue;
            };
            rule(!coded.samples.is_empty(), || format!("{} is empty", entry.uri))?;
            for sample in &coded.samples {
                let expected = next_dts.unwrap_or(sample.dts);
                rule(sample.dts == expected, || {
                    format!("{}: a sample is decoded at {} and not at {expected}", entry.uri, sample.dts)
                })?;
                next_dts = Some(sample.dts + u64::from(sample.duration));
            }
            let lasts = coded.samples.iter().map(|sample| i64::from(sample.duration)).sum();
            let off = entry.duration_us.abs_diff(coded.us(lasts).cast_unsigned());
            rule(off <= DECIMALS_US, || format!("{}: EXTINF is off by {off} us", entry.uri))?;
        }
        let Some(first) = run.iter().find_map(|listed| listed.media.as_ref()) else { continue };
        let all = run.iter().filter_map(|listed| listed.media.as_ref());
        let ends = all.map(|coded| coded.shown_us().end).max().unwrap_or(0);
        let step = ended_us.map_or(0, |ended| first.shown_us().start - ended);
        let restarted = at.checked_sub(1).is_some_and(|before| matches!(holes.get(before), Some(Hole::Restart { .. })));
        let most = if restarted { RESUME_US + micros(lane.target) + JOINT_US } else { JOINT_US };
        rule((-JOINT_US..=most).contains(&step), || {
            format!("the timeline steps by {step} us where {} begins", run[0].entry.uri)
        })?;
        ended_us = Some(ends + gaps_us);
    }
    Ok(())
}

/// All pictures of each stretch, once and in order.
fn shown(lane: &Lane, stretches: &[Stretch]) -> Checked {
    for (at, (found, stretch)) in lane.pictures.iter().zip(stretches).enumerate() {
        let sent: Vec<_> = stretch.pictures.clone().map(Some).collect();
        let wrong = found.iter().zip(&sent).position(|(found, sent)| found != sent);
        let wrong = wrong.or_else(|| (found.len() != sent.len()).then(|| found.len().min(sent.len())));
        if let Some(wrong) = wrong {
            let around = &found[wrong.saturating_sub(3)..found.len().min(wrong + 5)];
            let (count, sent) = (found.len(), sent.len());
            return Err(format!("stretch {at} shows {count} pictures of {sent}, wrong from {wrong} on: {around:?}"));
        }
    }
    let (found, sent) = (lane.pictures.len(), stretches.len());
    rule(found == 0 || found == sent, || format!("pictures in {found} pieces for {sent} stretches"))
}

/// The same in all renditions: dates, discontinuities and gaps at each MSN. Video rungs begin a segment at the same time, sound
/// with its first frame behind that; where the session begins, sound may come before or after the picture. Only gaps at the end
/// may be missing in some of them, which were looked at earlier. The last segment before a restart may be a gap in some; where the
/// machine stood still, so may those before it that an encoder may not have come to in this time.
fn aligned(lanes: &[Lane], holes: &[Hole], stalled: Duration) -> Checked {
    let shortest = lanes.iter().map(|lane| lane.listed.len()).min().unwrap_or(0);
    let Some((first, others)) = lanes.split_first() else { return Ok(()) };
    for lane in lanes {
        let rest = &lane.listed[shortest..];
        rule(rest.iter().all(|listed| listed.entry.gap), || format!("{} has media that others lack", lane.name))?;
    }
    let line = |listed: &Listed, may_be_gap: bool| {
        let Entry { msn, wall, discontinuity, gap, .. } = &listed.entry;
        let gap = if may_be_gap {
            "in some"
        } else if *gap {
            "true"
        } else {
            "false"
        };
        format!("{msn} at {wall}, discontinuity: {discontinuity}, gap: {gap}")
    };
    let last_open = open_at_restarts(lanes, holes, stalled);
    for lane in others {
        for (one, other) in first.listed.iter().zip(&lane.listed) {
            let may_be_gap = last_open.contains(&one.entry.msn);
            let (one_line, other_line) = (line(one, may_be_gap), line(other, may_be_gap));
            rule(one_line == other_line, || format!("{} has {one_line}; {} has {other_line}", first.name, lane.name))?;
            let (Some(media), Some(other_media)) = (&one.media, &other.media) else { continue };
            let begins = |coded: &Coded| coded.shown_units().start * (FLICKS / i64::from(coded.timescale));
            let late = begins(other_media) - begins(media);
            let is_sound = lane.pictures.is_empty();
            let frame = i64::from(other_media.samples[0].duration) * (FLICKS / i64::from(other_media.timescale));
            let allowed = if is_sound { 0..frame } else { 0..1 };
            rule(allowed.contains(&late) || (is_sound && one.entry.msn == 0), || {
                format!("{} begins {} {late} flicks behind {}", lane.name, one.entry.msn, first.name)
            })?;
        }
    }
    Ok(())
}

/// MSNs of what was open when the daemon went: the last segment with media in any rendition before each restart, and those that began
/// within `stalled` before it.
fn open_at_restarts(lanes: &[Lane], holes: &[Hole], stalled: Duration) -> BTreeSet<u64> {
    let target = lanes.first().map_or(1, |lane| lane.target.as_millis()).max(1);
    let more = u64::try_from(stalled.as_millis().div_ceil(target)).unwrap_or(u64::MAX);
    let restarts = (0..holes.len()).filter(|at| matches!(holes[*at], Hole::Restart { .. }));
    let last = |at: usize| {
        let runs = lanes.iter().filter_map(|lane| lane.runs().get(at).copied());
        let media = runs.flat_map(|run| run.iter().rfind(|listed| !listed.entry.gap));
        media.map(|listed| listed.entry.msn).max()
    };
    restarts.filter_map(last).flat_map(|msn| msn.saturating_sub(more)..=msn).collect()
}

/// What the stored playlist lists is what was listed live.
fn stored(lane: &Lane, playlist: &Media) -> Checked {
    let is_known = |entry: &&Entry| entry.msn < lane.listed.len() as u64;
    let known: Vec<_> = playlist.entries.iter().filter(is_known).collect();
    rule(known.len() >= 3, || format!("what was listed is not stored: {playlist:?}"))?;
    for (stored, listed) in
        known.into_iter().zip(lane.listed.iter().skip(usize::try_from(playlist.first_msn).expect("few")))
    {
        // A gap needs no init segment; the first of a window names none for it.
        let map = if stored.gap { &listed.entry.map } else { &stored.map };
        let stored = Entry { map: map.clone(), ..stored.clone() };
        rule(stored == listed.entry, || format!("{:?} is stored as {stored:?}", listed.entry))?;
    }
    let gone = lane.breaks().iter().filter(|at| (**at as u64) < playlist.first_msn).count() as u64;
    rule(gone == playlist.discontinuity_sequence, || {
        format!("DISCONTINUITY-SEQUENCE is stored as {}, behind {gone}", playlist.discontinuity_sequence)
    })
}

/// Microseconds since 1970 of `2030-01-31T23:59:59.999Z`, which is how dates are written; `None` for another text.
pub fn unix_micros(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, by: char| -> Option<[i64; 3]> {
        let numbers: Option<Vec<i64>> = text.split(by).map(|part| part.parse().ok()).collect();
        numbers?.try_into().ok()
    };
    let [year, month, day] = numbers(date, '-')?;
    let (clock, millis) = time.split_once('.')?;
    let [hours, minutes, seconds] = numbers(clock, ':')?;
    // Years begin in March, so that leap days are last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    let seconds = ((days * 24 + hours) * 60 + minutes) * 60 + seconds;
    Some((seconds * 1_000 + millis.parse::<i64>().ok()?) * 1_000)
}
