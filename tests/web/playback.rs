//! What players and CDNs get from `/live`: whole answers over a real socket.

use std::io::Read;

use crate::support::{ENDED, LIVE, MULTIVARIANT, Memory, OF_SESSION, Served};
use flate2::read::GzDecoder;
use millstream::web::{self, Cors, ServeOptions};

const CORS: &str =
    "access-control-allow-origin: *\naccess-control-expose-headers: Age, Date, Content-Length, Content-Range, ETag";
const PLAYLIST: &str = "/live/s1/a/720p/index.m3u8";
const SEGMENT: &str = "/live/s1/a/720p/1-0.m4s";

async fn served() -> (Memory, Served) {
    let source = Memory::default();
    let served = Served::start(web::router(source.clone(), Cors::ANY), ServeOptions::default()).await;
    (source, served)
}

fn error(status: u16, code: &str, message: &str) -> String {
    let body = format!("{{\"error\":{{\"code\":\"{code}\",\"message\":\"{message}\"}}}}");
    let len = body.len();
    format!(
        "{status}\n{CORS}\ncache-control: no-store\ncontent-length: {len}\ncontent-type: application/json\n\n{body}"
    )
}

#[tokio::test]
async fn the_multivariant_playlist() {
    let (source, served) = served().await;
    for (path, text) in [("/live/s1/index.m3u8", MULTIVARIANT), ("/live/s1/a/index.m3u8", OF_SESSION)] {
        let answer = served.get(path).await;
        let expected = format!(
            "200\n{CORS}\ncache-control: public, max-age=2\ncontent-length: {}\ncontent-type: application/vnd.apple.mpegurl\n\
             etag: {}\nvary: Accept-Encoding\n\n{text}",
            text.len(),
            answer.header("etag").unwrap()
        );
        assert_eq!(answer.whole(), expected);
    }
    assert_eq!(served.get("/live/s1/before/index.m3u8").await.status(), 410);
    assert_eq!(source.asked(), ["s1/index.m3u8", "s1/a/index.m3u8", "s1/before/index.m3u8"]);
}

#[tokio::test]
async fn media_playlists_live_and_ended() {
    let (_source, served) = served().await;
    for (path, text, cache) in
        [(PLAYLIST, LIVE, "public, max-age=1"), ("/live/s1/z/720p/index.m3u8", ENDED, "public, max-age=60")]
    {
        let answer = served.get(path).await;
        assert_eq!((answer.status(), answer.text(), answer.header("cache-control")), (200, text, Some(cache)));
    }
}

#[tokio::test]
async fn each_coding_has_a_tag_of_its_own_and_holds_the_plain_text() {
    let (_source, served) = served().await;
    let plain = served.get(PLAYLIST).await;
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("Accept-Encoding")));
    let mut tags = vec![plain.header("etag").unwrap().to_owned()];
    for (accepted, coding) in [("gzip, deflate, br, zstd", "br"), ("gzip, br;q=0.5", "gzip"), ("gzip", "gzip")] {
        let packed = served.ask("GET", PLAYLIST, &[("accept-encoding", accepted)]).await;
        assert_eq!(packed.header("content-encoding"), Some(coding), "{accepted}");
        assert_eq!(packed.header("vary"), Some("Accept-Encoding"));
        assert_eq!(packed.header("content-length").unwrap(), packed.body.len().to_string());
        let mut text = Vec::new();
        match coding {
            "br" => brotli::BrotliDecompress(&mut packed.body.as_ref(), &mut text).unwrap(),
            _ => drop(GzDecoder::new(packed.body.as_ref()).read_to_end(&mut text).unwrap()),
        }
        assert_eq!(text, plain.text().as_bytes());
        tags.push(packed.header("etag").unwrap().to_owned());
    }
    assert_eq!(tags.pop(), tags.last().cloned(), "the same bytes again");
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 3, "{tags:?}");
    for refused in ["br;q=0, gzip;q=0", "identity, gzip;q=0.5, br;q=0.5", "zstd"] {
        let answer = served.ask("GET", PLAYLIST, &[("accept-encoding", refused)]).await;
        assert_eq!((answer.header("content-encoding"), answer.text()), (None, plain.text()), "{refused}");
    }
}

