//! What the end-to-end tests stand on: the real binary, real encoders and players, and readers of our own.
//!
//! | module | holds |
//! |---|---|
//! | [`machine`] | who may use the machine at the same time, and the watchdog of a hung test |
//! | [`process`] | a child process whose lines and end are events |
//! | [`daemon`] | the built binary in a folder of its own |
//! | [`source`] | synthetic sources and the `ffmpeg` that pushes them |
//! | [`flv`] | the tags of a source, to be edited |
//! | [`enhanced`] | messages of enhanced RTMP, which `ffmpeg` and OBS here cannot send, of packets that `ffmpeg` has coded |
//! | [`publisher`] | a publisher that sends whatever a test wants, and keeps what it is told |
//! | [`transmitter`] | publishers over RTMP and over SRT, of which tests may have either |
//! | [`transport`] | tags of a source as an MPEG transport stream |
//! | [`srt`] | an SRT caller of the tests' own, which reads the codes of refusals |
//! | [`http`] | a blocking face of an HTTP client that is not ours |
//! | [`playlist`] | strict readers of multivariant and media playlists |
//! | [`follower`] | a player without a picture: fetches every segment of every rendition as it is listed |
//! | [`continuity`] | the contract of continuity, asked of all that a follower saw |
//! | [`boxes`] | a reader of init segments and fragments, independent of the daemon's writer |
//! | [`certificates`] | certificates made for one test, and a TLS client that trusts them |
//! | [`content`] | what is in the decoded picture and sound |
//! | [`tone`] | whether a pure tone is unbroken |
//! | [`browser`] | headless Chromium over its debugging pipe |
//! | `relay` | a bad network for UDP; the tests of SRT take it by its path |
//! | [`collector`] | a collector of OpenTelemetry traces |
//!
//! Nothing here uses the daemon's own parsers or writers: what both sides get wrong in the same way would pass.

pub mod boxes;
pub mod browser;
pub mod certificates;
pub mod collector;
pub mod content;
pub mod continuity;
pub mod daemon;
pub mod enhanced;
pub mod flv;
pub mod follower;
pub mod http;
pub mod machine;
pub mod playlist;
pub mod process;
pub mod publisher;
pub mod source;
pub mod srt;
pub mod tone;
pub mod transmitter;
pub mod transport;
