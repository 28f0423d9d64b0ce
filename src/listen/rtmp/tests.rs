//! What only the inside can show: `accept` failing. Everything else is tested over sockets in `tests/rtmp/listener.rs`.

use super::*;
use crate::clock::SystemClock;
use crate::listen::{CloseReason, Finish, PublishRequest, Publisher, Refusal, RefusalReason};
use crate::wire::Inbound;
use std::collections::VecDeque;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[derive(Clone)]
struct Nobody;

impl Admission for Nobody {
    type Publisher = Nobody;
    async fn admit(&self, _: PublishRequest) -> Result<Nobody, Refusal> {
        Err(Refusal { reason: RefusalReason::Policy, description: String::new() })
    }
}

impl Publisher for Nobody {
    async fn send(&self, _: impl Iterator<Item = Inbound> + Send) -> Result<(), CloseReason> {
        Ok(())
    }
    async fn closed(&self) -> CloseReason {
        std::future::pending().await
    }
    async fn finish(self, _: Finish) {}
}

fn shared(max_connections: usize) -> Arc<Shared<Nobody>> {
    let settings = RtmpSettings::new(SystemClock::shared());
    Arc::new(Shared {
        strangers: Strangers::default(),
        panics: SharedGate::default(),
        attempts: Attempts::new(settings.attempts, settings.clock.clone()),
        places: Places::new(max_connections, max_connections),
        tasks: TaskTracker::new(),
        settings,
        admission: Nobody,
        shutdown: CancellationToken::new(),
    })
}

/// A connected pair over loopback.
async fn pair() -> (TcpStream, (TcpStream, SocketAddr)) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
    (ours.expect("connected"), theirs.expect("accepted"))
}

#[tokio::test]
async fn errors_of_accept_are_survived() {
    let shared = shared(10);
    let (shutdown, door) = (shared.shutdown.clone(), Arc::new(Door::new(None)));
    let (mut client, accepted) = pair().await;
    let results = [
        Err(io::Error::from_raw_os_error(24)), // EMFILE
        Err(io::ErrorKind::ConnectionAborted.into()),
        Err(io::Error::from_raw_os_error(23)), // ENFILE
        Ok(accepted),
    ];
    let mut results = VecDeque::from(results);
    let accepting = accept_until_shutdown(&shared, &door, || {
        let result = results.pop_front();
        async move {
            match result {
                Some(result) => result,
                None => std::future::pending().await,
            }
        }
    });
    let talking = async move {
        client.write_all(&crate::wire::rtmp::client::handshake()).await.expect("written");
        client.read_exact(&mut [0; 3073]).await.expect("the connection behind the errors is served");
        shutdown.cancel();
    };
    tokio::join!(accepting, talking);
    shared.tasks.close();
    shared.tasks.wait().await;
}

#[tokio::test]
async fn a_connection_without_a_place_is_closed_at_once() {
    let shared = shared(0);
    let (mut client, (socket, peer)) = pair().await;
    admit_connection(&shared, &Arc::new(Door::new(None)), socket, peer);
    assert_eq!(client.read(&mut [0; 1]).await.ok(), Some(0));
    assert!(shared.tasks.is_empty());
}
