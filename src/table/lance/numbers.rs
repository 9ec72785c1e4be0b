//! The numbers of fragments: in the order of offsets, and each for one set of rows for ever.
//!
//! An index knows rows by the number of their fragment and their place in it. Were a number used again, what the index says of
//! rows that were merged away would be taken for what is there now. So appends leave gaps, and what is merged takes the next
//! number in the gap behind its last fragment. That one was never given before: what has the same last fragment of an append
//! follows one after the other. In a dataset without gaps, or where one is used up, a merged fragment has to take the number
//! of one that it replaces; segments of indexes that know it go in the same commit.

use lance::Dataset;
use lance_table::transaction::{Operation, Transaction};

/// From the number of one appended fragment to the next.
const GAP: u64 = 16;
/// From this number on appends leave no gaps: as many numbers as there are have to do.
const GAPS_END: u64 = 1 << 31;

/// Gives the fragments of an append their numbers.
pub(super) fn number_appended(append: &mut Transaction, present: &Dataset) {
    let Operation::Append { fragments } = &mut append.operation else { return };
    let Some(last) = present.manifest().max_fragment_id().filter(|last| *last < GAPS_END) else { return };
    for (number, fragment) in (last / GAP + 1..).zip(fragments) {
        fragment.id = number.saturating_mul(GAP);
    }
}

/// A number behind one, and before the next fragment's if there is one, that was never given; none where it is not sure that
/// there is one.
pub(super) fn between(last: u64, next: Option<u64>) -> Option<u64> {
    let free = last + 1;
    let is_in_gap = !free.is_multiple_of(GAP) && free < GAPS_END;
    (is_in_gap && next.is_none_or(|next| free < next)).then_some(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_in_the_gap_or_there_is_none() {
        assert_eq!(between(0, None), Some(1));
        assert_eq!(between(0, Some(16)), Some(1));
        assert_eq!(between(0, Some(1)), None);
        assert_eq!(between(14, Some(16)), Some(15));
        assert_eq!(between(15, Some(16)), None);
        assert_eq!(between(15, None), None);
        assert_eq!(between(GAPS_END, None), None);
    }
}
