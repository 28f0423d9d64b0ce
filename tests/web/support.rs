//! A source that holds its media in memory and remembers what it was asked, a served router, and a client that shows whole answers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::certificates::Certificates;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Request;
use hyper_util::rt::TokioIo;
use millstream::clock::SystemClock;
use millstream::media::naming::MediaName;
use millstream::tls::{CertificateFiles, LOOK_EVERY, Tls};
use millstream::web::{
    ContentType, Entrance, Media, PlaybackError, PlaybackSource, Playlist, RenditionInfo, ServeOptions, StreamState,
    StreamStatus,
};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const MULTIVARIANT: &str = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na/720p/index.m3u8\n";
pub const OF_SESSION: &str = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n720p/index.m3u8\n";
pub const LIVE: &str = "#EXTM3U\n#EXT-X-VERSION:6\n#EXTINF:2.00000,\n1-0.m4s\n";
pub const ENDED: &str = "#EXTM3U\n#EXT-X-VERSION:6\n#EXTINF:2.00000,\n1-0.m4s\n#EXT-X-ENDLIST\n";
/// The segment `1-0.m4s`: three parts, whose joined text is the digits.
pub const PARTS: [&[u8]; 3] = [b"012", b"3456", b"789"];

/// Streams: `s1` plays (sessions `a`, and `z`, which ended), the others are named after what is wrong with them.
#[derive(Clone, Default)]
pub struct Memory {
    asked: Arc<Mutex<Vec<String>>>,
}

impl Memory {
    /// What the source was asked for since it was made.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn ask(&self, stream: &str, what: String) -> Result<(), PlaybackError> {
        self.asked.lock().unwrap().push(format!("{stream}/{what}"));
        match stream {
            "s1" => Ok(()),
            "offline" => Err(PlaybackError::StreamOffline),
            "starting" => Err(PlaybackError::Starting),
            "broken" => Err(PlaybackError::Internal("spool: cannot read segment: device error".to_owned())),
            _ => Err(PlaybackError::NoSuchStream),
        }
    }
}

impl PlaybackSource for Memory {
    async fn multivariant(&self, stream: &str) -> Result<Playlist, PlaybackError> {
        self.ask(stream, "index.m3u8".to_owned())?;
        Ok(Playlist::new(MULTIVARIANT, false))
    }

    async fn session_multivariant(&self, stream: &str, session: &str) -> Result<Playlist, PlaybackError> {
        self.ask(stream, format!("{session}/index.m3u8"))?;
        match session {
            "a" => Ok(Playlist::new(OF_SESSION, false)),
            _ => Err(PlaybackError::Gone),
        }
    }

    async fn media_playlist(&self, stream: &str, session: &str, rendition: &str) -> Result<Playlist, PlaybackError> {
        self.ask(stream, format!("{session}/{rendition}/index.m3u8"))?;
        match (session, rendition) {
            ("a", "720p") => Ok(Playlist::new(LIVE, false)),
            ("z", "720p") => Ok(Playlist::new(ENDED, true)),
            ("before", _) => Err(PlaybackError::Gone),
            _ => Err(PlaybackError::NotFound),
        }
    }

    async fn media(
        &self,
        stream: &str,
        session: &str,
        rendition: &str,
        name: MediaName,
    ) -> Result<Media, PlaybackError> {
        self.ask(stream, format!("{session}/{rendition}/{name}"))?;
        let content_type = if rendition == "audio" { ContentType::AudioMp4 } else { ContentType::VideoMp4 };
        match name {
            MediaName::Segment { epoch: 1, msn: 0 } => Ok(Media::new(PARTS.map(Bytes::from_static), content_type)),
            MediaName::Init { number: 0 } => Ok(Media::new([], content_type)),
            MediaName::Segment { epoch: 0, .. } => Err(PlaybackError::Gone),
            _ => Err(PlaybackError::NotFound),
        }
    }

    async fn stream_status(&self, stream: &str) -> Result<StreamStatus, PlaybackError> {
        let live = StreamStatus {
            title: "Sunday <b>\"live\"</b> & more".to_owned(),
            state: StreamState::Live,
            renditions: vec![
                RenditionInfo { name: "720p".to_owned(), width: Some(1280), height: Some(720), bandwidth: 3_000_000 },
                RenditionInfo { name: "audio".to_owned(), width: None, height: None, bandwidth: 130_000 },
            ],
        };
        match self.ask(stream, "status".to_owned()) {
            Ok(()) => Ok(live),
            Err(PlaybackError::StreamOffline) => {
                Ok(StreamStatus { state: StreamState::Offline, renditions: vec![], ..live })
            }
            Err(error) => Err(error),
        }
    }
}

async fn tls(certificates: &Certificates, look_every: Duration) -> Tls {
    let files = CertificateFiles { cert: certificates.cert(), key: certificates.key() };
    Tls::load(files, look_every, "https", SystemClock::shared()).await.unwrap()
}

/// A router behind a real socket.
pub struct Served {
    pub address: SocketAddr,
    pub stop: CancellationToken,
    pub task: JoinHandle<()>,
}

/// What comes until the peer ends it, in peace or by a reset: that is the system's business.
pub async fn read_all(io: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    let _ = io.read_to_end(&mut text).await;
    String::from_utf8_lossy(&text).into_owned()
}

/// `future`, which is not waited for without end.
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(120), future).await.expect("it comes to an end")
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

impl Served {
    pub async fn start(router: Router, options: ServeOptions) -> Self {
        let (listener, address) = listener().await;
        Served::at(address, [Entrance::plain(listener, router)], options)
    }

    /// The same over TLS.
    pub async fn start_secure(router: Router, options: ServeOptions, certificates: &Certificates) -> Self {
        Served::start_looking(router, options, certificates, LOOK_EVERY).await
    }

    /// The same with the certificate's files looked at so often.
    pub async fn start_looking(
        router: Router,
        options: ServeOptions,
        certificates: &Certificates,
        look_every: Duration,
    ) -> Self {
        let (listener, address) = listener().await;
        let tls = tls(certificates, look_every).await;
        Served::at(address, [Entrance::secure(listener, tls, router)], options)
    }

    /// Both, and the address without TLS.
    pub async fn start_both(router: Router, options: ServeOptions, certificates: &Certificates) -> (Self, SocketAddr) {
        let ((open, plain), (closed, address)) = (listener().await, listener().await);
        let secure = Entrance::secure(closed, tls(certificates, LOOK_EVERY).await, router.clone());
        (Served::at(address, [Entrance::plain(open, router), secure], options), plain)
    }

    fn at(address: SocketAddr, entrances: impl IntoIterator<Item = Entrance>, options: ServeOptions) -> Self {
        let entrances: Vec<_> = entrances.into_iter().collect();
        let stop = CancellationToken::new();
        let task = tokio::spawn(millstream::web::serve(entrances, options, stop.clone()));
        Served { address, stop, task }
    }

    /// The answer to one request on a connection of its own.
    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = sender.send_request(request.body(Body::empty()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        drop(sender);
        connection.await.unwrap().unwrap();
        Answer { head, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[]).await
    }
}

pub struct Answer {
    pub head: hyper::http::response::Parts,
    pub body: Bytes,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Status, headers in alphabetical order without the date, body.
    pub fn whole(&self) -> String {
        let mut headers: Vec<String> =
            self.head.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        headers.retain(|line| !line.starts_with("date: "));
        headers.sort();
        format!("{}\n{}\n\n{}", self.head.status.as_u16(), headers.join("\n"), self.text())
    }
}
