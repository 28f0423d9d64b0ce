//! What panics behind a request of a viewer is that request's alone.

use std::sync::Arc;

use millstream::app::playback::Playback;
use millstream::clock::SystemClock;
use millstream::control::Control;
use millstream::live::wiring::Stop;
use millstream::live::{SessionState, Sessions};
use millstream::web::{self, Entrance, ServeOptions};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::failures::metrics;
use crate::ingest_support::Publisher;
use crate::rig::{Encoder, Rig, by, listed, spec, until, within};
use crate::tripwire::Tripwire;

#[tokio::test]
async fn a_panic_behind_a_request_is_answered_with_500_and_the_session_and_other_viewers_go_on() {
    metrics(); // installed before anybody counts
    let wire = Arc::<Tripwire>::default();
    let rig = Rig::tripped(&wire).await;
    let old = rig.start(spec("old")).await;
    old.play(&Publisher::default(), 5_000).await;
    let segment = listed(&old.session, 1).await[0][0].clone();
    rig.shut_down(Stop::Suspend).await;
    until("all is stored", rig.store.progress(), || (rig.store.stats().backlog_objects == 0).then_some(())).await;

    // To these sessions the old one is history: its media is read from the spool.
    let sessions = Sessions::new(rig.store.clone(), rig.clock.clone(), |_| ());
    let started = within("an answer", sessions.start(spec("good"), by("first"))).await;
    let publisher = started.expect("nobody is in the way");
    let good = Encoder { session: sessions.find("good").expect("it runs"), publisher };
    good.play(&Publisher::default(), 5_000).await;
    let other = listed(&good.session, 1).await[0][0].clone();
    let folder = tempfile::tempdir().expect("a folder");
    let control = Control::open(folder.path(), SystemClock::shared()).await.expect("a database");
    let router = web::router(Playback::new(control, sessions.clone(), rig.store.clone()), web::Cors::ANY);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (address, stop) = (listener.local_addr().expect("an address"), CancellationToken::new());
    let served = tokio::spawn(web::serve([Entrance::plain(listener, router)], ServeOptions::default(), stop.clone()));
    let get = async |path: String| {
        let asked = reqwest::get(format!("http://{address}{path}"));
        let answer = within("an answer", asked).await.expect("an answer");
        (answer.status().as_u16(), answer.bytes().await.expect("a body"))
    };
    let rendition = |session: &millstream::live::Session| {
        session.window().borrow().as_ref().expect("known").renditions()[0].name.clone()
    };
    let path = format!("/live/old/old-1/{}/{}", rendition(&old.session), segment.name());
    let beside = format!("/live/good/good-1/{}/{}", rendition(&good.session), other.name());

    wire.set_read();
    let (status, body) = get(path.clone()).await;
    let words = "{\"error\":{\"code\":\"internal\",\"message\":\"the server failed: its log says why\"}}";
    assert_eq!((status, &*body), (500, words.as_bytes()));
    let text = metrics();
    assert!(text.contains("\nmillstream_http_panics_total 1\n"), "{text}");
    for path in [beside, path] {
        let (status, body) = get(path).await;
        assert!(status == 200 && !body.is_empty(), "{status}");
    }
    assert_eq!(good.session.state(), SessionState::Live);
    stop.cancel();
    within("the connections end", served).await.expect("no panic");
    let stopping = sessions.clone();
    let stopped = tokio::task::spawn_blocking(move || stopping.shut_down(Stop::End));
    within("the sessions stop", stopped).await.expect("no panic");
}
