//! Clocks that run wrong for as long as a broadcast may last: ±100 ppm of the sound card against the encoder's clock, and of that
//! against this machine's, in virtual time through ingest, packager and window.
//!
//! `DRIFT_HOURS=24` asks a whole day of all variants, as `./dev soak --only drift` does.

mod ingest_support;

use std::time::Duration;

use ingest_support::packaged::{Given, Packaged};
use ingest_support::{NOON, Publisher, Rig};
use millstream::ingest::{IngestStats, Settings};
use millstream::media::{Kind, Span, Timestamp};

const FPS: i64 = 30;
const GOP: i64 = 60;
/// What is promised (DESIGN: "A/V offset within 20 ms of the source's").
const AV_LIMIT: Span = Span::from_millis(20);
/// The network delays a message by 20 ms to 60 ms, now and then by 400 ms more; half a millisecond is one segment's slew. A date
/// that was taken at one end of that may be told at the other.
const DATE_LIMIT: Span = Span::from_millis(60);
/// What the process may have grown by behind its first hour: a leak of 8 bytes per packet is 2 MB in another hour.
const GROWTH_LIMIT: u64 = 1 << 20;

/// A source whose clocks run wrong.
#[derive(Clone, Copy, Debug)]
struct Clocks {
    /// Sampling rate that the sound card claims.
    rate: i64,
    /// Millionths by which it is faster than the encoder's clock.
    sound_ppm: i64,
    /// Millionths by which the encoder's clock is faster than this machine's.
    encoder_ppm: i64,
}

impl Clocks {
    /// Microseconds on the encoder's clock at which picture `n` is decoded.
    fn picture_us(n: i64) -> i64 {
        n * 1_000_000 / FPS
    }

    /// Microseconds on the encoder's clock at which frame `n` of sound begins.
    fn sound_us(self, n: i64) -> i64 {
        let samples = i128::from(n) * 1_024;
        let per_second = i128::from(self.rate) * i128::from(1_000_000 + self.sound_ppm);
        (samples * 1_000_000 * 1_000_000 / per_second) as i64
    }

    /// Microseconds on this machine's clock when the encoder's says `us`.
    fn wall_us(self, us: i64) -> i64 {
        (i128::from(us) * 1_000_000 / i128::from(1_000_000 + self.encoder_ppm)) as i64
    }
}

/// By how much the network delays message `n`, in milliseconds.
fn delay_ms(n: i64) -> i64 {
    let hiccup = if n % 23_000 > 22_980 { 400 } else { 0 };
    20 + (n * 7_919) % 41 + hiccup
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("a line of memory");
    let kib: String = line.chars().filter(char::is_ascii_digit).collect();
    kib.parse::<u64>().expect("a number") * 1_024
}

/// What is seen of sound beside picture.
#[derive(Debug, Default)]
struct Offsets {
    /// Session time less source time of the last picture.
    picture: Option<Span>,
    worst: Span,
    pictures: i64,
    sounds: i64,
}

impl Offsets {
    fn see(&mut self, clocks: Clocks, publisher: &Publisher, given: Given) {
        let number = given.number.expect("nothing was lost, so no silence");
        let session = given.pts - Timestamp::ZERO;
        let micros = |us: i64| Span::from_units(us, 1_000_000);
        match given.kind {
            Kind::Video => {
                assert_eq!(number, self.pictures, "a picture is missing or came twice");
                self.pictures += 1;
                let offset = session - micros(Clocks::picture_us(number + publisher.composition(number % GOP)));
                let moved = offset - *self.picture.get_or_insert(offset);
                assert!(moved.abs() <= Span::from_millis(1), "picture {number} moved by {moved}");
            }
            Kind::Audio => {
                assert!(self.sounds == 0 || number == self.sounds, "sound {number} instead of {}", self.sounds);
                self.sounds = number + 1;
                let beside = self.picture.expect("a picture was before");
                self.worst = self.worst.max((session - micros(clocks.sound_us(number)) - beside).abs());
            }
        }
    }
}

/// What came of it.
#[derive(Debug)]
struct Report {
    worst_av: Span,
    worst_date: Span,
    grown: u64,
    stats: IngestStats,
}

