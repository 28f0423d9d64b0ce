//! The watch page and what belongs to it, with and without a built front end.

use crate::support::{Memory, Served};
use bytes::Bytes;
use millstream::web::{ServeOptions, assets::FrontEnd, pages};

const PAGE: &str = "<title>{{title}}</title><main data-stream=\"{{stream}}\" data-playlist=\"{{playlist}}\"></main>";
const SCRIPT: &str = "console.log(1)";

async fn served(files: &[(&str, &'static str)]) -> Served {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), Bytes::from_static(text.as_bytes())));
    Served::start(pages::router_with(Memory::default(), FrontEnd::from_files(files)), ServeOptions::default()).await
}

async fn built() -> Served {
    served(&[("watch.html", PAGE), ("assets/watch-1A2B.js", SCRIPT)]).await
}

#[tokio::test]
async fn the_built_page_is_filled_and_guarded() {
    let expected = "200\n\
        cache-control: no-cache\n\
        content-length: 134\n\
        content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
        media-src 'self' blob:; connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\n\
        content-type: text/html; charset=utf-8\n\
        referrer-policy: same-origin\n\
        x-content-type-options: nosniff\n\n\
        <title>Sunday &lt;b&gt;&quot;live&quot;&lt;/b&gt; &amp; more</title>\
        <main data-stream=\"s1\" data-playlist=\"/live/s1/index.m3u8\"></main>";
    assert_eq!(built().await.get("/watch/s1").await.whole(), expected);
}

#[tokio::test]
async fn an_offline_stream_has_its_page() {
    assert_eq!(built().await.get("/watch/offline").await.status(), 200);
}

#[tokio::test]
async fn without_a_build_the_page_says_what_is_missing_and_where_the_stream_is() {
    let answer = served(&[]).await.get("/watch/s1").await;
    assert_eq!((answer.status(), answer.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(answer.header("content-security-policy").unwrap().starts_with("default-src 'none'; script-src 'self'"));
    for part in [
        "<h1>Sunday &lt;b&gt;&quot;live&quot;&lt;/b&gt; &amp; more</h1>",
        "This server was built without its player page.",
        "<a href=\"/live/s1/index.m3u8\"><code>/live/s1/index.m3u8</code></a>",
        "<code>npm ci &amp;&amp; npm run build</code>",
        "<link rel=\"stylesheet\" href=\"/assets/plain.css\">",
    ] {
        assert!(answer.text().contains(part), "{part}\n{}", answer.text());
    }
}

#[tokio::test]
async fn an_unknown_stream_is_a_page_that_says_so() {
    let served = built().await;
    for path in ["/watch/nobody", "/watch/%2e%2e", "/watch/a.b", "/watch/%ff"] {
        let answer = served.get(path).await;
        assert_eq!((answer.status(), answer.header("content-type")), (404, Some("text/html; charset=utf-8")), "{path}");
        assert!(answer.text().contains("<h1>No such stream</h1>"), "{path}");
    }
    let broken = served.get("/watch/broken").await;
    assert_eq!(broken.status(), 500);
    assert!(!broken.text().contains("device error"), "{}", broken.text());
}

#[tokio::test]
async fn the_status_is_json() {
    let served = built().await;
    let answer = served.get("/watch/s1/status").await;
    let status: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let expected = serde_json::json!({
        "stream": "s1",
        "title": "Sunday <b>\"live\"</b> & more",
        "state": "live",
        "playlist": "/live/s1/index.m3u8",
        "renditions": [
            {"name": "720p", "width": 1280, "height": 720, "bandwidth": 3_000_000},
            {"name": "audio", "bandwidth": 130_000},
        ],
    });
    assert_eq!((answer.status(), answer.header("cache-control"), status), (200, Some("public, max-age=1"), expected));
    let unknown = served.get("/watch/nobody/status").await;
    assert_eq!((unknown.status(), unknown.header("cache-control")), (404, Some("no-store")));
    assert_eq!(unknown.text(), "{\"error\":{\"code\":\"no_such_stream\",\"message\":\"there is no such stream\"}}");
}

#[tokio::test]
async fn hashed_assets_are_kept_for_ever_and_others_asked_for_again() {
    let served = built().await;
    let script = served.get("/assets/watch-1A2B.js").await;
    let expected = format!(
        "200\ncache-control: public, max-age=31536000, immutable\ncontent-length: 14\ncontent-type: text/javascript; charset=utf-8\n\
         etag: {}\nvary: Accept-Encoding\nx-content-type-options: nosniff\n\n{SCRIPT}",
        script.header("etag").unwrap()
    );
    assert_eq!(script.whole(), expected);
    let style = served.get("/assets/plain.css").await;
    assert_eq!(
        (style.header("cache-control"), style.header("content-type")),
        (Some("no-cache"), Some("text/css; charset=utf-8"))
    );
    let again = served.ask("GET", "/assets/plain.css", &[("if-none-match", style.header("etag").unwrap())]).await;
    assert_eq!(again.status(), 304);
    for path in ["/assets/none.js", "/assets/..%2fwatch.html", "/assets/%2e%2e", "/assets/watch.html"] {
        assert_eq!(served.get(path).await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn pages_are_only_read() {
    let answer = built().await.ask("DELETE", "/watch/s1", &[]).await;
    assert_eq!((answer.status(), answer.header("allow")), (405, Some("GET,HEAD")));
}
