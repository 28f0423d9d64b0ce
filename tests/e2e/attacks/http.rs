//! What is done to the HTTP port.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::peer::{Peer, dial, read_to_close, read_to_deadline, trickle};
use super::site::{self, HEADER, LIMIT, PLACES_OF_AN_ADDRESS, Site, TOKEN};

/// What one silent connection may cost in resident memory, the allocator's slack included.
const SILENT_BYTES: u64 = 32 << 10;
/// What one held request may cost.
const HELD_BYTES: u64 = 24 << 10;
/// Requests held at a time, where the system allows as many files here and in the daemon.
const HELD: usize = 10_000;

/// The n-th address of an attack.
fn address(attack: u8, n: usize) -> [u8; 4] {
    [127, 1, attack, u8::try_from(n % 250).expect("below 250") + 1]
}

/// Sends `bytes` and reads until the connection is closed.
async fn exchange(from: [u8; 4], to: SocketAddr, bytes: &[u8]) -> String {
    let mut socket = dial(from, to).await;
    let (mut reading, mut writing) = socket.split();
    let mut read = Vec::new();
    // The daemon may answer and close before it has taken everything.
    let both = async { tokio::join!(writing.write_all(bytes), reading.read_to_end(&mut read)) };
    let _ = timeout(LIMIT, both).await.expect("the connection ends");
    String::from_utf8_lossy(&read).into_owned()
}

/// A GET, the last of its connection, with more lines in its head.
fn get(path: &str, lines: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{lines}\r\n").into_bytes()
}