fn broadcast(clocks: Clocks, hours: i64) -> Report {
    let asc: &[u8] = if clocks.rate == 44_100 { &[0x12, 0x10] } else { &[0x11, 0x90] };
    let publisher = Publisher { fps: FPS, gop: GOP, rate: clocks.rate, asc, ..Publisher::default() };
    let mut rig = Rig::new(Settings::default());
    rig.connect(&publisher);
    let (begun, mut packaged, mut offsets) = (rig.monotonic, Packaged::new(), Offsets::default());
    let (mut picture, mut sound, mut worst_date, mut settled) = (0, 0, Span::ZERO, 0);
    let pictures = hours * 3_600 * FPS;
    while picture < pictures {
        let (shown, heard) = (Clocks::picture_us(picture), clocks.sound_us(sound));
        let (us, mut tag) = if shown <= heard {
            picture += 1;
            (shown, publisher.picture(picture - 1))
        } else {
            sound += 1;
            (heard, publisher.sound(sound - 1))
        };
        tag.timestamp_ms = publisher.stamp(us / 1_000);
        let arrives_ms = clocks.wall_us(us) / 1_000 + delay_ms(picture + sound);
        rig.tag_at(begun + Duration::from_millis(arrives_ms.unsigned_abs()), tag);
        let before = packaged.segments;
        packaged.take(rig.units.drain(..), &mut |given| offsets.see(clocks, &publisher, given));
        if packaged.segments > before {
            // The date is that of the moment at which its picture was decoded, and the network's delay.
            let newest = packaged.newest.as_ref().expect("a segment");
            let media = newest.at - Timestamp::from_millis(10_000);
            let told = NOON.saturating_add(Span::from_units(clocks.wall_us(media.to_units(1_000_000)), 1_000_000));
            worst_date = worst_date.max(newest.wall.since(told).abs());
        }
        if settled == 0 && picture == 3_600 * FPS {
            settled = resident();
        }
    }
    let grown = resident().saturating_sub(settled);
    let (stats, now) = (rig.ingest.stats(), rig.now());
    rig.ingest.end(now, &mut rig.units);
    packaged.take(rig.units.drain(..), &mut |given| offsets.see(clocks, &publisher, given));
    assert_eq!(
        (packaged.segments as i64, packaged.discontinuities, packaged.gaps),
        (hours * 1_800, 0, 0),
        "{clocks:?}"
    );
    assert_eq!((offsets.pictures, offsets.sounds), (pictures, sound), "{clocks:?}: all is there");
    assert!(packaged.window.memory_bytes() < 1 << 20, "{clocks:?}: {} bytes", packaged.window.memory_bytes());
    Report { worst_av: offsets.worst, worst_date, grown, stats }
}

fn assert_kept(clocks: Clocks, hours: i64) {
    let Report { worst_av, worst_date, grown, stats } = broadcast(clocks, hours);
    let drifted = Span::from_millis(hours * 3_600_000 * clocks.sound_ppm / 1_000_000);
    eprintln!(
        "{hours} h of {} Hz, sound {:+} ppm, encoder {:+} ppm: A/V within {} us, dates within {} us, {} KiB more than after \
         an hour; {} corrections by {} ms in all; clocks measured {:?} and {:?}",
        clocks.rate,
        clocks.sound_ppm,
        clocks.encoder_ppm,
        worst_av.to_units(1_000_000),
        worst_date.to_units(1_000_000),
        grown / 1_024,
        stats.drift_corrections,
        stats.drift_corrected.to_millis(),
        stats.video_clock.ppm,
        stats.audio_clock.ppm,
    );
    assert!(worst_av <= AV_LIMIT, "{clocks:?}: sound is {worst_av} off");
    assert!(worst_date <= DATE_LIMIT, "{clocks:?}: dates are {worst_date} off");
    assert!(grown <= GROWTH_LIMIT, "{clocks:?}: {grown} bytes more");
    // Samples that come too fast are too many for the clock that stamps them.
    assert!((stats.drift_corrected + drifted).abs() <= AV_LIMIT, "{clocks:?}: {stats:?}");
    assert_eq!((stats.discontinuities, stats.repairs, stats.silent_frames), (0, 0, 0), "{clocks:?}");
    for clock in [stats.video_clock, stats.audio_clock] {
        let measured = clock.ppm.expect("an hour is enough");
        assert!((measured - clocks.encoder_ppm).abs() <= 10, "{clocks:?}: {clock:?}");
        // The last minute is not over, and the first counts from its soonest packet.
        let ahead = Span::from_millis(hours * 3_600_000 * clocks.encoder_ppm / 1_000_000);
        assert!((clock.ahead - ahead).abs() <= Span::from_millis(25), "{clocks:?}: {clock:?}");
    }
}

#[test]
fn sound_and_dates_stay_where_they_belong_however_long_clocks_run_wrong() {
    let all_of: Option<i64> = std::env::var("DRIFT_HOURS").ok().map(|hours| hours.parse().expect("a number of hours"));
    // Each rate with each sign of both clocks. Without a wish, one of them for a whole day and three for two hours.
    for (rate, sound_ppm, encoder_ppm, hours) in [
        (48_000, 100, -100, 2),
        (48_000, -100, 100, 0),
        (48_000, -100, -100, 2),
        (48_000, 100, 100, 0),
        (44_100, 100, -100, 0),
        (44_100, -100, 100, 2),
        (44_100, -100, -100, 0),
        (44_100, 100, 100, 24),
    ] {
        let hours = all_of.unwrap_or(hours);
        if hours > 0 {
            assert_kept(Clocks { rate, sound_ppm, encoder_ppm }, hours);
        }
    }
}
