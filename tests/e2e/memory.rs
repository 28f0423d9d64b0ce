//! What one session may hold at most, as `millstream check` says it, against sources that ask for the most of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use crate::broadcast::test_preset;
use crate::support::daemon::{Daemon, Home};
use crate::support::http::{Client, until};
use crate::support::machine;
use crate::support::process::{Process, output};
use crate::support::source::{Publisher, Source};

/// A push as fast as the daemon takes it, and what it needs to say on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);
const MIB: u64 = 1 << 20;

/// An FLV file that `ffmpeg` makes with these arguments, kept under `target/`.
fn source(name: &str, arguments: &str) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MAKING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-sources");
    let path = folder.join(format!("{name}.flv"));
    if !path.exists() {
        fs::create_dir_all(&folder).expect("a folder for sources");
        let part = folder.join(format!("{name}.part"));
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-loglevel", "error", "-y"]).args(arguments.split_whitespace());
        output(command.args(["-f", "flv"]).arg(&part));
        fs::rename(part, &path).expect("it was made");
    }
    path
}

/// Pushes the file `times` over, as one timeline, as fast as it is taken.
fn push_at_once(file: &Path, times: u32, url: &str) -> Process {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-hide_banner", "-loglevel", "warning", "-stream_loop", &(times - 1).to_string(), "-i"]);
    command.arg(file).args(["-c", "copy", "-flvflags", "no_duration_filesize", "-f", "flv", url]);
    Process::start("ffmpeg", command.stdin(Stdio::null()).stdout(Stdio::null()))
}

/// `VmRSS` or `VmHWM` of the daemon in bytes.
fn resident(daemon: &Daemon, which: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with(which)).expect("a line of memory");
    let kib: String = line.chars().filter(char::is_ascii_digit).collect();
    kib.parse::<u64>().expect("a number") * 1_024
}

/// The mebibytes that `check` says in front of `behind`.
fn promised(home: &Home, behind: &str) -> u64 {
    let report = home.cli(&["check"]);
    let checks = report["checks"].as_array().expect("checks");
    let memory = checks.iter().find(|check| check["name"] == "memory").expect("a line on memory");
    let text = memory["detail"].as_str().expect("text");
    let (before, _) = text.split_once(&format!(" MiB with {behind}")).expect("a figure");
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no number in {text}"))
}

fn window_bytes(daemon: &Daemon) -> u64 {
    let text = Client::default().fetch(&daemon.url("/metrics")).text().to_owned();
    let line = text.lines().find(|line| line.starts_with("millstream_package_memory_bytes{")).unwrap_or("none 0");
    line.rsplit_once(' ').and_then(|(_, value)| value.parse().ok()).expect("a number")
}

fn ends_well(mut push: Process) {
    push.wait_for_success(LIMIT);
}

#[test]
fn a_passthrough_session_stays_below_its_ceiling_at_the_largest_bitrate() {
    let _turn = machine::shared("a_passthrough_session_stays_below_its_ceiling_at_the_largest_bitrate");
    // 46 Mbit/s of noise, 36 s of it: more than twice what the window holds.
    let file = source(
        "noise-46M",
        "-f lavfi -i nullsrc=s=640x360:r=30:d=6,geq=random(1)*255:128:128 -f lavfi -i sine=d=6 -c:v libx264 -preset \
         ultrafast -pix_fmt yuv420p -g 60 -b:v 46M -maxrate 46M -bufsize 23M -c:a aac -shortest",
    );
    let home = Home::new("passthrough").set("hls.window", "16s").set("session.grace", "60s");
    let ceiling = promised(&home, "a 1080p source");
    let credentials = home.credentials();
    let daemon = home.serve();
    let idle = resident(&daemon, "VmRSS");
    let url = daemon.publish_url(&credentials.secret);
    let mut after = Vec::new();
    for _ in 0..3 {
        ends_well(push_at_once(&file, 6, &url));
        until(LIMIT, "the session waits", || daemon.log().contains("the session waits").then_some(()));
        after.push(resident(&daemon, "VmRSS"));
        // 16 s, the segment that leaves, the open one and 4 s ahead, at 50 Mbit/s and what packets cost.
        let held = window_bytes(&daemon);
        assert!(held > 60 * MIB && held <= (16 + 5 + 4) * 50_000_000 / 8, "{held} bytes of media are held");
    }
    let highest = resident(&daemon, "VmHWM") - idle;
    eprintln!("{} of {ceiling} MiB at most; after each push (bytes): {after:?}", highest / MIB);
    assert!(highest <= ceiling * MIB, "{} MiB, promised are {ceiling}", highest / MIB);
    assert!(after[2] <= after[0] + 48 * MIB, "it does not grow from push to push: {after:?}");
    daemon.stop();
}

#[test]
fn a_ladder_stays_below_its_ceiling_with_the_largest_pictures() {
    let _turn = machine::alone("a_ladder_stays_below_its_ceiling_with_the_largest_pictures");
    // As many pixels, references and bits as are accepted.
    let file = source(
        "4096x2304-444p10",
        "-f lavfi -i testsrc2=s=4096x2304:r=8:d=3 -f lavfi -i sine=d=3 -c:v libx264 -preset ultrafast -pix_fmt yuv444p10le \
         -refs 16 -bf 3 -g 16 -crf 30 -c:a aac -shortest",
    );
    let home = Home::new(test_preset("test-360p-240p-144p")).set("ladder.capacity", "unlimited");
    let home = home.set("hls.window", "16s").set("session.on_unpublish", "end");
    let ceiling = promised(&home, "the largest source");
    let credentials = home.credentials();
    let daemon = home.serve();
    let idle = resident(&daemon, "VmRSS");
    ends_well(push_at_once(&file, 2, &daemon.publish_url(&credentials.secret)));
    daemon.wait_for_log("session stopped", LIMIT);
    let log = daemon.log();
    assert!(log.contains("ladder planned") && !log.contains("\"level\":\"ERROR\""), "{log}");
    let highest = resident(&daemon, "VmHWM") - idle;
    eprintln!("{} of {ceiling} MiB at most", highest / MIB);
    assert!(highest <= ceiling * MIB, "{} MiB, promised are {ceiling}", highest / MIB);
    daemon.stop();
}

#[test]
fn a_source_above_the_largest_bitrate_is_turned_out_in_words() {
    let _turn = machine::shared("a_source_above_the_largest_bitrate_is_turned_out_in_words");
    let home = Home::new("passthrough").set("session.max_bitrate", "500k");
    let credentials = home.credentials();
    let daemon = home.serve();
    let mut publisher = Publisher::start(&Source::small(30), &daemon.publish_url(&credentials.secret));
    let status = publisher.wait(LIMIT).expect("a refused encoder ends");
    assert!(!status.success(), "{status}");
    let errors = publisher.errors();
    assert!(errors.contains("it sends more than 500 kbit/s"), "ffmpeg shows why: {errors}");
    daemon.wait_for_log("publisher rejected", LIMIT);
}