#[tokio::test]
async fn whoever_has_it_gets_304() {
    let (_source, served) = served().await;
    for (path, encoding) in [(PLAYLIST, "identity"), (PLAYLIST, "gzip"), (PLAYLIST, "br"), (SEGMENT, "identity")] {
        let first = served.ask("GET", path, &[("accept-encoding", encoding)]).await;
        let etag = first.header("etag").unwrap();
        let again = served.ask("GET", path, &[("accept-encoding", encoding), ("if-none-match", etag)]).await;
        assert_eq!((again.status(), again.body.len(), again.header("etag")), (304, 0, Some(etag)), "{path} {encoding}");
        assert_eq!(again.header("cache-control"), first.header("cache-control"));
        let other = served.ask("GET", path, &[("accept-encoding", encoding), ("if-none-match", "\"x\"")]).await;
        assert_eq!((other.status(), &other.body), (200, &first.body));
    }
}

#[tokio::test]
async fn a_segment_is_the_chain_of_its_parts() {
    let (source, served) = served().await;
    let expected = format!(
        "200\naccept-ranges: bytes\n{CORS}\ncache-control: public, max-age=31536000, immutable\ncontent-length: 10\n\
         content-type: video/mp4\netag: \"1-0.m4s\"\n\n0123456789"
    );
    assert_eq!(served.get(SEGMENT).await.whole(), expected);
    assert_eq!(served.get("/live/s1/a/audio/1-0.m4s").await.header("content-type"), Some("audio/mp4"));
    let empty = served.get("/live/s1/a/720p/init-0.mp4").await;
    assert_eq!((empty.status(), empty.header("content-length")), (200, Some("0")));
    assert_eq!(source.asked(), ["s1/a/720p/1-0.m4s", "s1/a/audio/1-0.m4s", "s1/a/720p/init-0.mp4"]);
}

#[tokio::test]
async fn ranges() {
    let (_source, served) = served().await;
    for (range, status, content_range, body) in [
        ("bytes=0-0", 206, Some("bytes 0-0/10"), "0"),
        ("bytes=2-4", 206, Some("bytes 2-4/10"), "234"),
        ("bytes=6-", 206, Some("bytes 6-9/10"), "6789"),
        ("bytes=-4", 206, Some("bytes 6-9/10"), "6789"),
        ("bytes=5-500", 206, Some("bytes 5-9/10"), "56789"),
        ("bytes=0-1,4-5", 200, None, "0123456789"),
        ("bytes=4-2", 200, None, "0123456789"),
        ("lines=1-2", 200, None, "0123456789"),
    ] {
        let answer = served.ask("GET", SEGMENT, &[("range", range)]).await;
        assert_eq!(
            (answer.status(), answer.header("content-range"), answer.text()),
            (status, content_range, body),
            "{range}"
        );
        assert_eq!(answer.header("content-length").unwrap(), body.len().to_string());
    }
}

#[tokio::test]
async fn a_range_of_nothing_is_416_and_not_cached() {
    let (_source, served) = served().await;
    let answer = served.ask("GET", SEGMENT, &[("range", "bytes=10-")]).await;
    assert_eq!((answer.status(), answer.header("content-range")), (416, Some("bytes */10")));
    assert_eq!((answer.header("cache-control"), answer.header("etag")), (Some("no-store"), None));
    assert!(answer.text().contains("\"code\":\"range_not_satisfiable\""), "{}", answer.text());
}

#[tokio::test]
async fn if_range_and_if_none_match_come_before_range() {
    let (_source, served) = served().await;
    let status = async |headers: &[(&str, &str)]| served.ask("GET", SEGMENT, headers).await.status();
    assert_eq!(status(&[("range", "bytes=1-2"), ("if-range", "\"1-0.m4s\"")]).await, 206);
    assert_eq!(status(&[("range", "bytes=1-2"), ("if-range", "\"other\"")]).await, 200);
    assert_eq!(status(&[("range", "bytes=1-2"), ("if-none-match", "\"1-0.m4s\"")]).await, 304);
    assert_eq!(status(&[("range", "bytes=99-"), ("if-range", "\"other\"")]).await, 200);
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let (_source, served) = served().await;
    for path in [PLAYLIST, SEGMENT, "/live/s1/index.m3u8", "/live/none/index.m3u8"] {
        let (get, head) = (served.get(path).await, served.ask("HEAD", path, &[]).await);
        assert_eq!(head.whole(), get.whole().replace(get.text(), ""), "{path}");
    }
    let ranged = served.ask("HEAD", SEGMENT, &[("range", "bytes=1-2")]).await;
    assert_eq!((ranged.status(), ranged.header("content-length")), (200, Some("10")));
}

