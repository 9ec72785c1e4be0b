//! Stream items as Server-Sent Events (WHATWG HTML, section 9.2) or NDJSON lines: pure.

use bytes::Bytes;

use crate::codec::Chunk;
use crate::http::problem::problem_json;
use crate::http::record::{ENVELOPE_BYTES, RecordWriter};
use crate::model::{Epoch, Offset, Problem};
use crate::topic::{EndReason, GapReason, SharedRun, StreamItem};

/// How a stream is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// `text/event-stream`
    Sse,
    /// `application/x-ndjson`
    Ndjson,
}

/// What an event stream begins with: how long a client waits before it connects again.
pub(crate) const RETRY: &[u8] = b"retry: 2000\n\n";

/// What an event has besides its data, roughly: for sizing buffers.
const ID_BYTES: usize = 32;

/// All that an event stream says where there is no room for it: come back later.
pub(crate) const COME_BACK: &[u8] = b"retry: 10000\n\n: no stream can be served at present\n\n";

impl Framing {
    /// What shows that the stream lives: a comment, or an empty line.
    pub(crate) const fn heartbeat(self) -> &'static [u8] {
        match self {
            Framing::Sse => b":\n\n",
            Framing::Ndjson => b"\n",
        }
    }

    /// Appends records of a chunk from `index` on until `out` has reached `bytes`; the index of the next one.
    pub(crate) fn records(self, out: &mut Vec<u8>, epoch: Epoch, chunk: &Chunk, index: usize, bytes: usize) -> usize {
        let mut at = index;
        let mut writer = RecordWriter::default();
        while at < chunk.len() && (at == index || out.len() < bytes) {
            if self == Framing::Sse {
                out.extend_from_slice(b"id: ");
                write_id(out, epoch, Some(chunk.first().saturating_after(at as u64)));
                out.extend_from_slice(b"\ndata: ");
            }
            writer.write(out, chunk, at);
            out.extend_from_slice(if self == Framing::Sse { b"\n\n" } else { b"\n" });
            at += 1;
        }
        at
    }

    /// The records of a run that readers share, written by the first of them.
    pub(crate) fn run(self, run: &SharedRun) -> Bytes {
        let form = match self {
            Framing::Sse => 0,
            Framing::Ndjson => 1,
        };
        run.written(form, |run| {
            let (records, text) = (run.len(), run.chunks().iter().map(|chunk| chunk.values().bytes()).sum::<usize>());
            let mut out = Vec::with_capacity(text + records * (ENVELOPE_BYTES + ID_BYTES));
            for chunk in run.chunks() {
                self.records(&mut out, run.epoch(), chunk, 0, usize::MAX);
            }
            out.into()
        })
    }

    /// Appends a control event. `instance` is the request's id, for problems. Records are written by
    /// [`Framing::records`].
    pub(crate) fn control(self, out: &mut Vec<u8>, item: &StreamItem, instance: &str) {
        match item {
            StreamItem::Records { epoch, chunk } => {
                self.records(out, *epoch, chunk, 0, usize::MAX);
            }
            StreamItem::Shared(run) => out.extend_from_slice(&self.run(run)),
            StreamItem::Position { epoch, next_offset, tail_offset } => {
                let id = Id::Before(*epoch, *next_offset);
                let data = format!("{{\"epoch\":{epoch},\"next_offset\":{next_offset},\"tail_offset\":{tail_offset}}}");
                self.event(out, "position", id, data.as_bytes());
            }
            StreamItem::CaughtUp { next_offset } => {
                let data = format!("{{\"next_offset\":{next_offset}}}");
                self.event(out, "caught-up", Id::None, data.as_bytes());
            }
            StreamItem::Gap { epoch, from, to, reason } => {
                let reason = match reason {
                    GapReason::Retention => "retention",
                    GapReason::Reset => "reset",
                };
                let data = format!("{{\"from\":{from},\"to\":{to},\"reason\":\"{reason}\"}}");
                self.event(out, "gap", Id::Before(*epoch, *to), data.as_bytes());
            }
            StreamItem::Schema { version } => {
                self.event(out, "schema", Id::None, format!("{{\"schema_version\":{version}}}").as_bytes());
            }
            StreamItem::Problem(problem) => self.problem(out, problem, instance),
            StreamItem::End { reason, next_offset } => self.end(out, *reason, *next_offset),
        }
    }

    /// Appends a `problem` event.
    pub(crate) fn problem(self, out: &mut Vec<u8>, problem: &Problem, instance: &str) {
        self.event(out, "problem", Id::None, &problem_json(problem, instance));
    }

    /// Appends the `end` event. After a shutdown a client shall come back, so that its id is not `end`.
    pub(crate) fn end(self, out: &mut Vec<u8>, reason: EndReason, next_offset: Offset) {
        let word = match reason {
            EndReason::Limit => "limit",
            EndReason::Tail => "tail",
            EndReason::Closed => "closed",
            EndReason::Deleted => "deleted",
            EndReason::Shutdown => "shutdown",
        };
        let id = if reason == EndReason::Shutdown { Id::None } else { Id::End };
        let data = format!("{{\"reason\":\"{word}\",\"next_offset\":{next_offset}}}");
        self.event(out, "end", id, data.as_bytes());
    }

    /// Appends an event whose data are one line of JSON.
    fn event(self, out: &mut Vec<u8>, name: &str, id: Id, data: &[u8]) {
        match self {
            Framing::Sse => {
                out.extend_from_slice(b"event: ");
                out.extend_from_slice(name.as_bytes());
                match id {
                    Id::None => {}
                    Id::End => out.extend_from_slice(b"\nid: end"),
                    Id::Before(epoch, offset) => {
                        out.extend_from_slice(b"\nid: ");
                        write_id(out, epoch, offset.get().checked_sub(1).and_then(Offset::new));
                    }
                }
                out.extend_from_slice(b"\ndata: ");
                out.extend_from_slice(data);
                out.extend_from_slice(b"\n\n");
            }
            Framing::Ndjson => {
                out.extend_from_slice(b"{\"event\":\"");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\",\"data\":");
                out.extend_from_slice(data);
                out.extend_from_slice(b"}\n");
            }
        }
    }
}

