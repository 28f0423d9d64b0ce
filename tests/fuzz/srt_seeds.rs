//! Seeds of the targets `srt` and `stream_id`.

#[path = "../support/srt/packets.rs"]
mod packets;

use packets::{CONGESTION, Conclusion, FILTER, GROUP, KMREQ, Secret, control, data};

/// Hands each seed to `put`: its target, its name, its bytes.
pub fn all(mut put: impl FnMut(&str, &str, Vec<u8>)) {
    for (name, id) in [
        ("key", "ms_key"),
        ("path", "live/key"),
        ("contract", "#!::m=publish,r=demo,u=key"),
        ("nested", "#!:{m=publish,r=demo,u=key}"),
        ("encoded", "%23!::m=publish%2Cr=demo%2Cu=key"),
        ("password", "#!::m=publish,r=live/demo,u=,s=key#tail"),
        ("host", "#!::h=host.example,r=live/key,m=publish"),
        ("vendor", "#!::bmd_uuid=1,bmd_name=a b,u=key,t=stream"),
        ("watch", "#!::m=request,r=demo"),
        ("colons", "publish:live/demo:user:key:a=b"),
    ] {
        put("stream_id", name, id.as_bytes().to_vec());
    }
    let good = || Conclusion::publish(7, 0, "#!::m=publish,r=demo,u=key");
    let secret = |length| Secret::new("a passphrase of seeds", length);
    put("srt", "induction", [vec![0], packets::induction(7)].concat());
    for (name, conclusion) in [
        ("conclusion", good()),
        ("encrypted-16", good().with(KMREQ, secret(16).material(1))),
        ("encrypted-32", good().with(KMREQ, secret(32).material(3))),
        ("filter", good().with(FILTER, packets::swapped(b"fec,cols:10,rows:5"))),
        ("group", good().with(GROUP, vec![0; 8])),
        ("congestion", good().with(CONGESTION, packets::swapped(b"live"))),
        ("rendezvous", Conclusion { kind: 0, ..good() }),
    ] {
        put("srt", name, [vec![1], conclusion.packet()].concat());
    }
    put("srt", "connection", [vec![2, 120, 0x7f, 0xff, 0xff, 0xf0, 0xff, 0xff, 0xf0, 0], script(None)].concat());
    for length in [16, 24] {
        let secret = secret(length);
        let material = secret.material(1);
        let begin = [&[3, material.len() as u8], &material[..], &[50, 0x7f, 0xff, 0xff, 0xf0, 0, 0, 0, 0]].concat();
        put("srt", &format!("connection-{length}"), [begin, script(Some(&secret))].concat());
    }
}

/// A connection with losses, repetitions, a new key, and everything that a receiver must leave out. Numbers wrap on the way.
fn script(secret: Option<&Secret>) -> Vec<u8> {
    const FIRST: u32 = 0x7fff_fff0;
    let mut script = Vec::new();
    let mut say = |packet: Vec<u8>, wait: u8| {
        script.extend([packet.len() as u8, wait]);
        script.extend(packet);
    };
    for n in [0, 1, 2, 5, 3, 4, 4, 9, 200, 10, 30, 31, 7, 6, 8, 320, 321, 322] {
        let serial = (FIRST + n) & 0x7fff_ffff;
        let (key, payload) = match secret {
            Some(secret) => (1, secret.encrypted(1, serial, &[0x47; 16])),
            None => (0, vec![0x47; 16]),
        };
        say(data(serial, 0xffff_f000_u32.wrapping_add(n * 1_000), 5, key, n % 3 == 0, &payload), (n % 40) as u8);
        say(control(6, 0, n + 1, n * 1_000, 5, &[0; 4]), 1);
    }
    for (kind, content) in [(1, vec![0; 4]), (2, vec![0; 28]), (3, vec![0xff; 12]), (4, vec![]), (8, vec![])] {
        say(control(kind, 0, 7, 0, 5, &content), 10);
    }
    say(control(7, 0, 1, 0, 5, &[0, 0, 0, 0, 0, 0, 0, 99]), 3);
    if let Some(secret) = secret {
        say(control(0x7fff, 3, 0, 0, 5, &secret.material(3)), 3);
    }
    say(packets::induction(7), 250);
    say(control(5, 0, 0, 0, 5, &[0; 4]), 0);
    script
}
