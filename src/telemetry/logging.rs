//! Log lines to standard error.
//!
//! A log line reads alone: its message says what and where, and carries `stream`, `session` and `peer` from its span where
//! they are known. Standard output is for answers of the command line only.
//!
//! An event is one line, whatever it quotes: control characters inside it are written as `\n`, `\u{1b}` and the like, so
//! that nobody who is quoted can forge a line or speak to the terminal of whoever reads it. (JSON escapes them itself.)

use std::io;
use std::str::FromStr;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Longest line in bytes; what is beyond is cut off. Our own lines have a few hundred.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text for a person.
    #[default]
    Human,
    /// One JSON object for a log collector.
    Json,
}

/// The text is not the name of a log format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("log format `{0}` is unknown: use `human` or `json`")]
pub struct UnknownLogFormat(String);

impl FromStr for LogFormat {
    type Err = UnknownLogFormat;

    fn from_str(text: &str) -> Result<Self, UnknownLogFormat> {
        match text {
            "human" => Ok(LogFormat::Human),
            "json" => Ok(LogFormat::Json),
            other => Err(UnknownLogFormat(other.to_owned())),
        }
    }
}

/// Logging cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// `RUST_LOG` or the configured level is no filter.
    #[error(
        "log filter `{filter}` is not understood: {reason}; a level such as `info` or `info,millstream::listen=debug` is"
    )]
    Filter {
        /// The text.
        filter: String,
        /// The parser's words.
        reason: String,
    },
    /// There is a subscriber already.
    #[error("logging was set up twice")]
    Twice,
}

/// Sends the log of this process to standard error. `level` is a `tracing` filter (`info`, `info,millstream::web=debug`);
/// the environment variable `RUST_LOG`, when set, is asked instead of it.
///
/// # Errors
/// The filter is not understood, or logging was set up before.
pub fn init_logging(format: LogFormat, level: &str) -> Result<(), LoggingError> {
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|text| !text.is_empty());
    let subscriber = subscriber(format, wanted.as_deref().unwrap_or(level), io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LoggingError::Twice)
}

fn subscriber<W>(format: LogFormat, filter: &str, writer: W) -> Result<Box<dyn Subscriber + Send + Sync>, LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let parsed = EnvFilter::builder().parse(filter);
    let filter =
        parsed.map_err(|error| LoggingError::Filter { filter: filter.to_owned(), reason: error.to_string() })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    Ok(match format {
        LogFormat::Human => Box::new(builder.with_writer(OneLine(writer)).with_ansi(false).finish()),
        LogFormat::Json => {
            Box::new(builder.with_writer(writer).json().flatten_event(true).with_current_span(false).finish())
        }
    })
}

/// Makes writers that keep each event on one line.
struct OneLine<W>(W);

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for OneLine<W> {
    type Writer = LineWriter<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        LineWriter(self.0.make_writer())
    }
}

/// Takes a whole event in each write, as the formatter gives it.
struct LineWriter<W>(W);

