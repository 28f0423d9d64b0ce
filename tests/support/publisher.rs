//! A publisher that sends whatever a test wants, in messages and chunks that it writes itself, and keeps what it is told.
//!
//! The daemon's own writer has no part in it. The server's answers are read by `rml_rtmp`, which is not ours either.

#![allow(dead_code)] // each test module uses its part

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rml_rtmp::chunk_io::ChunkDeserializer;
use rml_rtmp::messages::{RtmpMessage, UserControlEventType};
use tokio::net::TcpSocket;

use super::flv::{Kind, Tag, due, tags, written};
use super::source::Source;

/// Longest time until the daemon answers a command.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Longest time that a test holds back what is to be sent.
const HOLD_LIMIT: Duration = Duration::from_secs(60);
const HANDSHAKE_BYTES: usize = 1_536;
/// The field that says that four more bytes hold the time.
const EXTENDED: u32 = 0xFF_FFFF;
const AGGREGATE: u8 = 22;
const COMMAND: u8 = 20;
const DATA: u8 = 18;

/// What is pushed, and how.
#[derive(Clone, Debug)]
pub struct Feed {
    pub(super) tags: Vec<Tag>,
    chunk_bytes: u32,
    tags_per_message: usize,
    speed_percent: u64,
    held_from_ms: Option<u64>,
    ending: Ending,
}

/// What happens behind the last tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// `FCUnpublish`, `deleteStream`, and the connection is closed.
    Unpublish,
    /// The connection stays open and is silent; pings are answered.
    Silence,
    /// The connection is closed without a word.
    Close,
    /// The connection stays open and nothing comes any more, not even answers to pings: the way to the publisher is gone.
    Mute,
}

impl Feed {
    /// A source as it is, in real time, in chunks of 4096 bytes, with a goodbye at the end.
    pub fn of(source: &Source) -> Self {
        Feed::from(tags(source))
    }

    /// The same, of tags that a test has put together.
    pub fn from(tags: Vec<Tag>) -> Self {
        Feed {
            tags,
            chunk_bytes: 4_096,
            tags_per_message: 1,
            speed_percent: 100,
            held_from_ms: None,
            ending: Ending::Unpublish,
        }
    }

    /// Changes, drops, adds or moves tags. They are sent in their order, none before it is due.
    #[must_use]
    pub fn edit(mut self, edit: impl FnOnce(&mut Vec<Tag>)) -> Self {
        edit(&mut self.tags);
        self
    }

    /// Changes each tag.
    #[must_use]
    pub fn each(self, change: impl FnMut(&mut Tag)) -> Self {
        self.edit(|tags| tags.iter_mut().for_each(change))
    }

    /// Sends chunks of `bytes`, 1 to 16 777 215. Larger ones are announced and mean the same.
    #[must_use]
    pub fn chunks_of(mut self, bytes: u32) -> Self {
        self.chunk_bytes = bytes;
        self
    }

    /// Sends so many tags of media in each aggregate message.
    #[must_use]
    pub fn aggregates_of(mut self, tags: usize) -> Self {
        self.tags_per_message = tags;
        self
    }

    /// Sends at another speed: 200 is twice real time.
    #[must_use]
    pub fn at_percent(mut self, percent: u64) -> Self {
        self.speed_percent = percent;
        self
    }

    /// Moves the stamps of everything that is sent from `from_ms` on: of the keyframe where one is due then, else of the next tag.
    #[must_use]
    pub fn jump(self, from_ms: u64, by_ms: i64) -> Self {
        self.edit(|tags| {
            let from = due(tags, from_ms);
            tags.iter_mut().skip(from).for_each(|tag| tag.move_stamp(by_ms));
        })
    }

    /// Holds back what is due from `from_ms` on until [`RawPublisher::go_on`], and then goes on in real time.
    #[must_use]
    pub fn hold_from(mut self, from_ms: u64) -> Self {
        self.held_from_ms = Some(from_ms);
        self
    }

    /// What happens behind the last tag.
    #[must_use]
    pub fn then(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }
}

/// An `onStatus` of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// `status` or `error`.
    pub level: String,
    /// Such as `NetStream.Publish.Start`.
    pub code: String,
    /// Words for people.
    pub description: String,
}

