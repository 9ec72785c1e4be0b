//! How long a thread computes at a stretch.

use std::time::Duration;

/// `SCHED_FLAG_KEEP_POLICY` of `linux/sched.h`.
#[cfg(target_os = "linux")]
const KEEP_POLICY: u64 = 8;

/// Asks the system to let this thread, and those that it starts, compute for about so long at a stretch before others have their
/// turn, which for the one that wakes up is the sooner the shorter its own stretch is: Linux from 6.12 on orders threads by it
/// (`sched_setattr(2)`, EEVDF), and ignores it before. The thread's policy and level stay as they are. What cannot be set
/// stays as it was.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "no crate has a safe call for it, and appends beside compaction have 0.7 of their p99 with it"
)]
pub(super) fn set_slice(slice: Duration) {
    let Ok(level) = rustix::process::getpriority_process(None) else { return };
    let attributes = libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).unwrap_or_default(),
        sched_policy: libc::SCHED_OTHER.unsigned_abs(),
        sched_flags: KEEP_POLICY,
        sched_nice: level,
        sched_priority: 0,
        sched_runtime: u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX),
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the call reads as many bytes as `size` tells, from a value that outlives it, and keeps no reference; 0 is the
    // thread that calls.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if done != 0 {
        tracing::debug!(error = %std::io::Error::last_os_error(), "a thread keeps its slice");
    }
}

/// Elsewhere there is no such thing.
#[cfg(not(target_os = "linux"))]
pub(super) fn set_slice(_: Duration) {}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    /// Policy and level of the thread that calls it (`proc_pid_stat(5)`, fields 41 and 19).
    fn policy_and_level() -> (i32, i32) {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let field = |number: usize| fields.split(' ').nth(number - 3).unwrap().parse().unwrap();
        (field(41), field(19))
    }

    #[test]
    fn a_thread_keeps_its_policy_and_level() {
        std::thread::spawn(|| {
            let priority = libc::sched_param { sched_priority: 0 };
            #[expect(unsafe_code, reason = "no crate has a safe call for it")]
            // SAFETY: the call reads from a value that outlives it; 0 is the thread that calls.
            let done = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const priority) };
            assert_eq!(done, 0);
            rustix::process::nice(3).unwrap();
            let before = policy_and_level();
            assert_eq!(before.0, libc::SCHED_BATCH);
            set_slice(Duration::from_millis(1));
            assert_eq!(policy_and_level(), before);
        })
        .join()
        .unwrap();
    }
}
