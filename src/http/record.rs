//! Record objects: the same bytes in a page, in an NDJSON line and in a stream's `data:`.

use crate::codec::Chunk;
use crate::model::Timestamp;

/// What an object has besides its value, roughly: for sizing buffers.
pub(crate) const ENVELOPE_BYTES: usize = 80;

/// Writes record objects, one after the other. Records of one append have one time, so that its text is kept for the next.
#[derive(Default)]
pub(crate) struct RecordWriter {
    time: Option<Timestamp>,
    text: Vec<u8>,
}

impl RecordWriter {
    /// Appends `{"offset":N,"timestamp":"…","value":…}` for the record at `index` of the chunk.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, chunk: &Chunk, index: usize) {
        let time = chunk.time(index);
        if self.time != Some(time) {
            self.time = Some(time);
            self.text.clear();
            time.write_to(&mut self.text);
        }
        write_with(out, chunk, index, &self.text);
    }
}

/// Appends one record object; see [`RecordWriter`] for many.
pub(crate) fn write_record(out: &mut Vec<u8>, chunk: &Chunk, index: usize) {
    RecordWriter::default().write(out, chunk, index);
}

fn write_with(out: &mut Vec<u8>, chunk: &Chunk, index: usize, time: &[u8]) {
    out.extend_from_slice(b"{\"offset\":");
    let offset = chunk.first().saturating_after(index as u64).get();
    out.extend_from_slice(itoa::Buffer::new().format(offset).as_bytes());
    out.extend_from_slice(b",\"timestamp\":\"");
    out.extend_from_slice(time);
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
