//! Defaults, precedence, and the whole text of every error message.

use std::time::Duration;

use secrecy::ExposeSecret;

use super::*;
use crate::media::Span;

fn parse(env: &[(&str, &str)], file: &str) -> Result<Config, String> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse(&Overrides::default(), env, Some(("a.toml", file))).map_err(|error| error.to_string())
}

/// The error text of a file.
#[track_caller]
fn refused(file: &str, expected: &str) {
    assert_eq!(parse(&[], file).map(|_| ()), Err(expected.to_owned()));
}

#[test]
fn nothing_given_is_the_documented_defaults() {
    let config = parse(&[], "").expect("the defaults are valid");
    assert_eq!(config.data_dir, PathBuf::from("./data"));
    assert_eq!(config.control_socket(), PathBuf::from("./data/control.sock"));
    assert_eq!(config.http.listen.to_string(), "0.0.0.0:8080");
    assert!(config.http.admin_token.is_none());
    assert_eq!((config.http.header, config.http.stall), (Duration::from_secs(30), Duration::from_secs(20)));
    assert_eq!((config.http.max_connections, config.http.max_connections_per_address), (16_384, 4_096));
    let rtmp = &config.rtmp;
    assert_eq!(rtmp.listen.to_string(), "0.0.0.0:1935");
    let deadlines = [rtmp.handshake, rtmp.connect, rtmp.publish, rtmp.silence];
    assert_eq!(deadlines, [5, 5, 10, 20].map(Duration::from_secs));
    assert_eq!((rtmp.max_connections, rtmp.max_connections_per_address), (1_000, 64));
    assert_eq!(rtmp.max_message_bytes, 8 << 20);
    assert_eq!((&config.rtmps, &config.https), (&None, &None));
    assert_eq!((&config.http.cors_origins, config.http.redirect_to_https), (&CorsOrigins::Any, false));
    let srt = config.srt.as_ref().expect("SRT is on");
    assert_eq!((srt.listen.to_string().as_str(), srt.passphrase.is_none()), ("0.0.0.0:8890", true));
    assert_eq!(srt.encryption, Encryption::Optional);
    assert_eq!((srt.latency_min, srt.latency_max), (Duration::from_millis(120), Duration::from_secs(8)));
    assert_eq!((srt.handshake, srt.idle), (Duration::from_secs(5), Duration::from_secs(5)));
    assert_eq!((srt.max_connections, srt.max_connections_per_address), (1_000, 64));
    assert_eq!(srt.max_buffer_bytes, 16 << 20);
    assert_eq!(config.secrets, Secrets { key_file: "./data/secret.key".into(), make: true });
    assert_eq!(config.storage.url, StorageUrl::File("./data/objects".into()));
    assert_eq!(config.storage.url.to_string(), "file:./data/objects");
    assert_eq!(config.storage.spool, PathBuf::from("./data/spool"));
    assert_eq!(config.storage.spool_max_bytes, 10 << 30);
    assert_eq!((config.hls.segment, config.hls.part), (Span::from_secs(2), Span::from_millis(334)));
    assert_eq!((config.hls.window, config.hls.container), (Span::from_secs(60), Container::Fmp4));
    assert_eq!(config.ladder.preset, preset::Preset::DEFAULT);
    assert_eq!((config.ladder.capacity, config.ladder.over_capacity), (Capacity::Measured, OverCapacity::Degrade));
    assert_eq!((config.session.grace, config.session.max_bitrate), (Duration::from_secs(30), 50_000_000));
    assert_eq!((config.session.on_unpublish, config.session.conflict), (OnUnpublish::Hold, Conflict::Takeover));
    assert_eq!((config.log.format, config.log.level), (LogFormat::Human, LogLevel::Info));
    assert_eq!(config.telemetry.otlp_endpoint, None);
}

#[test]
fn endpoints_of_collectors() {
    for (text, url) in [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
        ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
        ("http://collector.example/otlp/", "http://collector.example/otlp/v1/traces"),
    ] {
        let config = parse(&[("MILLSTREAM_TELEMETRY__OTLP_ENDPOINT", text)], "").expect("valid");
        assert_eq!(config.telemetry.otlp_endpoint.map(|endpoint| endpoint.traces_url()).as_deref(), Some(url));
    }
    let file = "[telemetry]\notlp_endpoint = 'http://c:4318'\n";
    let taken_back = parse(&[("MILLSTREAM_TELEMETRY__OTLP_ENDPOINT", "")], file).expect("valid");
    assert_eq!(taken_back.telemetry.otlp_endpoint, None);
}