#[tokio::test]
async fn preflight_and_other_methods() {
    let (source, served) = served().await;
    let asks = [
        ("origin", "https://a.example"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "range"),
    ];
    for path in [PLAYLIST, SEGMENT, "/live/s1/index.m3u8"] {
        let answer = served.ask("OPTIONS", path, &asks).await;
        let expected = format!(
            "204\naccess-control-allow-headers: *\naccess-control-allow-methods: GET, HEAD, OPTIONS\n{CORS}\naccess-control-max-age: 86400\n\n"
        );
        assert_eq!(answer.whole(), expected);
        let answer = served.ask("POST", path, &[]).await;
        assert_eq!((answer.status(), answer.header("allow")), (405, Some("GET,HEAD,OPTIONS")), "{path}");
        assert!(answer.text().contains("\"code\":\"method_not_allowed\""));
    }
    assert_eq!(source.asked(), [""; 0]);
}

#[tokio::test]
async fn what_is_not_there_says_why_and_is_never_cached() {
    let (_source, served) = served().await;
    for (path, expected) in [
        ("/live/offline/index.m3u8", error(404, "stream_offline", "the stream is offline")),
        ("/live/nobody/index.m3u8", error(404, "no_such_stream", "there is no such stream")),
        ("/live/s1/q/720p/index.m3u8", error(404, "not_found", "there is no such session, rendition or file")),
        ("/live/s1/before/720p/index.m3u8", error(410, "gone", "this is no longer available")),
        ("/live/s1/a/720p/0-7.m4s", error(410, "gone", "this is no longer available")),
        ("/live/s1/a/720p/1-7.m4s", error(404, "not_found", "there is no such session, rendition or file")),
        ("/live/broken/index.m3u8", error(500, "internal", "the server failed: its log says why")),
    ] {
        assert_eq!(served.get(path).await.whole(), expected, "{path}");
    }
    let starting = served.get("/live/starting/index.m3u8").await;
    assert_eq!((starting.status(), starting.header("retry-after")), (503, Some("1")));
    assert!(starting.text().contains("\"code\":\"stream_starting\""));
}

#[tokio::test]
async fn no_odd_path_reaches_the_source() {
    let (source, served) = served().await;
    let long = "x".repeat(65);
    let paths = [
        "/live/../index.m3u8",
        "/live/%2e%2e/index.m3u8",
        "/live/%252e%252e/index.m3u8",
        "/live/..%2f..%2fetc/index.m3u8",
        "/live/s1%00/index.m3u8",
        "/live/s1%0d%0aX:1/index.m3u8",
        "/live/%ff/index.m3u8",
        "/live//index.m3u8",
        "/live/",
        "/live/s1",
        "/live/s1/",
        "/live/s1/%2e%2e/index.m3u8",
        "/live/s1/../../../index.m3u8",
        "/live/s1/a/%2e%2e/index.m3u8",
        "/live/s1/%5c/720p/index.m3u8",
        "/live/s1/a/720p/..",
        "/live/s1/a/720p/%2e%2e%2f1-0.m4s",
        "/live/s1/a/720p/1-0.m4s%00",
        "/live/s1/a/720p/01-0.m4s",
        "/live/s1/a/720p/1-99999999999999999999.m4s",
        "/live/s1/a/720p/1-0.ts",
        "/live/s1/a/720p/1-0.m4s/",
        "/live/s1/a/720p/x/1-0.m4s",
        &format!("/live/{long}/index.m3u8"),
    ];
    let expected = error(404, "not_found", "there is no such session, rendition or file");
    for path in paths {
        assert_eq!(served.get(path).await.whole(), expected, "{path}");
    }
    assert_eq!(source.asked(), [""; 0]);
}