/// A publisher on its own threads. Its connection ends when it is dropped.
pub struct RawPublisher {
    socket: TcpStream,
    heard: Heard,
    threads: Vec<JoinHandle<()>>,
    leaves_by_reset: bool,
}

impl RawPublisher {
    /// Connects, asks to publish with `key`, and, if it may, pushes `feed`.
    pub fn start(address: SocketAddr, key: &str, feed: Feed) -> Self {
        let mut socket = TcpStream::connect(address).expect("the daemon listens");
        socket.set_nodelay(true).expect("a socket option");
        shake_hands(&mut socket);
        let clone = || socket.try_clone().expect("a second handle");
        let heard = Heard::default();
        let writer = Arc::new(Mutex::new(Writer::new(clone(), feed.chunk_bytes)));
        let reader = {
            let (heard, writer, socket) = (heard.clone(), writer.clone(), clone());
            thread::spawn(move || heard.read(socket, &writer))
        };
        let mut publisher = RawPublisher { heard, threads: vec![reader], socket, leaves_by_reset: false };
        if publisher.ask(&writer, key) {
            let heard = publisher.heard.clone();
            publisher.threads.push(thread::spawn(move || push(&feed, &writer, &heard)));
        }
        publisher
    }

    /// Comes as far as the answer to `publish`; true when it says yes.
    fn ask(&mut self, writer: &Mutex<Writer>, key: &str) -> bool {
        let write = |stream, command: &[u8]| lock(writer).message(3, 0, COMMAND, stream, command);
        let _ = lock(writer).announce_chunk_size();
        let object = [amf_key("app"), amf_text("live"), amf_key("tcUrl"), amf_text("rtmp://127.0.0.1/live")];
        let object = [&[3][..], &object.concat(), &[0, 0, 9]].concat();
        // Writes fail when the server has closed; what it said before that is what counts, and it is waited for below.
        let _ = write(0, &[amf_text("connect"), amf_number(1), object].concat());
        let _ = write(0, &[amf_text("createStream"), amf_number(2), vec![5]].concat());
        let publish = [amf_text("publish"), amf_number(3), vec![5], amf_text(key), amf_text("live")];
        let _ = write(1, &publish.concat());
        let answer = self.heard.wait(ANSWER_LIMIT, |state| (state.closed || !state.statuses.is_empty()).then_some(()));
        answer.expect("an answer to `publish`");
        self.statuses().first().is_some_and(|status| status.code == "NetStream.Publish.Start")
    }

    /// All statuses so far.
    pub fn statuses(&self) -> Vec<Status> {
        self.heard.lock().statuses.clone()
    }

    /// Waits until the server has closed the connection, and returns what it said.
    pub fn wait_until_closed(&self, limit: Duration) -> Vec<Status> {
        let closed = self.heard.wait(limit, |state| state.closed.then_some(()));
        assert!(closed.is_some(), "not closed within {limit:?}: {:?}", self.statuses());
        self.statuses()
    }

    /// Waits until everything was sent.
    pub fn wait_until_sent(&self, limit: Duration) {
        let sent =
            self.heard.wait(limit, |state| (state.sent.is_some() || state.closed).then_some(state.sent.is_some()));
        assert_eq!(sent, Some(true), "not sent within {limit:?}: {:?}", self.statuses());
    }

    /// Lets go what [`Feed::hold_from`] holds back.
    pub fn go_on(&self) {
        self.heard.change(|state| state.let_go = true);
    }

    /// When everything was sent; `None` before that.
    pub fn sent_at(&self) -> Option<Instant> {
        self.heard.lock().sent
    }

    /// When it began to send.
    pub fn began_at(&self) -> Instant {
        self.heard.lock().began.expect("it may publish, and has something to send")
    }

    /// How many pictures were sent so far.
    pub fn pictures_sent(&self) -> u32 {
        self.heard.lock().pictures
    }

    /// Whether the server has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.heard.lock().closed
    }

    /// Ends the connection by a reset (RST), as the kernel does for a process that was killed with something unread.
    pub fn reset(mut self) {
        self.leaves_by_reset = true;
    }
}

