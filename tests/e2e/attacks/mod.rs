//! Strangers at the door. One daemon plays one stream, the canary, while everything in [`rtmp`], [`rtmps`] and [`http`] is done to it;
//! each attack is a test, and the canary has tests of its own: not a frame and no sound lost, every newcomer let in, nothing
//! left behind.
//!
//! | module | holds |
//! |---|---|
//! | [`site`] | the daemon, the canary, what the system says of the process, newcomers |
//! | [`peer`] | bytes of RTMP made by hand, and sockets with a source address of their own |
//! | [`rtmp`], [`rtmps`], [`http`] | the attacks, by door |
//!
//! All run once, for all tests: [`campaign`]. Each attacker has addresses of its own in 127.0.0.0/8, and each newcomer too.

mod http;
pub mod peer;
mod rtmp;
mod rtmps;
mod site;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::support::machine;
use site::{Canary, Site};

/// Attacks that measure memory: they have the daemon to themselves, one after the other.
const MEASURE: [&str; 4] =
    ["rtmp::silent_connections", "rtmps::half_hellos", "http::silent_connections", "http::held_playlists"];
/// From one newcomer beside an attack to the next, unless being let in takes longer.
const NEWCOMERS_EVERY: Duration = Duration::from_millis(20);
/// The most beside one attack: more than any lasts for.
const MOST_NEWCOMERS: usize = 3_000;

type Attack = fn(Arc<Site>) -> BoxFuture<'static, ()>;

/// What became of one attack: its words when it was not withstood.
type Verdict = Result<(), String>;

/// Everything that happened.
struct Campaign {
    verdicts: BTreeMap<&'static str, Verdict>,
    canary: Canary,
}

/// Declares a test for each attack, and the list of them by door.
macro_rules! attacks {
    ($($door:ident: $($name:ident)*;)*) => {
        $(mod $door {
            $(#[test]
            fn $name() {
                super::super::withstood(concat!(stringify!($door), "::", stringify!($name)));
            })*
        })*

        /// The doors, each with its attacks in order.
        const DOORS: &[&[(&str, super::Attack)]] = &[$(&[
            $((concat!(stringify!($door), "::", stringify!($name)), |site| Box::pin(super::$door::$name(site))),)*
        ]),*];
    };
}

mod withstands {
    attacks! {
        rtmp:
            silent_connections garbage other_protocols half_handshakes slow_handshakes_and_chunks storms wrong_keys
            odd_names huge_metadata create_stream_flood publish_twice deep_amf_before_authentication
            long_messages_before_authentication tiny_chunks chunk_stream_ids acknowledgement_windows chunk_sizes aborts
            extended_timestamps media_that_nobody_carries;
        rtmps: half_hellos slow_hellos whole_hellos_and_leave other_protocols broken_records;
        http:
            silent_connections slow_heads ambiguous_requests huge_heads path_traversal odd_ranges slow_readers
            held_playlists connections_of_one_address api_strangers http2_preface;
    }

    pub(super) fn doors() -> &'static [&'static [(&'static str, super::Attack)]] {
        DOORS
    }
}

/// Runs everything at the first call.
fn campaign() -> &'static Campaign {
    static CAMPAIGN: OnceLock<Campaign> = OnceLock::new();
    CAMPAIGN.get_or_init(|| {
        let _turn = machine::alone("attacks");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        site::raise_open_files();
        let (site, canary) = Canary::start();
        let mut verdicts = BTreeMap::new();
        let measures = |attack: &&(&str, Attack)| MEASURE.contains(&attack.0);
        for attack in withstands::doors().iter().copied().flatten().filter(measures) {
            verdicts.extend([runtime.block_on(one(attack, &site))]);
        }
        let site = &site;
        let lanes = withstands::doors().iter().map(|door| async move {
            let mut verdicts = Vec::new();
            for attack in door.iter().filter(|attack| !measures(attack)) {
                verdicts.push(one(attack, site).await);
            }
            verdicts
        });
        verdicts.extend(runtime.block_on(futures_util::future::join_all(lanes)).into_iter().flatten());
        let canary = canary.finish(site);
        Campaign { verdicts, canary }
    })
}

/// `attack`, and newcomers for as long as it lasts, one after the other. Each must be let in.
async fn beside_newcomers(attack: BoxFuture<'static, ()>, site: &Site) {
    let over = Cell::new(false);
    let attack = async {
        attack.await;
        over.set(true);
    };
    let newcomers = async {
        let mut pace = tokio::time::interval(NEWCOMERS_EVERY);
        for _ in 0..MOST_NEWCOMERS {
            pace.tick().await;
            if over.get() {
                return;
            }
            site.newcomer().await;
        }
    };
    tokio::join!(newcomers, attack);
}

/// One attack with newcomers beside it.
async fn one(&(name, attack): &(&'static str, Attack), site: &Arc<Site>) -> (&'static str, Verdict) {
    let (began, resident) = (std::time::Instant::now(), site.resident_bytes());
    let arrived = site.newcomers();
    let verdict = AssertUnwindSafe(beside_newcomers(attack(site.clone()), site)).catch_unwind().await;
    let (kept, arrived) = (site.resident_bytes().saturating_sub(resident) >> 10, site.newcomers() - arrived);
    eprintln!("{name}: {:?}, {kept} KiB more resident, {arrived} newcomers in this time", began.elapsed());
    let words = |payload: Box<dyn std::any::Any + Send>| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
        format!("{text}\nthe daemon's last lines, newest first:\n{}", site.tail())
    };
    (name, verdict.map(|_| ()).map_err(words))
}

fn withstood(name: &str) {
    if let Err(words) = &campaign().verdicts[name] {
        panic!("{words}");
    }
}

#[test]
fn the_canary_loses_no_frame_and_no_sound() {
    campaign().canary.assert_whole();
}

#[test]
fn every_newcomer_was_let_in() {
    let campaign = campaign();
    assert!(campaign.canary.newcomers >= campaign.verdicts.len(), "{} newcomers", campaign.canary.newcomers);
}

#[test]
fn the_log_has_no_panic_and_no_error_and_no_forged_line() {
    campaign().canary.assert_quiet_log();
}

#[test]
fn no_file_is_made_but_those_of_streams() {
    campaign().canary.assert_only_streams_wrote();
}

#[test]
fn sockets_and_memory_are_given_back() {
    campaign().canary.assert_nothing_is_left();
}
