//! Single records, some at a time: fewer where they are long.

use crate::model::Offset;

/// How many are read at first.
const GROUP_AT_FIRST: usize = 8;
/// The most that are read at a time.
const GROUP_MAX: usize = 256;
/// Past so many bytes fewer are read at a time.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// Cuts offsets into groups.
pub(super) struct Groups<'o> {
    rest: &'o [Offset],
    size: usize,
}

impl<'o> Groups<'o> {
    pub(super) const fn new(offsets: &'o [Offset]) -> Self {
        Self { rest: offsets, size: GROUP_AT_FIRST }
    }

    /// The next group.
    pub(super) fn next(&mut self) -> Option<&'o [Offset]> {
        let (some, rest) = self.rest.split_at(self.size.min(self.rest.len()));
        self.rest = rest;
        (!some.is_empty()).then_some(some)
    }

    /// How many bytes the last group had.
    pub(super) fn had(&mut self, bytes: usize) {
        let wanted = if bytes > GROUP_BYTES_MAX { self.size / 2 } else { self.size * 2 };
        self.size = wanted.clamp(1, GROUP_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_records_are_read_few_at_a_time() {
        let offsets: Vec<Offset> = (0..1_000).filter_map(Offset::new).collect();
        let mut groups = Groups::new(&offsets);
        let mut sizes = Vec::new();
        let mut seen = Vec::new();
        while let Some(group) = groups.next() {
            sizes.push(group.len());
            seen.extend_from_slice(group);
            groups.had(if sizes.len() < 7 { GROUP_BYTES_MAX } else { GROUP_BYTES_MAX + 1 });
        }
        assert_eq!(sizes, [8, 16, 32, 64, 128, 256, 256, 128, 64, 32, 16]);
        assert_eq!(seen, offsets);
        for _ in 0..20 {
            groups.had(usize::MAX);
        }
        assert_eq!(groups.size, 1);
    }
}
