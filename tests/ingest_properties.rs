//! Whatever milliseconds a publisher makes of a true grid of frames and samples, the grid comes back.

mod ingest_support;

use bytes::Bytes;
use ingest_support::{Publisher, Rig, Timeline, number};
use millstream::ingest::{Input, Settings};
use millstream::media::{Kind, Timestamp};
use millstream::wire::Inbound;
use millstream::wire::flv::{Tag, TagKind};
use proptest::prelude::*;

fn publisher() -> impl Strategy<Value = Publisher> {
    let fps = prop::sample::select(vec![12i64, 15, 24, 25, 30, 50, 60]);
    let rate =
        prop::sample::select(vec![(44_100i64, &[0x12u8, 0x10]), (48_000, &[0x11, 0x90]), (32_000, &[0x12, 0x90])]);
    let start = prop_oneof![
        Just(0u64),
        any::<u32>().prop_map(u64::from),
        (0u64..4_000).prop_map(|ms| (1 << 24) - ms),
        (0u64..4_000).prop_map(|ms| (1 << 31) - ms),
        (0u64..4_000).prop_map(|ms| (1 << 32) - ms),
    ];
    let bits = prop::sample::select(vec![31u32, 32]);
    (fps, 10i64..60, rate, 0i64..4, 0i64..4, start, bits).prop_map(
        |(fps, gop, (rate, asc), lead, b_frames, start_ms, bits)| Publisher {
            fps,
            gop,
            rate,
            asc: match asc {
                [0x11, _] => &[0x11, 0x90],
                [0x12, 0x10] => &[0x12, 0x10],
                _ => &[0x12, 0x90],
            },
            lead,
            b_frames,
            start_ms,
            bits,
            ..Publisher::default()
        },
    )
}

/// Plays 6 s with each stamp off by the next of `jitter`.
fn jittered(publisher: &Publisher, jitter: &[i64]) -> (Timeline, u64) {
    let mut rig = Rig::new(Settings::default());
    rig.connect(publisher);
    let mut last = 0;
    for (n, (ms, mut tag)) in publisher.media(0, 6_000).into_iter().enumerate() {
        rig.wait((ms - last) as u64);
        last = ms;
        tag.timestamp_ms = publisher.stamp(ms + jitter[n % jitter.len()]);
        rig.tag(tag);
    }
    let trimmed = rig.ingest.stats().dropped.trimmed_audio;
    (rig.end(), trimmed)
}

