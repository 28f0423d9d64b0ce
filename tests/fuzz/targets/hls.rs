//! Playlists: any text ends in a playlist or in an error that names the line; what is read comes back from the writer;
//! what the writer makes of any segments is read back, and so is its multivariant playlist.

use millstream::media::codec::picture::VideoRange;
use millstream::media::naming::MediaName;
use millstream::media::{Segment, Span, WallTime};
use millstream::wire::hls::multivariant::{AudioMember, Variant};
use millstream::wire::hls::read::{MAX_BYTES, ReadPlaylist, ReadSegment, read_media_playlist};
use millstream::wire::hls::{MediaPlaylist, Multivariant, PlaylistType};

use super::source::{Source, assert_tellable};

pub fn run(data: &[u8]) {
    let mut source = Source::new(data);
    match source.u8() & 3 {
        0 => text(source.rest()),
        1 => multivariant(&mut source),
        _ => segments(&mut source),
    }
}

fn text(bytes: &[u8]) {
    let read = match read_media_playlist(bytes) {
        Ok(read) => read,
        Err(error) => {
            assert!(error.line >= 1 && error.line <= bytes.len() + 1);
            return assert_tellable(&error.to_string());
        }
    };
    assert!(bytes.len() <= MAX_BYTES);
    assert!(read.segments.len() <= bytes.len() / 8, "a segment has an EXTINF and a name");
    let Some(segments) = read.segments.iter().map(as_written).collect::<Option<Vec<_>>>() else { return };
    let written = playlist(&read, &segments).render();
    let again = read_media_playlist(written.as_bytes()).expect("what was written can be read");
    assert_eq!(playlist(&again, &segments).render(), written);
    assert_eq!(again.segments.len(), read.segments.len());
    for (again, read) in again.segments.iter().zip(&read.segments) {
        assert_eq!(
            (again.msn, &again.uri, again.discontinuity, again.gap),
            (read.msn, &read.uri, read.discontinuity, read.gap)
        );
        assert_eq!(again.duration.to_units(100_000), read.duration.to_units(100_000));
    }
}

/// The segment, if it is one that our writer could have written.
fn as_written(read: &ReadSegment) -> Option<Segment> {
    let MediaName::Segment { epoch, msn } = read.name()? else { return None };
    let init = match read.map.as_deref().unwrap_or("init-0.mp4").parse() {
        Ok(MediaName::Init { number }) => number,
        _ => return None,
    };
    let plain = read.uri == read.name()?.to_string();
    plain.then_some(Segment {
        msn,
        epoch,
        duration: Some(read.duration),
        wall: read.wall.unwrap_or_default(),
        discontinuity: read.discontinuity,
        gap: read.gap,
        init,
        parts: Vec::new(),
    })
}

fn playlist<'a>(
    read: &ReadPlaylist,
    segments: &'a [Segment],
) -> MediaPlaylist<impl Iterator<Item = &'a Segment> + Clone + use<'a>> {
    MediaPlaylist {
        target_duration_secs: read.target_duration_secs,
        media_sequence: read.media_sequence,
        discontinuity_sequence: read.discontinuity_sequence,
        playlist_type: read.playlist_type,
        independent_segments: read.independent_segments,
        ended: read.ended,
        uri_prefix: "",
        segments: segments.iter(),
    }
}

fn segments(source: &mut Source<'_>) {
    let how = source.u8();
    let (first, epoch) = (u64::from(source.u32()), source.u32());
    let mut segments: Vec<Segment> = Vec::new();
    let mut wall = WallTime::from_unix_millis(i64::from(source.u32()) * 1_000);
    while !source.is_empty() {
        let flags = source.u8();
        let duration = Span::from_flicks(i64::from(source.u32()));
        segments.push(Segment {
            msn: first + segments.len() as u64,
            epoch,
            duration: (flags & 1 == 0).then_some(duration),
            wall,
            discontinuity: flags & 2 != 0,
            gap: flags & 4 != 0,
            init: u32::from(flags >> 4),
            parts: Vec::new(),
        });
        wall = wall.saturating_add(duration);
    }
    let playlist = MediaPlaylist {
        target_duration_secs: 7, // u32 flicks are at most 6.09 s
        media_sequence: first,
        discontinuity_sequence: u64::from(how >> 4),
        playlist_type: [None, Some(PlaylistType::Event), Some(PlaylistType::Vod), None][usize::from(how & 3)],
        independent_segments: how & 4 != 0,
        ended: how & 8 != 0,
        uri_prefix: ["", "a/b/"][usize::from(how >> 7)],
        segments: segments.iter(),
    };
    let text = playlist.render();
    let read = read_media_playlist(text.as_bytes()).expect("what was written can be read");
    assert_eq!(
        (read.target_duration_secs, read.media_sequence, read.discontinuity_sequence),
        (7, first, u64::from(how >> 4))
    );
    assert_eq!(
        (read.playlist_type, read.independent_segments, read.ended),
        (playlist.playlist_type, playlist.independent_segments, playlist.ended)
    );
    let listed: Vec<&Segment> = segments.iter().filter(|segment| segment.duration.is_some()).collect();
    assert_eq!(read.segments.len(), listed.len());
    for (read, segment) in read.segments.iter().zip(listed) {
        assert_eq!(read.name(), Some(segment.name()));
        assert_eq!((read.discontinuity, read.gap), (segment.discontinuity, segment.gap));
        let duration = segment.duration.unwrap_or_default();
        assert_eq!(read.duration.to_units(100_000), duration.to_units(100_000));
        let apart = read.wall.expect("each has a date").since(segment.wall).abs();
        assert!(apart <= Span::from_millis(1), "{read:?} is not at {}", segment.wall);
        if !segment.gap {
            let map = format!("{}{}", playlist.uri_prefix, MediaName::Init { number: segment.init });
            assert_eq!(read.map, Some(map));
        }
    }
}

fn multivariant(source: &mut Source<'_>) {
    let flags = source.u8();
    let mut variants = Vec::new();
    while !source.is_empty() && variants.len() < 8 {
        variants.push(Variant {
            uri: format!("{}/index.m3u8", source.u8()),
            bandwidth: source.u64(),
            codecs: "avc1.64001f,mp4a.40.2".to_owned(),
            resolution: Some((source.u32(), source.u32())).filter(|_| flags & 1 != 0),
            frame_rate: Some((source.u32(), source.u32())).filter(|_| flags & 2 != 0),
            video_range: Some(VideoRange::Pq).filter(|_| flags & 16 != 0),
        });
    }
    let audio = AudioMember { uri: "audio/index.m3u8".to_owned(), channels: source.u16() };
    let playlist =
        Multivariant { variants, audio: Some(audio).filter(|_| flags & 4 != 0), independent_segments: flags & 8 != 0 };
    let text = playlist.render("p/");
    let (_, read) = m3u8_rs::parse_master_playlist(text.as_bytes()).expect("a reader that is not ours takes it");
    assert_eq!(read.variants.len(), playlist.variants.len());
    assert_eq!(read.independent_segments, playlist.independent_segments);
    for (read, variant) in read.variants.iter().zip(&playlist.variants) {
        assert_eq!(read.uri, format!("p/{}", variant.uri));
        assert_eq!((read.bandwidth, read.codecs.as_deref()), (variant.bandwidth, Some(&variant.codecs[..])));
        let resolution = read.resolution.map(|size| (size.width, size.height));
        assert_eq!(resolution, variant.resolution.map(|(width, height)| (width.into(), height.into())));
    }
}
