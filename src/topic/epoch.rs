//! Epochs: where a reader that resumes goes on. Pure.

use crate::model::{Epoch, Offset};
use crate::topic::{GapReason, Resume};

/// A topic's epochs, oldest first, each with the offset at which it began; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epochs {
    current: Epoch,
    all: Vec<(Epoch, Offset)>,
}

/// Where a reader goes on, and what it must be told before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resumption {
    /// The offset that comes next.
    pub(crate) next: Offset,
    /// From where to where records will not come or are void, and why.
    pub(super) gap: Option<(Offset, Offset, GapReason)>,
}

impl Epochs {
    /// Epochs, oldest first; none where the list is empty.
    pub fn new(all: Vec<(Epoch, Offset)>) -> Option<Self> {
        let (current, _) = *all.last()?;
        Some(Self { current, all })
    }

    /// The epoch that holds now.
    pub const fn current(&self) -> Epoch {
        self.current
    }

    /// Where a reader with this `Last-Event-ID` goes on.
    ///
    /// A reader of an older epoch may hold records that were never stored durably: what it holds from the first offset of
    /// any later epoch on is void (the idea of Kafka's leader epochs, KIP-320).
    pub(super) fn resume(&self, resume: Resume, earliest: Offset) -> Resumption {
        let (epoch, seen) = match resume {
            Resume::Offset(offset) => (self.current, Some(offset)),
            Resume::Position(epoch, offset) => (epoch, offset),
        };
        self.go_on(epoch, seen.map_or(Offset::ZERO, |offset| offset.saturating_after(1)), earliest)
    }

    /// The same for a reader that an epoch has brought to `from`, where it has not read yet.
    pub(crate) fn go_on(&self, epoch: Epoch, from: Offset, earliest: Offset) -> Resumption {
        if epoch == self.current {
            return Resumption { next: from, gap: None };
        }
        let to = match self.all.iter().position(|(known, _)| *known == epoch) {
            None => earliest,
            Some(at) => {
                let later = self.all.iter().skip(at + 1).map(|(_, begin)| *begin).min().unwrap_or(from);
                from.min(later).max(earliest)
            }
        };
        Resumption { next: to, gap: Some((from, to, GapReason::Reset)) }
    }
}

impl Epochs {
    /// As [`Epochs::go_on`] for a position that is kept: it stays where its epoch ends also where nothing is kept there any more,
    /// so that whoever goes on there is told.
    pub(crate) fn stand(&self, epoch: Epoch, at: Offset, earliest: Offset) -> Resumption {
        let is_known = self.all.iter().any(|(known, _)| *known == epoch);
        self.go_on(epoch, at, if is_known { Offset::ZERO } else { earliest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(n: u64) -> Offset {
        Offset::new(n).unwrap()
    }

    fn epoch(n: u64) -> Epoch {
        Epoch::new(n).unwrap()
    }

    #[test]
    fn an_older_epoch_goes_on_where_its_knowledge_ends() {
        let epochs = Epochs::new(vec![(epoch(3), offset(0)), (epoch(5), offset(20)), (epoch(9), offset(10))]).unwrap();
        let at = |e, o: i64, earliest| {
            let seen = u64::try_from(o).ok().and_then(Offset::new);
            let found = epochs.resume(Resume::Position(epoch(e), seen), offset(earliest));
            (found.next.get(), found.gap.map(|(from, to, reason)| (from.get(), to.get(), reason)))
        };
        let reset = |from, to| Some((from, to, GapReason::Reset));
        assert_eq!(at(9, 14, 0), (15, None));
        assert_eq!(at(9, -1, 0), (0, None));
        assert_eq!(at(5, 24, 0), (10, reset(25, 10)));
        assert_eq!(at(5, 4, 0), (5, reset(5, 5)));
        assert_eq!(at(3, 30, 0), (10, reset(31, 10)));
        assert_eq!(at(3, 30, 12), (12, reset(31, 12)));
        assert_eq!(at(4, 30, 7), (7, reset(31, 7)));
        assert_eq!(epochs.resume(Resume::Offset(offset(4)), offset(0)).next, offset(5));
    }

    #[test]
    fn a_position_of_an_older_epoch_is_held_where_a_later_one_began() {
        let epochs = Epochs::new(vec![(epoch(3), offset(0)), (epoch(5), offset(20)), (epoch(9), offset(10))]).unwrap();
        let at = |e, from, earliest| epochs.go_on(epoch(e), offset(from), offset(earliest));
        assert_eq!((at(9, 25, 0).next, at(9, 25, 0).gap), (offset(25), None));
        assert_eq!((at(9, 0, 4).next, at(9, 0, 4).gap), (offset(0), None), "retention is told elsewhere");
        assert_eq!(at(5, 25, 0).next, offset(10));
        assert_eq!(at(5, 5, 0).next, offset(5));
        assert_eq!(at(3, 25, 12).next, offset(12));
        assert_eq!(at(4, 25, 7).next, offset(7));
        let stands = |e, from, earliest| epochs.stand(epoch(e), offset(from), offset(earliest)).next;
        assert_eq!((stands(3, 25, 12), stands(3, 2, 12), stands(5, 5, 7)), (offset(10), offset(2), offset(5)));
        assert_eq!((stands(9, 2, 12), stands(4, 25, 7)), (offset(2), offset(7)));
    }
}
