//! Which rungs a source gets, and why.

use super::testing::{SEGMENT, preset, sound, video};
use super::*;
use crate::media::VideoCodec;

#[test]
fn a_ladder_takes_the_ids_that_its_session_has() {
    let ladder = preset(Preset::DEFAULT);
    let names = |plan: &Plan| plan.renditions.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    let ids = |plan: &Plan| {
        let rungs = plan.rungs.iter().map(|rung| rung.id.0);
        rungs.chain(plan.audio.iter().map(|audio| audio.id.0)).collect::<Vec<_>>()
    };
    let both = || plan(&ladder, SEGMENT, Some(&video(1_920, 1_080)), Some(&sound())).expect("a plan");
    let late = plan(&ladder, SEGMENT, Some(&video(1_920, 1_080)), None).expect("a plan").behind(1);
    assert_eq!((ids(&late), late.copied), (vec![1, 2, 3], Some(RenditionId(1))));
    // After a restart the publisher sends both at once, and the session has sound first.
    let had: Renditions = [&both().renditions[3..], &late.renditions[..]].concat().into();
    let again = both().in_order_of(&had).expect("the same renditions");
    assert_eq!((ids(&again), again.copied), (vec![1, 2, 3, 0], Some(RenditionId(1))));
    assert_eq!(names(&again), ["audio", "1080p", "720p", "480p"]);
    assert_eq!(both().in_order_of(&both().renditions), Some(both()));
    assert_eq!(late.in_order_of(&had), None, "sound is missing");
}

#[test]
fn sources_of_other_codecs_are_encoded_unless_the_preset_only_copies() {
    for codec in [VideoCodec::Hevc, VideoCodec::Av1, VideoCodec::Vp9] {
        let track = VideoTrack { codec, ..video(1_920, 1_080) };
        let first = format!("1080p is encoded: the source is {}", codec.name());
        assert_eq!(decided(&track)[0], first);
        let passed = plan(&preset("passthrough"), SEGMENT, Some(&track), None).expect("a plan");
        assert_eq!((passed.copied, passed.rungs[0].copy_rule), (Some(RenditionId(0)), None));
    }
}

#[test]
fn sound_that_renditions_do_not_carry_is_encoded_where_it_would_be_copied() {
    for codec in AudioCodec::ALL {
        let track = AudioTrack { codec, ..sound() };
        let plan = plan(&preset("passthrough"), SEGMENT, Some(&video(1_280, 720)), Some(&track)).expect("a plan");
        let copied = matches!(codec, AudioCodec::Aac | AudioCodec::Opus);
        let mode = plan.audio.as_ref().map(|audio| audio.preset.mode);
        assert_eq!((mode == Some(AudioMode::Copy), plan.renditions[1].copied), (copied, copied), "{codec:?}");
        let said: Vec<_> = plan.reasons[1..].iter().map(RungReason::to_string).collect();
        let why = format!("audio is encoded as AAC: the source is {}, which is not carried as it is", codec.name());
        assert_eq!(said, if copied { vec![] } else { vec![why] });
    }
}

/// The default ladder for a source, in words.
fn decided(track: &VideoTrack) -> Vec<String> {
    let plan = plan(&preset(Preset::DEFAULT), SEGMENT, Some(track), None).expect("a plan");
    plan.reasons.iter().map(RungReason::to_string).collect()
}

#[test]
fn the_default_ladder_copies_the_source_where_it_fits() {
    let plan = plan(&preset(Preset::DEFAULT), SEGMENT, Some(&video(1_920, 1_080)), Some(&sound())).expect("a plan");
    let rendition = |name: &str, kind, copied, bandwidth, frame_rate| Rendition {
        name: name.to_owned(),
        kind,
        copied,
        bandwidth,
        frame_rate,
    };
    let expected = [
        rendition("1080p", Kind::Video, true, 9_450_000, Some((30, 1))),
        rendition("720p", Kind::Video, false, 4_998_000, Some((30, 1))),
        rendition("480p", Kind::Video, false, 2_320_500, Some((30, 1))),
        rendition("audio", Kind::Audio, false, 134_400, None),
    ];
    assert_eq!(plan.renditions[..], expected);
    assert_eq!((plan.copied, plan.rungs[0].copy_limit), (Some(RenditionId(0)), Some(9_000_000)));
    assert_eq!(
        plan.rungs.iter().map(|rung| (rung.id.0, rung.copied)).collect::<Vec<_>>(),
        [(0, true), (1, false), (2, false)]
    );
    assert_eq!(plan.audio.map(|audio| audio.id), Some(RenditionId(3)));
}

#[test]
fn each_decision_is_said_in_words() {
    assert_eq!(
        decided(&video(3_840, 2_160)),
        [
            "1080p is encoded: the source is larger (3840x2160)",
            "720p is encoded: the source is larger (3840x2160)",
            "480p is encoded: the source is larger (3840x2160)",
        ]
    );
    assert_eq!(
        decided(&VideoTrack { plain: false, ..video(1_920, 1_080) }),
        [
            "1080p is encoded: the source is interlaced",
            "720p is encoded: the source is larger (1920x1080)",
            "480p is encoded: the source is larger (1920x1080)",
        ]
    );
    assert_eq!(
        decided(&video(1_280, 720)),
        [
            "1080p is left out: a smaller rung carries the whole source (1280x720)",
            "720p is copied",
            "480p is encoded: the source is larger (1280x720)",
        ]
    );
}

