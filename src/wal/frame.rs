//! An entry as framed bytes.
//!
//! A frame is a fixed header and a body. The body is everything that the submitter knows; it is encoded and checksummed by
//! the submitter, outside any lock of the log's. The header holds what only the log's thread knows. All integers are little-endian.
//!
//! | header bytes | what |
//! |---|---|
//! | 0..4 | magic `F7 50 45 FE`: no part of it is UTF-8, so no value, key or producer id can contain it |
//! | 4..12 | length of the body in bytes, `u64` |
//! | 12..20 | number of the segment that the frame was written to, `u64` |
//! | 20..28 | log position of the frame's first byte, `u64` |
//! | 28..36 | `synced`: the log position up to which all was known to be durable when the frame was written, `u64` |
//! | 36..40 | CRC-32C of the body, `u32` |
//! | 40..44 | CRC-32C of header bytes 0..40, `u32` |
//!
//! | body bytes | what |
//! |---|---|
//! | 0..16 | topic id |
//! | 16..24 | offset of the first record, `u64`, at most 2^53 − 1 |
//! | 24..28 | how many records, `u32` |
//! | 28..32 | schema version, `u32`; 0 for none |
//! | 32..40 | timestamp in microseconds, `i64` |
//! | 40 | flags: bit 0 the topic is closed behind the records, bit 1 a relocated copy, bit 2 records of another topic; the others are 0 |
//! | 41 | writer: 0 plain, 1 producer, 2 keyed |
//! | then, producer | epoch `u64`, sequence `u64`, length of the id `u64`, the id |
//! | then, keyed | hash of the body (32 bytes), length of the key `u64`, the key |
//! | then, with bit 2 | records of another topic (see [`super::beside`]) |
//! | then, to the end | the values, each followed by `\n` |
//!
//! Log positions count bytes of frames only, over all segments; headers of segments have none.

use std::sync::Arc;

use bytes::Bytes;

use super::{WalEntry, beside};
use crate::model::{KeyedWrite, Offset, ProducerWrite, SchemaVersion, Timestamp, TopicId, Writer};

/// Bytes of a frame's header.
pub(crate) const FRAME_HEADER_BYTES: usize = 44;
/// The first bytes of every frame.
pub(crate) const FRAME_MAGIC: [u8; 4] = [0xF7, b'P', b'E', 0xFE];

/// Bytes of a frame's header that its own checksum covers.
const CHECKED_BYTES: usize = 40;
const CLOSE: u8 = 1;
const RELOCATED: u8 = 2;
const BESIDE: u8 = 4;
const PLAIN: u8 = 0;
const PRODUCER: u8 = 1;
const KEYED: u8 = 2;

/// The part of a frame that the log's thread fills in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Bytes of the body that follows.
    pub(crate) body_bytes: u64,
    /// The segment it was written to.
    pub(crate) segment: u64,
    /// The log position of its first byte.
    pub(crate) position: u64,
    /// The log position up to which all was durable when it was written; at most `position`.
    pub(crate) synced: u64,
    /// The body's CRC-32C.
    pub(crate) body_crc: u32,
}

impl FrameHeader {
    /// Bytes of the whole frame.
    pub(crate) fn frame_bytes(&self) -> u64 {
        self.body_bytes.saturating_add(FRAME_HEADER_BYTES as u64)
    }

