//! Publishers that we did not write: rml_rtmp's client session and the `ffmpeg` program.

use std::process::Stdio;

use crate::support::{KEY, Listener, Note, WRONG, in_time, patient_settings};
use bytes::Bytes;
use millstream::listen::Finish;
use millstream::wire::flv::{Tag, TagKind};
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::sessions::{
    ClientSession, ClientSessionConfig, ClientSessionEvent, ClientSessionResult, PublishRequestType,
};
use rml_rtmp::time::RtmpTimestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// rml_rtmp's client on a socket.
struct Rml {
    socket: TcpStream,
    session: ClientSession,
}

impl Rml {
    async fn connect(address: std::net::SocketAddr) -> Self {
        let mut socket = TcpStream::connect(address).await.expect("the listener is there");
        let mut handshake = Handshake::new(PeerType::Client);
        socket.write_all(&handshake.generate_outbound_p0_and_p1().expect("random bytes")).await.expect("written");
        let rest = loop {
            let mut buffer = vec![0; 4096];
            let count = in_time(socket.read(&mut buffer)).await.expect("a handshake comes back");
            match handshake.process_bytes(&buffer[..count]).expect("an RTMP handshake") {
                HandshakeProcessResult::InProgress { response_bytes } => {
                    socket.write_all(&response_bytes).await.expect("written");
                }
                HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                    socket.write_all(&response_bytes).await.expect("written");
                    break remaining_bytes;
                }
            }
        };
        let (session, results) = ClientSession::new(ClientSessionConfig::new()).expect("a session");
        let mut rml = Rml { socket, session };
        rml.act(results).await;
        let results = rml.session.handle_input(&rest).expect("good RTMP");
        rml.act(results).await;
        rml
    }

    /// Sends what is to be sent; the events.
    async fn act(&mut self, results: Vec<ClientSessionResult>) -> Vec<ClientSessionEvent> {
        let mut events = Vec::new();
        for result in results {
            match result {
                ClientSessionResult::OutboundResponse(packet) => {
                    self.socket.write_all(&packet.bytes).await.expect("written")
                }
                ClientSessionResult::RaisedEvent(event) => events.push(event),
                ClientSessionResult::UnhandleableMessageReceived(_) => {}
            }
        }
        events
    }

    /// Reads until `wanted` has come.
    async fn wait_for(&mut self, wanted: ClientSessionEvent) {
        loop {
            let mut buffer = vec![0; 4096];
            let count = in_time(self.socket.read(&mut buffer)).await.expect("the connection is open");
            assert_ne!(count, 0, "closed before {wanted:?}");
            let results = self.session.handle_input(&buffer[..count]).expect("good RTMP");
            if self.act(results).await.contains(&wanted) {
                return;
            }
        }
    }

    async fn publish(&mut self, key: &str) {
        let request = self.session.request_connection("live".to_owned()).expect("not connected yet");
        self.act(vec![request]).await;
        self.wait_for(ClientSessionEvent::ConnectionRequestAccepted).await;
        let request = self.session.request_publishing(key.to_owned(), PublishRequestType::Live).expect("connected");
        self.act(vec![request]).await;
    }
}

#[tokio::test]
async fn rml_rtmp_publishes_and_every_unit_arrives() {
    let mut listener = Listener::start(patient_settings()).await;
    let mut rml = Rml::connect(listener.address).await;
    rml.publish(KEY).await;
    rml.wait_for(ClientSessionEvent::PublishRequestAccepted).await;
    assert!(matches!(listener.note().await, Note::Request { app, .. } if app == "live"));
    let mut sent = Vec::new();
    for n in 0..300_u32 {
        // Times run past the 24-bit field, sizes past chunks.
        let timestamp_ms = 0x00FF_FF00 + n * 20;
        let data = Bytes::from(vec![n.to_le_bytes()[0]; 1 + (n as usize * 997) % 30_000]);
        let time = RtmpTimestamp::new(timestamp_ms);
        let (kind, result) = if n % 2 == 0 {
            (TagKind::Video, rml.session.publish_video_data(data.clone(), time, false))
        } else {
            (TagKind::Audio, rml.session.publish_audio_data(data.clone(), time, false))
        };
        rml.act(vec![result.expect("publishing")]).await;
        sent.push(Tag { kind, timestamp_ms, data });
    }
    let results = rml.session.stop_publishing().expect("publishing");
    rml.act(results).await;
    let (received, finish) = listener.units_to_finish().await;
    assert!(received == sent, "{} of {} units", received.len(), sent.len());
    assert_eq!(finish, Finish::Unpublished);
}