#[test]
fn a_source_between_two_rungs_keeps_its_size_in_the_upper_one() {
    assert_eq!(decided(&video(1_600, 900))[0], "1080p is copied");
    assert_eq!(decided(&video(1_600, 900)).len(), 3);
}

#[test]
fn a_source_below_all_rungs_keeps_the_smallest() {
    let plan = plan(&preset("encode-1080p-720p-480p"), SEGMENT, Some(&video(320, 240)), None).expect("a plan");
    assert_eq!(plan.renditions.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["480p"]);
    assert_eq!((plan.copied, plan.rungs[0].copied, plan.rungs[0].copy_limit), (None, false, None));
    assert_eq!(plan.reasons[2].to_string(), "480p is encoded, as the preset says");
}

#[test]
fn passthrough_copies_whatever_comes() {
    let odd = VideoTrack { plain: false, frame_rate: None, ..video(7_001, 31) };
    let plan = plan(&preset("passthrough"), SEGMENT, Some(&odd), Some(&sound())).expect("a plan");
    assert_eq!(
        plan.renditions.iter().map(|r| (r.name.as_str(), r.copied, r.bandwidth)).collect::<Vec<_>>(),
        [("source", true, 10_500_000), ("audio", true, 336_000)]
    );
    assert_eq!((plan.rungs[0].encode.clone(), plan.rungs[0].copy_limit), (None, Some(10_000_000)));
}

#[test]
fn one_track_alone_is_a_session_and_none_is_not() {
    let only_sound = plan(&preset(Preset::DEFAULT), SEGMENT, None, Some(&sound())).expect("a plan");
    assert_eq!((only_sound.renditions.len(), only_sound.audio.map(|audio| audio.id)), (1, Some(RenditionId(0))));
    assert_eq!(plan(&preset(Preset::DEFAULT), SEGMENT, None, None), Err(PlanError::NothingToPlay));
    let error = plan(&preset(Preset::DEFAULT), SEGMENT, Some(&video(1, 20_000)), None).expect_err("no such picture");
    assert_eq!(error.to_string(), "the source's picture is 1x20000; sides of 2 to 16384 pixels can be carried");
}

#[test]
fn what_is_decoded_has_a_largest_size_and_what_is_copied_has_none() {
    let (largest, larger) = (video(4_096, 2_304), video(4_096, 2_320));
    assert!(plan(&preset(Preset::DEFAULT), SEGMENT, Some(&largest), None).is_ok());
    assert!(plan(&preset("passthrough"), SEGMENT, Some(&video(7_680, 4_320)), None).is_ok());
    let error = plan(&preset(Preset::DEFAULT), SEGMENT, Some(&larger), None).expect_err("too large");
    let words = "the source's picture is 4096x2320; this preset encodes, and takes 9437184 pixels at most (4096x2304)";
    assert_eq!(error.to_string(), words);
}

#[test]
fn a_cap_changes_the_stated_rate_of_encoded_rungs_only() {
    let fast = VideoTrack { frame_rate: Some((60_000, 1_001)), ..video(1_920, 1_080) };
    let plan = plan(&preset("low-cpu"), SEGMENT, Some(&fast), None).expect("a plan");
    assert_eq!(
        plan.renditions.iter().map(|r| (r.copied, r.frame_rate)).collect::<Vec<_>>(),
        [(true, Some((60_000, 1_001))), (false, Some((30_000, 1_001)))]
    );
}

#[test]
fn caps_divide_by_whole_numbers() {
    for (rate, cap, left) in [
        ((60, 1), 30, (30, 1)),
        ((50, 1), 30, (25, 1)),
        ((60_000, 1_001), 24, (20_000, 1_001)),
        ((25, 1), 10, (25, 3)),
        ((30_000, 1_001), 30, (30_000, 1_001)),
        ((24, 1), 240, (24, 1)),
    ] {
        assert_eq!(capped(rate, Some(cap)), left, "{rate:?} under {cap}");
    }
    assert_eq!(capped((50, 1), None), (50, 1));
    assert_eq!((keep_one_of((30, 0), Some(1)), keep_one_of((0, 1), Some(1))), (1, 1));
}

#[test]
fn pictures_are_fitted_and_never_enlarged() {
    for (target, source, size) in [
        ((854, 480), (1_920, 1_080), (854, 480)),
        ((1_280, 720), (1_920, 1_080), (1_280, 720)),
        ((1_280, 720), (1_440, 1_080), (960, 720)),
        ((1_280, 720), (2_560, 1_080), (1_280, 540)),
        ((1_920, 1_080), (1_080, 1_920), (1_080, 1_920)),
        ((1_280, 720), (1_080, 1_920), (720, 1_280)),
        ((1_280, 720), (641, 359), (640, 358)),
        ((854, 480), (8_000, 2), (854, 2)),
        ((854, 480), (1, 1), (2, 2)),
    ] {
        assert_eq!(fit(target, source), size, "{source:?} into {target:?}");
    }
}
