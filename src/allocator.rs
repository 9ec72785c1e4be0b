//! The program's allocator: how long it keeps what is free.

use std::time::Duration;

use persisting::config::Config;

/// Requests allocate and free much on many threads, and records live from an append to a commit: the system's allocator takes
/// a fifth of an append's time for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Environment variable by which an operator sets the delay.
const PURGE_DELAY_NAME: &str = "MIMALLOC_PURGE_DELAY";
/// `mi_option_purge_delay`.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// How many milliseconds memory that is free stays with the process. Each commit frees as much as it has taken, and the next
/// one begins within a second or ten: a page that had gone back meanwhile is zeroed anew by the system, which took a sixth of
/// all processor time.
const PURGE_DELAY_MS: std::ffi::c_long = 10_000;

/// What the process may hold beside what its options bound: itself, and what makes a next commit cheap.
const SPARE_BYTES: u64 = 32 << 20;
/// How often it is looked whether the process holds too much.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What has to come back to make the next look as soon as this one.
const WORTH_BYTES: u64 = 16 << 20;
/// Where nothing comes back, looks are this far apart in the end.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(6);

/// Tells the allocator how long to keep what is free, unless the operator has.
#[expect(unsafe_code, reason = "options are set at the top of main, where no other thread exists that could read them")]
pub(crate) fn set() {
    if std::env::var_os(PURGE_DELAY_NAME).is_none() {
        // SAFETY: `main` calls this first, and nothing has started a thread before it; the option takes any number.
        unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS) };
    }
}

/// Has a thread give back what is free at once for as long as the process holds more than its options allow.
///
/// # Errors
/// What the operating system answers when a thread cannot be started.
pub(crate) fn watch(config: &Config) -> std::io::Result<()> {
    let allowed = config.tail_bytes.saturating_add(config.max_inflight_bytes).saturating_add(SPARE_BYTES);
    std::thread::Builder::new().name("memory".to_owned()).spawn(move || keep_within(allowed)).map(drop)
}

fn keep_within(allowed: u64) {
    let mut pause = LOOK_EVERY;
    loop {
        std::thread::sleep(pause);
        let Some(before) = persisting::runtime::anonymous_bytes() else { return };
        if before <= allowed {
            pause = LOOK_EVERY;
            continue;
        }
        give_back();
        let after = persisting::runtime::anonymous_bytes().unwrap_or(before);
        // What is in use does not come back, however often it is asked for.
        pause = if before.saturating_sub(after) >= WORTH_BYTES { LOOK_EVERY } else { (pause * 2).min(LOOK_EVERY_MAX) };
    }
}

#[expect(unsafe_code, reason = "the allocator is a C library")]
fn give_back() {
    // SAFETY: any thread may call it at any time: it gives back pages that no block lies in.
    unsafe { libmimalloc_sys::mi_collect(true) };
}
