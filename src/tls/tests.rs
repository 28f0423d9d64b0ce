//! Certificates that cannot be used, and what the daemon says while files change. Connections are tested over sockets in
//! `tests/rtmp/tls.rs` and `tests/web/tls.rs`.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use metrics::with_local_recorder;
use rcgen::{CertificateParams, CertifiedKey, KeyPair};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::renewal::Renewal;
use super::*;
use crate::clock::ManualClock;
use crate::clock::testing::TrapClock;
use crate::media::WallTime;
use crate::telemetry::Metrics;

/// When the certificates of these tests expire.
const NOT_AFTER: i64 = 1_800_000_000;

struct Files {
    folder: TempDir,
    files: CertificateFiles,
}

fn pair() -> (String, String) {
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    params.not_after = OffsetDateTime::from_unix_timestamp(NOT_AFTER).expect("a date");
    let signing_key = KeyPair::generate().expect("a key");
    let cert = params.self_signed(&signing_key).expect("a certificate");
    let CertifiedKey { cert, signing_key } = CertifiedKey { cert, signing_key };
    (cert.pem(), signing_key.serialize_pem())
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let files = CertificateFiles { cert: folder.path().join("c.pem"), key: folder.path().join("k.pem") };
        let made = Files { folder, files };
        made.put(&pair());
        made
    }

    fn put(&self, (cert, key): &(String, String)) {
        fs::write(&self.files.cert, cert).and_then(|()| fs::write(&self.files.key, key)).expect("written");
    }

    async fn error(&self) -> String {
        let error = self.files.load().await.expect_err("it cannot be used").to_string();
        error.replace(&self.folder.path().display().to_string(), "DIR")
    }
}

#[tokio::test]
async fn a_good_pair_says_until_when() {
    let certificate = Files::new().files.load().await.expect("a good pair");
    assert_eq!(certificate.not_after(), WallTime::from_unix_millis(NOT_AFTER * 1_000));
    assert!(!certificate.has_expired(WallTime::from_unix_millis(NOT_AFTER * 1_000)));
    assert!(certificate.has_expired(WallTime::from_unix_millis(NOT_AFTER * 1_000 + 1)));
}

#[tokio::test]
async fn what_is_wrong_with_the_files_is_told_and_never_what_they_hold() {
    let files = Files::new();
    let (cert, key) = pair();
    let swapped = (key.clone(), cert.clone());
    files.put(&swapped);
    assert_eq!(files.error().await, "DIR/c.pem holds no certificate in PEM (-----BEGIN CERTIFICATE-----)");
    files.put(&(cert.clone(), cert.clone()));
    assert_eq!(files.error().await, "DIR/k.pem holds no private key in PEM (-----BEGIN PRIVATE KEY-----)");
    files.put(&(cert.clone(), pair().1));
    assert_eq!(files.error().await, "the key in DIR/k.pem is not that of the first certificate in DIR/c.pem");
    let half = cert[..cert.len() / 2].to_owned();
    files.put(&(half, key.clone()));
    let broken = "DIR/c.pem holds a certificate that cannot be read: was the file written whole?";
    assert_eq!(files.error().await, broken);
    files.put(&("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(), key.clone()));
    assert_eq!(files.error().await, broken);
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    files.put(&(cert.clone(), encrypted));
    assert_eq!(
        files.error().await,
        "the key in DIR/k.pem wants a passphrase; write it without one: openssl pkey -in DIR/k.pem -out key.pem"
    );
    files.put(&(cert.clone(), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned()));
    assert_eq!(
        files.error().await,
        "the key in DIR/k.pem cannot be used: RSA of 2048 bits or more, ECDSA (P-256, P-384) and Ed25519 can"
    );
    files.put(&(cert.clone(), "x".repeat((1 << 20) + 1)));
    assert_eq!(files.error().await, "DIR/k.pem is not a file of 1 MiB at most");
    fs::remove_file(&files.files.key).expect("removed");
    let words = "may the daemon's user read it, and enter its folder?";
    assert_eq!(files.error().await, format!("cannot read DIR/k.pem: No such file or directory (os error 2); {words}"));
    let folder = CertificateFiles { cert: PathBuf::from("/"), key: files.files.key.clone() };
    let error = folder.load().await.expect_err("a folder").to_string();
    assert_eq!(error, "/ is not a file of 1 MiB at most");
}

#[test]
fn a_bad_pair_raises_the_alarm_at_the_second_look_and_a_good_one_ends_it() {
    let (metrics, recorder) = Metrics::detached().expect("a recorder");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let clock = ManualClock::new(WallTime::from_unix_millis(0));
    let files = Files::new();
    let begun = Renewal::begin(files.files.clone(), LOOK_EVERY, "rtmps", clock);
    let mut renewal = with_local_recorder(&recorder, || runtime.block_on(begun)).expect("a good pair");
    let mut look = || {
        runtime.block_on(renewal.look());
        let text = metrics.render();
        let stale = "\nmillstream_tls_certificate_stale{protocol=\"rtmps\"} ";
        (text.split_once(stale).expect("the gauge").1.starts_with('1'), Arc::as_ptr(&renewal.certificate.certified))
    };
    let (raised, old) = look();
    assert!(!raised);
    let (cert, key) = pair();
    // The certificate is there, its key is not yet.
    fs::write(&files.files.cert, &cert).expect("written");
    assert_eq!(look(), (false, old), "it may be on its way");
    assert_eq!(look(), (true, old), "it is not");
    assert_eq!(look(), (true, old));
    fs::write(&files.files.key, &key).expect("written");
    let (raised, new) = look();
    assert!(!raised && new != old);
    assert_eq!(look(), (false, new));
    fs::remove_file(&files.files.key).expect("removed");
    assert_eq!((look(), look()), ((false, new), (true, new)));
    fs::write(&files.files.key, &key).expect("written");
    assert_eq!(look(), (false, new), "what is in use is there again");
    let expires = format!("millstream_tls_certificate_expires_timestamp_seconds{{protocol=\"rtmps\"}} {NOT_AFTER}\n");
    assert!(metrics.render().contains(&expires), "{}", metrics.render());
}

#[tokio::test]
async fn a_look_that_panics_is_counted_and_the_next_one_takes_the_new_certificate() {
    let (metrics, recorder) = Metrics::detached().expect("a recorder");
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let trap = TrapClock::in_front_of(ManualClock::new(WallTime::from_unix_millis(0)));
    let files = Files::new();
    let begun = Renewal::begin(files.files.clone(), Duration::from_millis(1), "rtmps", trap.clone());
    let renewal = begun.await.expect("a good pair");
    let in_use = renewal.in_use();
    let old = in_use.current();
    trap.set();
    let stop = CancellationToken::new();
    let looking = tokio::spawn(renewal.run(stop.clone()));
    let until = async |what: &str, happened: &dyn Fn() -> bool| {
        let happens = async {
            while !happened() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), happens).await.unwrap_or_else(|_| panic!("never: {what}"));
    };
    let counted = "\nmillstream_stage_panics_total{stage=\"certificate\"} 1\n";
    until("the panic is counted", &|| metrics.render().contains(counted)).await;
    files.put(&pair());
    until("the new one is in use", &|| !Arc::ptr_eq(&old, &in_use.current())).await;
    stop.cancel();
    looking.await.expect("no panic");
}