impl<W: io::Write> io::Write for LineWriter<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let body = event.strip_suffix(b"\n").unwrap_or(event);
        let fits = body.len() <= MAX_LINE_BYTES;
        if fits && !body.iter().any(|byte| byte.is_ascii_control() || *byte >= 0x80) {
            self.0.write_all(event)?; // nearly every line
        } else {
            self.0.write_all(escaped(&body[..body.len().min(MAX_LINE_BYTES)]).as_bytes())?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A line of `body` without control characters, and without the marks that turn the direction of text around.
fn escaped(body: &[u8]) -> String {
    let mut line = String::with_capacity(body.len() + 16);
    for character in String::from_utf8_lossy(body).chars() {
        if is_unfit(character) {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line.push('\n');
    line
}

/// Line breaks and terminal controls (C0, C1, U+2028, U+2029), and the marks of bidirectional text (Unicode TR 9).
fn is_unfit(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What the tests of any module log.
#[cfg(test)]
pub mod testing {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    /// Gathers what is logged.
    #[derive(Clone, Debug, Default)]
    pub struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Captured {
        /// Runs `body` with a log of `info` and above for people, kept here.
        pub fn during(&self, body: impl FnOnce()) {
            self.during_with(LogFormat::Human, "info", body);
        }

        /// The same in any format and with any filter.
        pub fn during_with(&self, format: LogFormat, filter: &str, body: impl FnOnce()) {
            let writer = self.clone();
            let subscriber = subscriber(format, filter, move || writer.clone()).expect("the filter is right");
            tracing::subscriber::with_default(subscriber, body);
        }

        /// All of it.
        pub fn text(&self) -> String {
            let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            String::from_utf8(bytes.clone()).expect("a log is text")
        }

        /// Level, message and fields of each line that a module below `module` wrote.
        pub fn messages(&self, module: &str) -> Vec<String> {
            let module = module.trim_end_matches("::tests");
            let message = |line: &str| {
                let (level, rest) = line.split_once(' ')?.1.trim_start().split_once(' ')?;
                Some(format!("{level} {}", rest.trim_start().strip_prefix(module)?.strip_prefix(": ")?))
            };
            self.text().lines().filter_map(message).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Captured;
    use super::*;

    fn logged(format: LogFormat, filter: &str) -> String {
        let captured = Captured::default();
        captured.during_with(format, filter, || {
            let _span = tracing::info_span!("session", stream = "s1").entered();
            tracing::info!(segment = 3, "segment stored");
            tracing::debug!("not at this level");
        });
        captured.text()
    }

    /// What strangers have tried: a second line, colours, a title for the terminal's window, text written backwards.
    const HOSTILE: &str =
        "x\n2026-11-21T00:00:00Z ERROR forged\r\u{1b}[31mred\u{1b}]0;title\u{7}\u{9b}1m\u{2028}\u{202e}end \"q\"";

    #[test]
    fn what_a_stranger_sends_stays_within_its_line_and_field() {
        let captured = Captured::default();
        captured.during(|| {
            let _span = tracing::info_span!("rtmp", peer = %HOSTILE).entered();
            tracing::warn!(encoder = HOSTILE, reason = %HOSTILE, debug = ?HOSTILE, "said {HOSTILE}");
        });
        let text = captured.text();
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        assert!(!text.trim_end_matches('\n').contains(is_unfit), "{text:?}");
        assert!(text.contains("reason=x\\n2026-11-21T00:00:00Z ERROR forged\\r\\u{1b}[31mred"), "{text}");
    }

    #[test]
    fn a_collector_gets_the_same_text_in_one_line() {
        let captured = Captured::default();
        captured.during_with(LogFormat::Json, "info", || tracing::warn!(reason = %HOSTILE, "refused"));
        let text = captured.text();
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        let line: serde_json::Value = serde_json::from_str(&text).expect("one object");
        assert_eq!(line["reason"], HOSTILE);
    }

    #[test]
    fn a_person_reads_one_line_with_its_span() {
        let text = logged(LogFormat::Human, "info");
        let (_time, rest) = text.split_once(' ').unwrap();
        assert_eq!(
            rest.trim_start(),
            "INFO session{stream=\"s1\"}: millstream::telemetry::logging::tests: segment stored segment=3\n"
        );
    }

    #[test]
    fn a_collector_reads_one_object_with_its_spans() {
        let mut line: serde_json::Value = serde_json::from_str(&logged(LogFormat::Json, "info")).unwrap();
        line["timestamp"].take();
        let expected = serde_json::json!({
            "timestamp": null, "level": "INFO", "message": "segment stored", "segment": 3,
            "target": "millstream::telemetry::logging::tests", "spans": [{"name": "session", "stream": "s1"}],
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn nobody_who_is_quoted_can_forge_a_line() {
        let forged = "x\n2026-01-01T00:00:00Z ERROR all keys leaked\r\u{1b}[2J\u{202e}ü";
        for (format, quoted) in [
            (LogFormat::Human, "app=x\\n2026-01-01T00:00:00Z ERROR all keys leaked\\r\\u{1b}[2J\\u{202e}ü"),
            (LogFormat::Json, "x\\n2026-01-01T00:00:00Z ERROR all keys leaked\\r\\u001b[2J\u{202e}ü"),
        ] {
            let captured = Captured::default();
            captured.during_with(format, "info", || {
                tracing::info!(app = %forged, "refused");
                tracing::info!(long = %"y".repeat(100_000), "refused");
            });
            let text = captured.text();
            assert_eq!(text.lines().count(), 2, "{text}");
            assert!(text.contains(quoted), "{text}");
            assert!(format == LogFormat::Json || text.len() < 2 * MAX_LINE_BYTES);
        }
    }

    #[test]
    fn filters_choose_by_module() {
        assert_eq!(logged(LogFormat::Human, "info,millstream::telemetry=warn"), "");
    }

    #[test]
    fn a_bad_filter_and_a_bad_format_are_refused_in_words() {
        let error = subscriber(LogFormat::Human, "info,=,", io::sink).err().unwrap().to_string();
        assert!(error.starts_with("log filter `info,=,` is not understood: "), "{error}");
        assert_eq!(
            "JSON".parse::<LogFormat>().unwrap_err().to_string(),
            "log format `JSON` is unknown: use `human` or `json`"
        );
        assert_eq!(("human".parse(), "json".parse()), (Ok(LogFormat::Human), Ok(LogFormat::Json)));
    }
}