    /// Appends the header's bytes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(&FRAME_MAGIC);
        out.extend_from_slice(&self.body_bytes.to_le_bytes());
        out.extend_from_slice(&self.segment.to_le_bytes());
        out.extend_from_slice(&self.position.to_le_bytes());
        out.extend_from_slice(&self.synced.to_le_bytes());
        out.extend_from_slice(&self.body_crc.to_le_bytes());
        let crc = crc32c::crc32c(out.get(begin..).unwrap_or_default());
        out.extend_from_slice(&crc.to_le_bytes());
    }

    /// Reads a header from the first bytes of `bytes`; none where magic, checksum or the order of positions is wrong.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (checked, mut rest) = bytes.split_at_checked(CHECKED_BYTES)?;
        let crc = u32::from_le_bytes(take(&mut rest)?);
        let mut fields = checked.strip_prefix(&FRAME_MAGIC)?;
        if crc32c::crc32c(checked) != crc {
            return None;
        }
        let header = Self {
            body_bytes: u64::from_le_bytes(take(&mut fields)?),
            segment: u64::from_le_bytes(take(&mut fields)?),
            position: u64::from_le_bytes(take(&mut fields)?),
            synced: u64::from_le_bytes(take(&mut fields)?),
            body_crc: u32::from_le_bytes(take(&mut fields)?),
        };
        (header.synced <= header.position).then_some(header)
    }
}

/// An entry's body, encoded and checksummed; the values are not copied.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    /// Everything before the values.
    pub(crate) lead: Vec<u8>,
    /// The values.
    pub(crate) values: Bytes,
    /// CRC-32C of both.
    pub(crate) crc: u32,
}

impl Body {
    /// Encodes an entry.
    pub(crate) fn encode(entry: &WalEntry) -> Self {
        let mut lead = Vec::with_capacity(128);
        lead.extend_from_slice(&entry.topic.to_bytes());
        lead.extend_from_slice(&entry.first.get().to_le_bytes());
        lead.extend_from_slice(&entry.count.to_le_bytes());
        lead.extend_from_slice(&entry.schema.map_or(0, SchemaVersion::get).to_le_bytes());
        lead.extend_from_slice(&entry.time.as_micros().to_le_bytes());
        let flag = |bit: u8, set: bool| if set { bit } else { 0 };
        let beside = flag(BESIDE, entry.beside.is_some());
        lead.push(flag(CLOSE, entry.close) | flag(RELOCATED, entry.relocated) | beside);
        match &entry.writer {
            Writer::Plain => lead.push(PLAIN),
            Writer::Producer(write) => {
                lead.push(PRODUCER);
                lead.extend_from_slice(&write.epoch.to_le_bytes());
                lead.extend_from_slice(&write.seq.to_le_bytes());
                put_text(&mut lead, &write.id);
            }
            Writer::Keyed(write) => {
                lead.push(KEYED);
                lead.extend_from_slice(&write.body_hash);
                put_text(&mut lead, &write.key);
            }
        }
        if let Some(records) = &entry.beside {
            beside::put(&mut lead, records);
        }
        let crc = crc32c::crc32c_append(crc32c::crc32c(&lead), &entry.values);
        Self { lead, values: entry.values.clone(), crc }
    }

    /// Bytes of the body.
    pub(crate) fn bytes(&self) -> u64 {
        (self.lead.len() + self.values.len()) as u64
    }

    /// Bytes of the whole frame.
    pub(crate) fn frame_bytes(&self) -> u64 {
        self.bytes() + FRAME_HEADER_BYTES as u64
    }
}

