//! What a message claims, against what it has.

use arrow_ipc::{CompressionType, Endianness, Field, RecordBatch, Schema, Type};
use arrow_schema::ArrowError;

use super::{IpcLimits, broken};
use crate::codec::DecodeError;

/// The most columns, at all depths: past them no topic takes the rows anyway.
const FIELDS_MAX: usize = 10_000;
/// The most columns inside of each other.
const LEVELS_MAX: usize = 60;
/// LZ4 makes at most so much of one byte.
const LZ4_RATIO_MAX: u64 = 255;

/// What is wrong, without the parts of the library that say so.
pub(super) fn reason(error: &ArrowError) -> String {
    let text = error.to_string();
    let text = text.split_once(": ").map_or(text.as_str(), |(_, what)| what);
    text.chars().take(300).collect()
}

/// Refuses schemas of more than can be meant, and those whose fields lack what their type needs.
pub(super) fn check_schema(schema: &Schema<'_>) -> Result<(), DecodeError> {
    if schema.endianness() != Endianness::Little {
        return Err(broken("its numbers are big-endian"));
    }
    let mut left = FIELDS_MAX;
    for field in schema.fields().into_iter().flatten() {
        check_field(&field, 1, &mut left)?;
    }
    if schema.fields().is_none() { Err(broken("its schema has no list of fields")) } else { Ok(()) }
}

fn check_field(field: &Field<'_>, level: usize, left: &mut usize) -> Result<(), DecodeError> {
    *left = left.checked_sub(1).ok_or_else(|| broken(format!("it has more than {FIELDS_MAX} columns")))?;
    if level > LEVELS_MAX {
        return Err(broken(format!("its columns nest deeper than {LEVELS_MAX} levels")));
    }
    let children = field.children().map_or(0, |children| children.len());
    let expected = match field.type_type() {
        Type::List | Type::LargeList | Type::ListView | Type::LargeListView | Type::FixedSizeList | Type::Map => 1,
        Type::RunEndEncoded => 2,
        _ => children,
    };
    if children != expected {
        return Err(broken("a column has not the members that its type needs"));
    }
    for child in field.children().into_iter().flatten() {
        check_field(&child, level + 1, left)?;
    }
    Ok(())
}

/// Refuses batches whose buffers lie outside of their body, or that are, decompressed, over the limits; how many bytes they
/// have when decompressed.
pub(super) fn check_batch(batch: &RecordBatch<'_>, body: &[u8], limits: &IpcLimits) -> Result<u64, DecodeError> {
    let too_large = DecodeError::MessageTooLarge { limit: limits.message_bytes_max };
    let rows = u64::try_from(batch.length()).map_err(|_| broken("a batch has a negative length"))?;
    let bits = (body.len() as u64).saturating_mul(8);
    if rows > limits.batch_records_max.max(bits) {
        return Err(DecodeError::TooManyRecords { limit: limits.batch_records_max });
    }
    let items_max = limits.message_bytes_max.saturating_mul(8);
    for node in batch.nodes().into_iter().flatten() {
        let (length, nulls) = (u64::try_from(node.length()), u64::try_from(node.null_count()));
        match (length, nulls) {
            (Ok(length), Ok(nulls)) if nulls <= length && length <= items_max => {}
            _ => return Err(broken("a column has a length that cannot be")),
        }
    }
    let codec = batch.compression().map(|compression| compression.codec());
    let mut decoded: u64 = 0;
    for buffer in batch.buffers().into_iter().flatten() {
        let place = usize::try_from(buffer.offset()).ok().zip(usize::try_from(buffer.length()).ok());
        let bytes = place.and_then(|(from, length)| body.get(from..from.checked_add(length)?));
        let bytes = bytes.ok_or_else(|| broken("a buffer lies outside of its message"))?;
        let own = match codec {
            Some(codec) if !bytes.is_empty() => decompressed(bytes, codec)?,
            _ => bytes.len() as u64,
        };
        decoded = decoded.saturating_add(own);
        if decoded > limits.message_bytes_max {
            return Err(too_large);
        }
    }
    Ok(decoded)
}

/// What a compressed buffer becomes at most.
fn decompressed(bytes: &[u8], codec: CompressionType) -> Result<u64, DecodeError> {
    let (claim, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| broken("a compressed buffer has no length"))?;
    let stored = rest.len() as u64;
    match i64::from_le_bytes(*claim) {
        -1 => Ok(stored),
        claim => {
            let claim = u64::try_from(claim).map_err(|_| broken("a compressed buffer has a negative length"))?;
            // zstd is held to the claim; LZ4 writes whatever its blocks say.
            Ok(if codec == CompressionType::LZ4_FRAME { claim.max(lz4_bytes(rest)) } else { claim })
        }
    }
}

/// What the frames of LZ4 can become: a block is at most of the size that its frame declares.
pub(super) fn lz4_bytes(frames: &[u8]) -> u64 {
    blocks(frames).unwrap_or((frames.len() as u64).saturating_mul(LZ4_RATIO_MAX))
}

/// The sum over all blocks but the last of each frame, which is seldom full: what it may have beyond the claim is bounded
/// by one block. None where the frames are not what the format says.
fn blocks(frames: &[u8]) -> Option<u64> {
    let number = |at: usize| Some(u32::from_le_bytes(frames.get(at..at + 4)?.try_into().ok()?));
    let (mut at, mut sum) = (0_usize, 0_u64);
    while at < frames.len() {
        if number(at)? != 0x184D_2204 {
            return None;
        }
        let (flags, descriptor) = (*frames.get(at + 4)?, *frames.get(at + 5)?);
        let block_max: u64 = match (descriptor >> 4) & 7 {
            4 => 64 << 10,
            5 => 256 << 10,
            6 => 1 << 20,
            7 => 4 << 20,
            _ => return None,
        };
        let with_size = if flags & 0b1000 == 0 { 0 } else { 8 };
        let with_dictionary = if flags & 1 == 0 { 0 } else { 4 };
        at += 7 + with_size + with_dictionary;
        let mut last = 0;
        loop {
            let word = number(at)?;
            at += 4;
            if word == 0 {
                break;
            }
            sum = sum.saturating_add(last);
            let length = (word & 0x7fff_ffff) as usize;
            last = block_max.min((length as u64).saturating_mul(LZ4_RATIO_MAX));
            at = at.checked_add(length)?.checked_add(if flags & 0b1_0000 == 0 { 0 } else { 4 })?;
        }
        at += if flags & 0b100 == 0 { 0 } else { 4 };
    }
    Some(sum)
}
