//! Conversations with publishers, each flow as its encoders send it.

use super::*;
use crate::wire::flv::TagKind;
use crate::wire::rtmp::amf0::Reader;
use crate::wire::rtmp::chunk::Message;
use crate::wire::rtmp::client::{self, Client};
use crate::wire::rtmp::handshake::PACKET_BYTES;
use secrecy::ExposeSecret;

const NULL: Value = Value::Null;

/// A server and the other end's writer; what happens is noted as lines of text.
struct Talk {
    server: Server,
    client: Client,
    answers: ChunkReader,
    events: Vec<Event>,
}

impl Talk {
    /// A conversation whose handshake is done.
    fn new() -> Self {
        Talk::within(Limits::default())
    }

    fn within(limits: Limits) -> Self {
        let mut server = Server::new(limits);
        let mut events = Vec::new();
        server.receive(client::handshake(), &mut events).expect("version 3");
        assert_eq!(server.take_output().len(), 1 + 2 * PACKET_BYTES);
        assert_eq!(server.phase(), Phase::Connect);
        Talk { server, client: Client::default(), answers: ChunkReader::new(Limits::default()), events }
    }

    fn connected() -> Self {
        let mut talk = Talk::new();
        talk.client.connect("live", "rtmp://h/live", "FMLE/3.0");
        talk.send();
        talk.answers();
        talk
    }

    fn publishing() -> Self {
        let mut talk = Talk::connected();
        talk.client.create_stream().publish(1, "stream-key");
        talk.send();
        talk.events();
        talk.accept();
        talk.answers();
        talk
    }

    fn send(&mut self) -> &mut Self {
        let bytes = self.client.take();
        self.server.receive(bytes, &mut self.events).expect("nothing here is a reason to drop the peer");
        self
    }

    fn command(&mut self, stream_id: u32, name: &str, transaction: f64, rest: &[Value]) -> &mut Self {
        let mut payload = BytesMut::new();
        crate::wire::rtmp::amf0::write_all(&mut payload, &[Value::string(name), Value::Number(transaction)]);
        crate::wire::rtmp::amf0::write_all(&mut payload, rest);
        self.raw(stream_id, message::COMMAND_AMF0, payload.freeze())
    }

    fn raw(&mut self, stream_id: u32, type_id: u8, payload: impl Into<Bytes>) -> &mut Self {
        let message = Message { chunk_stream: 3, timestamp_ms: 0, type_id, stream_id, payload: payload.into() };
        self.client.message(message);
        self.send()
    }

    fn accept(&mut self) {
        self.server.accept_publish(&mut self.events).expect("nothing held is a reason to drop the peer");
    }

    fn events(&mut self) -> Vec<String> {
        let line = |event| match event {
            Event::PublishRequested { key, app, encoder } => {
                format!("publish {app} {} by {}", key.expose_secret(), encoder.unwrap_or_default())
            }
            Event::Media(tag) => format!("{:?} {} {:?}", tag.kind, tag.timestamp_ms, tag.data),
            Event::Unpublished => "unpublished".to_owned(),
            Event::Skipped(error) => format!("skipped {}", error.code()),
        };
        self.events.drain(..).map(line).collect()
    }