impl Drop for RawPublisher {
    fn drop(&mut self) {
        self.heard.change(|state| state.dropped = true);
        // Shutting down fails when it is closed already.
        let _ = if self.leaves_by_reset {
            let socket = TcpSocket::from_std_stream(self.socket.try_clone().expect("a second handle"));
            socket.set_zero_linger().expect("a socket option");
            // Only wakes our reader; the reset is sent when the last handle is closed, which is this one's.
            self.socket.shutdown(Shutdown::Read)
        } else {
            self.socket.shutdown(Shutdown::Both)
        };
        for thread in self.threads.drain(..) {
            if thread.join().is_err() && !thread::panicking() {
                panic!("a thread of the publisher panicked");
            }
        }
        if thread::panicking() {
            eprintln!("--- the publisher was told: {:?}", self.statuses());
        }
    }
}

/// C0 and C1, all of the answer, C2 as an echo of S1.
fn shake_hands(socket: &mut TcpStream) {
    let mut hello = vec![0; 1 + HANDSHAKE_BYTES];
    hello[0] = 3;
    socket.write_all(&hello).expect("C0 and C1 are taken");
    let mut answer = vec![0; 1 + 2 * HANDSHAKE_BYTES];
    socket.read_exact(&mut answer).expect("S0, S1 and S2 come");
    socket.write_all(&answer[1..=HANDSHAKE_BYTES]).expect("C2 is taken");
}

/// Sends the tags when they are due. Ends early when the connection does.
fn push(feed: &Feed, writer: &Mutex<Writer>, heard: &Heard) {
    let mut began = Instant::now();
    heard.change(|state| state.began = Some(began));
    let mut held_from_ms = feed.held_from_ms;
    let mut rest = &feed.tags[..];
    while let Some(first) = rest.first() {
        let is_media = |tag: &&Tag| tag.kind != Kind::Script;
        let count = rest.iter().take(feed.tags_per_message).take_while(is_media).count().max(1);
        let (now, later) = rest.split_at(count);
        let due_ms = now[count - 1].due_ms;
        let due = Duration::from_millis(due_ms * 100 / feed.speed_percent);
        if held_from_ms.take_if(|from_ms| due_ms >= *from_ms).is_some() {
            let gone = heard.wait(HOLD_LIMIT, |state| (state.let_go || state.closed || state.dropped).then_some(()));
            gone.expect("what is held is let go");
            began = began.max(Instant::now() - due);
        }
        if !heard.pause_until(began + due) {
            return;
        }
        let sent = match (count, first.kind) {
            (1, kind) => lock(writer).tag(kind, first),
            _ => lock(writer).message(7, first.stamp_ms, AGGREGATE, 1, &written(now)),
        };
        if sent.is_err() {
            return;
        }
        let pictures = now.iter().filter(|tag| tag.is_picture()).count() as u32;
        heard.change(|state| state.pictures += pictures);
        rest = later;
    }
    let said = match feed.ending {
        Ending::Unpublish => {
            let goodbye = [amf_text("deleteStream"), amf_number(4), vec![5], amf_number(1)];
            lock(writer).message(3, 0, COMMAND, 0, &goodbye.concat())
        }
        Ending::Silence | Ending::Mute => Ok(()),
        Ending::Close => lock(writer).socket.shutdown(Shutdown::Both),
    };
    heard.change(|state| {
        state.sent = said.is_ok().then(Instant::now);
        state.mute = feed.ending == Ending::Mute;
    });
}

