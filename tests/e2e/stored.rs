//! What lies in the store after a broadcast: the names of DESIGN.md, and the same sequence as the live playlists had.

use crate::broadcast::Broadcast;
use crate::support::machine;
use crate::support::playlist::{Media, Multivariant, resolve};
use crate::support::source::Source;

#[test]
fn stored_objects_equal_what_was_played() {
    let _turn = machine::shared("stored_objects_equal_what_was_played");
    let broadcast = Broadcast::record("passthrough", Source::small(10));
    let stored = |path: &str| broadcast.stored.get(path).unwrap_or_else(|| panic!("{path} is not stored"));
    let text = |path: &str| String::from_utf8(stored(path).clone()).expect("a playlist is text");

    let multivariant = Multivariant::parse(&text("index.m3u8"));
    let live: Vec<_> = broadcast.seen.multivariant.variants.iter().map(|v| (v.bandwidth, v.codecs.clone())).collect();
    let kept: Vec<_> = multivariant.variants.iter().map(|v| (v.bandwidth, v.codecs.clone())).collect();
    assert_eq!(kept, live, "the stored multivariant playlist says the same");

    let mut named = vec!["index.m3u8".to_owned()];
    for rendition in &broadcast.seen.renditions {
        let path = format!("{}/index.m3u8", rendition.name);
        assert_eq!(Some(Media::parse(&text(&path))), rendition.playlist, "{path}: stored and live are one sequence");
        for segment in &rendition.segments {
            assert_eq!(stored(&resolve(&path, &segment.entry.uri)), &segment.bytes, "{path}: {}", segment.entry.uri);
            named.push(resolve(&path, &segment.entry.uri));
        }
        for (uri, bytes) in &rendition.inits {
            assert_eq!(stored(&resolve(&path, uri)), bytes, "{path}: {uri}");
            named.push(resolve(&path, uri));
        }
        named.push(path);
    }
    named.sort();
    assert_eq!(broadcast.stored.keys().cloned().collect::<Vec<_>>(), named, "nothing else lies there");
}
