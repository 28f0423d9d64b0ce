//! Commands of publishers (RTMP 1.0 section 7.2) and the answers that they wait for.

use super::capabilities;
use super::target::{Target, printable};
use super::{Connected, DYNAMIC, Event, OUR_CHUNK_BYTES, Phase, Server, WINDOW_ACK_BYTES};
use crate::wire::rtmp::RtmpError;
use crate::wire::rtmp::amf0::{Reader, Value};
use crate::wire::rtmp::message;

/// Longest encoder name that is told: it goes into logs and states.
const MAX_ENCODER_CHARS: usize = 128;

/// The fields of one command. No `Debug`: its arguments may hold a key.
struct Command {
    name: String,
    transaction: f64,
    /// Behind the transaction: the command object, then arguments.
    rest: Vec<Value>,
}

impl Command {
    /// `None` for a message without a name, which is nobody's command. A missing transaction reads as 0.
    fn parse(payload: &[u8]) -> Result<Option<Self>, RtmpError> {
        let mut values = Reader::new(payload).read_all()?.into_iter();
        let Some(Value::String(name)) = values.next() else { return Ok(None) };
        let transaction = values.next().and_then(|value| value.as_number()).unwrap_or(0.0);
        Ok(Some(Command { name, transaction, rest: values.collect() }))
    }

    fn object(&self) -> &Value {
        self.rest.first().unwrap_or(&Value::Null)
    }

    /// The n-th argument behind the command object.
    fn argument(&self, index: usize) -> &Value {
        self.rest.get(index + 1).unwrap_or(&Value::Null)
    }
}

impl Server {
    pub(super) fn command(&mut self, stream_id: u32, payload: &[u8], events: &mut Vec<Event>) -> Result<(), RtmpError> {
        let (length, limit) = (payload.len(), self.limits.command_bytes);
        if length > limit {
            return Err(RtmpError::CommandTooLong { length, limit });
        }
        let Some(command) = Command::parse(payload)? else { return Ok(()) };
        match command.name.as_str() {
            "connect" if self.phase == Phase::Connect => self.connect(&command),
            _ if self.phase == Phase::Connect => self.fail(&command, "Send connect first."),
            "connect" => self.fail(&command, "This connection is connected already."),
            "createStream" => self.create_stream(&command),
            "publish" => self.publish(stream_id, &command, events),
            "FCPublish" => {
                self.notify("onFCPublish", "NetStream.Publish.Start");
                self.answer(&command);
            }
            "FCUnpublish" => {
                self.unpublish(events);
                self.notify("onFCUnpublish", "NetStream.Unpublish.Success");
                self.answer(&command);
            }
            "deleteStream" | "closeStream" => {
                if self.means_the_publish(stream_id, &command) {
                    self.unpublish(events);
                }
                self.answer(&command);
            }
            "play" | "play2" => {
                let words = "This port takes publishers. Play the stream over HLS.";
                self.status(stream_id, "error", "NetStream.Play.Failed", words);
            }
            // Answers to what we never asked; an answer to an answer would go round for ever.
            "_result" | "_error" | "onStatus" => {}
            // releaseStream, _checkbw, getStreamLength, FCSubscribe and what nobody knows: FFmpeg gives up on `_error` here.
            _ => self.answer(&command),
        }
        Ok(())
    }

