//! The part of an entry's body that holds records of another topic.
//!
//! | bytes | what |
//! |---|---|
//! | 0..16 | topic id |
//! | 16..24 | offset of the first record, `u64` |
//! | 24..28 | how many records, `u32` |
//! | 28..32 | schema version, `u32`; 0 for none |
//! | 32..40 | timestamp in microseconds, `i64` |
//! | 40..48 | length of the values in bytes, `u64` |
//! | then | the values, each followed by `\n` |

use bytes::Bytes;

use super::frame::{Malformed, take};
use super::{Beside, WalEntry, Wanted};
use crate::model::{Offset, SchemaVersion, Timestamp, TopicId, Writer};

/// Bytes before the values.
pub(super) const LEAD_BYTES: u64 = 48;

/// What is copied of an entry to free its segment: all of it while its own records are wanted, for they tell how many others
/// its request had; the other topic's alone where only those are.
pub(super) fn relocated(entry: WalEntry, wanted: Wanted<'_>) -> Option<WalEntry> {
    let is_wanted = |topic, first: Offset, count: u32| wanted(topic, first, first.saturating_after(u64::from(count)));
    if is_wanted(entry.topic, entry.first, entry.count) {
        return Some(WalEntry { relocated: true, ..entry });
    }
    let Beside { topic, first, count, schema, time, values } = *entry.beside?;
    let alone = WalEntry {
        topic,
        first,
        count,
        schema,
        time,
        close: false,
        relocated: true,
        writer: Writer::Plain,
        beside: None,
        values,
    };
    is_wanted(topic, first, count).then_some(alone)
}

/// Appends the part's bytes.
pub(super) fn put(out: &mut Vec<u8>, beside: &Beside) {
    out.extend_from_slice(&beside.topic.to_bytes());
    out.extend_from_slice(&beside.first.get().to_le_bytes());
    out.extend_from_slice(&beside.count.to_le_bytes());
    out.extend_from_slice(&beside.schema.map_or(0, SchemaVersion::get).to_le_bytes());
    out.extend_from_slice(&beside.time.as_micros().to_le_bytes());
    out.extend_from_slice(&(beside.values.len() as u64).to_le_bytes());
    out.extend_from_slice(&beside.values);
}

/// Takes the part from the front of `rest`, which is the end of `body`; the values share its bytes.
///
/// # Errors
/// [`Malformed`].
pub(super) fn take_from(rest: &mut &[u8], body: &Bytes) -> Result<Beside, Malformed> {
    const SHORT: Malformed = Malformed("the records of another topic in a frame end too early");
    let topic = TopicId::from_bytes(take(rest).ok_or(SHORT)?);
    let first = Offset::new(u64::from_le_bytes(take(rest).ok_or(SHORT)?))
        .ok_or(Malformed("the first offset of another topic in a frame is out of range"))?;
    let count = u32::from_le_bytes(take(rest).ok_or(SHORT)?);
    if first.after(u64::from(count)).is_none() {
        return Err(Malformed("the last offset of another topic in a frame is out of range"));
    }
    let schema = SchemaVersion::new(u32::from_le_bytes(take(rest).ok_or(SHORT)?));
    let time = Timestamp::from_micros(i64::from_le_bytes(take(rest).ok_or(SHORT)?));
    let length = usize::try_from(u64::from_le_bytes(take(rest).ok_or(SHORT)?)).map_err(|_| SHORT)?;
    let (_, behind) = rest.split_at_checked(length).ok_or(SHORT)?;
    let at = body.len() - rest.len();
    *rest = behind;
    Ok(Beside { topic, first, count, schema, time, values: body.slice(at..at + length) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::frame::{Body, decode_body};

    fn entry() -> WalEntry {
        WalEntry {
            topic: TopicId::from_bytes([7; 16]),
            first: Offset::new(258).unwrap(),
            count: 1,
            schema: SchemaVersion::new(5),
            time: Timestamp::from_micros(-2),
            close: false,
            relocated: false,
            writer: Writer::Plain,
            beside: Some(Box::new(Beside {
                topic: TopicId::from_bytes([8; 16]),
                first: Offset::new(3).unwrap(),
                count: 2,
                schema: SchemaVersion::new(1),
                time: Timestamp::from_micros(9),
                values: Bytes::from_static(b"1\n2\n"),
            })),
            values: Bytes::from_static(b"3\n"),
        }
    }

    fn whole(entry: &WalEntry) -> Vec<u8> {
        let body = Body::encode(entry);
        [body.lead.as_slice(), &body.values].concat()
    }

    #[test]
    fn the_format_of_two_topics_in_one_entry_stays_as_it_is() {
        let expected = [
            "07070707070707070707070707070707",
            "02010000000000000100000005000000feffffffffffffff0400",
            "08080808080808080808080808080808",
            "030000000000000002000000010000000900000000000000",
            "0400000000000000310a320a",
            "330a",
        ]
        .concat();
        let hex: String = whole(&entry()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
        assert_eq!(decode_body(&Bytes::from(whole(&entry()))), Ok(entry()));
    }

    #[test]
    fn a_copy_has_what_is_wanted_of_an_entry() {
        let (topic, other) = (entry().topic, entry().beside.unwrap().topic);
        let whole = WalEntry { relocated: true, ..entry() };
        assert_eq!(relocated(entry(), &|id, _, _| id == topic), Some(whole.clone()));
        assert_eq!(relocated(entry(), &|_, _, _| true), Some(whole));
        assert_eq!(relocated(entry(), &|_, _, _| false), None);
        let alone = relocated(entry(), &|id, first, next| id == other && (first.get(), next.get()) == (3, 5)).unwrap();
        assert_eq!((alone.topic, alone.first.get(), alone.count, &*alone.values), (other, 3, 2, &b"1\n2\n"[..]));
        assert_eq!((alone.relocated, alone.close, alone.beside), (true, false, None));
        assert_eq!(relocated(WalEntry { beside: None, ..entry() }, &|id, _, _| id == other), None);
    }

    #[test]
    fn a_body_cut_inside_the_other_topic_s_records_is_refused() {
        let whole = whole(&entry());
        for cut in 42..whole.len() - 2 {
            assert!(decode_body(&Bytes::copy_from_slice(&whole[..cut])).is_err(), "{cut}");
        }
    }
}
