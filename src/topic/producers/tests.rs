use proptest::prelude::*;

use super::*;
use crate::catalog::KeyRow;
use crate::model::{KeyedWrite, Offset, SchemaVersion};

const DAY: i64 = 24 * 3_600 * 1_000_000;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn write(id: &str, epoch: u64, seq: u64) -> ProducerWrite {
    ProducerWrite { id: id.into(), epoch, seq }
}

fn receipt(first: u64) -> StoredReceipt {
    StoredReceipt { first: Offset::new(first).unwrap(), count: 1, schema: Some(SchemaVersion::FIRST), quarantined: 0 }
}

fn keyed(key: &str, body: u8) -> KeyedWrite {
    KeyedWrite { key: key.into(), body_hash: [body; 32] }
}

/// A producer `p` in epoch 5 that has sent the sequence numbers 0 to `last`, each stored at the offset of ten times its
/// number.
fn with_history(last: u64) -> Producers {
    let mut producers = Producers::new();
    for seq in 0..=last {
        assert_eq!(producers.look(&write("p", 5, seq), at(0)), Verdict::New);
        producers.record(&write("p", 5, seq), receipt(seq * 10), at(0));
    }
    producers
}

#[test]
fn every_request_is_ruled_as_the_contract_says() {
    let producers = with_history(20);
    for (what, write, expected) in [
        ("the next", write("p", 5, 21), Verdict::New),
        ("one too far", write("p", 5, 22), Verdict::Gap { expected_seq: 21 }),
        ("the last again", write("p", 5, 20), Verdict::Duplicate(receipt(200))),
        ("the sixteenth last again", write("p", 5, 5), Verdict::Duplicate(receipt(50))),
        ("the one before", write("p", 5, 4), Verdict::DuplicateExpired),
        ("the first", write("p", 5, 0), Verdict::DuplicateExpired),
        ("a higher epoch", write("p", 6, 0), Verdict::New),
        ("a higher epoch that does not begin", write("p", 6, 21), Verdict::Gap { expected_seq: 0 }),
        ("a lower epoch", write("p", 4, 0), Verdict::Fenced { current_epoch: 5 }),
        ("a lower epoch that would follow", write("p", 4, 21), Verdict::Fenced { current_epoch: 5 }),
        ("one not known", write("q", 9, 0), Verdict::New),
        ("one not known that does not begin", write("q", 0, 1), Verdict::Gap { expected_seq: 0 }),
    ] {
        assert_eq!(producers.look(&write, at(0)), expected, "{what}");
    }
}

#[test]
fn a_new_epoch_forgets_the_requests_of_the_old() {
    let mut producers = with_history(3);
    producers.record(&write("p", 6, 0), receipt(100), at(1));
    assert_eq!(producers.look(&write("p", 6, 0), at(1)), Verdict::Duplicate(receipt(100)));
    assert_eq!(producers.look(&write("p", 6, 3), at(1)), Verdict::Gap { expected_seq: 1 });
    assert_eq!(producers.look(&write("p", 5, 3), at(1)), Verdict::Fenced { current_epoch: 6 });
}

#[test]
fn a_producer_idle_for_more_than_seven_days_begins_anew_in_any_epoch() {
    let mut producers = with_history(3);
    assert_eq!(producers.look(&write("p", 5, 3), at(7 * DAY)), Verdict::Duplicate(receipt(30)));
    let later = at(7 * DAY + 1);
    assert_eq!(producers.look(&write("p", 5, 4), later), Verdict::Gap { expected_seq: 0 });
    assert_eq!(producers.look(&write("p", 2, 0), later), Verdict::New);
    producers.record(&write("p", 2, 0), receipt(40), later);
    assert_eq!(producers.look(&write("p", 2, 1), later), Verdict::New);
    assert_eq!(producers.look(&write("p", 2, 0), later), Verdict::Duplicate(receipt(40)));
}