#[test]
fn endpoints_that_are_refused() {
    let example = "write \"http://\", a host and a port, as \"http://127.0.0.1:4318\"";
    for (text, why) in [
        ("collector:4318", example),
        ("127.0.0.1:4318", example),
        ("http://", example),
        ("http://host:port", example),
        ("grpc://127.0.0.1:4317", example),
        (
            "https://collector:4318",
            "https is not spoken: send to a collector beside the daemon, as \"http://127.0.0.1:4318\"",
        ),
        (
            "http://user:secret@collector:4318",
            "must hold no credentials: give them as OTEL_EXPORTER_OTLP_HEADERS in the environment",
        ),
        ("http://collector:4318/?a=b", "must end with its path: leave out what begins with \"?\" or \"#\""),
        ("http://collector:4318/v1/traces", "names /v1/traces, which is added to it: leave it out"),
    ] {
        let file = format!("[telemetry]\notlp_endpoint = \"{text}\"\n");
        refused(&file, &format!("a.toml:2: telemetry.otlp_endpoint: {why}"));
    }
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file() {
    let file = "data_dir = 'f'\n[hls]\nsegment = '4s'\npart = '1s'\n";
    let env =
        [("MILLSTREAM_DATA_DIR", "e"), ("MILLSTREAM_HLS__SEGMENT", "6s"), ("HOME", "/"), ("MILLSTREAM_CONFIG", "x")];
    let config = parse(&env, file).expect("valid");
    assert_eq!((config.hls.segment, config.hls.part), (Span::from_secs(6), Span::from_secs(1)));
    assert_eq!(config.data_dir, PathBuf::from("e"));
    let flags = Overrides { data_dir: Some("/flag".to_owned()) };
    let config = Config::parse(&flags, [], Some(("a.toml", file))).expect("valid");
    assert_eq!(config.data_dir, PathBuf::from("/flag"));
    assert_eq!(config.storage.url.to_string(), "file:/flag/objects");
}

#[test]
fn storage_urls() {
    for (text, url) in [
        ("memory:", StorageUrl::Memory),
        ("file:x", StorageUrl::File("x".into())),
        ("file:/x y", StorageUrl::File("/x y".into())),
        ("file:///x", StorageUrl::File("/x".into())),
    ] {
        let config = parse(&[("MILLSTREAM_STORAGE__URL", text)], "").expect("valid");
        assert_eq!(config.storage.url, url, "{text}");
    }
}

#[test]
fn the_admin_token_is_never_printed() {
    let config = parse(&[("MILLSTREAM_HTTP__ADMIN_TOKEN", "0123456789abcdef")], "").expect("valid");
    assert!(!format!("{config:?}").contains("0123456789abcdef"));
    refused(
        "[http]\nadmin_token = 'hunter2'",
        "a.toml:2: http.admin_token: must have 16 to 256 characters; make one with: openssl rand -hex 32",
    );
    refused(
        "[http]\nadmin_token = 'correct horse battery staple'",
        "a.toml:2: http.admin_token: must be printable ASCII without spaces; make one with: openssl rand -hex 32",
    );
}

#[test]
fn unknown_names_are_answered_with_the_nearest() {
    refused("[hls]\nsegmnt = '2s'", "a.toml:2: unknown key hls.segmnt; did you mean hls.segment?");
    refused("\n\n[htpp]\nlisten = 1", "a.toml:3: unknown section [htpp]; did you mean [http]?");
    refused("datadir = 'x'", "a.toml:1: unknown key datadir; did you mean data_dir?");
    refused("grace = '5s'", "a.toml:1: unknown key grace; did you mean session.grace?");
    refused("http = 1", "a.toml:1: unknown key http; did you mean data_dir?");
    for (name, expected) in [
        ("MILLSTREAM_HLS__SEGMNT", "MILLSTREAM_HLS__SEGMNT: no such key; did you mean MILLSTREAM_HLS__SEGMENT?"),
        ("MILLSTREAM_HTTP_LISTEN", "MILLSTREAM_HTTP_LISTEN: no such key; did you mean MILLSTREAM_HTTP__LISTEN?"),
    ] {
        assert_eq!(parse(&[(name, "1")], "").map(|_| ()), Err(expected.to_owned()));
    }
}

#[test]
fn files_that_are_not_toml() {
    refused("[http]\nlisten = ", "a.toml:2: not valid TOML: string values must be quoted, expected literal string");
    refused("[http]\n[http]\n", "a.toml:2: not valid TOML: duplicate key");
}

#[test]
fn values_of_another_type() {
    refused(
        "[http]\nlisten = 8080",
        "a.toml:2: http.listen: expected an address in quotes, as \"0.0.0.0:8080\", found a number",
    );
    refused("[hls]\nsegment = 2", "a.toml:2: hls.segment: expected a duration in quotes, as \"2s\", found a number");
    refused(
        "[hls]\nsegment = 2.5",
        "a.toml:2: hls.segment: expected a duration in quotes, as \"2s\", found a number with a fraction",
    );
    refused(
        "[storage]\nspool_max = 10",
        "a.toml:2: storage.spool_max: expected a size in quotes, as \"10GiB\", found a number",
    );
    refused(
        "[session]\nmax_bitrate = 50",
        "a.toml:2: session.max_bitrate: expected a bitrate in quotes, as \"50M\", found a number",
    );
    refused("data_dir = true", "a.toml:1: data_dir: expected a text in quotes, found true or false");
    refused("[ladder]\npreset = []", "a.toml:2: ladder.preset: expected a text in quotes, found a list");
    refused("[ladder.preset]", "a.toml:1: ladder.preset: expected a text in quotes, found a table");
    refused("data_dir = 2026-11-21", "a.toml:1: data_dir: expected a text in quotes, found a date");
    refused("[rtmp]\nmax_connections = '5'", "a.toml:2: rtmp.max_connections: expected a whole number, found a text");
    refused(
        "[rtmp]\nmax_connections = 0x10",
        "a.toml:2: rtmp.max_connections: expected a whole number, found a number",
    );
}

#[test]
fn values_out_of_range() {
    for (file, expected) in [
        ("data_dir = ''", "a.toml:1: data_dir: must not be empty"),
        ("[rtmp]\nsilence = '0s'", "a.toml:2: rtmp.silence: 0s is out of range: write 1s to 10m"),
        ("[rtmp]\nhandshake = '11m'", "a.toml:2: rtmp.handshake: 11m is out of range: write 1s to 10m"),
        ("[rtmp]\nconnect = '500ms'", "a.toml:2: rtmp.connect: 500ms is out of range: write 1s to 10m"),
        ("[rtmp]\npublish = '1h'", "a.toml:2: rtmp.publish: 1h is out of range: write 1s to 10m"),
        (
            "[rtmp]\nmax_connections_per_address = 100001",
            "a.toml:2: rtmp.max_connections_per_address: 100001 is out of range: write 1 to 100000",
        ),
        ("[http]\nheader = '0s'", "a.toml:2: http.header: 0s is out of range: write 1s to 10m"),
        ("[http]\nstall = '601s'", "a.toml:2: http.stall: 601s is out of range: write 1s to 10m"),
        ("[http]\nmax_connections = 0", "a.toml:2: http.max_connections: 0 is out of range: write 1 to 1000000"),
        (
            "[http]\nmax_connections_per_address = 1000001",
            "a.toml:2: http.max_connections_per_address: 1000001 is out of range: write 1 to 1000000",
        ),
        ("[rtmp]\nmax_connections = 0", "a.toml:2: rtmp.max_connections: 0 is out of range: write 1 to 100000"),
        ("[rtmp]\nmax_connections = -1", "a.toml:2: rtmp.max_connections: \"-1\" is not a whole number"),
        ("[rtmp]\nmax_message = '1KiB'", "a.toml:2: rtmp.max_message: 1KiB is out of range: write 64KiB to 16MiB"),
        ("[rtmp]\nmax_message = '1GiB'", "a.toml:2: rtmp.max_message: 1GiB is out of range: write 64KiB to 16MiB"),
        ("[srt]\nlatency_min = '19ms'", "a.toml:2: srt.latency_min: 19ms is out of range: write 20ms to 8s"),
        ("[srt]\nlatency_max = '9s'", "a.toml:2: srt.latency_max: 9s is out of range: write 20ms to 8s"),
        (
            "[srt]\nlatency_max = '100ms'",
            "a.toml:2: srt.latency_max: 100ms must not be less than srt.latency_min, which is 120ms",
        ),
        ("[srt]\nidle = '0s'", "a.toml:2: srt.idle: 0s is out of range: write 1s to 10m"),
        ("[srt]\nhandshake = '11m'", "a.toml:2: srt.handshake: 11m is out of range: write 1s to 10m"),
        ("[srt]\nmax_connections = 0", "a.toml:2: srt.max_connections: 0 is out of range: write 1 to 100000"),
        (
            "[srt]\nmax_connections_per_address = 100001",
            "a.toml:2: srt.max_connections_per_address: 100001 is out of range: write 1 to 100000",
        ),
        ("[srt]\nmax_buffer = '1MB'", "a.toml:2: srt.max_buffer: 1MB is out of range: write 1MiB to 256MiB"),
        ("[srt]\nmax_buffer = '1GiB'", "a.toml:2: srt.max_buffer: 1GiB is out of range: write 1MiB to 256MiB"),
        (
            "[srt]\nencryption = 'require'",
            "a.toml:2: srt.encryption: \"require\" is not one of optional, required; did you mean \"required\"?",
        ),
        ("[secrets]\nkey_file = ''", "a.toml:2: secrets.key_file: must not be empty"),
        ("[storage]\nspool_max = '1MB'", "a.toml:2: storage.spool_max: 1MB is too small: write 64MiB or more"),
        ("[storage]\nspool = ''", "a.toml:2: storage.spool: must not be empty"),
        ("[hls]\nsegment = '1500ms'", "a.toml:2: hls.segment: 1500ms does not fit: write whole seconds from 1s to 10s"),
        ("[hls]\nsegment = '11s'", "a.toml:2: hls.segment: 11s does not fit: write whole seconds from 1s to 10s"),
        ("[hls]\npart = '50ms'", "a.toml:2: hls.part: 50ms is too short: write 100ms or more"),
        ("[hls]\npart = '2s'", "a.toml:2: hls.part: 2s must be shorter than hls.segment, which is 2s"),
        ("[hls]\nwindow = '5s'", "a.toml:2: hls.window: 5s is too short: 3 segments of 2s must fit"),
        ("[hls]\nwindow = '13h'", "a.toml:2: hls.window: 13h is too long: write 12h or less"),
        (
            "[hls]\ncontainer = 'ts'",
            "a.toml:2: hls.container: \"ts\" comes with a later version; this one writes \"fmp4\"",
        ),
        ("[hls]\ncontainer = 'cmaf'", "a.toml:2: hls.container: \"cmaf\" is not one of fmp4; did you mean \"fmp4\"?"),
        ("[ladder]\npreset = ''", "a.toml:2: ladder.preset: must not be empty"),
        (
            "[ladder]\ncapacity = 'auto'",
            "a.toml:2: ladder.capacity: \"auto\" is no capacity: write \"measure\", \"unlimited\" or megapixels per second as \
             \"240\"",
        ),
        (
            "[ladder]\ncapacity = '0'",
            "a.toml:2: ladder.capacity: \"0\" is no capacity: write \"measure\", \"unlimited\" or megapixels per second as \
             \"240\"",
        ),
        (
            "[ladder]\nover_capacity = 'refused'",
            "a.toml:2: ladder.over_capacity: \"refused\" is not one of degrade, refuse; did you mean \"refuse\"?",
        ),
        ("[ladder]\npatience = '199ms'", "a.toml:2: ladder.patience: 199ms is out of range: write 200ms to 30s"),
        ("[ladder]\npatience = '31s'", "a.toml:2: ladder.patience: 31s is out of range: write 200ms to 30s"),
        ("[session]\nmax_bitrate = '499k'", "a.toml:2: session.max_bitrate: 499k is not between 500k and 400M"),
        ("[session]\nmax_bitrate = '401M'", "a.toml:2: session.max_bitrate: 401M is not between 500k and 400M"),
        (
            "[session]\nmax_bitrate = '6 Mbit/s'",
            "a.toml:2: session.max_bitrate: \"6 Mbit/s\" is not a bitrate: write a whole number and \"k\" or \"M\", as \"6000k\" \
             or \"50M\"",
        ),
        ("[session]\ngrace = '31m'", "a.toml:2: session.grace: 31m is too long: write 30m or less"),
        (
            "[session]\non_unpublish = 'stop'",
            "a.toml:2: session.on_unpublish: \"stop\" is not one of hold, end; did you mean \"hold\"?",
        ),
        (
            "[session]\nconflict = 'reejct'",
            "a.toml:2: session.conflict: \"reejct\" is not one of takeover, reject; did you mean \"reject\"?",
        ),
        ("[log]\nformat = 'jsn'", "a.toml:2: log.format: \"jsn\" is not one of human, json; did you mean \"json\"?"),
        (
            "[log]\nlevel = 'warning'",
            "a.toml:2: log.level: \"warning\" is not one of error, warn, info, debug, trace; did you mean \"warn\"?",
        ),
    ] {
        refused(file, expected);
    }
}

#[test]
fn storage_urls_that_cannot_be() {
    for (url, expected) in [
        ("s3://key:secret@bucket", "s3: comes with a later version; write file: or memory:"),
        ("gs://bucket", "gs: comes with a later version; write file: or memory:"),
        ("file:", "\"file:\" names no folder"),
        ("file://host/x", "\"file://host/x\" names a host: write one slash or three after \"file:\""),
        ("/x", "write \"file:\" and a folder, as \"file:/var/lib/millstream/objects\", or \"memory:\""),
        ("memory:x", "write \"file:\" and a folder, as \"file:/var/lib/millstream/objects\", or \"memory:\""),
    ] {
        refused(&format!("[storage]\nurl = '{url}'"), &format!("a.toml:2: storage.url: {expected}"));
    }
}

#[test]
fn two_listeners_need_two_ports() {
    refused(
        "[http]\nlisten = '127.0.0.1:9'\n[rtmp]\nlisten = '127.0.0.1:9'",
        "a.toml:4: rtmp.listen: 127.0.0.1:9 is taken by http.listen already: give each its own port",
    );
    let certificate = "cert = 'c.pem'\nkey = 'k.pem'";
    refused(
        &format!("[rtmp]\nlisten = '127.0.0.1:9'\n[rtmps]\n{certificate}\nlisten = '127.0.0.1:9'"),
        "a.toml:6: rtmps.listen: 127.0.0.1:9 is taken by rtmp.listen already: give each its own port",
    );
    parse(&[], "[rtmps]\nlisten = '0.0.0.0:1935'").expect("it does not listen");
    parse(&[], "[http]\nlisten = '[::1]:0'\n[rtmp]\nlisten = '[::1]:0'").expect("port 0 is a different one each time");
}

#[test]
fn srt_has_its_own_ports_and_an_empty_address_switches_it_off() {
    let config = parse(&[], "[http]\nlisten = '127.0.0.1:9'\n[srt]\nlisten = '127.0.0.1:9'").expect("UDP is not TCP");
    assert_eq!(config.srt.expect("on").listen.port(), 9);
    let file = "[srt]\nlisten = '127.0.0.1:9'\n";
    assert!(parse(&[("MILLSTREAM_SRT__LISTEN", "")], file).expect("valid").srt.is_none());
    refused(
        "[srt]\nlisten = ''\nlatency_min = '5ms'",
        "a.toml:3: srt.latency_min: 5ms is out of range: write 20ms to 8s",
    );
}

#[test]
fn the_srt_passphrase_is_never_printed() {
    let secret = "correct horse battery staple";
    let file = format!("[srt]\npassphrase = '{secret}'\n");
    let config = parse(&[], &file).expect("valid");
    assert!(!format!("{config:?}").contains(secret));
    let passphrase = config.srt.and_then(|srt| srt.passphrase).expect("given");
    assert_eq!(passphrase.expose_secret(), secret);
    let taken_back = parse(&[("MILLSTREAM_SRT__PASSPHRASE", "")], &file).expect("valid");
    assert!(taken_back.srt.expect("on").passphrase.is_none());
    for (length, bytes) in [("x".repeat(9), 9), ("x".repeat(80), 80), ("\u{e9}".repeat(40), 80)] {
        refused(
            &format!("[srt]\npassphrase = '{length}'"),
            &format!(
                "a.toml:2: srt.passphrase: must have 10 to 79 bytes, and has {bytes}; make one with: openssl rand -hex 16"
            ),
        );
    }
    for fits in ["x".repeat(10), "x".repeat(79)] {
        parse(&[], &format!("[srt]\npassphrase = '{fits}'")).expect("it fits");
    }
    refused(
        "[srt]\npassphrase = \"hunter2hunter2\\n\"",
        "a.toml:2: srt.passphrase: must not hold control characters such as line ends; make one with: openssl rand -hex 16",
    );
}

#[test]
fn a_key_file_that_is_named_is_not_made() {
    let config = parse(&[], "data_dir = 'd'\n[secrets]\nkey_file = '/run/secrets/millstream.key'").expect("valid");
    assert_eq!(config.secrets, Secrets { key_file: "/run/secrets/millstream.key".into(), make: false });
    let config = parse(&[], "data_dir = 'd'").expect("valid");
    assert_eq!(config.secrets, Secrets { key_file: "d/secret.key".into(), make: true });
}

fn pair() -> CertificatePaths {
    CertificatePaths { cert: "c.pem".into(), key: "k.pem".into() }
}

#[test]
fn rtmps_is_on_when_certificate_and_key_are_given() {
    let file = "[rtmps]\ncert = 'c.pem'\nkey = 'k.pem'\n";
    let config = parse(&[], file).expect("valid");
    let listen = "0.0.0.0:1936".parse().expect("an address");
    assert_eq!(config.rtmps, Some(Rtmps { listen, certificate: pair() }));
    let taken_back = [("MILLSTREAM_RTMPS__CERT", ""), ("MILLSTREAM_RTMPS__KEY", "")];
    assert_eq!(parse(&taken_back, file).expect("valid").rtmps, None);
    assert_eq!(parse(&[], "[rtmps]\nlisten = '[::1]:1936'").expect("valid").rtmps, None, "an address alone is none");
}

#[test]
fn half_of_a_certificate_is_refused() {
    let without_key = "rtmps.cert: wants rtmps.key beside it, the file with its private key";
    refused("[rtmps]\ncert = 'c.pem'", &format!("a.toml:2: {without_key}"));
    let without_cert = "rtmps.key: wants rtmps.cert beside it, the file with its certificate";
    refused("[rtmps]\nkey = 'k.pem'", &format!("a.toml:2: {without_cert}"));
    let taken_back = [("MILLSTREAM_RTMPS__KEY", "")];
    let both = parse(&taken_back, "[rtmps]\ncert = 'c.pem'\nkey = 'k.pem'").map(|_| ());
    assert_eq!(both, Err(format!("a.toml:2: {without_key}")));
}

#[test]
fn https_is_on_when_it_has_an_address_and_a_certificate() {
    let file = "[https]\nlisten = '[::]:8443'\ncert = 'c.pem'\nkey = 'k.pem'\n";
    let listen = "[::]:8443".parse().expect("an address");
    assert_eq!(parse(&[], file).expect("valid").https, Some(Https { listen, certificate: pair() }));
    assert_eq!(parse(&[("MILLSTREAM_HTTPS__LISTEN", "")], file).expect("valid").https, None);
    refused(
        "[https]\ncert = 'c.pem'\nkey = 'k.pem'",
        "a.toml:2: https.cert: wants https.listen beside it, as \"0.0.0.0:8443\"",
    );
    refused(
        "[https]\nlisten = '[::]:8443'",
        "a.toml:2: https.listen: wants https.cert and https.key beside it, a certificate and its key",
    );
    refused(
        "[https]\nlisten = '[::]:8443'\nkey = 'k.pem'",
        "a.toml:3: https.key: wants https.cert beside it, the file with its certificate",
    );
    let wants = "http.redirect_to_https: wants https.listen, https.cert and https.key";
    refused("[http]\nredirect_to_https = true", &format!("a.toml:2: {wants}"));
    assert!(parse(&[], &format!("{file}[http]\nredirect_to_https = true")).expect("valid").http.redirect_to_https);
    let off = [("MILLSTREAM_HTTP__REDIRECT_TO_HTTPS", "false")];
    assert!(!parse(&off, "[http]\nredirect_to_https = true").expect("valid").http.redirect_to_https);
    refused(
        "[http]\nredirect_to_https = 'yes'",
        "a.toml:2: http.redirect_to_https: expected true or false, found a text",
    );
    let yes = [("MILLSTREAM_HTTP__REDIRECT_TO_HTTPS", "yes")];
    let expected = "MILLSTREAM_HTTP__REDIRECT_TO_HTTPS: \"yes\" is neither true nor false";
    assert_eq!(parse(&yes, "").map(|_| ()), Err(expected.to_owned()));
    refused(
        "[rtmp]\nlisten = '[::]:8443'\n[https]\nlisten = '[::]:8443'\ncert = 'c.pem'\nkey = 'k.pem'",
        "a.toml:4: https.listen: [::]:8443 is taken by rtmp.listen already: give each its own port",
    );
}

#[test]
fn origins_are_written_as_browsers_write_them() {
    let origins = |file: &str| parse(&[], file).expect("valid").http.cors_origins;
    let listed = |origins: &[&str]| CorsOrigins::Listed(origins.iter().map(|&origin| origin.to_owned()).collect());
    assert_eq!(origins(""), CorsOrigins::Any);
    assert_eq!(origins("[http]\ncors_origins = ['*']"), CorsOrigins::Any);
    assert_eq!(origins("[http]\ncors_origins = []"), listed(&[]));
    let two = ["https://example.org", "http://localhost:3000"];
    assert_eq!(origins("[http]\ncors_origins = ['https://example.org', 'http://localhost:3000']"), listed(&two));
    let env = [("MILLSTREAM_HTTP__CORS_ORIGINS", "https://example.org, http://localhost:3000")];
    assert_eq!(parse(&env, "").expect("valid").http.cors_origins, listed(&two));
    for (value, expected) in [
        ("['*', 'https://a.example']", "\"*\" lets all: write it alone, or leave it out"),
        ("['example.org']", "\"example.org\" is no origin: write scheme and host, as \"https://example.org\""),
        ("['ftp://a.example']", "\"ftp://a.example\" is no origin: write scheme and host, as \"https://example.org\""),
        ("['null']", "\"null\" is no origin: write scheme and host, as \"https://example.org\""),
        ("['https://a.example/']", "\"https://a.example/\" is not how browsers write it: write \"https://a.example\""),
        ("['https://A.example']", "\"https://A.example\" is not how browsers write it: write \"https://a.example\""),
        (
            "['https://a.example:443']",
            "\"https://a.example:443\" is not how browsers write it: write \"https://a.example\"",
        ),
        ("'*'", "expected a list of texts, as [\"a\", \"b\"], found a text"),
        ("[1]", "expected texts in the list, found a number"),
        ("['a,b']", "\"a,b\" holds a comma: write one text for each"),
    ] {
        refused(&format!("[http]\ncors_origins = {value}"), &format!("a.toml:2: http.cors_origins: {expected}"));
    }
}

#[test]
fn a_limit_that_a_default_breaks_blames_the_default() {
    refused(
        "[hls]\nsegment = '10s'\nwindow = '29s'",
        "a.toml:3: hls.window: 29s is too short: 3 segments of 10s must fit",
    );
    let env = [("MILLSTREAM_HLS__PART", "5s")];
    let expected = "MILLSTREAM_HLS__PART: 5s must be shorter than hls.segment, which is 2s";
    assert_eq!(parse(&env, "").map(|_| ()), Err(expected.to_owned()));
}

#[test]
fn all_errors_are_told_at_once() {
    let file = "[hls]\nsegment = 'x'\nwidow = '60s'\n[log]\nlevel = 'inf'\n";
    let expected = "a.toml:3: unknown key hls.widow; did you mean hls.window?\n\
                    a.toml:2: hls.segment: \"x\" is not a duration: write a whole number and a unit, as \"334ms\", \"2s\", \
                    \"10m\", \"1h\" or \"30d\"\n\
                    a.toml:5: log.level: \"inf\" is not one of error, warn, info, debug, trace; did you mean \"info\"?";
    refused(file, expected);
}
