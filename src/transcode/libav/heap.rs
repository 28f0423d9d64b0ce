//! How the C heap, which Rust's allocations come from too, gives memory back.
//!
//! glibc takes large blocks from the system one by one, but after the first was freed it raises the size from which on it
//! does so, up to 32 MiB. Parts of media are then cut from its arenas, one arena per thread that allocates, live for a
//! minute, and leave holes behind: a session of 46 Mbit/s that holds 130 MB grew beyond 370 MB. With the size fixed it
//! stays at 146 MB. The blocks concerned are parts and large frames, a few each second; pictures are pooled by libav.

use std::ffi::c_int;

/// Blocks from this size on are taken from the system and given back when they are freed: glibc's own first value.
const LARGE_BLOCK_BYTES: c_int = 128 * 1024;
/// So many at most: the kernel allows 65 530 mappings in all, and threads need some too. Beyond it the arenas serve.
const MOST_LARGE_BLOCKS: c_int = 32 * 1024;

/// Fixes the size from which on freed blocks go back to the system at once. Does nothing where the C library is not glibc.
pub(in crate::transcode) fn give_large_blocks_back() {
    #[cfg(target_env = "gnu")]
    {
        // malloc.h
        const M_MMAP_THRESHOLD: c_int = -3;
        const M_MMAP_MAX: c_int = -4;
        unsafe extern "C" {
            safe fn mallopt(param: c_int, value: c_int) -> c_int;
        }
        // A refusal leaves the heap as it was, which is no error of anybody's.
        mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES);
        mallopt(M_MMAP_MAX, MOST_LARGE_BLOCKS);
    }
}
