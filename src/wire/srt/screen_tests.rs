use super::super::testing::{self as packets, CONGESTION, FILTER, FLAGS, GROUP, HSREQ, KMREQ, SID, Secret};
use super::*;
use proptest::prelude::*;
use secrecy::ExposeSecret;

const NOW: Duration = Duration::from_secs(600);
const SOCKET: u32 = 4_242;

fn from() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 5_000))
}

fn screen() -> Screen {
    Screen::new([7; 32])
}

/// The cookie that a caller is given at `now`.
fn cookie(now: Duration) -> u32 {
    match screen().look(&packets::induction(SOCKET), from(), now) {
        Screened::Induction(answer) => packets::answer(&answer).2,
        other => panic!("{other:?}"),
    }
}

fn good() -> packets::Conclusion {
    packets::Conclusion::publish(SOCKET, cookie(NOW), "#!::m=publish,r=demo,u=KEY")
}

fn look(packet: &[u8]) -> Screened {
    screen().look(packet, from(), NOW)
}

/// The code that `conclusion` is refused with.
fn refused(conclusion: packets::Conclusion) -> Reject {
    match look(&conclusion.packet()) {
        Screened::Refused(answer, rejection) => {
            assert_eq!(packets::answer(&answer).0, rejection.code.wire());
            assert_eq!(packets::word(&answer, 12), SOCKET, "it goes to the caller's socket");
            rejection.code
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_induction_is_answered_from_itself_and_no_longer_than_it_is() {
    let packet = packets::induction(SOCKET);
    let Screened::Induction(answer) = look(&packet) else { panic!("not an induction") };
    assert!(answer.len() <= packet.len());
    assert_eq!((packets::word(&answer, 12), packets::word(&answer, 16)), (SOCKET, 5));
    assert_eq!(packets::word(&answer, 20), 0x4a17, "no cipher is advertised, and the magic says version 5");
    assert_eq!(packets::answer(&answer).0, 1);
}

#[test]
fn a_conclusion_is_read() {
    let secret = Secret::new("a good passphrase", 24);
    let packet = good().with(CONGESTION, packets::swapped(b"live")).with(KMREQ, secret.material(1)).packet();
    let Screened::Conclusion(conclusion) = look(&packet) else { panic!("not a conclusion") };
    assert_eq!((conclusion.socket(), conclusion.initial().get(), conclusion.timestamp), (SOCKET, 1_000, 20_000));
    assert_eq!(conclusion.stream_id.key.expose_secret(), "KEY");
    assert_eq!(conclusion.stream_id.resource.as_deref(), Some("demo"));
    assert_eq!(conclusion.key_material.as_ref().map(|material| material.length().bytes()), Some(24));
    let latencies = (conclusion.receiver_latency, conclusion.sender_latency);
    assert_eq!(latencies, (Duration::ZERO, Duration::from_millis(120)));

    let answer = conclusion.accept(77, Duration::from_millis(250), Duration::from_millis(120), NOW);
    assert_eq!(packets::answer(&answer).0, CONCLUSION);
    assert_eq!(packets::answer(&answer).1, 77);
    assert_eq!(packets::word(&answer, 64), u32::from(HSRSP) << 16 | 3);
    assert_eq!(packets::word(&answer, 76), 250 << 16 | 120);
    assert_eq!(packets::word(&answer, 80) >> 16, u32::from(KMRSP));
    assert_eq!(&answer[84..], &secret.material(1)[..], "the key material comes back as it was");
}

#[test]
fn a_cookie_is_good_for_its_address_and_port_and_a_minute_or_two() {
    let packet = good().packet();
    let look = |from: ([u8; 4], u16), now| screen().look(&packet, SocketAddr::from(from), now);
    assert!(matches!(look(([192, 0, 2, 1], 5_000), NOW), Screened::Conclusion(_)));
    assert!(matches!(look(([192, 0, 2, 1], 5_000), NOW + COOKIE_STEP), Screened::Conclusion(_)));
    assert!(matches!(look(([192, 0, 2, 1], 5_000), NOW + 2 * COOKIE_STEP), Screened::Ignored("srt_cookie")));
    assert!(matches!(look(([192, 0, 2, 1], 5_001), NOW), Screened::Ignored("srt_cookie")));
    assert!(matches!(look(([192, 0, 2, 2], 5_000), NOW), Screened::Ignored("srt_cookie")));
    let other = Screen::new([8; 32]).look(&packet, from(), NOW);
    assert!(matches!(other, Screened::Ignored("srt_cookie")));
}

#[test]
fn what_cannot_be_taken_is_refused_in_its_code() {
    let without = |kind: u16| {
        let mut conclusion = good();
        conclusion.extensions.retain(|(extension, _)| *extension != kind);
        conclusion
    };
    let with_hsreq = |version, flags| without(HSREQ).with(HSREQ, packets::hsreq(version, flags, 120, 120));
    let with_id = |id: &str| without(SID).with(SID, packets::swapped(id.as_bytes()));
    let mut gcm = Secret::new("a good passphrase", 16).material(1);
    gcm[8] = 3;
    let mut short = Secret::new("a good passphrase", 16).material(1);
    short.truncate(40);
    for (conclusion, code) in [
        (good().with(FILTER, packets::swapped(b"fec,cols:10")), Reject::Filter),
        (good().with(GROUP, vec![0; 8]), Reject::Group),
        (good().with(CONGESTION, packets::swapped(b"file")), Reject::Congestion),
        (good().with(CONGESTION, vec![b'x'; 400]), Reject::Congestion),
        (with_hsreq(0x01_05_01, FLAGS | flags::STREAM), Reject::MessageApi),
        (with_hsreq(0x01_05_01, FLAGS & !flags::TSBPD_SENDER), Reject::Unacceptable),
        (with_hsreq(0x01_02_03, FLAGS), Reject::Version),
        (packets::Conclusion { version: 4, ..good() }, Reject::Version),
        (packets::Conclusion { extension_field: 0, ..good() }, Reject::Version),
        (packets::Conclusion { kind: 0, ..good() }, Reject::Rogue),
        (without(HSREQ), Reject::Rogue),
        (good().with(HSREQ, packets::hsreq(0x01_05_01, FLAGS, 1, 1)), Reject::Rogue),
        (without(HSREQ).with(HSREQ, vec![0; 8]), Reject::Rogue),
        (good().with(KMREQ, gcm), Reject::Crypto),
        (good().with(KMREQ, short), Reject::Crypto),
        (good().with(KMREQ, vec![]), Reject::Crypto),
        (with_id("#!::m=request,r=demo,u=KEY"), Reject::BadMode),
        (with_id("#!::m=bidirectional,r=demo,u=KEY"), Reject::BadMode),
        (with_id("#!::r=demo,u=KEY,t=file"), Reject::NotSupportedMedia),
        (with_id("#!::nonsense"), Reject::BadRequest),
        (with_id(&"x".repeat(513)), Reject::BadRequest),
        (with_id(""), Reject::Unauthorized),
        (without(SID), Reject::Unauthorized),
    ] {
        let text = format!("{conclusion:?}");
        assert_eq!(refused(conclusion), code, "{text}");
    }
}

#[test]
fn a_block_that_is_longer_than_the_datagram_is_refused() {
    let whole = good().packet();
    for length in 0..whole.len() {
        match look(&whole[..length]) {
            Screened::Refused(_, rejection) => assert!(length >= 64, "{rejection}"),
            Screened::Ignored(_) => assert!(length < 64),
            other => panic!("{length} bytes: {other:?}"),
        }
    }
}

#[test]
fn what_belongs_to_no_connection_is_not_answered() {
    for packet in [
        packets::data(1, 0, 99, 0, false, b"media"),
        packets::control(4, 0, 0, 0, 99, &[]),
        packets::control(5, 0, 0, 0, 0, &[]),
        vec![],
        vec![0x80; 15],
    ] {
        assert!(matches!(look(&packet), Screened::Ignored(_)), "{packet:?}");
    }
}

proptest! {
    #[test]
    fn no_datagram_panics_and_no_answer_to_a_stranger_is_longer_than_it(
        mut packet in proptest::collection::vec(any::<u8>(), 64..400), kind in 0..4_usize, good_cookie: bool,
    ) {
        packet[..4].copy_from_slice(&0x8000_0000_u32.to_be_bytes());
        packet[12..16].fill(0);
        packet[36..40].copy_from_slice(&[1_u32, 0xffff_ffff, 0, 77][kind].to_be_bytes());
        if good_cookie {
            packet[16..24].copy_from_slice(&[0, 0, 0, 5, 0, 0, 0, 1]);
            packet[44..48].copy_from_slice(&cookie(NOW).to_be_bytes());
        }
        match look(&packet) {
            Screened::Induction(answer) | Screened::Refused(answer, _) => prop_assert!(answer.len() <= packet.len()),
            Screened::Ignored(_) | Screened::Conclusion(_) => {}
        }
    }

    #[test]
    fn damage_anywhere_in_a_conclusion_is_survived(at in 0..200_usize, with: u8) {
        let mut packet = good().with(KMREQ, Secret::new("a good passphrase", 32).material(3)).packet();
        let at = at % packet.len();
        packet[at] ^= with;
        let _ = look(&packet);
    }
}
