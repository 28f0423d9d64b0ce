use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::super::admission::AuthError;
use super::super::key::KeyState;
use super::super::session::SessionState;
use super::super::stream::{NewStream, Stream, StreamChange};
use super::super::testing::{Fixture, fixture};
use super::*;

async fn stream(control: &Control) -> Stream {
    let new = NewStream { name: "a".to_owned(), ..NewStream::default() };
    control.create_stream(new).await.expect("made")
}

async fn key(control: &Control, stream: &StreamId) -> IssuedKey {
    control.create_key(stream, NewKey::default()).await.expect("made")
}

async fn refusal(control: &Control, secret: &SecretString) -> &'static str {
    control.authenticate(secret).await.expect_err("must be refused").code()
}

#[tokio::test]
async fn a_key_admits_to_its_stream() {
    let Fixture { control, dir: _dir, .. } = fixture().await;
    let stream = stream(&control).await;
    let issued = key(&control, &stream.id).await;
    let grant = control.authenticate(&issued.secret).await.expect("admitted");
    assert_eq!((&grant.stream, &grant.key_id), (&stream, &issued.key.id));
    assert!(control.is_admitted(&grant.key_id).await.expect("an answer"));
    for wrong in ["", "ms_", stream.id.as_str(), issued.key.id.as_str(), &"x".repeat(100_000)] {
        assert_eq!(refusal(&control, &SecretString::from(wrong)).await, "key_unknown");
    }
}

#[tokio::test]
async fn keys_expire_at_their_moment() {
    let Fixture { control, clock, dir: _dir } = fixture().await;
    let stream = stream(&control).await.id;
    let end = control.now().saturating_add(Span::from_secs(60));
    let new = NewKey { label: "guest".to_owned(), expires_at: Some(end) };
    let issued = control.create_key(&stream, new.clone()).await.expect("made");
    clock.advance(Duration::from_millis(59_999));
    control.authenticate(&issued.secret).await.expect("one millisecond is left");
    clock.advance(Duration::from_millis(1));
    assert_eq!(refusal(&control, &issued.secret).await, "key_expired");
    assert_eq!(control.keys(&stream).await.expect("a list").first().map(|key| key.state), Some(KeyState::Expired));
    assert!(control.is_admitted(&issued.key.id).await.expect("expiry ends no connection"));
    assert_eq!(control.create_key(&stream, new).await.expect_err("it is over").code(), "invalid_expiry");
}

#[tokio::test]
async fn revoking_is_announced_and_refuses() {
    let Fixture { control, dir: _dir, .. } = fixture().await;
    let stream = stream(&control).await.id;
    let issued = key(&control, &stream).await;
    let mut events = control.events();
    let revoked = control.revoke_key(&issued.key.id).await.expect("revoked");
    assert_eq!((revoked.state, revoked.revoked_at), (KeyState::Revoked, Some(control.now())));
    let key_id = issued.key.id.clone();
    assert_eq!(events.recv().await, Ok(ControlEvent::KeyRevoked { stream, key_id: key_id.clone() }));
    assert_eq!(refusal(&control, &issued.secret).await, "key_revoked");
    assert!(!control.is_admitted(&key_id).await.expect("an answer"));
    assert_eq!(control.revoke_key(&key_id).await.expect("again").revoked_at, revoked.revoked_at);
}

#[tokio::test]
async fn a_disabled_stream_refuses_all_keys() {
    let Fixture { control, dir: _dir, .. } = fixture().await;
    let stream = stream(&control).await.id;
    let issued = key(&control, &stream).await;
    let off = StreamChange { enabled: Some(false), ..StreamChange::default() };
    control.update_stream(&stream, off).await.expect("changed");
    assert_eq!(refusal(&control, &issued.secret).await, "stream_disabled");
    assert!(!control.is_admitted(&issued.key.id).await.expect("an answer"));
    control.delete_stream(&stream).await.expect("deleted");
    assert_eq!(refusal(&control, &issued.secret).await, "key_unknown");
}