#[test]
fn the_longest_idle_producer_makes_room() {
    let mut producers = Producers::with_limit(2);
    producers.record(&write("a", 0, 0), receipt(0), at(1));
    producers.record(&write("b", 0, 0), receipt(1), at(2));
    producers.record(&write("a", 0, 1), receipt(2), at(3));
    drop(producers.take_dirty());
    producers.record(&write("c", 0, 0), receipt(3), at(4));
    assert_eq!(producers.look(&write("b", 0, 1), at(4)), Verdict::Gap { expected_seq: 0 });
    assert_eq!(producers.look(&write("a", 0, 2), at(4)), Verdict::New);
    let dirty = producers.take_dirty();
    assert_eq!(dirty.removed, ["b".into()]);
    assert_eq!(dirty.changed.iter().map(|row| &*row.id).collect::<Vec<_>>(), ["c"]);
}

#[test]
fn expired_producers_are_removed_from_the_checkpoint_too() {
    let mut producers = with_history(1);
    producers.record(&write("q", 0, 0), receipt(100), at(3 * DAY));
    drop(producers.take_dirty());
    producers.expire(at(8 * DAY));
    assert_eq!(producers.len(), 1);
    let dirty = producers.take_dirty();
    assert_eq!((dirty.changed.len(), dirty.removed), (0, vec!["p".into()]));
}

#[test]
fn a_checkpoint_takes_only_what_has_changed_and_can_be_given_back() {
    let mut producers = with_history(1);
    producers.record(&write("q", 0, 0), receipt(100), at(1));
    assert_eq!(producers.take_dirty().changed.len(), 2);
    assert_eq!(producers.take_dirty(), DirtyProducers::default());
    producers.record(&write("p", 5, 2), receipt(200), at(2));
    let dirty = producers.take_dirty();
    assert_eq!(dirty.changed.iter().map(|row| (&*row.id, row.last_seq)).collect::<Vec<_>>(), [("p", 2)]);
    producers.record(&write("p", 5, 3), receipt(300), at(3));
    producers.give_back(dirty);
    let again = producers.take_dirty();
    assert_eq!(again.changed.iter().map(|row| (&*row.id, row.last_seq)).collect::<Vec<_>>(), [("p", 3)]);
    assert_eq!(Producers::restore(again.changed).known["p"], producers.known["p"]);
}

#[test]
fn a_restored_state_is_not_dirty_but_for_what_had_no_room() {
    let rows = with_history(1).take_dirty().changed;
    assert_eq!(Producers::restore(rows).take_dirty(), DirtyProducers::default());
    let row = |number: usize| KeyRow {
        key: format!("k{number}").into(),
        body_hash: [0; 32],
        receipt: receipt(number as u64),
        created_at: at(number as i64),
    };
    let mut keys = IdempotencyKeys::restore((0..=IdempotencyKeys::KNOWN_MAX).map(row).collect());
    assert_eq!(keys.take_dirty(), DirtyKeys { changed: Vec::new(), removed: vec!["k0".into()] });
}

#[test]
fn a_request_without_records_is_followed_by_one_at_the_same_offset() {
    let mut producers = Producers::new();
    let nothing = StoredReceipt { count: 0, ..receipt(7) };
    for _ in 0..2 {
        producers.record(&write("p", 0, 0), nothing, at(0));
        producers.record(&write("p", 0, 1), receipt(7), at(1));
    }
    assert_eq!(producers.look(&write("p", 0, 0), at(1)), Verdict::Duplicate(nothing));
    assert_eq!(producers.look(&write("p", 0, 1), at(1)), Verdict::Duplicate(receipt(7)));
}

#[test]
fn what_was_forgotten_is_remembered_anew_though_its_records_had_no_offset_of_their_own() {
    // All of their records went to the quarantine.
    let aside = StoredReceipt { count: 0, quarantined: 1, ..receipt(5) };
    let mut keys = IdempotencyKeys::new();
    let key = keyed("k", 1);
    for day in [0, 2] {
        let now = at(day * DAY);
        assert_eq!(keys.look(&key, now), KeyVerdict::New);
        keys.record(&key, aside, now);
        assert_eq!(keys.look(&key, at(day * DAY + 1)), KeyVerdict::Duplicate(aside));
    }
    let mut producers = Producers::new();
    for seq in 0..=5 {
        producers.record(&write("p", 0, seq), aside, at(0));
    }
    assert_eq!(producers.look(&write("p", 0, 0), at(8 * DAY)), Verdict::New);
    producers.record(&write("p", 0, 0), aside, at(8 * DAY));
    assert_eq!(producers.look(&write("p", 0, 1), at(8 * DAY)), Verdict::New);
}

