//! Which sites may read, and what stands at the plain port where everything is had over HTTPS.

use crate::support::{Answer, Memory, Served};
use millstream::config::CorsOrigins;
use millstream::web::{self, Cors, ServeOptions};

const PLAYLIST: &str = "/live/s1/a/720p/index.m3u8";
const SEGMENT: &str = "/live/s1/a/720p/1-0.m4s";

fn listed(origins: &[&str]) -> Cors {
    Cors::new(&CorsOrigins::Listed(origins.iter().map(|&origin| origin.to_owned()).collect()))
}

async fn served(cors: Cors) -> Served {
    Served::start(web::router(Memory::default(), cors), ServeOptions::default()).await
}

fn varies(answer: &Answer) -> Vec<&str> {
    answer.head.headers.get_all("vary").iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn listed_sites_may_read_and_caches_keep_an_answer_for_each() {
    let served = served(listed(&["https://a.example", "http://localhost:3000"])).await;
    for (origin, allowed) in [
        (Some("https://a.example"), Some("https://a.example")),
        (Some("http://localhost:3000"), Some("http://localhost:3000")),
        (Some("https://b.example"), None),
        (Some("http://a.example"), None),
        (Some("https://a.example.evil.example"), None),
        (Some("null"), None),
        (None, None),
    ] {
        let headers: Vec<_> = origin.map(|origin| ("origin", origin)).into_iter().collect();
        let exposed = allowed.map(|_| "Age, Date, Content-Length, Content-Range, ETag");
        for (method, path, status, vary) in [
            ("GET", PLAYLIST, 200, &["Accept-Encoding", "Origin"][..]),
            ("GET", SEGMENT, 200, &["Origin"]),
            ("OPTIONS", SEGMENT, 204, &["Origin"]),
            ("GET", "/live/nobody/index.m3u8", 404, &["Origin"]),
        ] {
            let answer = served.ask(method, path, &headers).await;
            assert_eq!(answer.status(), status, "{path}");
            assert_eq!(answer.header("access-control-allow-origin"), allowed, "{origin:?} {path}");
            assert_eq!(answer.header("access-control-expose-headers"), exposed);
            assert_eq!(varies(&answer), vary, "{origin:?} {path}");
        }
        let etag = served.get(PLAYLIST).await.header("etag").unwrap().to_owned();
        let known = [&headers[..], &[("if-none-match", &etag)]].concat();
        let answer = served.ask("GET", PLAYLIST, &known).await;
        assert_eq!((answer.status(), answer.header("access-control-allow-origin")), (304, allowed));
    }
}

#[tokio::test]
async fn an_empty_list_lets_nobody_and_the_default_everybody() {
    let (nobody, everybody) = (served(listed(&[])).await, served(Cors::ANY).await);
    for headers in [&[][..], &[("origin", "https://a.example")]] {
        let answer = nobody.ask("GET", PLAYLIST, headers).await;
        assert_eq!((answer.status(), answer.header("access-control-allow-origin")), (200, None));
        let answer = everybody.ask("GET", PLAYLIST, headers).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(varies(&answer), ["Accept-Encoding"], "one answer for all");
    }
}

#[tokio::test]
async fn playback_and_pages_are_sent_to_https_and_nothing_else_is() {
    let router = web::redirect::router(8443, Cors::ANY);
    let router = router.route("/healthz", axum::routing::get(async || "ok"));
    let served = Served::start(router, ServeOptions::default()).await;
    for method in ["GET", "HEAD"] {
        for path in
            [PLAYLIST, "/live/s1/index.m3u8?a=b&c=%2F", SEGMENT, "/watch/s1", "/watch/s1/status", "/assets/a.js"]
        {
            let answer = served.ask(method, path, &[]).await;
            let location = format!("https://localhost:8443{path}");
            assert_eq!((answer.status(), answer.header("location")), (308, Some(&*location)), "{path}");
            assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "a page that follows it may");
        }
    }
    assert_eq!(served.get("/healthz").await.text(), "ok");
    for (method, path, status) in [("OPTIONS", PLAYLIST, 204), ("POST", PLAYLIST, 405), ("GET", "/nowhere", 404)] {
        assert_eq!(served.ask(method, path, &[]).await.status(), status, "{method} {path}");
    }
}
