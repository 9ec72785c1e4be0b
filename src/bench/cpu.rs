//! Processor time, as the operating system counts it: to a hundredth of a second.

use std::fs;
use std::time::Duration;

/// A tick of `/proc`: a hundredth of a second for every program on Linux, whatever the kernel's own is.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of this process and of a server's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    client: Option<Duration>,
    server: Option<Duration>,
}

impl Spent {
    /// What is spent until now.
    pub(super) fn until_now(server: Option<u32>) -> Self {
        Self { client: of("self"), server: server.and_then(|pid| of(&pid.to_string())) }
    }

    /// Whether the server's process is there, and its time is counted.
    pub(super) const fn knows_server(self) -> bool {
        self.server.is_some()
    }

    /// Seconds of the client since an earlier look.
    pub(super) fn client_since(self, earlier: Self) -> Option<f64> {
        since(self.client, earlier.client)
    }

    /// Seconds of the server since an earlier look.
    pub(super) fn server_since(self, earlier: Self) -> Option<f64> {
        since(self.server, earlier.server)
    }
}

fn since(now: Option<Duration>, earlier: Option<Duration>) -> Option<f64> {
    Some(now?.saturating_sub(earlier?).as_secs_f64())
}

/// User and system time of a process; none where it is not there or nobody counts.
fn of(process: &str) -> Option<Duration> {
    ticks(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

fn ticks(stat: &str) -> Option<Duration> {
    // The name of the program comes before, in brackets, and can hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut numbers = rest.split_ascii_whitespace().skip(11);
    let mut next = || numbers.next()?.parse::<u32>().ok();
    Some(TICK * next()?.saturating_add(next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_read_whatever_the_program_is_called() {
        let stat = "77 (a (b) c) S 1 77 77 0 -1 4194560 100 0 0 0 250 31 0 0 20 0 4 0 1 2 3";
        assert_eq!(ticks(stat), Some(Duration::from_millis(2_810)));
        assert_eq!(ticks("77 (a) S 1"), None);
    }

    #[test]
    fn a_process_that_is_not_there_has_none() {
        let spent = Spent::until_now(Some(u32::MAX));
        assert_eq!((spent.server_since(spent), spent.knows_server()), (None, false));
        assert_eq!(spent.client_since(spent).is_some(), cfg!(target_os = "linux"));
    }
}