#[tokio::test]
async fn rml_rtmp_sees_a_refusal() {
    let listener = Listener::start(patient_settings()).await;
    let mut rml = Rml::connect(listener.address).await;
    rml.publish("wrong-key").await;
    let code = "NetStream.Publish.BadName".to_owned();
    rml.wait_for(ClientSessionEvent::UnhandleableOnStatusCode { code }).await;
}

/// Runs `ffmpeg` with `args`, split at blanks: its success, and what it wrote to stderr.
async fn ffmpeg(args: String) -> (bool, String) {
    let run = tokio::task::spawn_blocking(move || {
        let mut command = std::process::Command::new("ffmpeg");
        command.args(["-hide_banner", "-nostdin", "-y", "-loglevel", "info"]);
        command.args(args.split_whitespace()).stdin(Stdio::null());
        command.output().expect("ffmpeg is installed (Debian package ffmpeg)")
    });
    let output = in_time(run).await.expect("no panic");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Two seconds of picture with B-frames, and sound.
const SOURCE: &str = "-f lavfi -i testsrc2=size=320x180:rate=30:duration=2 -f lavfi -i sine=frequency=440:duration=2 \
                      -c:v libx264 -preset ultrafast -bf 2 -g 30 -pix_fmt yuv420p -b:v 400k -c:a aac -b:a 64k -ar 48000";

#[tokio::test]
async fn ffmpeg_publishes_and_what_arrives_equals_what_it_writes_to_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source.flv");
    let (good, log) = ffmpeg(format!("{SOURCE} {}", source.display())).await;
    assert!(good, "{log}");
    let mut listener = Listener::start(patient_settings()).await;
    let url = format!("rtmp://{}/live/{KEY}", listener.address);
    let file = folder.path().join("sent.flv");
    let (from, to) = (source.display(), file.display());
    let (good, log) = ffmpeg(format!("-i {from} -c copy -f flv {url} -c copy -f flv {to}")).await;
    assert!(good, "{log}");
    assert!(
        matches!(listener.note().await, Note::Request { app, encoder: Some(encoder), .. } if app == "live" && encoder.contains("Lavf"))
    );
    let (received, finish) = listener.units_to_finish().await;
    let expected = flv_tags(&std::fs::read(&file).expect("ffmpeg wrote it"));
    let media = |tags: &[Tag]| tags.iter().filter(|tag| tag.kind != TagKind::Script).cloned().collect::<Vec<_>>();
    assert!(media(&expected).len() > 150, "{} tags", expected.len());
    assert!(media(&received) == media(&expected), "{} of {} units", received.len(), expected.len());
    assert!(received.iter().any(|tag| tag.kind == TagKind::Script && tag.data.starts_with(b"\x02\x00\x0aonMetaData")));
    assert_eq!(finish, Finish::Unpublished);
    listener.stop().await;
}

#[tokio::test]
async fn ffmpeg_exits_with_our_words_when_it_is_refused() {
    let listener = Listener::start(patient_settings()).await;
    let url = format!("rtmp://{}/live/wrong-key", listener.address);
    let (good, log) = ffmpeg(format!("{SOURCE} -f flv {url}")).await;
    assert!(!good, "{log}");
    assert!(log.contains(WRONG), "{log}");
    listener.stop().await;
}

/// The tags of an FLV file (Adobe Flash Video File Format 10.1, annex E).
fn flv_tags(file: &[u8]) -> Vec<Tag> {
    let (mut rest, mut tags) = (&file[9 + 4..], Vec::new());
    while let Some((header, behind)) = rest.split_first_chunk::<11>() {
        let size = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
        let kind = match header[0] {
            8 => TagKind::Audio,
            9 => TagKind::Video,
            _ => TagKind::Script,
        };
        let timestamp_ms = u32::from_be_bytes([header[7], header[4], header[5], header[6]]);
        tags.push(Tag { kind, timestamp_ms, data: Bytes::copy_from_slice(&behind[..size]) });
        rest = &behind[size + 4..];
    }
    tags
}