/// A body whose checksum is right and that still is no entry: written by another version, or by nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Reads a body back; the values share its bytes. The checksum is the caller's to check.
///
/// # Errors
/// [`Malformed`] with what is wrong; never panics, whatever the bytes.
pub(crate) fn decode_body(body: &Bytes) -> Result<WalEntry, Malformed> {
    const SHORT: Malformed = Malformed("the body of a frame ends too early");
    let mut rest: &[u8] = body;
    let topic = TopicId::from_bytes(take(&mut rest).ok_or(SHORT)?);
    let first = Offset::new(u64::from_le_bytes(take(&mut rest).ok_or(SHORT)?))
        .ok_or(Malformed("the first offset of a frame is out of range"))?;
    let count = u32::from_le_bytes(take(&mut rest).ok_or(SHORT)?);
    if first.after(u64::from(count)).is_none() {
        return Err(Malformed("the last offset of a frame is out of range"));
    }
    let schema = SchemaVersion::new(u32::from_le_bytes(take(&mut rest).ok_or(SHORT)?));
    let time = Timestamp::from_micros(i64::from_le_bytes(take(&mut rest).ok_or(SHORT)?));
    let [flags, kind] = take(&mut rest).ok_or(SHORT)?;
    if flags & !(CLOSE | RELOCATED | BESIDE) != 0 {
        return Err(Malformed("a frame has flags that this version does not know"));
    }
    let writer = match kind {
        PLAIN => Writer::Plain,
        PRODUCER => {
            let epoch = u64::from_le_bytes(take(&mut rest).ok_or(SHORT)?);
            let seq = u64::from_le_bytes(take(&mut rest).ok_or(SHORT)?);
            Writer::Producer(ProducerWrite { id: take_text(&mut rest)?, epoch, seq })
        }
        KEYED => {
            let body_hash = take(&mut rest).ok_or(SHORT)?;
            Writer::Keyed(KeyedWrite { key: take_text(&mut rest)?, body_hash })
        }
        _ => return Err(Malformed("a frame has a kind of writer that this version does not know")),
    };
    let beside = match flags & BESIDE {
        0 => None,
        _ => Some(Box::new(beside::take_from(&mut rest, body)?)),
    };
    Ok(WalEntry {
        topic,
        first,
        count,
        schema,
        time,
        close: flags & CLOSE != 0,
        relocated: flags & RELOCATED != 0,
        writer,
        beside,
        values: body.slice(body.len() - rest.len()..),
    })
}