/// The id of a control event.
#[derive(Clone, Copy)]
enum Id {
    None,
    End,
    /// The position before an offset, so that a client resumes at it.
    Before(Epoch, Offset),
}

/// Appends `{epoch}:{offset}`; −1 is before the first record.
fn write_id(out: &mut Vec<u8>, epoch: Epoch, offset: Option<Offset>) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(digits.format(epoch.get()).as_bytes());
    out.push(b':');
    match offset {
        Some(offset) => out.extend_from_slice(digits.format(offset.get()).as_bytes()),
        None => out.extend_from_slice(b"-1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::record::chunk_of;
    use crate::model::{ErrorCode, SchemaVersion};

    fn offset(number: u64) -> Offset {
        Offset::new(number).unwrap()
    }

    fn items() -> Vec<(StreamItem, &'static str, &'static str)> {
        let epoch = Epoch::new(7).unwrap();
        let position = |next| StreamItem::Position { epoch, next_offset: offset(next), tail_offset: offset(3) };
        let end = |reason| StreamItem::End { reason, next_offset: offset(3) };
        vec![
            (
                position(2),
                "event: position\nid: 7:1\ndata: {\"epoch\":7,\"next_offset\":2,\"tail_offset\":3}\n\n",
                "{\"event\":\"position\",\"data\":{\"epoch\":7,\"next_offset\":2,\"tail_offset\":3}}\n",
            ),
            (
                position(0),
                "event: position\nid: 7:-1\ndata: {\"epoch\":7,\"next_offset\":0,\"tail_offset\":3}\n\n",
                "{\"event\":\"position\",\"data\":{\"epoch\":7,\"next_offset\":0,\"tail_offset\":3}}\n",
            ),
            (
                StreamItem::Records { epoch, chunk: chunk_of(2, &["{\"a\":1}", "{}"]) },
                "id: 7:2\ndata: {\"offset\":2,\"timestamp\":\"2026-11-23T09:00:00.000001Z\",\"value\":{\"a\":1}}\n\n\
                 id: 7:3\ndata: {\"offset\":3,\"timestamp\":\"2026-11-23T09:00:00.000001Z\",\"value\":{}}\n\n",
                "{\"offset\":2,\"timestamp\":\"2026-11-23T09:00:00.000001Z\",\"value\":{\"a\":1}}\n\
                 {\"offset\":3,\"timestamp\":\"2026-11-23T09:00:00.000001Z\",\"value\":{}}\n",
            ),
            (
                StreamItem::CaughtUp { next_offset: offset(3) },
                "event: caught-up\ndata: {\"next_offset\":3}\n\n",
                "{\"event\":\"caught-up\",\"data\":{\"next_offset\":3}}\n",
            ),
            (
                StreamItem::Gap { epoch, from: offset(1), to: offset(5), reason: GapReason::Retention },
                "event: gap\nid: 7:4\ndata: {\"from\":1,\"to\":5,\"reason\":\"retention\"}\n\n",
                "{\"event\":\"gap\",\"data\":{\"from\":1,\"to\":5,\"reason\":\"retention\"}}\n",
            ),
            (
                StreamItem::Gap { epoch, from: offset(4), to: offset(0), reason: GapReason::Reset },
                "event: gap\nid: 7:-1\ndata: {\"from\":4,\"to\":0,\"reason\":\"reset\"}\n\n",
                "{\"event\":\"gap\",\"data\":{\"from\":4,\"to\":0,\"reason\":\"reset\"}}\n",
            ),
            (
                StreamItem::Schema { version: SchemaVersion::FIRST },
                "event: schema\ndata: {\"schema_version\":1}\n\n",
                "{\"event\":\"schema\",\"data\":{\"schema_version\":1}}\n",
            ),
            (
                end(EndReason::Closed),
                "event: end\nid: end\ndata: {\"reason\":\"closed\",\"next_offset\":3}\n\n",
                "{\"event\":\"end\",\"data\":{\"reason\":\"closed\",\"next_offset\":3}}\n",
            ),
            (
                end(EndReason::Shutdown),
                "event: end\ndata: {\"reason\":\"shutdown\",\"next_offset\":3}\n\n",
                "{\"event\":\"end\",\"data\":{\"reason\":\"shutdown\",\"next_offset\":3}}\n",
            ),
        ]
    }

    fn framed(framing: Framing, item: &StreamItem) -> String {
        let mut out = Vec::new();
        framing.control(&mut out, item, "r-1");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn items_are_framed_as_the_contract_shows_them() {
        for (item, sse, ndjson) in items() {
            assert_eq!(framed(Framing::Sse, &item), sse);
            assert_eq!(framed(Framing::Ndjson, &item), ndjson);
        }
    }

    #[test]
    fn a_problem_is_an_event_with_the_request_id() {
        let item = StreamItem::Problem(Box::new(Problem::new(ErrorCode::TopicDegraded, "Wait.")));
        let text = framed(Framing::Sse, &item);
        assert!(text.starts_with("event: problem\ndata: {\"type\":\"/problems/topic_degraded\""), "{text}");
        assert!(text.contains("\"instance\":\"r-1\"") && text.ends_with("}\n\n"));
    }

    #[test]
    fn a_frame_is_bounded_but_never_empty() {
        let epoch = Epoch::new(7).unwrap();
        let chunk = chunk_of(0, &["{\"a\":1}", "{}", "{}"]);
        let mut out = Vec::new();
        assert_eq!(Framing::Ndjson.records(&mut out, epoch, &chunk, 0, 1), 1);
        let length = out.len();
        assert_eq!(Framing::Ndjson.records(&mut out, epoch, &chunk, 1, length + 1), 2);
        assert_eq!(Framing::Ndjson.records(&mut out, epoch, &chunk, 2, usize::MAX), 3);
        assert_eq!(Framing::Ndjson.records(&mut out, epoch, &chunk, 3, usize::MAX), 3);
    }
}