/// What the server said, and where the pushing is.
#[derive(Clone, Default)]
struct Heard {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    statuses: Vec<Status>,
    closed: bool,
    began: Option<Instant>,
    pictures: u32,
    sent: Option<Instant>,
    mute: bool,
    let_go: bool,
    dropped: bool,
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.0)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.shared.1.notify_all();
    }

    fn wait<T>(&self, limit: Duration, mut find: impl FnMut(&State) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match find(&state) {
                None if !left.is_zero() => {}
                found => return found,
            }
            state = self.shared.1.wait_timeout(state, left).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }

    /// False when the connection ended before that.
    fn pause_until(&self, moment: Instant) -> bool {
        let limit = moment.saturating_duration_since(Instant::now());
        self.wait(limit, |state| (state.closed || state.dropped).then_some(())).is_none()
    }

    /// Reads until the connection ends.
    fn read(&self, mut socket: TcpStream, writer: &Mutex<Writer>) {
        let (mut chunks, mut buffer) = (ChunkDeserializer::new(), vec![0; 4_096]);
        while let Ok(count @ 1..) = socket.read(&mut buffer) {
            let mut input = &buffer[..count];
            while let Some(message) = chunks.get_next_message(input).expect("the server's bytes are RTMP") {
                input = &[];
                match message.to_rtmp_message() {
                    Ok(RtmpMessage::SetChunkSize { size }) => {
                        chunks.set_max_chunk_size(size as usize).expect("a chunk size");
                    }
                    Ok(RtmpMessage::UserControl {
                        event_type: UserControlEventType::PingRequest, timestamp, ..
                    }) if !self.lock().mute => {
                        let stamp = timestamp.map_or(0, |stamp| stamp.value).to_be_bytes();
                        let _ = lock(writer).message(2, 0, 4, 0, &[&[0, 7], &stamp[..]].concat());
                    }
                    Ok(RtmpMessage::Amf0Command { command_name, additional_arguments, .. })
                        if command_name == "onStatus" =>
                    {
                        let info = additional_arguments.into_iter().find_map(|value| value.get_object_properties());
                        let info = info.unwrap_or_default();
                        let text = |name: &str| {
                            let value = info.get(name).cloned().and_then(|value| value.get_string());
                            value.unwrap_or_default()
                        };
                        let status =
                            Status { level: text("level"), code: text("code"), description: text("description") };
                        self.change(|state| state.statuses.push(status));
                    }
                    _ => {}
                }
            }
        }
        self.change(|state| state.closed = true);
    }
}

/// Writes messages in chunks, each with the longest header.
struct Writer {
    socket: TcpStream,
    chunk_bytes: usize,
    announced: u32,
    /// Bytes of the messages' chunks, kept for the next one.
    buffer: Vec<u8>,
}

impl Writer {
    fn new(socket: TcpStream, chunk_bytes: u32) -> Self {
        Writer { socket, chunk_bytes: 128, announced: chunk_bytes, buffer: Vec::new() }
    }

    fn announce_chunk_size(&mut self) -> std::io::Result<()> {
        let bytes = self.announced;
        self.message(2, 0, 1, 0, &bytes.to_be_bytes())?;
        self.chunk_bytes = bytes as usize;
        Ok(())
    }

    fn tag(&mut self, kind: Kind, tag: &Tag) -> std::io::Result<()> {
        match kind {
            Kind::Audio => self.message(4, tag.stamp_ms, kind as u8, 1, &tag.body),
            Kind::Video => self.message(6, tag.stamp_ms, kind as u8, 1, &tag.body),
            Kind::Script => {
                let body = [amf_text("@setDataFrame"), tag.body.clone()].concat();
                self.message(5, tag.stamp_ms, DATA, 1, &body)
            }
        }
    }

    fn message(&mut self, chunk_stream: u8, time: u32, type_id: u8, stream: u32, body: &[u8]) -> std::io::Result<()> {
        let (field, length) = (time.min(EXTENDED).to_be_bytes(), (body.len() as u32).to_be_bytes());
        let extended = if time >= EXTENDED { time.to_be_bytes().to_vec() } else { Vec::new() };
        self.buffer.clear();
        self.buffer.push(chunk_stream);
        self.buffer.extend([field[1], field[2], field[3], length[1], length[2], length[3], type_id]);
        self.buffer.extend(stream.to_le_bytes());
        self.buffer.extend(&extended);
        for (index, chunk) in body.chunks(self.chunk_bytes).enumerate() {
            if index > 0 {
                self.buffer.push(0xC0 | chunk_stream);
                self.buffer.extend(&extended);
            }
            self.buffer.extend(chunk);
        }
        self.socket.write_all(&self.buffer)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// An AMF0 string.
fn amf_text(text: &str) -> Vec<u8> {
    [&[2][..], &amf_key(text)].concat()
}

/// An AMF0 property name.
fn amf_key(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// An AMF0 number.
fn amf_number(number: u32) -> Vec<u8> {
    [&[0][..], &f64::from(number).to_be_bytes()].concat()
}
