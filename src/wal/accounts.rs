//! What is in which segment: updated once for each entry, when it is durable and before it is acknowledged.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::SegmentSummary;
use super::segment::SEGMENT_HEADER_BYTES;
use crate::model::{Offset, TopicId};

/// What a segment holds of a topic.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// The offset past the last record.
    next: Offset,
    /// Bytes of the entries' frames.
    bytes: u64,
}

/// One segment's share.
#[derive(Clone, Debug)]
pub(crate) struct SegmentAccount {
    /// The segment's number.
    pub(crate) segment: u64,
    /// The log position of its first frame.
    pub(crate) base: u64,
    /// Bytes of its file, header included.
    pub(crate) bytes: u64,
    topics: HashMap<TopicId, Held>,
}

impl SegmentAccount {
    /// What others see of it.
    pub(crate) fn summary(&self) -> SegmentSummary {
        let topics = self.topics.iter().map(|(topic, held)| (*topic, held.next, held.bytes)).collect();
        SegmentSummary { segment: self.segment, base: self.base, bytes: self.bytes, topics }
    }
}

/// The shares of all segments, oldest first.
///
/// Segments are shared, so that a summary of many topics is made outside the lock that guards this.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    segments: VecDeque<Arc<SegmentAccount>>,
    topics: HashMap<TopicId, u64>,
    bytes: u64,
}

impl Accounts {
    /// A segment was begun and is the newest now.
    pub(crate) fn begin(&mut self, segment: u64, base: u64) {
        self.bytes += SEGMENT_HEADER_BYTES;
        let account = SegmentAccount { segment, base, bytes: SEGMENT_HEADER_BYTES, topics: HashMap::new() };
        self.segments.push_back(Arc::new(account));
    }

    /// An entry of `bytes` bytes, whose records end before `next`, is in the newest segment.
    pub(crate) fn add(&mut self, topic: TopicId, next: Offset, bytes: u64) {
        let Some(newest) = self.segments.back_mut() else { return };
        let newest = Arc::make_mut(newest);
        newest.bytes += bytes;
        // A relocated copy brings old offsets behind newer ones.
        let held = newest.topics.entry(topic).or_insert(Held { next, bytes: 0 });
        held.next = held.next.max(next);
        held.bytes += bytes;
        *self.topics.entry(topic).or_default() += bytes;
        self.bytes += bytes;
    }

    /// The oldest segment is gone.
    pub(crate) fn remove_oldest(&mut self) {
        let Some(oldest) = self.segments.pop_front() else { return };
        self.bytes = self.bytes.saturating_sub(oldest.bytes);
        for (topic, held) in &oldest.topics {
            if let Some(bytes) = self.topics.get_mut(topic) {
                *bytes = bytes.saturating_sub(held.bytes);
                if *bytes == 0 {
                    self.topics.remove(topic);
                }
            }
        }
    }

    /// All segments, oldest first.
    pub(crate) fn segments(&self) -> Vec<Arc<SegmentAccount>> {
        self.segments.iter().cloned().collect()
    }

    /// The number of the newest segment.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.segments.back().map(|newest| newest.segment)
    }

    /// The oldest segment and whether it is the only one.
    pub(crate) fn oldest(&self) -> Option<(u64, bool)> {
        self.segments.front().map(|oldest| (oldest.segment, self.segments.len() == 1))
    }

    /// A segment that is not the newest.
    pub(crate) fn sealed(&self, segment: u64) -> Option<Arc<SegmentAccount>> {
        let sealed = self.segments.len().saturating_sub(1);
        self.segments.iter().take(sealed).find(|account| account.segment == segment).cloned()
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of a topic's entries.
    pub(crate) fn topic_bytes(&self, topic: TopicId) -> u64 {
        self.topics.get(&topic).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(number: u8) -> TopicId {
        TopicId::from_bytes([number; 16])
    }

    fn offset(number: u64) -> Offset {
        Offset::new(number).unwrap()
    }

    #[test]
    fn shares_add_up_and_go_with_their_segment() {
        let mut accounts = Accounts::default();
        accounts.begin(1, 0);
        accounts.add(topic(1), offset(10), 100);
        accounts.add(topic(2), offset(3), 50);
        accounts.begin(2, 150);
        accounts.add(topic(1), offset(20), 70);
        assert_eq!(accounts.bytes(), 2 * SEGMENT_HEADER_BYTES + 220);
        assert_eq!((accounts.topic_bytes(topic(1)), accounts.topic_bytes(topic(2))), (170, 50));
        assert_eq!(accounts.oldest(), Some((1, false)));
        accounts.remove_oldest();
        assert_eq!(accounts.bytes(), SEGMENT_HEADER_BYTES + 70);
        assert_eq!((accounts.topic_bytes(topic(1)), accounts.topic_bytes(topic(2))), (70, 0));
        assert_eq!(accounts.oldest(), Some((2, true)));
    }

    #[test]
    fn a_relocated_copy_does_not_lower_what_its_segment_is_held_for() {
        let mut accounts = Accounts::default();
        accounts.begin(1, 0);
        accounts.add(topic(1), offset(20), 10);
        accounts.add(topic(1), offset(5), 10);
        assert_eq!(accounts.segments()[0].summary().topics, vec![(topic(1), offset(20), 20)]);
    }

    #[test]
    fn the_newest_segment_does_not_count_as_sealed() {
        let mut accounts = Accounts::default();
        accounts.begin(1, 0);
        accounts.begin(2, 0);
        assert!(accounts.sealed(1).is_some());
        assert!(accounts.sealed(2).is_none());
    }
}
