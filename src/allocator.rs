//! The program's allocator, and how long it keeps what is free.

use tikv_jemallocator::Jemalloc;

/// Requests allocate and free much on many threads, and records live from an append to a commit, on other threads: the system's
/// allocator takes a fifth of an append's time for that. Bodies and the text of records have tens to hundreds of kilobytes each;
/// jemalloc gives each of those room of its own and takes it back whole, from whichever thread.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// What jemalloc reads at its start (`jemalloc(3)`, TUNING); what the environment has in `_RJEM_MALLOC_CONF` goes before it.
///
/// - Memory that is free stays for about a second: each commit frees as much as it has taken, and the next begins soon after; pages
///   that had gone back meanwhile are zeroed anew by the system. A thread of its own gives back what nobody asks for again.
/// - No huge pages: few of the 2 MiB that the system zeroes at once were used.
#[expect(unsafe_code, reason = "the name is how the C library finds it")]
#[used]
#[unsafe(export_name = "_rjem_malloc_conf")]
static OPTIONS: &[u8; 70] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,thp:never\0";
