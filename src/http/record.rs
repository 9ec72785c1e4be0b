//! Record objects: the same bytes in a page, in an NDJSON line and in a stream's `data:`.

use crate::codec::Chunk;

/// What an object has besides its value, roughly: for sizing buffers.
pub(crate) const ENVELOPE_BYTES: usize = 80;

/// Appends `{"offset":N,"timestamp":"…","value":…}` for the record at `index` of the chunk.
pub(crate) fn write_record(out: &mut Vec<u8>, chunk: &Chunk, index: usize) {
    out.extend_from_slice(b"{\"offset\":");
    let offset = chunk.first().saturating_after(index as u64).get();
    out.extend_from_slice(itoa::Buffer::new().format(offset).as_bytes());
    out.extend_from_slice(b",\"timestamp\":\"");
    chunk.time(index).write_to(out);
    out.extend_from_slice(b"\",\"value\":");
    out.extend_from_slice(chunk.value(index));
    out.push(b'}');
}

#[cfg(test)]
pub(crate) fn chunk_of(first: u64, values: &[&str]) -> Chunk {
    use crate::codec::Values;
    use crate::model::{Offset, Timestamp};
    let text: String = values.iter().map(|value| format!("{value}\n")).collect();
    let time = Timestamp::parse_rfc3339("2026-11-23T09:00:00.000001Z").unwrap();
    Chunk::new(Offset::new(first).unwrap(), time, Values::from_text(text.into()).unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_object_has_offset_time_and_the_value_as_it_is() {
        let mut out = Vec::new();
        write_record(&mut out, &chunk_of(1, &["{\"id\":\"2\"}", "{\"id\":\"3\",\"n\":1}"]), 1);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"offset\":2,\"timestamp\":\"2026-11-23T09:00:00.000001Z\",\"value\":{\"id\":\"3\",\"n\":1}}"
        );
    }
}
