use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;

use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::super::live::{LiveDetails, LiveRendition, LiveSessions};
use super::*;
use crate::control::testing::{Fixture, fixture};
use crate::control::{ControlEvent, SessionId};

const TOKEN: &str = "a-token-of-sufficient-length";

/// One rendition for whatever is asked for; notes what is ended.
#[derive(Default)]
struct OneRendition {
    ended: Arc<Mutex<Vec<SessionId>>>,
}

impl LiveSessions for OneRendition {
    fn details(&self, _session: &SessionId) -> Option<LiveDetails> {
        let rendition =
            LiveRendition { name: "1080p".to_owned(), copied: true, reason: None, bits_per_second: 5_900_000 };
        Some(LiveDetails {
            peer: Some("192.0.2.7:5000".to_owned()),
            ingest_bits_per_second: 6_000_000,
            overloaded: false,
            dropped_frames: 0,
            left_out: Vec::new(),
            renditions: vec![rendition],
        })
    }

    fn end<'a>(&'a self, session: &'a SessionId) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        self.ended.lock().expect("no panic").push(session.clone());
        Box::pin(std::future::ready(()))
    }
}

/// The protected API on a port of its own.
struct Api {
    control: Control,
    base: String,
    http: reqwest::Client,
    ended: Arc<Mutex<Vec<SessionId>>>,
    _dir: tempfile::TempDir,
}

async fn api(token: Option<&str>) -> Api {
    let Fixture { control, dir, .. } = fixture().await;
    let live = OneRendition::default();
    let ended = live.ended.clone();
    let state = ApiState { control: control.clone(), live: Arc::new(live) };
    // As in the daemon: beside a router with a fallback of its own.
    let others = Router::new().fallback(|| async { "not the API" });
    let router = protected_router(state, token.map(SecretString::from).as_ref()).merge(others);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base = format!("http://{}/api/v1", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Api { control, base, http: reqwest::Client::new(), ended, _dir: dir }
}

impl Api {
    async fn raw(&self, method: Method, path: &str, token: Option<&str>, body: String) -> (StatusCode, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.base)).body(body);
        if let Some(token) = token {
            request = request.header("authorization", token);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") })
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.raw(method, path, Some(&format!("Bearer {TOKEN}")), body).await
    }

    async fn refused(&self, method: Method, path: &str, body: Value) -> (u16, String, String) {
        let (status, body) = self.call(method, path, body).await;
        let text = |field: &str| body["error"][field].as_str().unwrap_or_default().to_owned();
        (status.as_u16(), text("code"), text("message"))
    }
}

fn refusal(status: u16, code: &str, message: &str) -> (u16, String, String) {
    (status, code.to_owned(), message.to_owned())
}

#[tokio::test]
async fn streams_are_made_changed_and_deleted() {
    let api = api(Some(TOKEN)).await;
    let (status, made) = api.call(Method::POST, "/streams", json!({"name": "a b", "grace": "5s"})).await;
    let id = made["id"].as_str().expect("an id").to_owned();
    let mut expected = json!({
        "id": id, "name": "a b", "title": "a b", "enabled": true, "preset": null, "grace": "5s",
        "on_unpublish": null, "conflict": null, "srt_passphrase_set": false, "created_at": "2026-11-21T07:00:00.000Z",
    });
    assert_eq!((status, &made), (StatusCode::CREATED, &expected));
    assert_eq!(api.call(Method::GET, "/streams", Value::Null).await, (StatusCode::OK, json!([expected])));
    assert_eq!(api.call(Method::GET, "/streams/a%20b", Value::Null).await.1, expected);
    expected["enabled"] = json!(false);
    let path = format!("/streams/{id}");
    assert_eq!(api.call(Method::PATCH, &path, json!({"enabled": false})).await, (StatusCode::OK, expected));
    assert_eq!(api.call(Method::DELETE, &path, Value::Null).await, (StatusCode::NO_CONTENT, Value::Null));
    let message = format!("no stream has the id or name \"{id}\"");
    assert_eq!(api.refused(Method::GET, &path, Value::Null).await, refusal(404, "stream_not_found", &message));
}