    /// Section 7.2.1.1, with the messages around the answer that all servers send.
    fn connect(&mut self, command: &Command) {
        let text = |name| command.object().get(name).and_then(Value::as_str).unwrap_or_default();
        let encoder = printable(text("flashVer"), MAX_ENCODER_CHARS);
        self.connected = Connected {
            app: text("app").to_owned(),
            tc_url: text("tcUrl").to_owned(),
            encoder: (!encoder.is_empty()).then_some(encoder),
        };
        self.phase = Phase::Publish;
        let (writer, out) = (&mut self.writer, &mut self.output);
        message::write_control(writer, message::WINDOW_ACK_SIZE, WINDOW_ACK_BYTES, &[], out);
        message::write_control(writer, message::SET_PEER_BANDWIDTH, WINDOW_ACK_BYTES, &[DYNAMIC], out);
        message::write_user_control(writer, message::STREAM_BEGIN, 0, out);
        writer.set_chunk_size(OUR_CHUNK_BYTES, out);
        let server = Value::object([
            ("fmsVer", Value::string("FMS/3,0,1,123")), // what encoders compare with
            ("capabilities", Value::Number(31.0)),
        ]);
        let mut info = vec![
            ("level".to_owned(), Value::string("status")),
            ("code".to_owned(), Value::string("NetConnection.Connect.Success")),
            ("description".to_owned(), Value::string("Connection succeeded.")),
            ("objectEncoding".to_owned(), Value::Number(0.0)),
        ];
        info.extend(capabilities::answers(command.object()));
        let rest = [server, Value::Object(info)];
        message::write_command(writer, 0, "_result", command.transaction, &rest, out);
    }

    /// Section 7.2.1.3. A stream is a number and nothing else, so any count of them costs nothing.
    fn create_stream(&mut self, command: &Command) {
        self.last_stream_id = self.last_stream_id.saturating_add(1);
        let id = Value::Number(f64::from(self.last_stream_id));
        self.result(command, &[Value::Null, id]);
    }

    /// Section 7.2.2.6. The type (`live`, `record`, `append`) makes no difference: what is kept is decided elsewhere.
    fn publish(&mut self, stream_id: u32, command: &Command, events: &mut Vec<Event>) {
        if self.phase != Phase::Publish {
            let words = "This connection publishes already.";
            self.status(stream_id, "error", "NetStream.Publish.BadName", words);
            return;
        }
        let name = command.argument(0).as_str().unwrap_or_default();
        let Target { app, key } = Target::resolve(&self.connected.app, &self.connected.tc_url, name);
        self.publish_stream_id = stream_id;
        self.phase = Phase::Deciding;
        events.push(Event::PublishRequested { key, app, encoder: self.connected.encoder.clone() });
    }

    fn unpublish(&mut self, events: &mut Vec<Event>) {
        if self.phase == Phase::Publishing {
            self.phase = Phase::Publish;
            let words = "The stream is unpublished.";
            self.status(self.publish_stream_id, "status", "NetStream.Unpublish.Success", words);
            events.push(Event::Unpublished);
        }
    }

    /// `deleteStream` names a stream by number, `closeStream` by the message stream that it comes on. GStreamer puts the
    /// key where the number belongs: what names no stream means the only one there is.
    fn means_the_publish(&self, stream_id: u32, command: &Command) -> bool {
        let ours = self.publish_stream_id;
        match command.argument(0).as_number() {
            Some(number) => number == f64::from(ours),
            None => stream_id == 0 || stream_id == ours || command.name == "deleteStream",
        }
    }

    /// `_result` with nothing to say. Transaction 0 asks for no answer.
    fn answer(&mut self, command: &Command) {
        if command.transaction != 0.0 {
            self.result(command, &[Value::Null, Value::Undefined]);
        }
    }

    fn result(&mut self, command: &Command, rest: &[Value]) {
        message::write_command(&mut self.writer, 0, "_result", command.transaction, rest, &mut self.output);
    }

    fn fail(&mut self, command: &Command, description: &str) {
        let info = Value::object([
            ("level", Value::string("error")),
            ("code", Value::string("NetConnection.Call.Failed")),
            ("description", Value::string(description)),
        ]);
        let rest = [Value::Null, info];
        message::write_command(&mut self.writer, 0, "_error", command.transaction, &rest, &mut self.output);
    }

    /// FMLE's own notices, which some hardware encoders wait for.
    fn notify(&mut self, name: &str, code: &str) {
        let info = Value::object([("level", Value::string("status")), ("code", Value::string(code))]);
        message::write_command(&mut self.writer, 0, name, 0.0, &[Value::Null, info], &mut self.output);
    }
}
