//! What the publishers of these tests send: 10 s of the small source (30 frames per second, a keyframe every 2 s), with one thing
//! about it odd.

use crate::support::flv::{Kind, Tag, due, repeat_headers, tags};
use crate::support::publisher::{Ending, Feed};
use crate::support::source::Source;

/// Frames of a group of pictures.
pub const GROUP: usize = 60;
/// Where a jump of the clock is, when it falls on a keyframe, in milliseconds.
const AT_KEYFRAME_MS: u64 = 4_000;
/// Where it is when it falls between two.
const BETWEEN_MS: u64 = 5_000;

/// A feed and its name.
pub type Case = (&'static str, Feed);

fn source() -> Source {
    Source::small(10)
}

fn feed() -> Feed {
    Feed::of(&source())
}

fn jump(from_ms: u64, by_ms: i64) -> Feed {
    feed().jump(from_ms, by_ms)
}

/// What is served.
pub fn served() -> Vec<Case> {
    let mut cases = chunks();
    cases.extend(clocks());
    cases.extend(pictures());
    cases.push(("burst", feed().at_percent(200).then(Ending::Silence)));
    cases
}

fn chunks() -> Vec<Case> {
    vec![
        ("chunks of 1", feed().chunks_of(1)),
        ("chunks of 65536", feed().chunks_of(65_536)),
        ("chunks of 16 MiB", feed().chunks_of(16 << 20)),
        ("aggregates", feed().aggregates_of(8)),
    ]
}

fn clocks() -> Vec<Case> {
    vec![
        ("jitter of 20 ms", jitter(20)),
        ("jitter of 40 ms", jitter(40)),
        ("plus 10 s", jump(AT_KEYFRAME_MS, 10_000)),
        ("plus 1 h", jump(BETWEEN_MS, 3_600_000)),
        ("minus 3 s", jump(AT_KEYFRAME_MS, -3_000)),
        ("from below zero", feed().each(|tag| tag.move_stamp(-1_500))),
        ("to below zero", jump(AT_KEYFRAME_MS, -6_000)),
        ("sound 5 s ahead", feed().each(|tag| tag.move_stamp(if tag.kind == Kind::Audio { 5_000 } else { 0 }))),
        ("decoding order", feed().edit(|tags| unorder(tags))),
    ]
}

/// Each stamp is off by `limit_ms` at most.
fn jitter(limit_ms: i64) -> Feed {
    feed().edit(|tags| tags.iter_mut().zip(noise(limit_ms)).for_each(|(tag, by)| tag.move_stamp(by)))
}

/// From -`limit` to `limit`, the same at each run.
fn noise(limit: i64) -> impl Iterator<Item = i64> {
    let next =
        |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
    std::iter::successors(Some(1), next).map(move |state| (state >> 33) as i64 % (2 * limit + 1) - limit)
}

/// Every tenth picture is stamped 50 ms early, and so before its predecessor; it is presented when it was.
fn unorder(tags: &mut [Tag]) {
    for picture in tags.iter_mut().filter(|tag| tag.is_picture() && !tag.is_keyframe()).step_by(10) {
        picture.move_stamp(-50);
        picture.set_composition_ms(picture.composition_ms() + 50);
    }
}

fn pictures() -> Vec<Case> {
    vec![
        ("headers repeated", feed().edit(repeat_headers)),
        ("headers doubled", feed().edit(double_headers)),
        ("composition damaged", feed().edit(|tags| damage_composition(tags))),
        ("composition negative", feed().edit(|tags| negative_composition(tags))),
        ("other frame rate", feed().edit(drop_disposable)),
        ("other bitrate", feed().edit(|tags| other_bitrate(tags))),
        ("pyramids", Feed::of(&pyramids())),
        ("keyframes 10 s apart", Feed::of(&long_groups())),
        ("keyframes lost", feed().edit(lose_keyframes)),
    ]
}

fn headers(tags: &[Tag]) -> Vec<Tag> {
    tags.iter().filter(|tag| tag.is_config()).cloned().collect()
}

/// Each header twice at the start, and once more in the middle of a group.
fn double_headers(tags: &mut Vec<Tag>) {
    let headers = headers(tags);
    let middle = due(tags, BETWEEN_MS);
    let (due_ms, stamp_ms) = (tags[middle].due_ms, tags[middle].stamp_ms);
    let late = headers.iter().chain(&headers).map(|header| Tag { due_ms, stamp_ms, ..header.clone() });
    let late: Vec<_> = late.collect();
    tags.splice(middle..middle, late);
    tags.splice(0..0, headers);
}

/// Four pictures far apart claim to be shown hours later or earlier.
fn damage_composition(tags: &mut [Tag]) {
    let pictures: Vec<_> = tags.iter_mut().filter(|tag| tag.is_picture()).collect();
    for (index, picture) in pictures.into_iter().enumerate() {
        match index {
            70 | 250 => picture.set_composition_ms(8_388_607),
            130 | 190 => picture.set_composition_ms(-8_388_608),
            _ => {}
        }
    }
}

/// As encoders that decode the first picture when it is shown: B-frames are presented before they are decoded.
fn negative_composition(tags: &mut [Tag]) {
    let lead = tags.iter().find(|tag| tag.is_keyframe()).map_or(0, Tag::composition_ms);
    assert!(lead > 0, "the source reorders");
    for picture in tags.iter_mut().filter(|tag| tag.is_picture()) {
        picture.move_stamp(i64::from(lead));
        picture.set_composition_ms(picture.composition_ms() - lead);
    }
}

/// The second half has only the pictures that others need: about a third of them.
fn drop_disposable(tags: &mut Vec<Tag>) {
    tags.retain(|tag| !(tag.is_picture() && tag.due_ms >= BETWEEN_MS && is_disposable(tag)));
}

/// The first NAL unit that is a slice says that nothing refers to it (H.264 7.4.1: `nal_ref_idc` is 0).
fn is_disposable(tag: &Tag) -> bool {
    let mut rest = &tag.body[5..];
    while rest.len() > 4 {
        let length = u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        let (header, slice) = (rest[4], matches!(rest[4] & 0x1f, 1 | 5));
        if slice {
            return header & 0x60 == 0;
        }
        rest = &rest[4 + length..];
    }
    false
}

/// The numbers of the pictures that [`drop_disposable`] leaves.
pub fn numbers_without_disposable() -> Vec<u32> {
    let mut left = tags(&source());
    drop_disposable(&mut left);
    let shown = |tag: &Tag| i64::from(tag.stamp_ms) + i64::from(tag.composition_ms());
    let mut times: Vec<_> = left.iter().filter(|tag| tag.is_picture()).map(shown).collect();
    times.sort_unstable();
    times.iter().map(|time| ((time - times[0]) as f64 * 0.03).round() as u32).collect()
}

/// From the third group on, the pictures of an encoder that was told another bitrate.
fn other_bitrate(tags: &mut [Tag]) {
    let other: Vec<_> = crate::support::flv::tags(&Source::new(640, 360, 30, 10, 3_000));
    let other = other.into_iter().filter(Tag::is_picture);
    let pictures = tags.iter_mut().filter(|tag| tag.is_picture());
    for (old, new) in pictures.zip(other).skip(2 * GROUP) {
        assert_eq!((old.stamp_ms, old.is_keyframe()), (new.stamp_ms, new.is_keyframe()), "equal groups");
        *old = new;
    }
}

fn pyramids() -> Source {
    let pyramid = ["-bf", "7", "-x264-params", "b-pyramid=strict:b-adapt=0:scenecut=0:keyint=60:min-keyint=60"];
    source().recoded("pyramids", &pyramid)
}

/// A keyframe every 10 s in 14 s.
fn long_groups() -> Source {
    Source::small(14).recoded("long-groups", &["-bf", "2", "-g", "300", "-keyint_min", "300", "-sc_threshold", "0"])
}

/// The keyframes at 4 s and at 6 s did not arrive.
fn lose_keyframes(tags: &mut Vec<Tag>) {
    let mut keyframe = 0;
    tags.retain(|tag| {
        keyframe += usize::from(tag.is_keyframe());
        !(tag.is_keyframe() && matches!(keyframe, 3 | 4))
    });
}

/// What ladders are made of.
pub fn encoded() -> Vec<Case> {
    vec![
        ("long", Feed::of(&long_groups())),
        ("lost", feed().edit(lose_keyframes)),
        ("jitter of 10 ms", jitter(10)),
        ("jitter of 40 ms", jitter(40)),
        ("plus 10 s", jump(AT_KEYFRAME_MS, 10_000)),
        ("minus 3 s", jump(AT_KEYFRAME_MS, -3_000)),
        ("burst", feed().at_percent(200)),
    ]
}

/// What is refused.
pub fn refused() -> Vec<Case> {
    let long = || Feed::of(&Source::small(30));
    vec![
        ("no keyframe", long().edit(|tags| tags.retain(|tag| !tag.is_keyframe()))),
        ("all zero", feed().each(|tag| tag.stamp_ms = 0)),
        (
            "composition impossible",
            feed().each(|tag| {
                if tag.is_picture() {
                    tag.set_composition_ms(60_000);
                }
            }),
        ),
    ]
}