    /// Our answers as lines: `stream: name transaction values`, or the type and bytes of what is no command.
    fn answers(&mut self) -> Vec<String> {
        let mut input = self.server.take_output().freeze();
        let mut lines = Vec::new();
        while let Some(message) = self.answers.next(&mut input).expect("our own bytes") {
            if message.type_id != message::COMMAND_AMF0 {
                lines.push(format!("type {} {:02x?}", message.type_id, &message.payload[..]));
                continue;
            }
            let values = Reader::new(&message.payload).read_all().expect("our own values");
            let texts: Vec<String> = values.iter().map(text).collect();
            lines.push(format!("{}: {}", message.stream_id, texts.join(" ")));
        }
        lines
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Object(properties) => {
            let pairs: Vec<String> = properties.iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        Value::StrictArray(values) => format!("[{}]", values.iter().map(text).collect::<Vec<_>>().join(", ")),
        other => format!("{other:?}").to_lowercase(),
    }
}

const STARTED: [&str; 2] = [
    "type 4 [00, 00, 00, 00, 00, 01]",
    "1: onStatus 0 null {level=status, code=NetStream.Publish.Start, description=Publishing.}",
];

/// The answer to a `connect` with these properties beside `app`, from behind what is always said.
fn capabilities(announced: &[(&str, Value)]) -> String {
    let mut talk = Talk::new();
    let mut object = vec![("app".to_owned(), Value::string("live"))];
    object.extend(announced.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    talk.command(0, "connect", 1.0, &[Value::Object(object)]);
    let answer = talk.answers().pop().expect("a result");
    let (_, behind) = answer.split_once("objectEncoding=0").expect("connected");
    behind.to_owned()
}

#[test]
fn what_a_client_can_is_answered_with_what_we_can_in_the_same_words() {
    let list = ("fourCcList", Value::StrictArray(vec![Value::string("hvc1")]));
    let said = ", fourCcList=[avc1, hvc1, av01, vp09, mp4a, Opus, ac-3, ec-3, .mp3, fLaC]";
    assert_eq!(capabilities(&[list]), format!("{said}}}"));
    let any = || Value::object([("*", Value::Number(4.0))]);
    let maps = [("videoFourCcInfoMap", any()), ("audioFourCcInfoMap", any()), ("capsEx", Value::Number(15.0))];
    assert_eq!(
        capabilities(&maps),
        ", videoFourCcInfoMap={avc1=5, hvc1=5, av01=5, vp09=5}, \
         audioFourCcInfoMap={mp4a=5, Opus=5, ac-3=1, ec-3=1, .mp3=1, fLaC=1}, capsEx=12}"
    );
    assert_eq!(capabilities(&[("videoCodecs", Value::Number(252.0))]), "}");
}

#[test]
fn connect_is_answered_with_windows_chunk_size_and_success() {
    let mut talk = Talk::new();
    talk.client.connect("live", "rtmp://h/live", "FMLE/3.0");
    talk.send();
    let expected = [
        "type 5 [00, 26, 25, a0]",
        "type 6 [00, 26, 25, a0, 02]",
        "type 4 [00, 00, 00, 00, 00, 00]",
        "type 1 [00, 00, 10, 00]",
        "0: _result 1 {fmsVer=FMS/3,0,1,123, capabilities=31} {level=status, code=NetConnection.Connect.Success, \
         description=Connection succeeded., objectEncoding=0}",
    ];
    assert_eq!(talk.answers(), expected);
    assert_eq!(talk.server.phase(), Phase::Publish);
    assert!(talk.events().is_empty());
}

#[test]
fn the_fmle_flow_of_obs_and_ffmpeg() {
    let mut talk = Talk::connected();
    let key = || Value::string("stream-key");
    talk.command(0, "releaseStream", 2.0, &[NULL, key()]);
    talk.command(0, "FCPublish", 3.0, &[NULL, key()]);
    talk.command(0, "createStream", 4.0, &[NULL]);
    let expected = [
        "0: _result 2 null undefined",
        "0: onFCPublish 0 null {level=status, code=NetStream.Publish.Start}",
        "0: _result 3 null undefined",
        "0: _result 4 null 1",
    ];
    assert_eq!(talk.answers(), expected);
    talk.command(1, "publish", 5.0, &[NULL, key(), Value::string("live")]);
    assert_eq!(talk.events(), ["publish live stream-key by FMLE/3.0"]);
    assert_eq!((talk.server.phase(), talk.answers()), (Phase::Deciding, vec![]));
    talk.accept();
    assert_eq!(talk.answers(), STARTED);
    talk.command(0, "FCUnpublish", 6.0, &[NULL, key()]);
    talk.command(0, "deleteStream", 7.0, &[NULL, Value::Number(1.0)]);
    let expected = [
        "1: onStatus 0 null {level=status, code=NetStream.Unpublish.Success, description=The stream is unpublished.}",
        "0: onFCUnpublish 0 null {level=status, code=NetStream.Unpublish.Success}",
        "0: _result 6 null undefined",
        "0: _result 7 null undefined",
    ];
    assert_eq!((talk.events(), talk.answers()), (vec!["unpublished".to_owned()], expected.map(str::to_owned).to_vec()));
    assert_eq!(talk.server.phase(), Phase::Publish);
}

#[test]
fn the_flash_flow_and_close_stream() {
    let mut talk = Talk::connected();
    talk.command(0, "createStream", 2.0, &[NULL]).command(1, "publish", 0.0, &[NULL, Value::string("k")]);
    assert_eq!(talk.events(), ["publish live k by FMLE/3.0"]);
    talk.accept();
    talk.command(1, "closeStream", 0.0, &[NULL]);
    assert_eq!(talk.events(), ["unpublished"]);
}

#[test]
fn the_haivision_flow() {
    let mut talk = Talk::connected();
    talk.command(0, "createStream", 2.0, &[NULL]);
    talk.command(1, "FCPublish", 3.0, &[NULL, Value::string("k")]);
    talk.command(1, "publish", 4.0, &[NULL, Value::string("k"), Value::string("live")]);
    assert_eq!(talk.events(), ["publish live k by FMLE/3.0"]);
}

#[test]
fn gstreamers_flow_with_transaction_0_gets_no_answers_that_it_did_not_ask_for() {
    let mut talk = Talk::connected();
    let key = || Value::string("k");
    talk.command(0, "releaseStream", 0.0, &[NULL, key()]).command(0, "FCPublish", 0.0, &[NULL, key()]);
    talk.command(0, "createStream", 2.0, &[NULL]);
    talk.command(1, "publish", 0.0, &[NULL, key(), Value::string("live")]);
    talk.accept();
    let answers = talk.answers();
    assert_eq!(
        answers[..2],
        ["0: onFCPublish 0 null {level=status, code=NetStream.Publish.Start}", "0: _result 2 null 1"]
    );
    assert_eq!(answers[2..], STARTED);
    talk.events();
    talk.command(0, "deleteStream", 0.0, &[NULL, key()]);
    assert_eq!(talk.events(), ["unpublished"]);
}

#[test]
fn a_connection_may_publish_again_on_another_stream() {
    let mut talk = Talk::publishing();
    talk.client.delete_stream(1).create_stream().publish(2, "other").media(2, &tag(TagKind::Audio, 5, b"a"));
    talk.send();
    assert_eq!(talk.events(), ["unpublished", "publish live other by FMLE/3.0"]);
    talk.accept();
    assert_eq!(talk.events(), ["Audio 5 b\"a\""]);
    talk.client.delete_stream(1);
    talk.send();
    assert!(talk.events().is_empty(), "another stream's end is not ours");
}

fn tag(kind: TagKind, timestamp_ms: u32, data: &'static [u8]) -> Tag {
    Tag { kind, timestamp_ms, data: Bytes::from_static(data) }
}

#[test]
fn media_passes_while_publishing_and_at_no_other_time() {
    let mut talk = Talk::connected();
    talk.client.media(1, &tag(TagKind::Video, 0, b"early"));
    talk.client.create_stream().publish(1, "k");
    talk.client
        .media(1, &tag(TagKind::Script, 0, b"\x02\x00\x0aonMetaData\x05"))
        .media(1, &tag(TagKind::Video, 40, b"v"));
    talk.send();
    assert_eq!(talk.events(), ["publish live k by FMLE/3.0"]);
    assert!(talk.server.held_bytes() > 0);
    talk.accept();
    assert_eq!(talk.server.held_bytes(), 0);
    talk.client.media(1, &tag(TagKind::Audio, 41, b"a")).delete_stream(1).media(1, &tag(TagKind::Audio, 60, b"late"));
    talk.send();
    let expected = ["Script 0 b\"\\x02\\0\\nonMetaData\\x05\"", "Video 40 b\"v\"", "Audio 41 b\"a\"", "unpublished"];
    assert_eq!(talk.events(), expected);
}

#[test]
fn a_refusal_says_why_and_nothing_is_read_behind_it() {
    let mut talk = Talk::connected();
    talk.client.create_stream().publish(1, "wrong").media(1, &tag(TagKind::Video, 0, b"v"));
    talk.send();
    talk.answers();
    talk.server.refuse_publish(PublishStatus::BadName, "This stream key is not known.");
    let expected =
        "1: onStatus 0 null {level=error, code=NetStream.Publish.BadName, description=This stream key is not known.}";
    assert_eq!(talk.answers(), [expected]);
    assert_eq!((talk.server.phase(), talk.server.held_bytes()), (Phase::Ended, 0));
    talk.client.media(1, &tag(TagKind::Video, 0, b"v"));
    talk.events();
    talk.send().accept();
    assert!(talk.events().is_empty() && talk.answers().is_empty());
}

#[test]
fn the_end_of_a_publish_from_our_side_is_told() {
    let mut talk = Talk::publishing();
    talk.server.end(PublishStatus::Denied, "This stream key was revoked.");
    let expected =
        "1: onStatus 0 null {level=error, code=NetStream.Publish.Denied, description=This stream key was revoked.}";
    assert_eq!(talk.answers(), [expected]);
    assert_eq!(talk.server.phase(), Phase::Ended);
}

#[test]
fn a_second_publish_on_one_connection_is_told_off() {
    let mut talk = Talk::publishing();
    talk.client.publish(1, "again");
    talk.send();
    let expected = "1: onStatus 0 null {level=error, code=NetStream.Publish.BadName, description=This connection publishes already.}";
    assert_eq!((talk.answers(), talk.events()), (vec![expected.to_owned()], vec![]));
    assert_eq!(talk.server.phase(), Phase::Publishing);
}

#[test]
fn unknown_commands_are_answered_and_end_nothing() {
    let mut talk = Talk::connected();
    for (number, name) in ["_checkbw", "getStreamLength", "FCSubscribe", "makeTea", ""].into_iter().enumerate() {
        talk.command(0, name, number as f64 + 2.0, &[NULL]);
        assert_eq!(talk.answers(), [format!("0: _result {} null undefined", number + 2)], "{name}");
    }
    talk.command(0, "_result", 9.0, &[NULL]).command(0, "onStatus", 9.0, &[NULL]).command(0, "hello", 0.0, &[NULL]);
    talk.raw(0, message::COMMAND_AMF0, &b""[..]).raw(0, message::COMMAND_AMF0, &b"\x05"[..]);
    talk.raw(0, message::COMMAND_AMF3, &b""[..]);
    assert!(talk.answers().is_empty() && talk.events().is_empty());
    talk.command(1, "play", 9.0, &[NULL, Value::string("k")]);
    let expected = "1: onStatus 0 null {level=error, code=NetStream.Play.Failed, \
                    description=This port takes publishers. Play the stream over HLS.}";
    assert_eq!(talk.answers(), [expected]);
}

#[test]
fn nothing_goes_before_connect_and_connect_goes_once() {
    let mut talk = Talk::new();
    let bare = b"\x02\x00\x0d@setDataFrame";
    talk.raw(0, message::DATA_AMF0, &bare[..]).raw(0, message::DATA_AMF0, &b"\x02"[..]).raw(
        1,
        message::VIDEO,
        &b"v"[..],
    );
    talk.command(1, "publish", 1.0, &[NULL, Value::string("k")]);
    let error = |transaction, words| {
        format!("0: _error {transaction} null {{level=error, code=NetConnection.Call.Failed, description={words}}}")
    };
    assert_eq!((talk.answers(), talk.events()), (vec![error(1, "Send connect first.")], vec![]));
    talk.client.connect("live", "", "");
    talk.send().answers();
    talk.command(0, "connect", 5.0, &[NULL]);
    assert_eq!(talk.answers(), [error(5, "This connection is connected already.")]);
}

#[test]
fn amf3_envelopes_hold_amf0() {
    let mut talk = Talk::connected();
    talk.raw(0, message::COMMAND_AMF3, &b"\0\x02\0\x0ccreateStream\0\x40\0\0\0\0\0\0\0\x05"[..]);
    assert_eq!(talk.answers(), ["0: _result 2 null 1"]);
    let mut talk = Talk::publishing();
    talk.raw(1, message::DATA_AMF3, &b"\0\x02\0\x0aonMetaData\x05"[..]);
    assert_eq!(talk.events(), ["Script 0 b\"\\x02\\0\\nonMetaData\\x05\""]);
}

#[test]
fn broken_messages_are_left_out_and_told() {
    let mut talk = Talk::publishing();
    talk.raw(0, message::COMMAND_AMF0, &b"\x02\x00\x09cut"[..]);
    talk.raw(0, message::COMMAND_AMF0, &b"\x11"[..]);
    talk.raw(0, message::USER_CONTROL, &b"\0"[..]).raw(0, message::USER_CONTROL, &b"\0\x06\0\0"[..]);
    talk.raw(0, message::WINDOW_ACK_SIZE, &b"\0\0"[..]).raw(0, 99, &b"?"[..]).raw(1, message::AGGREGATE, &b"short"[..]);
    let expected = [
        "skipped command",
        "skipped command",
        "skipped short_control_message",
        "skipped short_control_message",
        "skipped short_control_message",
        "skipped unknown_message_type",
        "skipped broken_aggregate",
    ];
    assert_eq!(talk.events(), expected);
    assert_eq!(talk.server.phase(), Phase::Publishing);
}

#[test]
fn a_stranger_may_not_be_odd_for_ever() {
    let mut talk = Talk::connected();
    for _ in 0..MAX_SKIPPED_OF_STRANGERS {
        talk.raw(0, 99, &b"?"[..]);
    }
    assert_eq!(talk.events().len(), 100);
    talk.client.message(Message { chunk_stream: 3, timestamp_ms: 0, type_id: 99, stream_id: 0, payload: Bytes::new() });
    let error = talk.server.receive(talk.client.take(), &mut talk.events);
    assert_eq!((error, talk.server.phase()), (Err(RtmpError::UnknownMessageType(99)), Phase::Ended));
}

#[test]
fn deep_amf_before_connect_drops_the_peer() {
    let mut talk = Talk::new();
    let bomb = [&b"\x02\x00\x07connect\x00\0\0\0\0\0\0\0\0"[..], &b"\x03\x00\x01a".repeat(10_000)].concat();
    talk.client.set_chunk_size(65_536).message(Message {
        chunk_stream: 3,
        timestamp_ms: 0,
        type_id: message::COMMAND_AMF0,
        stream_id: 0,
        payload: bomb.into(),
    });
    let error = talk.server.receive(talk.client.take(), &mut talk.events).expect_err("a bomb");
    assert_eq!((error.code(), error.action(), talk.server.phase()), ("command", Action::DropPeer, Phase::Ended));
}

#[test]
fn a_command_beyond_its_limit_drops_the_peer() {
    let mut server = Server::new(Limits { command_bytes: 60_000, ..Limits::default() });
    let mut talk = Talk::new();
    talk.client.command(0, "connect", &[Value::string("x".repeat(61_000))]);
    let error = server.receive([client::handshake(), talk.client.take()].concat().into(), &mut talk.events);
    assert!(matches!(error, Err(RtmpError::CommandTooLong { limit: 60_000, .. })), "{error:?}");
}

#[test]
fn a_stranger_may_send_less_than_a_publisher() {
    let mut talk = Talk::new();
    talk.client.command(0, "connect", &[Value::string("x".repeat(70_000))]);
    let error = talk.server.receive(talk.client.take(), &mut talk.events);
    assert!(matches!(error, Err(RtmpError::MessageTooLong { limit: 65_536, .. })), "{error:?}");
    assert_eq!(talk.server.phase(), Phase::Ended);
}

#[test]
fn ten_thousand_streams_cost_their_answers_only() {
    let mut talk = Talk::connected();
    for _ in 0..10_000 {
        talk.client.create_stream();
        talk.send();
        assert!(talk.server.take_output().len() < 64);
    }
    assert_eq!(talk.server.held_bytes(), 0);
}

#[test]
fn answers_that_nobody_takes_are_bounded() {
    let mut talk = Talk::within(Limits { output_bytes: 10_000, ..Limits::default() });
    talk.client.connect("live", "", "");
    for _ in 0..1_000 {
        talk.client.create_stream();
    }
    let error = talk.server.receive(talk.client.take(), &mut talk.events);
    assert_eq!(error, Err(RtmpError::TooMuchOutput { limit: 10_000 }));
    assert!(talk.server.take_output().len() < 10_100);
}

#[test]
fn pings_are_answered_and_sent() {
    let mut talk = Talk::connected();
    talk.raw(0, message::USER_CONTROL, &b"\0\x06\x01\x02\x03\x04"[..]);
    talk.raw(0, message::USER_CONTROL, &b"\0\x07\x01\x02\x03\x04"[..]).raw(0, message::USER_CONTROL, &b"\0\x03"[..]);
    assert_eq!(talk.answers(), ["type 4 [00, 07, 01, 02, 03, 04]"]);
    talk.server.ping(258);
    assert_eq!(talk.answers(), ["type 4 [00, 06, 00, 00, 01, 02]"]);
}

#[test]
fn acknowledgements_come_once_per_window_with_the_total() {
    let mut talk = Talk::publishing();
    talk.raw(0, message::WINDOW_ACK_SIZE, 20_000_u32.to_be_bytes().to_vec());
    talk.client.set_chunk_size(65_536);
    talk.send();
    let mut acknowledged = Vec::new();
    for turn in 1..=5 {
        talk.client.media(1, &Tag { kind: TagKind::Video, timestamp_ms: 0, data: Bytes::from(vec![1; 12_000]) });
        talk.send();
        let total = (talk.server.received as u32).to_be_bytes();
        for answer in talk.answers() {
            assert_eq!(answer, format!("type 3 {total:02x?}"));
            acknowledged.push(turn);
        }
    }
    assert_eq!(acknowledged, [2, 4]);
}

#[test]
fn a_tiny_window_does_not_flood_the_peer() {
    let mut talk = Talk::publishing();
    talk.raw(0, message::WINDOW_ACK_SIZE, &[0, 0, 0, 1][..]);
    for _ in 0..100 {
        talk.client.media(1, &tag(TagKind::Audio, 0, b"aaaa"));
        talk.send();
    }
    assert!(talk.answers().is_empty());
}

#[test]
fn aggregates_are_unpacked() {
    let mut talk = Talk::publishing();
    let payload = b"\x08\0\0\x01\0\0\x64\0\0\0\0a\0\0\0\x0c\x09\0\0\x01\0\0\x85\0\0\0\0v\0\0\0\x0c";
    talk.client.message(Message {
        chunk_stream: 4,
        timestamp_ms: 5_000,
        type_id: message::AGGREGATE,
        stream_id: 1,
        payload: Bytes::from_static(payload),
    });
    assert_eq!(talk.send().events(), ["Audio 5000 b\"a\"", "Video 5033 b\"v\""]);
}

#[test]
fn what_waits_for_a_decision_is_bounded() {
    let mut talk = Talk::within(Limits { partial_bytes: 1_000, ..Limits::default() });
    talk.client.connect("live", "", "").create_stream().publish(1, "k");
    talk.send();
    let media = Bytes::from(vec![0; 600]);
    assert_eq!(talk.server.receive(media.clone(), &mut talk.events), Ok(()));
    assert_eq!(talk.server.receive(media, &mut talk.events), Err(RtmpError::TooManyPartialBytes { limit: 1_000 }));
}

#[test]
fn the_key_is_in_no_debug_text() {
    let mut talk = Talk::new();
    talk.client.connect("live/stream-key", "rtmp://h/live/stream-key", "me").create_stream().publish(1, "stream-key");
    talk.send();
    for text in [format!("{:?}", talk.events), format!("{:?}", talk.server)] {
        assert!(!text.contains("stream-key"), "{text}");
    }
}