#[tokio::test]
async fn rotating_replaces_the_key() {
    let Fixture { control, clock, dir: _dir } = fixture().await;
    let stream = stream(&control).await.id;
    let end = Some(control.now().saturating_add(Span::from_secs(60)));
    let old = control.create_key(&stream, NewKey { label: "truck".to_owned(), expires_at: end }).await.expect("made");
    clock.advance(Duration::from_secs(10));
    let mut events = control.events();
    let new = control.rotate_key(&old.key.id, Duration::ZERO).await.expect("rotated");
    assert_eq!(new.key.label, "truck");
    assert_eq!(new.key.expires_at, Some(control.now().saturating_add(Span::from_secs(60))), "the same lifetime anew");
    assert_eq!(refusal(&control, &old.secret).await, "key_revoked");
    control.authenticate(&new.secret).await.expect("admitted");
    assert!(matches!(events.recv().await, Ok(ControlEvent::KeyRevoked { key_id, .. }) if key_id == old.key.id));
    let again = control.rotate_key(&old.key.id, Duration::ZERO).await.expect_err("it is revoked");
    assert_eq!(again.to_string(), format!("the key {} is revoked; create a new one instead", old.key.id));
}

#[tokio::test]
async fn rotating_with_an_overlap_lets_both_in_for_a_while() {
    let Fixture { control, clock, dir: _dir } = fixture().await;
    let old = key(&control, &stream(&control).await.id).await;
    let mut events = control.events();
    let new = control.rotate_key(&old.key.id, Duration::from_secs(600)).await.expect("rotated");
    assert_eq!(new.key.expires_at, None);
    for secret in [&old.secret, &new.secret] {
        control.authenticate(secret).await.expect("both are admitted");
    }
    clock.advance(Duration::from_secs(600));
    assert_eq!(refusal(&control, &old.secret).await, "key_expired");
    control.authenticate(&new.secret).await.expect("admitted");
    assert!(events.try_recv().is_err(), "no connection is cut");
}

#[tokio::test]
async fn an_overlap_never_prolongs_a_key() {
    let Fixture { control, dir: _dir, .. } = fixture().await;
    let stream = stream(&control).await.id;
    let end = Some(control.now().saturating_add(Span::from_secs(60)));
    let old = control.create_key(&stream, NewKey { expires_at: end, ..NewKey::default() }).await.expect("made");
    control.rotate_key(&old.key.id, Duration::from_secs(600)).await.expect("rotated");
    let ends: Vec<_> = control.keys(&stream).await.expect("a list").into_iter().map(|key| key.expires_at).collect();
    assert_eq!(ends, [end, end]);
}

#[tokio::test]
async fn the_last_use_is_shown_at_once_and_written_by_the_end() {
    let Fixture { control, clock, dir } = fixture().await;
    let stream = stream(&control).await.id;
    let issued = key(&control, &stream).await;
    clock.advance(Duration::from_secs(5));
    control.authenticate(&issued.secret).await.expect("admitted");
    let used = Some(control.now());
    let shown = |keys: Vec<Key>| keys.into_iter().map(|key| key.last_used_at).collect::<Vec<_>>();
    assert_eq!(shown(control.keys(&stream).await.expect("a list")), [used]);
    control.close().await;
    let again = Control::open(dir.path(), clock).await.expect("opened again");
    assert_eq!(shown(again.keys(&stream).await.expect("a list")), [used]);
}

#[tokio::test]
async fn who_is_only_looked_for_has_not_used_the_key() {
    let Fixture { control, dir: _dir, .. } = fixture().await;
    let stream = stream(&control).await;
    let issued = key(&control, &stream.id).await;
    let found = control.identify(&issued.secret).await.expect("the key is right");
    assert_eq!((found.stream.id, &found.key_id), (stream.id.clone(), &issued.key.id));
    assert_eq!(control.keys(&stream.id).await.expect("a list")[0].last_used_at, None);
    control.authenticate(&issued.secret).await.expect("it is let in");
    assert!(control.keys(&stream.id).await.expect("a list")[0].last_used_at.is_some());
}