/// Takes the first `N` bytes.
pub(crate) fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(*taken)
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn take_text(from: &mut &[u8]) -> Result<Arc<str>, Malformed> {
    const CUT: Malformed = Malformed("the writer of a frame is cut off");
    let length = usize::try_from(u64::from_le_bytes(take(from).ok_or(CUT)?)).map_err(|_| CUT)?;
    let (text, rest) = from.split_at_checked(length).ok_or(CUT)?;
    *from = rest;
    std::str::from_utf8(text).map(Arc::from).map_err(|_| Malformed("the writer of a frame is not text"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wal::Beside;

    pub(crate) fn entries() -> impl Strategy<Value = WalEntry> {
        let writer =
            prop_oneof![
                Just(Writer::Plain),
                ("[!-~]{1,128}", any::<u64>(), any::<u64>())
                    .prop_map(|(id, epoch, seq)| Writer::Producer(ProducerWrite { id: id.into(), epoch, seq })),
                ("[!-~]{1,255}", any::<[u8; 32]>())
                    .prop_map(|(key, body_hash)| Writer::Keyed(KeyedWrite { key: key.into(), body_hash })),
            ];
        let numbers = (any::<[u8; 16]>(), 0_u64..(1 << 52), any::<u32>(), any::<u32>(), any::<i64>());
        let values = prop::collection::vec(any::<u8>(), 0..400);
        let parts =
            (numbers.clone(), any::<(bool, bool)>(), writer, prop::option::of((numbers, values.clone())), values);
        parts.prop_map(|(numbers, (close, relocated), writer, beside, values)| {
            let (topic, first, count, schema, time) = numbers;
            let beside = beside.map(|((topic, first, count, schema, time), values)| {
                Box::new(Beside {
                    topic: TopicId::from_bytes(topic),
                    first: Offset::new(first).unwrap(),
                    count,
                    schema: SchemaVersion::new(schema),
                    time: Timestamp::from_micros(time),
                    values: values.into(),
                })
            });
            WalEntry {
                topic: TopicId::from_bytes(topic),
                first: Offset::new(first).unwrap(),
                count,
                schema: SchemaVersion::new(schema),
                time: Timestamp::from_micros(time),
                close,
                relocated,
                writer,
                beside,
                values: values.into(),
            }
        })
    }

    fn frame(entry: &WalEntry) -> Vec<u8> {
        let body = Body::encode(entry);
        let header = FrameHeader { body_bytes: body.bytes(), segment: 3, position: 77, synced: 50, body_crc: body.crc };
        let mut out = Vec::new();
        header.encode(&mut out);
        assert_eq!(out.len(), FRAME_HEADER_BYTES);
        out.extend_from_slice(&body.lead);
        out.extend_from_slice(&body.values);
        assert_eq!(out.len() as u64, header.frame_bytes());
        out
    }

    /// What a reader does: both checksums, then the body.
    fn read(bytes: &[u8]) -> Option<WalEntry> {
        let header = FrameHeader::decode(bytes)?;
        let body = bytes.get(FRAME_HEADER_BYTES..)?.get(..usize::try_from(header.body_bytes).ok()?)?;
        (crc32c::crc32c(body) == header.body_crc).then_some(())?;
        decode_body(&Bytes::copy_from_slice(body)).ok()
    }

    proptest! {
        #[test]
        fn what_is_framed_is_read_back(entry in entries()) {
            prop_assert_eq!(read(&frame(&entry)), Some(entry));
        }

        #[test]
        fn a_flipped_bit_never_passes(entry in entries(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let mut bytes = frame(&entry);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(read(&bytes), None);
        }

        #[test]
        fn a_cut_frame_never_passes(entry in entries(), at in any::<prop::sample::Index>()) {
            let bytes = frame(&entry);
            prop_assert_eq!(read(&bytes[..at.index(bytes.len())]), None);
        }

        #[test]
        fn arbitrary_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(FrameHeader::decode(&bytes), None);
            // Bodies of chance may be well-formed; they must only never panic, and never yield more than they hold.
            if let Ok(entry) = decode_body(&Bytes::from(bytes.clone())) {
                prop_assert!(entry.values.len() <= bytes.len());
            }
        }

        #[test]
        fn a_body_cut_anywhere_is_never_read_past_its_end(entry in entries(), at in any::<prop::sample::Index>()) {
            let body = Body::encode(&entry);
            let whole: Vec<u8> = [body.lead.as_slice(), &body.values].concat();
            let cut = Bytes::copy_from_slice(&whole[..at.index(whole.len())]);
            prop_assert_eq!(decode_body(&cut).is_ok(), cut.len() >= body.lead.len());
        }
    }

    #[test]
    fn the_format_stays_as_it_is() {
        let entry = WalEntry {
            topic: TopicId::from_bytes([7; 16]),
            first: Offset::new(258).unwrap(),
            count: 2,
            schema: SchemaVersion::new(5),
            time: Timestamp::from_micros(-2),
            close: true,
            relocated: false,
            writer: Writer::Producer(ProducerWrite { id: "ab".into(), epoch: 1, seq: 9 }),
            beside: None,
            values: Bytes::from_static(b"1\n2\n"),
        };
        let expected = [
            "f75045fe480000000000000003000000000000004d000000000000003200000000000000113ba64a9b3a9357",
            "07070707070707070707070707070707",
            "02010000000000000200000005000000feffffffffffffff0101",
            "0100000000000000090000000000000002000000000000006162310a320a",
        ]
        .concat();
        let hex: String = frame(&entry).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
    }

    #[test]
    fn what_this_version_does_not_know_is_refused() {
        let entry = WalEntry {
            topic: TopicId::from_bytes([7; 16]),
            first: Offset::ZERO,
            count: 0,
            schema: None,
            time: Timestamp::default(),
            close: false,
            relocated: false,
            writer: Writer::Plain,
            beside: None,
            values: Bytes::new(),
        };
        for (at, byte) in [(40, 8), (41, 3), (23, 0xFF)] {
            let mut body = Body::encode(&entry).lead;
            body[at] = byte;
            assert!(decode_body(&Bytes::from(body)).is_err(), "byte {at}");
        }
    }
}
