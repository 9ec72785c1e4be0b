//! How much memory the process holds.

/// Bytes of memory that are no file's, as Linux counts them (`RssAnon`, `proc_pid_status(5)`); none where it does not tell.
pub fn anonymous_bytes() -> Option<u64> {
    of_status(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn of_status(text: &str) -> Option<u64> {
    let kib = text.lines().find_map(|line| line.strip_prefix("RssAnon:"))?.trim().strip_suffix("kB")?;
    kib.trim_end().parse::<u64>().ok().map(|kib| kib.saturating_mul(1 << 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_tells_is_read() {
        let text = "Name:\tpersisting\nVmRSS:\t  200 kB\nRssAnon:\t     100 kB\nRssFile:\t 100 kB\n";
        assert_eq!(of_status(text), Some(100 << 10));
        assert_eq!(of_status("Name:\tpersisting\n"), None);
        assert_eq!(of_status("RssAnon:\tmany kB\n"), None);
    }
}
