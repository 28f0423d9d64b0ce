//! Configuration: typed per section, every key with an environment twin, unknown keys refused.
//!
//! | module | holds |
//! |---|---|
//! | [`http`] [`https`] [`rtmp`] [`rtmps`] [`srt`] [`storage`] [`secrets`] [`hls`] [`ladder`] [`session`] [`log`] [`telemetry`] | one section each: its keys, its type, its rules |
//! | [`certificate`] | two keys that sections share |
//! | [`key`] | what is known of a key: name, type, default, environment twin, meaning |
//! | [`reader`] | layers flags, environment and file, and hands out typed values |
//! | [`units`] | texts of durations, sizes and addresses |
//! | [`error`] | what is wrong, and where it was written |
//! | [`source`] | the only IO: reads the file and the environment, then parses |
//!
//! [`Config::parse`] is a pure function: equal input gives an equal configuration or equal errors, and all errors are
//! reported at once. A flag beats the environment, which beats the file, which beats the default. Relative paths are left
//! relative: they are against the working directory of the daemon.
//!
//! What belongs to one stream (its preset, grace time, policies) is only defaulted here; `control` holds it.

use std::net::SocketAddr;
use std::path::PathBuf;

pub mod certificate;
pub mod error;
pub mod hls;
pub mod http;
pub mod https;
pub mod key;
pub mod ladder;
pub mod log;
pub mod preset;
pub mod reader;
pub mod rtmp;
pub mod rtmps;
pub mod secrets;
pub mod session;
pub mod source;
pub mod srt;
pub mod storage;
pub mod telemetry;
pub mod units;

pub use certificate::CertificatePaths;
pub use error::{ConfigError, Problem};
pub use hls::{Container, Hls};
pub use http::{CorsOrigins, Http};
pub use https::Https;
pub use key::{Key, reference};
pub use ladder::{Capacity, Ladder, OverCapacity};
pub use log::{Log, LogFormat, LogLevel};
pub use rtmp::Rtmp;
pub use rtmps::Rtmps;
pub use secrets::Secrets;
pub use session::{Conflict, OnUnpublish, Session};
pub use srt::{Encryption, Srt};
pub use storage::{Storage, StorageUrl};
pub use telemetry::{OtlpEndpoint, Telemetry};

use key::{KeyType, Section};
use reader::Reader;

/// Everything that an operator may decide for the whole daemon.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder of the database, the lock, the control socket and, by default, spool and objects.
    pub data_dir: PathBuf,
    /// `[http]`
    pub http: Http,
    /// `[https]`; `None`: off.
    pub https: Option<Https>,
    /// `[rtmp]`
    pub rtmp: Rtmp,
    /// `[rtmps]`; `None`: off.
    pub rtmps: Option<Rtmps>,
    /// `[srt]`; `None`: off.
    pub srt: Option<Srt>,
    /// `[storage]`
    pub storage: Storage,
    /// `[secrets]`
    pub secrets: Secrets,
    /// `[hls]`
    pub hls: Hls,
    /// `[ladder]`
    pub ladder: Ladder,
    /// `[session]`
    pub session: Session,
    /// `[log]`
    pub log: Log,
    /// `[telemetry]`
    pub telemetry: Telemetry,
}

/// Values given as flags; they beat everything else.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--data-dir`
    pub data_dir: Option<String>,
}

const DATA_DIR: Key = Key {
    section: Section::Top,
    name: "data_dir",
    kind: KeyType::Path,
    default: "./data",
    doc: "Folder of the database, the lock, the control socket and, by default, the spool and the objects.",
};

/// Keys that stand above all sections.
const TOP: &[Key] = &[DATA_DIR];

impl Config {
    /// Makes a configuration of flags, environment (`MILLSTREAM_*`; other variables are not looked at) and a file
    /// (its name for messages, and its text).
    ///
    /// # Errors
    /// All that is wrong, each problem with the place where it was written.
    pub fn parse(
        flags: &Overrides,
        env: impl IntoIterator<Item = (String, String)>,
        file: Option<(&str, &str)>,
    ) -> Result<Config, ConfigError> {
        let mut reader = Reader::default();
        if let Some((path, text)) = file {
            reader.add_file(path, text);
        }
        reader.add_env(env);
        if let Some(data_dir) = &flags.data_dir {
            reader.add_flag(&DATA_DIR, "--data-dir", data_dir);
        }
        let data_dir = reader.read(&DATA_DIR, units::parse_path);
        let config = Config {
            http: Http::read(&mut reader),
            https: Https::read(&mut reader),
            rtmp: Rtmp::read(&mut reader),
            rtmps: Rtmps::read(&mut reader),
            srt: Srt::read(&mut reader),
            storage: Storage::read(&mut reader, &data_dir),
            secrets: Secrets::read(&mut reader, &data_dir),
            hls: Hls::read(&mut reader),
            ladder: Ladder::read(&mut reader),
            session: Session::read(&mut reader),
            log: Log::read(&mut reader),
            telemetry: Telemetry::read(&mut reader),
            data_dir,
        };
        config.check_ports(&mut reader);
        if config.http.redirect_to_https && config.https.is_none() {
            reader.refuse(&http::REDIRECT_TO_HTTPS, "wants https.listen, https.cert and https.key".to_owned());
        }
        reader.finish().map(|()| config)
    }

    /// Two listeners on one address would fail at start with less to say. SRT is alone on UDP, whose ports are not TCP's.
    fn check_ports(&self, reader: &mut Reader) {
        let http = ("http.listen", self.http.listen);
        let rtmp = ("rtmp.listen", self.rtmp.listen);
        let mut check = |key: &Key, address: SocketAddr, others: &[(&str, SocketAddr)]| {
            let taken = others.iter().find(|(_, other)| *other == address && address.port() != 0);
            if let Some((other, _)) = taken {
                reader.refuse(key, format!("{address} is taken by {other} already: give each its own port"));
            }
        };
        check(&rtmp::LISTEN, rtmp.1, &[http]);
        if let Some(rtmps) = &self.rtmps {
            check(&rtmps::LISTEN, rtmps.listen, &[http, rtmp]);
        }
        if let Some(https) = &self.https {
            let rtmps = self.rtmps.as_ref().map(|rtmps| ("rtmps.listen", rtmps.listen));
            let others: Vec<_> = [http, rtmp].into_iter().chain(rtmps).collect();
            check(&https::LISTEN, https.listen, &others);
        }
    }

    /// The control socket's path: `<data_dir>/control.sock`.
    pub fn control_socket(&self) -> PathBuf {
        self.data_dir.join("control.sock")
    }
}

#[cfg(test)]
mod tests;
