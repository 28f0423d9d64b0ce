//! A start reads its journals once, in memory that does not grow with them.
//!
//! `REPLAY_MIB=4096 cargo test --release --test store_replay -- --nocapture` tells how long a larger spool takes; the disk must have
//! room for it, twice.

mod store_support;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream::media::segment::RenditionId;
use millstream::media::{Output, Part, Timestamp};
use millstream::store::{AppendFile, Files, OsFiles, SessionWriter};
use store_support::*;

/// Journals that every run reads.
const MIB: u64 = 192;
/// A part of 334 ms of 12 Mbit/s.
const PART_BYTES: usize = 512 << 10;
/// What is read at once.
const CHUNK_BYTES: u64 = 256 << 10;
/// What a start may take for a spool of any size: an index entry for each part, some chunks, uploads under way.
const MOST_KIB: u64 = 48 << 10;
const SESSIONS: u64 = 4;

/// The disk, and what is read of it.
#[derive(Debug, Default)]
struct CountedDisk {
    read: AtomicU64,
    largest: AtomicU64,
}

impl Files for CountedDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn AppendFile>> {
        OsFiles.create(path)
    }

    fn read_exact_at(&self, path: &Path, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let size = buffer.len() as u64;
        self.read.fetch_add(size, Ordering::Relaxed);
        self.largest.fetch_max(size, Ordering::Relaxed);
        OsFiles.read_exact_at(path, buffer, offset)
    }
}

/// A line of `/proc/self/status`, in KiB.
fn memory_kib(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let found = status.lines().find_map(|text| text.strip_prefix(line)?.split_whitespace().next()?.parse().ok());
    found.unwrap_or_else(|| panic!("no {line} in {status}"))
}

/// Of all threads of this process, in the kernel too.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn append_large_segment(writer: &mut SessionWriter, msn: u64, payload: &Bytes) {
    writer.checkpoint(&checkpoint(msn)).expect("journalled");
    for rendition in [VIDEO, AUDIO] {
        writer.append(&open(rendition, 1, msn)).expect("journalled");
        for index in 0..PARTS {
            writer.append(&large(rendition, msn, index, payload)).expect("journalled");
        }
        writer.append(&close(rendition, msn)).expect("journalled");
    }
}

fn large(rendition: RenditionId, msn: u64, index: u32, payload: &Bytes) -> Output {
    let (duration, independent, bytes) = (part_duration(), index == 0, payload.clone());
    let last_pts = Timestamp::ZERO;
    Output::Part(Part { rendition, msn, epoch: 1, index, samples: 10, duration, last_pts, independent, bytes })
}

#[tokio::test]
async fn a_start_reads_its_journals_once_in_memory_that_does_not_grow_with_them() {
    let mib = std::env::var("REPLAY_MIB").map_or(MIB, |mib| mib.parse().expect("REPLAY_MIB is a number"));
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Arc::new(CountedDisk::default());
    let (bench, objects) = Bench::scripted(folder.path());
    let bench = bench.with_disk(&disk);
    objects.hold(); // what nobody has stored yet stays in the spool
    let (store, _) = bench.open().await;
    let payload = Bytes::from(vec![7; PART_BYTES]);
    let (began, cpu) = (Instant::now(), processor_time());
    let segments = (mib << 20) / (SESSIONS * 2 * u64::from(PARTS) * PART_BYTES as u64);
    for session in 0..SESSIONS {
        let mut writer = store.begin(head(&format!("s{session}"), 1)).expect("begun");
        append_inits(&mut writer);
        (0..segments).for_each(|msn| append_large_segment(&mut writer, msn, &payload));
    }
    let (took, cpu) = (began.elapsed(), processor_time() - cpu);
    let (spool_bytes, syncs) = (store.stats().spool_bytes, store.stats().syncs);
    let payload_bytes = SESSIONS * segments * 2 * u64::from(PARTS) * PART_BYTES as u64;
    assert!(spool_bytes >= payload_bytes, "{spool_bytes}");
    println!(
        "{payload_bytes} bytes of media: {spool_bytes} written, {syncs} syncs, {took:?}, {cpu:?} of processor time"
    );
    drop(store); // as if it was killed: nothing says how the sessions were left

    disk.read.store(0, Ordering::Relaxed);
    disk.largest.store(0, Ordering::Relaxed);
    // Makes VmHWM, the highest VmRSS, begin anew (proc_pid_clear_refs(5)).
    std::fs::write("/proc/self/clear_refs", "5").expect("our own figures");
    let before = memory_kib("VmRSS:");
    let began = Instant::now();
    let (_store, recovered) = bench.open().await;
    let took = began.elapsed();
    let (read, largest) = (disk.read.load(Ordering::Relaxed), disk.largest.load(Ordering::Relaxed));
    let grown = memory_kib("VmHWM:").saturating_sub(before);
    println!(
        "{spool_bytes} bytes of journals: {read} read, at most {largest} at once, {grown} KiB of memory, {took:?}"
    );
    assert_eq!(recovered.len() as u64, SESSIONS);
    assert!(recovered.iter().all(|session| session.next_msn == segments), "{recovered:?}");
    assert_eq!(largest, CHUNK_BYTES);
    assert!(read <= spool_bytes + spool_bytes / 8, "{read} read of {spool_bytes}");
    assert!(grown <= MOST_KIB, "{grown} KiB for {spool_bytes} bytes");
}