fn exact_sound(publisher: &Publisher, n: i64) -> Timestamp {
    Timestamp::from_units(n * 1_024, publisher.rate as u32)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_true_grid_comes_back(publisher in publisher(), jitter in prop::collection::vec(-8i64..=8, 1..40)) {
        let (timeline, trimmed) = jittered(&publisher, &jitter);
        // Nothing is lost or doubled.
        let pictures = publisher.media(0, 6_000).iter().filter(|(_, tag)| tag.kind == TagKind::Video).count();
        prop_assert_eq!(timeline.pictures(), (0..pictures as i64).collect::<Vec<_>>());
        prop_assert_eq!(timeline.discontinuities(), 0);
        let numbers: Vec<i64> = timeline.audio.iter().map(number).collect();
        let first = numbers[0];
        prop_assert_eq!(first, trimmed as i64);
        prop_assert!(numbers.iter().enumerate().all(|(at, n)| *n == first + at as i64));
        // Sound is exactly counted.
        let start = timeline.audio[0].pts;
        for packet in &timeline.audio {
            prop_assert_eq!(packet.pts - start, exact_sound(&publisher, number(packet)) - exact_sound(&publisher, first));
        }
        // Sound is where the source had it beside the pictures: jitter of the two first stamps, and no more.
        let picture_ms = publisher.lead * 1_000 / publisher.fps;
        let offset = (start - timeline.cuts[0].at).to_millis() - (exact_sound(&publisher, first).to_units(1_000) - picture_ms);
        prop_assert!(offset.abs() <= 18, "{} ms", offset);
        // Every keyframe that the rules call for is a cut: no segment rounds above the target.
        for pair in timeline.cuts.windows(2) {
            prop_assert!((pair[1].at - pair[0].at).to_units(1) <= 2, "{:?}", timeline.cut_ms());
        }
        prop_assert!(timeline.cuts.len() >= 3, "{:?}", timeline.cut_ms());
    }

    #[test]
    fn the_promises_hold_for_any_stamps(
        steps in prop::collection::vec((any::<bool>(), -3_000i64..5_000, 0u8..40), 1..300),

    ) {
        let publisher = Publisher::default();
        let mut rig = Rig::new(Settings::default());
        rig.connect(&publisher);
        let mut stamp = 100_000i64;
        for (n, (is_video, step, how)) in steps.into_iter().enumerate() {
            // Mostly ordinary steps, and now and then any.
            stamp += if how == 0 { step } else { step.rem_euclid(30) };
            let mut tag = if is_video { publisher.picture(i64::from(how) % 7 * 10) } else { publisher.sound(n as i64) };
            tag.timestamp_ms = stamp as u32;
            rig.wait(u64::from(how));
            rig.tag(tag);
            if how == 1 && step % 2 == 0 {
                rig.disconnect();
                rig.wait(step.unsigned_abs());
                rig.connect(&publisher);
            }
        }
        rig.end(); // judges
    }

    #[test]
    fn no_tag_panics(
        tags in prop::collection::vec((0u8..3, any::<u32>(), 0u8..4, prop::collection::vec(any::<u8>(), 0..30)), 0..60),
    ) {
        let mut rig = Rig::new(Settings::default());
        rig.connect(&Publisher::default());
        for (kind, timestamp_ms, head, body) in tags {
            let (kind, head): (_, &[u8]) = match (kind, head) {
                (0, 0) => (TagKind::Audio, &[0xaf, 0]),
                (0, _) => (TagKind::Audio, &[0xaf, 1]),
                (1, 0) => (TagKind::Video, &[0x17, 0, 0, 0, 0, 1]),
                (1, 1) => (TagKind::Video, &[0x17, 1, 0, 0, 0, 0, 0, 0, 2, 0x65]),
                (1, 2) => (TagKind::Video, &[0x27, 1, 0xff, 0xff, 0, 0, 0, 0, 2, 0x41]),
                (1, _) => (TagKind::Video, &[0x27]),
                _ => (TagKind::Script, &[]),
            };
            let data = Bytes::from([head, &body].concat());
            let _rejected_or_not = rig.push(Input::Media(Inbound::Flv(Tag { kind, timestamp_ms, data })));
            rig.wait(5);
        }
        prop_assert!(rig.end().ended);
    }
}

#[test]
fn a_day_of_a_drifting_encoder_stays_in_step() {
    for ppm in [-100i64, 100] {
        let publisher = Publisher {
            fps: 5,
            gop: 10,
            b_frames: 0,
            lead: 0,
            rate: 8_000,
            asc: &[0x15, 0x90],
            ..Publisher::default()
        };
        let mut rig = Rig::new(Settings::default());
        rig.connect(&publisher);
        let source_ms = |n: i64| n * 128 + n * 128 * ppm / 1_000_000;
        let (mut cuts, mut worst, mut first, mut sound) = (0, 0i64, None, 0);
        for second in 0..86_400i64 {
            for n in second * 5..second * 5 + 5 {
                rig.tag(publisher.picture(n));
            }
            // One clock stamps both; the sound card counts its samples a little slower or faster than that.
            loop {
                let stamp_ms = source_ms(sound);
                if stamp_ms >= (second + 1) * 1_000 {
                    break;
                }
                let mut tag = publisher.sound(sound);
                tag.timestamp_ms = publisher.stamp(stamp_ms);
                rig.tag(tag);
                sound += 1;
            }
            rig.wait(1_000);
            for unit in rig.units.drain(..) {
                match unit {
                    millstream::media::Unit::Cut(_) => cuts += 1,
                    millstream::media::Unit::Packet(packet) if packet.kind == Kind::Audio => {
                        let offset = packet.pts.to_units(1_000) - source_ms(number(&packet));
                        worst = worst.max((offset - *first.get_or_insert(offset)).abs());
                    }
                    _ => {}
                }
            }
        }
        assert_eq!(cuts, 43_200);
        assert!(worst <= 20, "{worst} ms at {ppm} ppm");
        let stats = rig.ingest.stats();
        assert!((stats.drift_corrected.to_millis() - ppm * 864 / 10).abs() <= 20, "{stats:?}");
        assert_eq!(stats.discontinuities, 0);
    }
}