#[tokio::test]
async fn an_srt_passphrase_goes_in_and_never_out() {
    const TEXT: &str = "correct horse battery";
    let api = api(Some(TOKEN)).await;
    let (status, made) = api.call(Method::POST, "/streams", json!({"name": "a", "srt_passphrase": TEXT})).await;
    assert_eq!((status, &made["srt_passphrase_set"]), (StatusCode::CREATED, &json!(true)));
    let shown = api.call(Method::GET, "/streams/a", Value::Null).await.1;
    let listed = api.call(Method::GET, "/streams", Value::Null).await.1;
    let changed = api.call(Method::PATCH, "/streams/a", json!({"srt_passphrase": "another horse"})).await.1;
    assert_eq!(changed["srt_passphrase_set"], json!(true));
    let id = made["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let read = api.control.srt_passphrase(&id).await.expect("read").expect("set");
    assert_eq!(read.expose_secret(), "another horse");
    let cleared = api.call(Method::PATCH, "/streams/a", json!({"srt_passphrase": null})).await.1;
    assert_eq!(cleared["srt_passphrase_set"], json!(false));
    for answer in [made, shown, listed, changed, cleared] {
        assert!(!answer.to_string().contains("horse") && answer.get("srt_passphrase").is_none(), "{answer}");
    }
    let says = "the SRT passphrase must have 10 to 79 bytes, and has 5; make one with: openssl rand -hex 16";
    let short = api.refused(Method::PATCH, "/streams/a", json!({"srt_passphrase": "horse"})).await;
    assert_eq!(short, refusal(422, "invalid_srt_passphrase", says));
    let (status, code, message) = api.refused(Method::PATCH, "/streams/a", json!({"srt_passphrase": 1234567890})).await;
    assert_eq!((status, code.as_str(), message.contains("1234567890")), (400, "bad_request", false), "{message}");
}

#[tokio::test]
async fn a_secret_is_shown_once() {
    let api = api(Some(TOKEN)).await;
    api.call(Method::POST, "/streams", json!({"name": "a"})).await;
    let mut events = api.control.events();
    let (status, made) = api.call(Method::POST, "/streams/a/keys", json!({"label": "obs"})).await;
    assert_eq!((status, &made["label"], &made["state"]), (StatusCode::CREATED, &json!("obs"), &json!("active")));
    let secret = made["secret"].as_str().expect("a secret");
    api.control.authenticate(&SecretString::from(secret)).await.expect("admitted");

    let id = made["id"].as_str().expect("an id");
    let rotate = format!("/keys/{id}/rotate");
    let (status, rotated) = api.call(Method::POST, &rotate, json!({"grace": "10m"})).await;
    assert_eq!((status, &rotated["label"]), (StatusCode::CREATED, &json!("obs")));
    assert_ne!(rotated["secret"], made["secret"]);
    assert_eq!(api.call(Method::POST, &rotate, Value::Null).await.0, StatusCode::CREATED, "a body is optional");

    let (status, revoked) = api.call(Method::DELETE, &format!("/keys/{id}"), Value::Null).await;
    assert_eq!((status, &revoked["state"], &revoked["secret"]), (StatusCode::OK, &json!("revoked"), &Value::Null));
    assert!(matches!(events.recv().await, Ok(ControlEvent::KeyRevoked { key_id, .. }) if key_id.as_str() == id));
    let (_, listed) = api.call(Method::GET, "/streams/a/keys", Value::Null).await;
    assert_eq!(listed.as_array().map(Vec::len), Some(3));
    assert!(!listed.to_string().contains("ms_"), "{listed}");
}

#[tokio::test]
async fn sessions_are_listed_with_what_runs() {
    let api = api(Some(TOKEN)).await;
    let (_, stream) = api.call(Method::POST, "/streams", json!({"name": "a"})).await;
    let id = stream["id"].as_str().expect("an id").parse().expect("an id");
    let session = api.control.begin_session(&id).await.expect("begun");
    let (_, listed) = api.call(Method::GET, "/sessions?stream=a&limit=5", Value::Null).await;
    let start = "2026-11-21T07:00:00.000Z";
    let rendition = json!({"name": "1080p", "copied": true, "reason": null, "bits_per_second": 5_900_000});
    let expected = json!([{
        "id": session.id.as_str(), "stream_id": id.as_str(), "epoch": 1, "state": "starting",
        "started_at": start, "changed_at": start, "ended_at": null,
        "live": {"peer": "192.0.2.7:5000", "ingest_bits_per_second": 6_000_000, "overloaded": false,
            "dropped_frames": 0, "left_out": [], "renditions": [rendition]},
    }]);
    assert_eq!(listed, expected);
    api.control.delete_stream(&id).await.expect("deleted");
    let (_, after) = api.call(Method::GET, &format!("/sessions?stream={id}"), Value::Null).await;
    assert_eq!(after[0]["state"], "ended", "sessions outlive their stream");
    assert_eq!(
        api.refused(Method::GET, "/sessions?stream=a", Value::Null).await,
        refusal(404, "stream_not_found", "no stream has the id or name \"a\"")
    );
    assert_eq!(api.refused(Method::GET, "/sessions?limit=x", Value::Null).await.0, 400);
}

#[tokio::test]
async fn a_session_is_ended_once() {
    let api = api(Some(TOKEN)).await;
    let (_, stream) = api.call(Method::POST, "/streams", json!({"name": "a"})).await;
    let session = api.control.begin_session(&stream["id"].as_str().expect("an id").parse().expect("an id")).await;
    let id = session.expect("begun").id;
    let (path, mut first) = (format!("/sessions/{id}/end"), None);
    for _ in 0..2 {
        let (status, ended) = api.call(Method::POST, &path, Value::Null).await;
        assert_eq!((status.as_u16(), &ended["id"], &ended["state"]), (200, &json!(id.as_str()), &json!("ended")));
        assert_eq!(first.get_or_insert(ended.clone()), &ended);
    }
    assert_eq!(*api.ended.lock().expect("no panic"), [id.clone(), id], "it may have been about to begin");
    for nobody in ["0000000000000000", "x"] {
        let (status, code, words) = api.refused(Method::POST, &format!("/sessions/{nobody}/end"), Value::Null).await;
        assert_eq!((status, code.as_str()), (404, "session_not_found"), "{words}");
        assert!(words.contains(nobody), "{words}");
    }
}

#[tokio::test]
async fn wrong_requests_are_told_what_is_wrong() {
    let api = api(Some(TOKEN)).await;
    api.call(Method::POST, "/streams", json!({"name": "a"})).await;
    let post = |body| api.refused(Method::POST, "/streams", body);
    assert_eq!(
        post(json!({"name": "a"})).await,
        refusal(
            409,
            "name_taken",
            "a stream named \"a\" exists already; choose another name, or delete that stream first"
        )
    );
    assert_eq!(post(json!({"name": ""})).await, refusal(422, "invalid_name", "the name must not be empty"));
    let unknown = post(json!({"name": "b", "titel": "B"})).await;
    assert_eq!((unknown.0, unknown.1.as_str()), (400, "bad_request"));
    assert!(unknown.2.starts_with("the body cannot be read: unknown field `titel`"), "{}", unknown.2);
    let grace = post(json!({"name": "b", "grace": "soon"})).await;
    assert!(grace.2.contains("\"soon\" is not a duration"), "{}", grace.2);
    let (status, body) =
        api.raw(Method::POST, "/streams", Some("Bearer a-token-of-sufficient-length"), "x".repeat(70_000)).await;
    assert_eq!((status.as_u16(), &body["error"]["code"]), (413, &json!("body_too_large")));
    assert_eq!(
        api.refused(Method::DELETE, "/keys/ms_secret", Value::Null).await,
        refusal(
            404,
            "key_not_found",
            "not an id: ids are 12 characters of 0-9 and a-z without i, l, o, u; no key has this one"
        )
    );
    assert_eq!(
        api.refused(Method::GET, "/stream", Value::Null).await,
        refusal(404, "path_not_found", "the API has no such path")
    );
    assert_eq!(
        api.refused(Method::PUT, "/streams", Value::Null).await,
        refusal(
            405,
            "method_not_allowed",
            "this path does not take that method; the header Allow lists those that it takes"
        )
    );
}

#[tokio::test]
async fn causes_inside_the_daemon_are_not_told() {
    let api = api(Some(TOKEN)).await;
    api.control.close().await;
    assert_eq!(
        api.refused(Method::GET, "/streams", Value::Null).await,
        refusal(500, "database", "the daemon could not do this; its log says why")
    );
}

#[tokio::test]
async fn only_the_token_opens_the_api() {
    let open = api(Some(TOKEN)).await;
    for token in [Some("Bearer a-token-of-sufficient-length"), Some("bearer a-token-of-sufficient-length")] {
        assert_eq!(open.raw(Method::GET, "/streams", token, String::new()).await.0, StatusCode::OK);
    }
    let wrong = json!({"error": {
        "code": "unauthorized", "message": "send the header: Authorization: Bearer <http.admin_token>",
    }});
    for token in
        [None, Some(""), Some("Bearer "), Some("Bearer x"), Some("Basic a-token-of-sufficient-length"), Some(TOKEN)]
    {
        let answer = open.raw(Method::GET, "/streams", token, String::new()).await;
        assert_eq!(answer, (StatusCode::UNAUTHORIZED, wrong.clone()), "{token:?}");
    }
    assert_eq!(open.raw(Method::GET, "/nothing", None, String::new()).await.1, wrong, "unknown paths tell nothing");
    let beside = open.base.replace("/api/v1", "/watch/x");
    assert_eq!(open.http.get(beside).send().await.expect("an answer").text().await.expect("text"), "not the API");
}

#[tokio::test]
async fn without_a_token_the_api_is_closed() {
    let closed = api(None).await;
    let answer = closed.raw(Method::GET, "/streams", Some("Bearer "), String::new()).await;
    let expected = json!({"error": {
        "code": "api_closed",
        "message": "the API over TCP is closed: set http.admin_token to open it, \
                    or use the millstream command on the daemon's machine",
    }});
    assert_eq!(answer, (StatusCode::FORBIDDEN, expected));
}
