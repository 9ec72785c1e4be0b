//! What the log still had of a topic's writers when the server started: no more than a topic keeps of them, however many entries
//! there are.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use crate::model::{KeyedWrite, Offset, ProducerWrite, Timestamp, Writer};
use crate::topic::producers::{IdempotencyKeys, Producers, StoredReceipt};

/// Where a request stands among all of its topic. Not its place in the log: a relocated copy stands behind entries that came
/// after its original, which may be gone, so that a producer's earlier request would come last and the receipts between would
/// be forgotten. A request without records has the offset of the one that follows it; times never go back.
type Place = (Offset, Timestamp);

/// A producer's request among its others: of several at the same moment the sequence numbers tell.
type Request = (Place, u64, u64);

/// Who wrote what the log has of a topic.
#[derive(Debug, Default)]
pub(super) struct ReplayedWriters {
    /// The last requests of each producer: those that it is answered again.
    producers: HashMap<Arc<str>, BTreeMap<Request, StoredReceipt>>,
    /// The last use of each key.
    keys: HashMap<Arc<str>, (Place, [u8; 32], StoredReceipt)>,
}

impl ReplayedWriters {
    /// Takes the writer of an entry; entries come in any order, and more than once.
    pub(super) fn take(&mut self, writer: Writer, receipt: StoredReceipt, time: Timestamp) {
        let place = (receipt.first, time);
        match writer {
            Writer::Plain => {}
            Writer::Producer(ProducerWrite { id, epoch, seq }) => {
                let requests = self.producers.entry(id).or_default();
                requests.insert((place, epoch, seq), receipt);
                if requests.len() > Producers::RECEIPTS_MAX {
                    requests.pop_first();
                }
                let last = |requests: &BTreeMap<Request, _>| requests.last_key_value().map(|((place, ..), _)| *place);
                keep_last(&mut self.producers, Producers::KNOWN_MAX, |requests| last(requests).unwrap_or_default().1);
            }
            Writer::Keyed(KeyedWrite { key, body_hash }) => {
                let used = (place, body_hash, receipt);
                let last = self.keys.entry(key).or_insert(used);
                if last.0 < place {
                    *last = used;
                }
                keep_last(&mut self.keys, IdempotencyKeys::KNOWN_MAX, |((_, time), ..)| *time);
            }
        }
    }

    /// Tells them to what is known of the topic's writers, as if they had come one after the other.
    pub(super) fn tell(&self, producers: &mut Producers, keys: &mut IdempotencyKeys) {
        let mut requests: Vec<_> =
            self.producers.iter().flat_map(|(id, all)| all.iter().map(move |one| (id, one))).collect();
        requests.sort_unstable_by_key(|(id, (request, _))| (**request, *id));
        for (id, (((_, time), epoch, seq), receipt)) in requests {
            let write = ProducerWrite { id: Arc::clone(id), epoch: *epoch, seq: *seq };
            drop(producers.record(&write, *receipt, *time));
        }
        let mut uses: Vec<_> = self.keys.iter().collect();
        uses.sort_unstable_by_key(|(key, (place, ..))| (*place, *key));
        for (key, ((_, time), body_hash, receipt)) in uses {
            let write = KeyedWrite { key: Arc::clone(key), body_hash: *body_hash };
            drop(keys.record(&write, *receipt, *time));
        }
    }
}

/// Forgets those that were used longest ago, where there are twice as many as a topic keeps: now and then, not each time.
fn keep_last<K: Clone + Eq + Hash + Ord, V>(all: &mut HashMap<K, V>, kept: usize, used: impl Fn(&V) -> Timestamp) {
    if all.len() <= 2 * kept {
        return;
    }
    let mut by_use: Vec<(Timestamp, K)> = all.iter().map(|(key, value)| (used(value), key.clone())).collect();
    let latest_first = |one: &(Timestamp, K), other: &(Timestamp, K)| -> Ordering { other.cmp(one) };
    let (_, _, gone) = by_use.select_nth_unstable_by(kept.saturating_sub(1), latest_first);
    for (_, key) in gone {
        all.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(first: u64) -> StoredReceipt {
        StoredReceipt { first: Offset::new(first).unwrap(), count: 1, schema: None, quarantined: 0 }
    }

    fn at(time: u64) -> Timestamp {
        Timestamp::from_micros(i64::try_from(time).unwrap())
    }

    fn of(id: &str, seq: u64) -> ProducerWrite {
        ProducerWrite { id: id.into(), epoch: 0, seq }
    }

    fn used(key: &str) -> KeyedWrite {
        KeyedWrite { key: key.into(), body_hash: [1; 32] }
    }

    fn kept(writers: &ReplayedWriters) -> usize {
        writers.producers.values().map(BTreeMap::len).sum::<usize>() + writers.keys.len()
    }

    #[test]
    fn no_more_is_kept_of_entries_than_a_topic_keeps_of_their_writers() {
        let mut writers = ReplayedWriters::default();
        for n in 0..100_000 {
            writers.take(Writer::Plain, receipt(n), at(n));
        }
        assert_eq!(kept(&writers), 0);
        for n in 0..1_000 {
            writers.take(Writer::Producer(of("p", n)), receipt(n), at(n));
            writers.take(Writer::Keyed(used("k")), receipt(n), at(n));
        }
        assert_eq!(kept(&writers), Producers::RECEIPTS_MAX + 1);
        for n in 0..5 * Producers::KNOWN_MAX as u64 {
            writers.take(Writer::Producer(of(&format!("p{n}"), 0)), receipt(n), at(n));
        }
        assert!(writers.producers.len() <= 2 * Producers::KNOWN_MAX);
        let newest = format!("p{}", 5 * Producers::KNOWN_MAX - 1);
        assert!(writers.producers.contains_key(&*newest) && !writers.producers.contains_key("p"));
    }

    #[test]
    fn relocated_copies_are_told_in_the_order_of_their_offsets_and_once() {
        // Twenty requests; copies of the first ten stand behind them, and the originals of some have gone.
        let mut writers = ReplayedWriters::default();
        for n in (5..20).chain(0..10) {
            writers.take(Writer::Producer(of("p", n)), receipt(n), at(n));
        }
        let (mut producers, mut keys) = (Producers::new(), IdempotencyKeys::new());
        writers.tell(&mut producers, &mut keys);
        let mut all = Producers::new();
        for n in 0..20 {
            drop(all.record(&of("p", n), receipt(n), at(n)));
        }
        assert_eq!(producers.take_dirty(), all.take_dirty());
    }

    #[test]
    fn the_last_use_of_a_key_counts() {
        let mut writers = ReplayedWriters::default();
        for n in [3, 7, 5] {
            writers.take(Writer::Keyed(used("k")), receipt(n), at(n));
        }
        let (mut producers, mut keys) = (Producers::new(), IdempotencyKeys::new());
        writers.tell(&mut producers, &mut keys);
        assert_eq!(keys.take_dirty().changed[0].receipt, receipt(7));
        assert!(producers.is_empty());
    }
}
