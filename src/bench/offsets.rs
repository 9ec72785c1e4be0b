//! Offsets in the answers of reads, found in whatever pieces the bodies come.

use memchr::memmem;

use crate::bench::options::Format;

/// What stands before the number of a record's offset, wherever a record begins.
const PAGE: &[u8] = b"{\"offset\":";
const LINE: &[u8] = b"\n{\"offset\":";
const EVENT: &[u8] = b"\ndata: {\"offset\":";
/// What stands behind it.
const BEHIND: &[u8] = b",\"timestamp\":\"";
const DIGITS_MAX: usize = 20;

/// Follows the offsets of an answer and sees whether each is the one after the last.
#[derive(Debug)]
pub(super) struct Offsets {
    finder: memmem::Finder<'static>,
    /// The end of what has come, as far as an offset can stand across it.
    held: Vec<u8>,
    first: Option<u64>,
    next: u64,
    count: u64,
    jumps: u64,
}

impl Offsets {
    /// Nothing read yet of an answer in this form.
    pub(super) fn of(format: Format) -> Self {
        let needle = match format {
            Format::Json => PAGE,
            Format::Ndjson => LINE,
            Format::Sse => EVENT,
        };
        let mut offsets =
            Self { finder: memmem::Finder::new(needle), held: Vec::new(), first: None, next: 0, count: 0, jumps: 0 };
        offsets.begin();
        offsets
    }

    /// The next answer begins, which goes on where the last one ended.
    pub(super) fn begin(&mut self) {
        self.held.clear();
        // The first line of a body has no line end before it.
        if self.finder.needle().first() == Some(&b'\n') {
            self.held.push(b'\n');
        }
    }

    /// The first offset that was found.
    pub(super) fn first(&self) -> Option<u64> {
        self.first
    }

    /// The offset after the last one that was found.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Records that were found.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// How often an offset was not the one after the last.
    pub(super) fn jumps(&self) -> u64 {
        self.jumps
    }

    /// Reads a piece of a body.
    pub(super) fn feed(&mut self, piece: &[u8]) {
        let reach = self.finder.needle().len() + DIGITS_MAX + BEHIND.len();
        if !self.held.is_empty() {
            // Enough of the piece to complete whatever begins in what is held; what begins later is found in the piece.
            let held = self.held.len();
            let mut seam = std::mem::take(&mut self.held);
            seam.extend_from_slice(&piece[..piece.len().min(reach)]);
            let read = self.read(&seam, held);
            if read < held {
                // The piece was too short.
                seam.drain(..read);
                self.held = seam;
                return;
            }
            seam.clear();
            self.held = seam;
        }
        let read = self.read(piece, piece.len());
        self.held.extend_from_slice(&piece[read..]);
    }

    /// Reads the records that begin before `before`; from where on nothing has been decided yet.
    fn read(&mut self, text: &[u8], before: usize) -> usize {
        let needle = self.finder.needle().len();
        let mut at = 0;
        while let Some(found) = self.finder.find(&text[at..]).map(|found| at + found) {
            if found >= before {
                return before;
            }
            let digits = &text[found + needle..];
            let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let behind = &digits[length..];
            if behind.len() < BEHIND.len() && BEHIND.starts_with(behind) && length <= DIGITS_MAX {
                return found;
            }
            at = found + 1;
            if behind.starts_with(BEHIND) {
                let number = digits[..length]
                    .iter()
                    .fold(0_u64, |number, digit| number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
                self.take(number);
                at = found + needle + length;
            }
        }
        // A needle can have begun at the very end.
        let from = text.len().saturating_sub(needle - 1).max(at).min(text.len());
        let begun = (from..text.len()).find(|at| self.finder.needle().starts_with(&text[*at..]));
        begun.unwrap_or(text.len()).min(before)
    }

    fn take(&mut self, offset: u64) {
        match self.first {
            None => self.first = Some(offset),
            Some(_) if offset != self.next => self.jumps += 1,
            Some(_) => {}
        }
        self.next = offset + 1;
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: u64) -> String {
        // The value holds what only looks like a record of its own.
        format!(
            "{{\"offset\":{offset},\"timestamp\":\"2026-11-23T09:00:00.000001Z\",\"value\":{{\"offset\":7,\"t\":\"x\"}}}}"
        )
    }

    fn bodies(offsets: &[u64]) -> [(Format, String); 3] {
        let records: Vec<_> = offsets.iter().map(|offset| record(*offset)).collect();
        let events = records.iter().map(|record| format!("id: 1:5\ndata: {record}\n\n")).collect::<String>();
        let position = "retry: 2000\n\nevent: position\nid: 1:-1\ndata: {\"epoch\":1,\"next_offset\":0}\n\n";
        [
            (Format::Json, format!("{{\"topic\":\"t\",\"records\":[{}],\"next_offset\":9}}", records.join(","))),
            (Format::Ndjson, format!("{}\n", records.join("\n"))),
            (Format::Sse, format!("{position}{events}event: end\nid: end\ndata: {{}}\n\n")),
        ]
    }

    #[test]
    fn offsets_are_found_in_every_form_wherever_the_body_is_cut() {
        for (format, body) in bodies(&[9, 10, 11, 1_234_567_890_123]) {
            for cut in 0..=body.len() {
                let mut offsets = Offsets::of(format);
                offsets.feed(&body.as_bytes()[..cut]);
                offsets.feed(&body.as_bytes()[cut..]);
                let found = (offsets.first(), offsets.next(), offsets.count(), offsets.jumps());
                assert_eq!(found, (Some(9), 1_234_567_890_124, 4, 1), "{format:?} cut at {cut}");
            }
            for size in [1, 2, 3, 40] {
                let mut offsets = Offsets::of(format);
                body.as_bytes().chunks(size).for_each(|piece| offsets.feed(piece));
                assert_eq!((offsets.count(), offsets.jumps()), (4, 1), "{format:?} by {size}");
            }
        }
    }

    #[test]
    fn answers_go_on_from_one_another() {
        for at in 0..3 {
            let (format, first) = &bodies(&[0, 1])[at];
            let (_, second) = &bodies(&[2, 3])[at];
            let mut offsets = Offsets::of(*format);
            offsets.feed(first.as_bytes());
            offsets.begin();
            offsets.feed(second.as_bytes());
            assert_eq!((offsets.first(), offsets.count(), offsets.jumps()), (Some(0), 4, 0));
        }
    }

    #[test]
    fn what_is_missing_doubled_or_swapped_is_a_jump() {
        for (offsets, jumps) in [(&[0, 2][..], 1), (&[0, 0, 1], 1), (&[1, 0, 2], 2)] {
            for (format, body) in bodies(offsets) {
                let mut found = Offsets::of(format);
                found.feed(body.as_bytes());
                assert_eq!(found.jumps(), jumps, "{offsets:?}");
            }
        }
    }
}
