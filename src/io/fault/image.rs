//! The bytes of a file, and which of them take room on the disk.

use std::collections::BTreeMap;

/// The bytes of a file. What was never written reads as zeros and takes no room.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    bytes: Vec<u8>,
    written: Extents,
}

impl Image {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of room that the file takes.
    pub(super) fn room(&self) -> u64 {
        self.written.total()
    }

    pub(super) fn write(&mut self, position: usize, bytes: &[u8]) {
        let end = position + bytes.len();
        self.extend_to(end);
        if let Some(into) = self.bytes.get_mut(position..end) {
            into.copy_from_slice(bytes);
        }
        self.written.add(position, end);
    }

    pub(super) fn extend_to(&mut self, length: usize) {
        if length > self.bytes.len() {
            self.bytes.resize(length, 0);
        }
    }

    pub(super) fn set_len(&mut self, length: usize) {
        self.bytes.resize(length, 0);
        self.written.cut(length);
    }

    pub(super) fn read(&self, into: &mut [u8], position: usize) -> usize {
        let from = self.bytes.get(position..).unwrap_or_default();
        for (to, byte) in into.iter_mut().zip(from) {
            *to = *byte;
        }
        into.len().min(from.len())
    }

    /// How many of the next bytes at a position can be written with so much room left.
    pub(super) fn fits(&self, position: usize, bytes: usize, room: u64) -> usize {
        let (end, mut room) = (position + bytes, room);
        for (start, gap_end) in self.written.gaps(position, end) {
            let gap = (gap_end - start) as u64;
            if gap > room {
                return start - position + usize::try_from(room).unwrap_or(0);
            }
            room -= gap;
        }
        bytes
    }
}

/// A set of positions, as ranges that neither overlap nor touch: start to end (exclusive).
#[derive(Clone, Debug, Default)]
struct Extents {
    ranges: BTreeMap<usize, usize>,
}

impl Extents {
    fn total(&self) -> u64 {
        self.ranges.iter().map(|(start, end)| (end - start) as u64).sum()
    }

    fn add(&mut self, start: usize, end: usize) {
        if start == end {
            return;
        }
        let touching: Vec<(usize, usize)> =
            self.ranges.range(..=end).rev().take_while(|(_, until)| **until >= start).map(|(a, b)| (*a, *b)).collect();
        let (mut start, mut end) = (start, end);
        for (from, until) in touching {
            self.ranges.remove(&from);
            (start, end) = (start.min(from), end.max(until));
        }
        self.ranges.insert(start, end);
    }

    fn cut(&mut self, length: usize) {
        self.ranges.split_off(&length);
        if let Some((_, end)) = self.ranges.iter_mut().next_back() {
            *end = (*end).min(length);
        }
    }

    /// The ranges between two positions that are not in the set, ascending.
    fn gaps(&self, start: usize, end: usize) -> Vec<(usize, usize)> {
        let (mut gaps, mut at) = (Vec::new(), start);
        for (from, until) in self.ranges.range(..end).filter(|(_, until)| **until > start) {
            if *from > at {
                gaps.push((at, *from));
            }
            at = *until;
        }
        if at < end {
            gaps.push((at, end));
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn room_is_the_number_of_written_bytes(
            steps in prop::collection::vec((0usize..64, 0usize..16, any::<bool>()), 0..40),
            position in 0usize..80,
            length in 0usize..40,
            room in 0usize..40,
        ) {
            let (mut image, mut model) = (Image::default(), Vec::<bool>::new());
            for (at, count, cuts) in steps {
                if cuts {
                    image.set_len(at);
                    model.resize(at, false);
                } else {
                    image.write(at, &vec![1; count]);
                    model.resize(model.len().max(at + count), false);
                    model[at..at + count].fill(true);
                }
                let written: Vec<bool> = image.bytes.iter().map(|byte| *byte == 1).collect();
                prop_assert_eq!(&written, &model);
                prop_assert_eq!(image.room(), model.iter().filter(|taken| **taken).count() as u64);
            }
            let mut left = room;
            let fits = (position..position + length)
                .take_while(|at| model.get(*at) == Some(&true) || { let free = left > 0; left = left.saturating_sub(1); free })
                .count();
            let given = image.fits(position, length, room as u64);
            prop_assert_eq!(given, fits);
        }
    }
}