#[test]
fn keys_are_known_by_their_body_for_a_day() {
    let mut keys = IdempotencyKeys::new();
    assert_eq!(keys.look(&keyed("k", 1), at(0)), KeyVerdict::New);
    keys.record(&keyed("k", 1), receipt(3), at(0));
    assert_eq!(keys.look(&keyed("k", 1), at(DAY)), KeyVerdict::Duplicate(receipt(3)));
    assert_eq!(keys.look(&keyed("k", 2), at(DAY)), KeyVerdict::Mismatch);
    assert_eq!(keys.look(&keyed("other", 1), at(DAY)), KeyVerdict::New);
    assert_eq!(keys.look(&keyed("k", 2), at(DAY + 1)), KeyVerdict::New);
    keys.record(&keyed("k", 2), receipt(9), at(DAY + 1));
    assert_eq!(keys.look(&keyed("k", 2), at(DAY + 2)), KeyVerdict::Duplicate(receipt(9)));
    // An entry of the log from before, applied once more, does not bring the old use back.
    keys.record(&keyed("k", 1), receipt(3), at(0));
    assert_eq!(keys.look(&keyed("k", 2), at(DAY + 2)), KeyVerdict::Duplicate(receipt(9)));
}

#[test]
fn the_oldest_key_makes_room_and_expired_ones_go() {
    let mut keys = IdempotencyKeys::with_limit(2);
    for (number, key) in ["a", "b", "c"].into_iter().enumerate() {
        keys.record(&keyed(key, 0), receipt(number as u64), at(number as i64));
    }
    assert_eq!(keys.look(&keyed("a", 0), at(3)), KeyVerdict::New);
    let dirty = keys.take_dirty();
    assert_eq!((dirty.changed.len(), &dirty.removed[..]), (2, &["a".into()][..]));
    keys.give_back(dirty);
    keys.expire(at(DAY + 2));
    assert_eq!(keys.len(), 1);
    let mut removed = keys.take_dirty().removed;
    removed.sort();
    assert_eq!(removed, ["a".into(), "b".into()]);
}

/// All that was ever stored under a name since it was last forgotten: a producer as the contract describes it.
#[derive(Default)]
struct Model {
    known: HashMap<String, Vec<(ProducerWrite, StoredReceipt, Timestamp)>>,
}

impl Model {
    fn look(&self, write: &ProducerWrite, now: Timestamp) -> Verdict {
        let all = self.known.get(&*write.id).map_or(&[][..], Vec::as_slice);
        let idle = all.last().is_none_or(|(_, _, used)| now.as_micros() - used.as_micros() > 7 * DAY);
        let all = if idle { &[] } else { all };
        let current = all.iter().map(|(old, ..)| old.epoch).max();
        let of_epoch: Vec<_> = all.iter().filter(|(old, ..)| Some(old.epoch) == current).collect();
        let expected_seq = if Some(write.epoch) == current { of_epoch.len() as u64 } else { 0 };
        match current {
            Some(current_epoch) if write.epoch < current_epoch => Verdict::Fenced { current_epoch },
            _ if write.seq == expected_seq => Verdict::New,
            _ if write.seq > expected_seq => Verdict::Gap { expected_seq },
            _ if of_epoch.len() as u64 - write.seq > 16 => Verdict::DuplicateExpired,
            _ => Verdict::Duplicate(of_epoch[write.seq as usize].1),
        }
    }

