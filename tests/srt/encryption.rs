//! Who encrypts, with what, and who must not.

use crate::doors::{KEY, Listener, OWN_PASSPHRASE, SECRET_KEY, patient_settings};
use crate::publishing::payload;
use crate::srt::caller::Caller;
use crate::srt::packets::Secret;

use millstream::listen::srt::SrtSettings;
use secrecy::SecretString;

const PASSPHRASE: &str = "the listener's passphrase";
const BAD_SECRET: u32 = 10;
const UNSECURE: u32 = 11;

fn with_passphrase(required: bool) -> SrtSettings {
    SrtSettings {
        passphrase: Some(SecretString::from(PASSPHRASE)),
        encryption_required: required,
        ..patient_settings()
    }
}

/// The code that a caller is refused with, or 0.
async fn outcome(listener: &Listener, key: &str, secret: Option<(&str, usize)>) -> u32 {
    let secret = secret.map(|(passphrase, length)| Secret::new(passphrase, length));
    Caller::connect(listener.address, key, secret).await.err().unwrap_or(0)
}

#[tokio::test]
async fn each_key_length_is_read_and_a_new_key_is_taken_on_the_way() {
    for length in [16, 24, 32] {
        let mut listener = Listener::start(with_passphrase(true));
        let secret = Secret::new(PASSPHRASE, length);
        let mut caller = Caller::connect(listener.address, KEY, Some(secret.clone())).await.expect("admitted");
        for n in 0..100 {
            if n == 50 {
                caller.announce(secret.clone(), 3).await;
                caller.serve_until(|caller| !caller.keys_taken.is_empty()).await;
                assert_eq!(caller.keys_taken, [secret.material(3)]);
                caller.key = 2;
            }
            caller.send(&payload(n)).await;
        }
        caller.settle().await;
        caller.shut_down().await;
        let (bytes, holes, _) = listener.media().await;
        assert!(bytes == (0..100).flat_map(payload).collect::<Vec<u8>>() && holes.is_empty(), "{length} bytes");
        listener.stop().await;
    }
}

#[tokio::test]
async fn a_wrong_passphrase_and_encryption_on_one_side_have_their_codes() {
    let plain = Listener::start(patient_settings());
    assert_eq!(outcome(&plain, KEY, None).await, 0);
    assert_eq!(outcome(&plain, KEY, Some((PASSPHRASE, 16))).await, UNSECURE);
    plain.stop().await;

    let optional = Listener::start(with_passphrase(false));
    assert_eq!(outcome(&optional, KEY, None).await, 0);
    assert_eq!(outcome(&optional, KEY, Some((PASSPHRASE, 16))).await, 0);
    assert_eq!(outcome(&optional, KEY, Some(("another passphrase", 16))).await, BAD_SECRET);
    optional.stop().await;

    let required = Listener::start(with_passphrase(true));
    assert_eq!(outcome(&required, KEY, None).await, UNSECURE);
    assert_eq!(outcome(&required, KEY, Some((PASSPHRASE, 32))).await, 0);
    required.stop().await;
}

#[tokio::test]
async fn a_stream_with_a_passphrase_of_its_own_takes_no_other_and_no_plain_caller() {
    for settings in [patient_settings(), with_passphrase(false)] {
        let listener = Listener::start(settings);
        assert_eq!(outcome(&listener, SECRET_KEY, Some((OWN_PASSPHRASE, 24))).await, 0);
        assert_eq!(outcome(&listener, SECRET_KEY, Some((PASSPHRASE, 24))).await, BAD_SECRET);
        assert_eq!(outcome(&listener, SECRET_KEY, None).await, UNSECURE);
        listener.stop().await;
    }
}

#[tokio::test]
async fn wrong_passphrases_are_slowed_down_and_then_not_looked_at() {
    let mut settings = with_passphrase(true);
    settings.attempts.lock_after = 2;
    settings.attempts.lock_for = std::time::Duration::from_secs(3_600);
    let listener = Listener::start(settings);
    let mut codes = Vec::new();
    for _ in 0..3 {
        codes.push(outcome(&listener, KEY, Some(("another passphrase", 16))).await);
    }
    assert_eq!(codes, [BAD_SECRET, BAD_SECRET, 1_402]);
    listener.stop().await;
}
