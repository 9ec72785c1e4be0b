//! What the operating system lets the process have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the number of files and sockets that the process can have open to as many as the system lets it: ten thousand
/// streams are ten thousand sockets. Gives the number that holds now; none is no bound.
pub fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "the number of open files stays at {:?}", limit.current);
            limit.current
        }
    }
}

/// How many connections there may be, of as many as are asked for: some of the files that the process can have open are kept for
/// the log and for datasets, which cannot do without.
pub fn connections_max(asked: u64) -> usize {
    let open_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(asked.min(open_files / 4 * 3)).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_of_open_files_becomes_the_hard_one() {
        let raised = raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!((raised, limit.current), (limit.maximum, limit.maximum));
    }

    #[test]
    fn connections_leave_a_quarter_of_the_open_files() {
        assert_eq!(connections_max(3), 3);
        let open_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        assert_eq!(connections_max(u64::MAX) as u64, open_files / 4 * 3);
    }
}
