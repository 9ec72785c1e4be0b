//! The mark that a record carries, to be found again in whatever framing it arrives.
//!
//! `~~<16 digits>.<19 digits>~~`: who has written it and as which of its records, and when, in nanoseconds since 1970. None
//! of its characters is changed by JSON, however often it is escaped.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use memchr::memmem;

/// Length of a mark.
pub(super) const MARK_BYTES: usize = 40;
/// Where its numbers stand in it, and how many digits they have.
pub(super) const SEQUENCE: (usize, usize) = (2, 16);
pub(super) const NANOS: (usize, usize) = (19, 19);

/// Records of one writer for one topic: numbers of the next writer begin behind it.
const WRITER_STEP: u64 = 1_000_000_000_000;

/// A mark that has been found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) sequence: u64,
    pub(super) nanos: u64,
}

impl Mark {
    /// Who has written it.
    pub(super) fn writer(self) -> usize {
        usize::try_from(self.sequence / WRITER_STEP).unwrap_or(usize::MAX)
    }

    /// As which of its records in the topic, from 0.
    pub(super) fn number(self) -> u64 {
        self.sequence % WRITER_STEP
    }
}

/// The sequence number of a writer's record.
pub(super) fn sequence(writer: usize, number: u64) -> u64 {
    (writer as u64) * WRITER_STEP + number
}

/// Writes a number in decimal over all of a place, with zeros in front; what has no place is left out.
pub(super) fn write_digits(mut number: u64, into: &mut [u8]) {
    for place in into.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Times that can be written down, from a clock that never jumps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Instant,
    nanos: u64,
}

impl Clock {
    /// A clock that begins with the time of day.
    pub(super) fn start() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { origin: Instant::now(), nanos: u64::try_from(since_1970.as_nanos()).unwrap_or(0) }
    }

    /// Nanoseconds since 1970.
    pub(super) fn nanos(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.origin).as_nanos();
        self.nanos.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }
}

/// Finds marks in a body that comes in pieces, cut anywhere.
#[derive(Debug)]
pub(super) struct Scanner {
    finder: memmem::Finder<'static>,
    /// The end of what has come, as far as it can be the beginning of a mark.
    held: Vec<u8>,
}

impl Default for Scanner {
    fn default() -> Self {
        Self { finder: memmem::Finder::new(b"~~"), held: Vec::with_capacity(2 * MARK_BYTES) }
    }
}

impl Scanner {
    /// Tells every mark that ends in this piece, in order.
    pub(super) fn feed(&mut self, mut piece: &[u8], mut found: impl FnMut(Mark)) {
        // A mark that began in an earlier piece is completed byte for byte: there is at most one.
        while !self.held.is_empty() {
            let Some((first, rest)) = piece.split_first() else { return };
            piece = rest;
            self.held.push(*first);
            if self.held.len() == MARK_BYTES
                && let Some(mark) = read(&self.held)
            {
                found(mark);
                self.held.clear();
            }
            // What cannot become a mark any more is let go, up to where the next one can begin.
            while !can_begin(&self.held) {
                self.held.remove(0);
            }
        }
        while let Some(at) = self.finder.find(piece) {
            piece = &piece[at..];
            let Some(whole) = piece.get(..MARK_BYTES) else { break };
            match read(whole) {
                Some(mark) => {
                    found(mark);
                    piece = &piece[MARK_BYTES..];
                }
                None => piece = &piece[1..],
            }
        }
        let from = piece.len().saturating_sub(MARK_BYTES - 1);
        let mut end = &piece[from..];
        while !can_begin(end) {
            end = &end[1..];
        }
        self.held.extend_from_slice(end);
    }
}

/// The mark that these bytes are, if they are one.
fn read(bytes: &[u8]) -> Option<Mark> {
    let number = |(at, length): (usize, usize)| {
        bytes[at..at + length].iter().try_fold(0_u64, |number, byte| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            number.checked_mul(10)?.checked_add(digit)
        })
    };
    let framed = bytes.len() == MARK_BYTES && bytes.starts_with(b"~~") && bytes[18] == b'.' && bytes.ends_with(b"~~");
    if framed { Some(Mark { sequence: number(SEQUENCE)?, nanos: number(NANOS)? }) } else { None }
}

/// Whether a mark can begin with these bytes; nothing is a beginning too.
fn can_begin(bytes: &[u8]) -> bool {
    bytes.len() < MARK_BYTES
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            0 | 1 | 38 => *byte == b'~',
            18 => *byte == b'.',
            _ => byte.is_ascii_digit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(writer: usize, number: u64, nanos: u64) -> String {
        format!("~~{:016}.{nanos:019}~~", sequence(writer, number))
    }

    fn all(pieces: &[&[u8]]) -> Vec<(usize, u64, u64)> {
        let mut scanner = Scanner::default();
        let mut found = Vec::new();
        for piece in pieces {
            scanner.feed(piece, |mark| found.push((mark.writer(), mark.number(), mark.nanos)));
        }
        found
    }

    #[test]
    fn marks_are_found_wherever_the_body_is_cut() {
        let body = format!(
            "data: {{\"id\":\"{}\"}}\n~~~{}~~12~~0000000000000001.17~~~{}~",
            text(0, 1, 1_764_104_662_000_000_000),
            text(9_999, 2, 3),
            text(1, 999_999_999_999, 4),
        );
        let expected = [(0, 1, 1_764_104_662_000_000_000), (9_999, 2, 3), (1, 999_999_999_999, 4)];
        let bytes = body.as_bytes();
        for cut in 0..=bytes.len() {
            assert_eq!(all(&[&bytes[..cut], &bytes[cut..]]), expected, "cut at {cut}");
        }
        assert_eq!(all(&bytes.chunks(1).collect::<Vec<_>>()), expected);
        assert_eq!(all(&bytes.chunks(7).collect::<Vec<_>>()), expected);
    }

    #[test]
    fn what_only_looks_like_a_mark_is_none() {
        let good = text(1, 2, 3);
        for (at, byte) in [(0, "x"), (1, "0"), (5, "a"), (18, ","), (20, "~"), (38, "1"), (39, "-")] {
            let mut bad = good.clone();
            bad.replace_range(at..=at, byte);
            assert_eq!(all(&[bad.as_bytes()]), [], "{bad}");
            let both = format!("{bad}{good}");
            assert_eq!(all(&[both.as_bytes()]), [(1, 2, 3)], "{both}");
        }
    }

    #[test]
    fn the_clock_goes_on_from_the_time_of_day() {
        let clock = Clock::start();
        let (first, second) = (clock.nanos(Instant::now()), clock.nanos(Instant::now()));
        assert!(second >= first && first.to_string().len() == 19);
    }
}
