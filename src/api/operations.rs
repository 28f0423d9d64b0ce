//! What whoever operates the daemon asks: `/healthz`, `/readyz`, `/metrics`.
//!
//! `/healthz` says that the process answers; nothing else, so that no slow disk makes a supervisor kill live streams. `/readyz` says
//! whether new viewers and publishers should be sent here. None of them needs a token, and none tells a secret.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use crate::telemetry::Metrics;

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const METRICS_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Who knows whether the daemon can do its work.
pub trait Readiness: Send + Sync + 'static {
    /// The state of each thing that the daemon needs. Must answer within a second or so: a check that hangs is a check that failed.
    fn checks(&self) -> impl Future<Output = Vec<Check>> + Send;
}

/// One thing that the daemon needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stable name: `database`, `spool`, `store`, `rtmp`.
    pub name: Cow<'static, str>,
    /// It works.
    pub ok: bool,
    /// Why it does not, or what is worth knowing; without secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Check {
    /// It works.
    pub fn passed(name: impl Into<Cow<'static, str>>) -> Self {
        Check { name: name.into(), ok: true, reason: None }
    }

    /// It does not work.
    pub fn failed(name: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Check { name: name.into(), ok: false, reason: Some(reason.into()) }
    }
}

/// The three routes.
pub fn router<R: Readiness>(readiness: R, metrics: Metrics) -> Router {
    let readiness = Router::new().route("/readyz", get(readyz::<R>)).with_state(Arc::new(readiness));
    let metrics = Router::new().route("/metrics", get(render)).with_state(metrics);
    Router::new().route("/healthz", get(healthz)).merge(readiness).merge(metrics)
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    checks: Vec<Check>,
}

async fn healthz() -> Response {
    ([(CACHE_CONTROL, NO_STORE)], Json(serde_json::json!({"status": "ok"}))).into_response()
}

async fn readyz<R: Readiness>(State(readiness): State<Arc<R>>) -> Response {
    let checks = readiness.checks().await;
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(CACHE_CONTROL, NO_STORE)], Json(Ready { ready, checks })).into_response()
}

async fn render(State(metrics): State<Metrics>) -> Response {
    ([(CONTENT_TYPE, METRICS_TYPE), (CACHE_CONTROL, NO_STORE)], metrics.render()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::names;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    #[derive(Clone)]
    struct Fixed(Vec<Check>);
    impl Readiness for Fixed {
        async fn checks(&self) -> Vec<Check> {
            self.0.clone()
        }
    }

    /// The whole answer but its date.
    async fn answer(checks: Vec<Check>, metrics: Metrics, path: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let router = router(Fixed(checks), metrics);
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        client
            .write_all(format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        server.abort();
        text.lines().filter(|line| !line.starts_with("date: ")).collect::<Vec<_>>().join("\n")
    }

    fn metrics() -> Metrics {
        Metrics::detached().unwrap().0
    }

    #[tokio::test]
    async fn the_process_answers() {
        let expected = "HTTP/1.1 200 OK\ncontent-type: application/json\ncache-control: no-store\ncontent-length: 15\n\
            connection: close\n\n{\"status\":\"ok\"}";
        assert_eq!(answer(vec![Check::failed("store", "gone")], metrics(), "/healthz").await, expected);
    }

    #[tokio::test]
    async fn ready_is_when_all_checks_pass() {
        let expected = "HTTP/1.1 200 OK\ncontent-type: application/json\ncache-control: no-store\ncontent-length: 55\n\
            connection: close\n\n{\"ready\":true,\"checks\":[{\"name\":\"database\",\"ok\":true}]}";
        assert_eq!(answer(vec![Check::passed("database")], metrics(), "/readyz").await, expected);
    }

    #[tokio::test]
    async fn not_ready_says_why() {
        let checks = vec![Check::passed("database"), Check::failed("spool", "no space left on /spool")];
        let text = answer(checks, metrics(), "/readyz").await;
        assert!(text.starts_with("HTTP/1.1 503 Service Unavailable\n"), "{text}");
        let body = "{\"ready\":false,\"checks\":[{\"name\":\"database\",\"ok\":true},\
            {\"name\":\"spool\",\"ok\":false,\"reason\":\"no space left on /spool\"}]}";
        assert!(text.ends_with(body), "{text}");
    }

    #[tokio::test]
    async fn metrics_are_in_the_text_format() {
        let (metrics, recorder) = Metrics::detached().unwrap();
        metrics::with_local_recorder(&recorder, || names::LISTEN_OPEN.gauge(&[("protocol", "rtmp")]).set(3.0));
        let text = answer(vec![], metrics, "/metrics").await;
        assert!(text.contains("\ncontent-type: text/plain; version=0.0.4; charset=utf-8\n"), "{text}");
        assert!(text.contains("\nmillstream_listen_connections{protocol=\"rtmp\"} 3\n"), "{text}");
    }
}