#[tokio::test]
async fn many_publishers_come_at_once() {
    let Fixture { control, dir: _dir, .. } = fixture().await;
    let stream = stream(&control).await.id;
    let issued = Arc::new(key(&control, &stream).await);
    let wrong = SecretString::from("ms_00000000000000000000000000000000");
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..100 {
        let (control, issued, wrong) = (control.clone(), issued.clone(), wrong.clone());
        tasks.spawn(async move {
            let secret = if number % 2 == 0 { &issued.secret } else { &wrong };
            control.authenticate(secret).await.map(|grant| grant.key_id)
        });
    }
    let answers = tasks.join_all().await;
    let (admitted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((admitted.len(), refused.len()), (50, 50));
    assert!(refused.iter().all(|answer| matches!(answer, Err(AuthError::NotFound))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_wait_for_each_other() {
    let Fixture { control, dir: _dir, .. } = fixture().await;
    let stream = stream(&control).await.id;
    let session = control.begin_session(&stream).await.expect("begun").id;
    let states = tokio::spawn({
        let control = control.clone();
        async move {
            for state in [SessionState::Live, SessionState::Reconnecting].into_iter().cycle().take(200) {
                control.set_session_state(&session, state).await.expect("it waits for the keys");
            }
        }
    });
    let mut last = key(&control, &stream).await;
    for _ in 0..50 {
        last = control.rotate_key(&last.key.id, Duration::ZERO).await.expect("it waits for the states");
        control.authenticate(&last.secret).await.expect("admitted");
    }
    states.await.expect("no panic");
}

#[tokio::test]
async fn no_secret_is_in_the_database_or_in_what_is_printed() {
    let Fixture { control, dir, .. } = fixture().await;
    let stream = stream(&control).await.id;
    let issued = key(&control, &stream).await;
    let secret = issued.secret.expose_secret().to_owned();
    let grant = control.authenticate(&issued.secret).await.expect("admitted");
    let listed = serde_json::to_string(&control.keys(&stream).await.expect("a list")).expect("plain data");
    for shown in [format!("{issued:?}"), format!("{grant:?}"), format!("{control:?}"), listed] {
        assert!(!shown.contains(&secret), "{shown}");
    }
    control.close().await;
    for file in std::fs::read_dir(dir.path()).expect("the folder") {
        let bytes = std::fs::read(file.expect("an entry").path()).expect("a file");
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
    assert_eq!(issued.reveal().secret, secret);
}

#[tokio::test]
async fn a_closed_database_says_try_again() {
    let Fixture { control, dir: _dir, .. } = fixture().await;
    let issued = key(&control, &stream(&control).await.id).await;
    control.close().await;
    let error = control.authenticate(&issued.secret).await.expect_err("closed");
    assert_eq!(error.to_string(), "stream keys cannot be checked at the moment; try again");
}

#[tokio::test]
async fn unknown_things_are_named() {
    let Fixture { control, dir: _dir, .. } = fixture().await;
    let stream: StreamId = "000000000000".parse().expect("an id");
    let id: KeyId = "111111111111".parse().expect("an id");
    assert_eq!(control.create_key(&stream, NewKey::default()).await.expect_err("none").code(), "stream_not_found");
    assert_eq!(control.keys(&stream).await.expect_err("none").code(), "stream_not_found");
    let error = control.revoke_key(&id).await.expect_err("none");
    assert_eq!(error.to_string(), "no key has the id 111111111111");
    assert_eq!(control.rotate_key(&id, Duration::ZERO).await.expect_err("none").code(), "key_not_found");
    let label = NewKey { label: "a\u{7}".to_owned(), expires_at: None };
    let error = control.create_key(&stream, label).await.expect_err("a bell");
    assert_eq!(error.to_string(), "the label must not hold control characters");
}