    fn record(&mut self, write: &ProducerWrite, receipt: StoredReceipt, now: Timestamp, limit: usize) {
        let all = self.known.entry(write.id.to_string()).or_default();
        if all.last().is_some_and(|(_, _, used)| now.as_micros() - used.as_micros() > 7 * DAY) {
            all.clear();
        }
        all.push((write.clone(), receipt, now));
        while self.known.len() > limit {
            let idle = self.known.iter().min_by_key(|(id, all)| (all.last().unwrap().2, (*id).clone())).unwrap();
            let id = idle.0.clone();
            self.known.remove(&id);
        }
    }
}

/// A request, told by its distance from what would come next.
#[derive(Clone, Debug)]
struct Attempt {
    producer: usize,
    epoch: u64,
    back: u64,
    wait: i64,
}

fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
    let back = prop_oneof![8 => Just(1_u64), 1 => Just(0_u64), 2 => 2_u64..25];
    let wait = prop_oneof![60 => Just(1_i64), 1 => Just(4 * DAY), 1 => Just(8 * DAY)];
    let epoch = prop_oneof![20 => Just(1_u64), 1 => Just(0_u64), 1 => Just(2_u64)];
    let attempt = (0..4_usize, epoch, back, wait);
    prop::collection::vec(
        attempt.prop_map(|(producer, epoch, back, wait)| Attempt { producer, epoch, back, wait }),
        1..200,
    )
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

impl Attempt {
    /// Mostly the request that comes next, at times one before or behind it.
    fn to_write(&self, producers: &Producers) -> ProducerWrite {
        let name = NAMES[self.producer];
        let last = producers.known.get(name).filter(|state| state.epoch == self.epoch).map(|state| state.last_seq + 2);
        write(name, self.epoch, last.unwrap_or(1).saturating_sub(self.back))
    }
}

fn every_write() -> impl Iterator<Item = ProducerWrite> {
    NAMES.into_iter().flat_map(|name| (0..4).flat_map(move |epoch| (0..220).map(move |seq| write(name, epoch, seq))))
}

proptest! {
    #[test]
    fn producers_rule_as_the_model_does(attempts in attempts()) {
        let (mut producers, mut model) = (Producers::with_limit(3), Model::default());
        let mut now = 0;
        for (number, attempt) in attempts.iter().enumerate() {
            now += attempt.wait;
            let write = attempt.to_write(&producers);
            let verdict = producers.look(&write, at(now));
            prop_assert_eq!(verdict, model.look(&write, at(now)));
            if verdict == Verdict::New {
                producers.record(&write, receipt(number as u64), at(now));
                model.record(&write, receipt(number as u64), at(now), 3);
            }
        }
        for write in every_write() {
            prop_assert_eq!(producers.look(&write, at(now)), model.look(&write, at(now)));
        }
    }

    #[test]
    fn a_replay_over_any_newer_checkpoint_gives_the_same_rulings(
        attempts in attempts(),
        marks in prop::collection::vec(0..200_usize, 0..4),
        from in 0..200_usize,
        expires in any::<bool>(),
    ) {
        let mut producers = Producers::new();
        let (mut log, mut now) = (Vec::new(), 0);
        // What the checkpoints have stored, and how much of the log the last one covers.
        let (mut stored, mut covered) = (HashMap::new(), 0);
        for (number, attempt) in attempts.iter().enumerate() {
            now += attempt.wait;
            let write = attempt.to_write(&producers);
            if producers.look(&write, at(now)) == Verdict::New {
                producers.record(&write, receipt(number as u64), at(now));
                log.push((write, receipt(number as u64), at(now)));
            }
            if marks.contains(&number) {
                if expires {
                    producers.expire(at(now));
                }
                let dirty = producers.take_dirty();
                dirty.removed.iter().for_each(|id| drop(stored.remove(id)));
                stored.extend(dirty.changed.into_iter().map(|row| (Arc::clone(&row.id), row)));
                covered = log.len();
            }
        }
        let mut recovered = Producers::restore(stored.into_values().collect());
        for _ in 0..2 {
            for (write, receipt, time) in &log[from.min(covered)..] {
                recovered.record(write, *receipt, *time);
            }
        }
        for write in every_write() {
            prop_assert_eq!(recovered.look(&write, at(now)), producers.look(&write, at(now)), "{:?}", write);
        }
    }
}