/// Status of the first answer in `text`.
fn status(text: &str) -> u16 {
    text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// 1,000 connections that say nothing are closed by the deadline.
pub async fn silent_connections(site: Arc<Site>) {
    let before = site.resident_bytes();
    let mut silent = join_all((0..1_000).map(|n| dial(address(10, n), site.http))).await;
    let opened = Instant::now();
    let open = site.until_metric("millstream_http_connections", 900.0).await;
    let each = site.resident_bytes().saturating_sub(before) / open as u64;
    eprintln!("a silent HTTP connection takes {each} bytes ({open} open)");
    assert!(each <= SILENT_BYTES, "a silent HTTP connection takes {each} bytes");
    join_all(silent.iter_mut().map(|socket| read_to_deadline(socket, opened, HEADER))).await;
}

/// A head that comes byte by byte does not move the deadline.
pub async fn slow_heads(site: Arc<Site>) {
    let attack = |n: usize| {
        let site = site.clone();
        async move {
            let mut socket = dial(address(11, n), site.http).await;
            trickle(&mut socket, &get("/healthz", &"x: y\r\n".repeat(50)), HEADER).await;
        }
    };
    join_all((0..50).map(attack)).await;
}

/// Requests of which two readers would see different ends: one answer, and the connection is over.
pub async fn ambiguous_requests(site: Arc<Site>) {
    let smuggled = "GET /metrics HTTP/1.1\r\nhost: h\r\n\r\n";
    for head in [
        "POST /healthz HTTP/1.1\r\nhost: h\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\ncontent-length: 6\r\n\r\n0\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\ncontent-length: 0\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nhost: h\r\ntransfer-encoding: xchunked\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nhost: h\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nhost: h\r\ncontent-length: +4\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nhost: h\r\ncontent-length: 99999999999999999999\r\n\r\n",
        "GET /healthz HTTP/1.1\r\n host: h\r\n\r\n",
    ] {
        let text = exchange(address(12, 0), site.http, format!("{head}{smuggled}").as_bytes()).await;
        assert!(text.matches("HTTP/1.1 ").count() <= 1 && !text.contains("millstream_"), "{head}: {text}");
        assert!(text.is_empty() || (400..500).contains(&status(&text)), "{head}: {text}");
    }
}

/// A megabyte of headers, in one and in many, and a path as long.
pub async fn huge_heads(site: Arc<Site>) {
    let one = get("/healthz", &format!("x: {}\r\n", "y".repeat(1 << 20)));
    let many = get("/healthz", &"x: y\r\n".repeat(170_000));
    let path = get(&format!("/live/{}", "a/".repeat(1 << 19)), "");
    for head in [one, many, path] {
        let text = exchange(address(13, 0), site.http, &head).await;
        assert!(text.is_empty() || [414, 431, 400].contains(&status(&text)), "{}", status(&text));
    }
}

/// Nothing but streams, sessions, renditions and names of media is behind `/live`, and nothing else at all.
pub async fn path_traversal(site: Arc<Site>) {
    let stream = &site.canary.stream;
    let folder = site.segment().rsplit_once('/').expect("a path").0;
    let long = format!("/live/{}/index.m3u8", "x".repeat(50_000));
    for path in [
        "/live/../../../../etc/passwd",
        "/live/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/live/..%2f..%2f..%2fetc%2fpasswd/index.m3u8",
        "/live/%2fetc%2fpasswd/index.m3u8",
        "/live/%00/index.m3u8",
        "/live/a%0d%0ax-injected:%201/index.m3u8",
        "/live/%ff%fe/index.m3u8",
        "//etc/passwd",
        "/assets/..%2f..%2fCargo.toml",
        "/assets/%2e%2e%2fwatch.html",
        "/watch/%2e%2e%2f%2e%2e",
        "/watch/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        &format!("/live/{stream}/../{stream}/index.m3u8"),
        &format!("{folder}/../../../../millstream.db"),
        &format!("{folder}/%2e%2e%2f%2e%2e%2findex.m3u8"),
        &format!("{folder}/1-99999999999999999999999.m4s"),
        &format!("{folder}/-1-0.m4s"),
        &format!("{folder}/index.m3u8%00.m4s"),
        &long,
    ] {
        let text = exchange(address(14, 0), site.http, &get(path, "")).await;
        assert!((400..500).contains(&status(&text)), "{path}: {text}");
        assert!(!text.contains("root:") && !text.contains("<script>") && !text.contains("\r\nx-injected"), "{text}");
    }
}

/// Ranges in thousands, backwards, beyond everything: at most the whole once.
pub async fn odd_ranges(site: Arc<Site>) {
    let whole = exchange(address(15, 0), site.http, &get(site.segment(), "")).await.len();
    let many = (0..3_000).map(|n| format!("{n}-")).collect::<Vec<_>>().join(",");
    for (range, expected) in [
        (many.as_str(), 200),
        ("0-,0-,0-,0-", 200),
        ("9-1", 200),
        ("0-99999999999999999999999999", 206),
        ("18446744073709551615-18446744073709551615", 416),
        ("-18446744073709551616", 206),
        ("-0", 416),
        ("a-b", 200),
    ] {
        let lines = format!("range: bytes={range}\r\n");
        let text = exchange(address(15, 0), site.http, &get(site.segment(), &lines)).await;
        assert_eq!(status(&text), expected, "{range:.60}");
        assert!(text.len() <= whole + 200, "{range:.60}: {} bytes of {whole}", text.len());
    }
}

/// Readers that ask for everything and take nothing are dropped, and are no burden meanwhile: what they would be sent is
/// shared.
pub async fn slow_readers(site: Arc<Site>) {
    let already = site.metric("millstream_http_connections_stalled_total").await;
    let request = format!("GET {} HTTP/1.1\r\nhost: h\r\n\r\n", site.segment());
    let ask = |n: usize| {
        let (site, request) = (site.clone(), request.clone());
        async move {
            let mut socket = dial(address(16, n), site.http).await;
            let _ = socket.write_all(request.repeat(100).as_bytes()).await;
            socket
        }
    };
    let before = site.resident_bytes();
    let held: Vec<TcpStream> = join_all((0..50).map(ask)).await;
    site.until_metric("millstream_http_connections_stalled_total", already + 50.0).await;
    let grown = site.resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes for {} readers", held.len());
}

/// Thousands of requests for a stream that is about to begin are held, and others are answered meanwhile.
pub async fn held_playlists(site: Arc<Site>) {
    // A publisher that sends nothing: its viewers wait.
    let publisher = Peer::publishing(address(17, 0), site.rtmp, &site.waited_for.secret).await;
    let path = format!("/live/{}/index.m3u8", site.waited_for.stream);
    let count = site::raise_open_files().saturating_sub(3_000).min(HELD);
    let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n");
    let before = site.resident_bytes();
    let ask = |n: usize| {
        let (site, request) = (site.clone(), request.clone());
        async move {
            let mut socket = dial(address(17, n), site.http).await;
            socket.write_all(request.as_bytes()).await.expect("taken");
            socket
        }
    };
    let held: Vec<TcpStream> = stream::iter((0..count).map(ask)).buffer_unordered(500).collect().await;
    let open = site.until_metric("millstream_http_connections", count as f64 * 0.9).await;
    let text = exchange(address(18, 0), site.http, &get(site.segment(), "")).await;
    assert_eq!(status(&text), 200, "a viewer beside them is served");
    let each = site.resident_bytes().saturating_sub(before) / open as u64;
    eprintln!("a held request takes {each} bytes ({open} held)");
    assert!(each <= HELD_BYTES, "a held request takes {each} bytes");
    site.newcomer().await;
    drop((held, publisher));
}

/// One address takes all the places that it may have, and asks for three times as many more: those are closed without a word, and
/// who comes from elsewhere is served. When its own are closed by the deadline, it is served again.
pub async fn connections_of_one_address(site: Arc<Site>) {
    let refused = "millstream_http_connections_refused_total{reason=\"address\"}";
    let already = site.metric(refused).await;
    let (greedy, other) = (address(21, 0), address(21, 1));
    let mut sockets = join_all((0..4 * PLACES_OF_AN_ADDRESS).map(|_| dial(greedy, site.http))).await;
    // On a machine that stood still meanwhile, some places may have been given twice.
    site.until_metric(refused, already + PLACES_OF_AN_ADDRESS as f64).await;
    let beside = exchange(other, site.http, &get(site.segment(), "")).await;
    assert_eq!(status(&beside), 200, "another address is served");
    site.newcomer().await;
    let said = join_all(sockets.iter_mut().map(read_to_close)).await;
    let wordless = said.iter().filter(|words| words.is_empty()).count();
    assert!(wordless >= PLACES_OF_AN_ADDRESS, "{wordless} of {} were closed without a word", said.len());
    let again = exchange(greedy, site.http, &get("/healthz", "")).await;
    assert_eq!(status(&again), 200, "its places are free again");
}

/// The API without its token, with other tokens, and bodies of 100 MB.
pub async fn api_strangers(site: Arc<Site>) {
    let ask = |n: usize| {
        let site = site.clone();
        async move {
            let token = format!("authorization: Bearer {}\r\n", "x".repeat(n * 20));
            let text = exchange(address(19, n), site.http, &get("/api/v1/streams", &token)).await;
            assert_eq!(status(&text), 401, "{text}");
        }
    };
    stream::iter((0..500).map(ask)).buffer_unordered(50).collect::<Vec<()>>().await;
    let head = |token: &str| {
        format!(
            "POST /api/v1/streams HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\ncontent-length: 104857600\r\n\r\n"
        )
    };
    for (token, expected) in [("wrong", 401), (TOKEN, 413)] {
        let mut bytes = head(token).into_bytes();
        bytes.resize(bytes.len() + (100 << 20), b'x');
        let text = exchange(address(19, 0), site.http, &bytes).await;
        // A reset may take the answer away from a client that goes on writing; the body is not read in any case.
        assert!(text.is_empty() || status(&text) == expected, "{text}");
    }
    let deep = format!("{{\"name\":{}", "[".repeat(60_000));
    let bytes = format!(
        "POST /api/v1/streams HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{deep}",
        deep.len()
    );
    let text = exchange(address(19, 1), site.http, bytes.as_bytes()).await;
    assert_eq!(status(&text), 400, "{text}");
}

/// HTTP/2 with prior knowledge, and TLS: not spoken here.
pub async fn http2_preface(site: Arc<Site>) {
    let frames = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frames].concat();
    for bytes in [preface, vec![0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3], b"\0\0\0\0\r\n\r\n".to_vec()] {
        let text = exchange(address(20, 0), site.http, &bytes).await;
        assert!(text.is_empty() || (400..506).contains(&status(&text)), "{text}");
    }
}
