//! An immutable run of records in their one form.

use std::sync::Arc;

use bytes::Bytes;

use super::nonfinite;
use crate::model::{Offset, Timestamp};

/// Values of records: each one's JSON text without white space between tokens, followed by `\n` (which JSON text so written
/// never contains). Numbers that JSON lacks stand in it as the words of [`super::nonfinite`]; [`Values::printed`] is what
/// readers get.
#[derive(Clone, Debug, Default)]
pub struct Values {
    text: Bytes,
    /// Whether a word for a number that JSON lacks may be in the text.
    nonfinite: bool,
    /// Position past each value's `\n`, ascending.
    ends: Arc<[u32]>,
    /// The run's part of `ends`.
    from: usize,
    to: usize,
}

impl Values {
    /// Values whose ends are known: `ends[i]` is the position past the `\n` of value `i`, and the last one the length of
    /// `text`.
    pub fn new(text: Bytes, ends: Vec<u32>) -> Self {
        debug_assert_eq!(ends.last().map_or(0, |end| *end as usize), text.len());
        let to = ends.len();
        Self { text, nonfinite: false, ends: ends.into(), from: 0, to }
    }

    /// The same, for text that may hold numbers which JSON lacks.
    pub(super) fn with_nonfinite(text: Bytes, ends: Vec<u32>) -> Self {
        Self { nonfinite: nonfinite::may_have(&text), ..Self::new(text, ends) }
    }

    /// Values found by their line ends; none where the text is over 4 GiB or its last value lacks its `\n`.
    pub fn from_text(text: Bytes) -> Option<Self> {
        u32::try_from(text.len()).ok()?;
        if text.last().is_some_and(|last| *last != b'\n') {
            return None;
        }
        let ends: Vec<u32> = memchr::memchr_iter(b'\n', &text).filter_map(|at| u32::try_from(at + 1).ok()).collect();
        Some(Self::with_nonfinite(text, ends))
    }

    /// The values as everybody reads them: what JSON has no number for is `null`.
    #[must_use]
    pub fn printed(&self) -> Self {
        if !self.nonfinite {
            return self.clone();
        }
        let (mut text, mut ends) = (Vec::with_capacity(self.bytes()), Vec::with_capacity(self.len()));
        for index in 0..self.len() {
            nonfinite::print(self.get(index), &mut text);
            text.push(b'\n');
            // No longer than what it is made of but for the words of three letters, of which each has a comma.
            ends.push(u32::try_from(text.len()).unwrap_or(u32::MAX));
        }
        Self::new(Bytes::from(text), ends)
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.to - self.from
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn begin_of(&self, index: usize) -> usize {
        index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end as usize)
    }

    fn end_of(&self, index: usize) -> usize {
        self.ends.get(index).map_or(self.text.len(), |end| *end as usize)
    }

    /// The text of value `index`, without its `\n`; empty past the last.
    pub fn get(&self, index: usize) -> &[u8] {
        if index >= self.len() {
            return &[];
        }
        let at = self.from + index;
        self.text.get(self.begin_of(at)..self.end_of(at).saturating_sub(1)).unwrap_or_default()
    }

    /// All values, each with its `\n`, one after the other.
    pub fn text(&self) -> Bytes {
        if self.is_empty() {
            return Bytes::new();
        }
        self.text.slice(self.begin_of(self.from)..self.end_of(self.to - 1))
    }

    /// Bytes of the values with their `\n`.
    pub fn bytes(&self) -> usize {
        if self.is_empty() { 0 } else { self.end_of(self.to - 1) - self.begin_of(self.from) }
    }

    /// Bytes of the text that is shared, of which these values may be a part.
    pub fn held_bytes(&self) -> usize {
        self.text.len()
    }

    /// The same values in a text of their own.
    #[must_use]
    pub fn compacted(&self) -> Self {
        let begin = self.begin_of(self.from);
        let ends = self.ends.get(self.from..self.to).unwrap_or_default();
        let ends: Vec<u32> =
            ends.iter().map(|end| end.saturating_sub(u32::try_from(begin).unwrap_or(u32::MAX))).collect();
        Self { nonfinite: self.nonfinite, ..Self::new(Bytes::copy_from_slice(&self.text()), ends) }
    }

    /// All of several runs of values, one after the other; none past 4 GiB of text.
    fn joined(mut runs: Vec<Self>) -> Option<Self> {
        if runs.len() < 2 {
            return Some(runs.pop().unwrap_or_default());
        }
        let mut text = Vec::with_capacity(runs.iter().map(Self::bytes).sum());
        let mut ends = Vec::with_capacity(runs.iter().map(Self::len).sum());
        for run in &runs {
            let begin = text.len();
            text.extend_from_slice(&run.text());
            let (from, to) = (run.begin_of(run.from), run.ends.get(run.from..run.to).unwrap_or_default());
            for end in to {
                ends.push(u32::try_from(begin + (*end as usize - from)).ok()?);
            }
        }
        let nonfinite = runs.iter().any(|run| run.nonfinite);
        Some(Self { nonfinite, ..Self::new(Bytes::from(text), ends) })
    }

    /// The values from `from` on, at most `count`; shares the text.
    #[must_use]
    pub fn slice(&self, from: usize, count: usize) -> Self {
        let from = (self.from + from).min(self.to);
        let to = from.saturating_add(count).min(self.to);
        Self { text: self.text.clone(), nonfinite: self.nonfinite, ends: Arc::clone(&self.ends), from, to }
    }
}

/// When the records of a chunk were appended.
#[derive(Clone, Debug)]
pub enum Times {
    /// All of them at once.
    One(Timestamp),
    /// One time for each record, from `from` on.
    Each {
        /// The times of a run that this chunk is part of.
        times: Arc<[Timestamp]>,
        /// Where the chunk begins in it.
        from: usize,
    },
}

/// An immutable, reference-counted run of records with dense offsets. Cloning and slicing share the text.
#[derive(Clone, Debug)]
pub struct Chunk {
    first: Offset,
    times: Times,
    values: Values,
}

/// A record's value that could not be had in another form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value of the record at offset {offset} could not be had in another form")]
pub struct Unmappable {
    /// The record.
    pub offset: Offset,
}

impl Chunk {
    /// Records appended at one time.
    pub fn new(first: Offset, time: Timestamp, values: Values) -> Self {
        Self { first, times: Times::One(time), values }
    }

    /// Records with a time each; a missing one is the last known.
    pub fn with_times(first: Offset, times: Vec<Timestamp>, values: Values) -> Self {
        Self { first, times: Times::Each { times: times.into(), from: 0 }, values }
    }

    /// The first record's offset.
    pub fn first(&self) -> Offset {
        self.first
    }

    /// The offset past the last record.
    pub fn next(&self) -> Offset {
        self.first.saturating_after(self.len() as u64)
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The records' values.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The text of the value of the record at `index` in the chunk.
    pub fn value(&self, index: usize) -> &[u8] {
        self.values.get(index)
    }

    /// When the record at `index` in the chunk was appended.
    pub fn time(&self, index: usize) -> Timestamp {
        match &self.times {
            Times::One(time) => *time,
            Times::Each { times, from } => {
                times.get(from + index).or_else(|| times.last()).copied().unwrap_or_default()
            }
        }
    }

    /// When the last record was appended.
    pub fn last_time(&self) -> Timestamp {
        self.time(self.len().saturating_sub(1))
    }

    /// Bytes of memory that the chunk's text holds on to when nobody shares it.
    pub fn bytes(&self) -> usize {
        let times =
            if matches!(self.times, Times::Each { .. }) { std::mem::size_of::<Timestamp>() * self.len() } else { 0 };
        self.values.bytes() + 4 * self.values.len() + times + std::mem::size_of::<Self>()
    }

    /// The records of chunks that follow each other, in one; none where there are no chunks. Those past 4 GiB of text stay as
    /// they are.
    pub(crate) fn joined(mut chunks: Vec<Self>) -> Vec<Self> {
        if chunks.len() < 2 {
            return chunks;
        }
        let Some(values) = Values::joined(chunks.iter().map(|chunk| chunk.values.clone()).collect()) else {
            return chunks;
        };
        let times = chunks.iter().flat_map(|chunk| (0..chunk.len()).map(|index| chunk.time(index))).collect();
        let first = chunks.swap_remove(0).first;
        vec![Self { first, times: Times::Each { times, from: 0 }, values }]
    }

    /// The same records in a text of their own.
    #[must_use]
    pub fn compacted(&self) -> Self {
        Self { first: self.first, times: self.times.clone(), values: self.values.compacted() }
    }

    /// The same records; where they are a small part of their text, in one of their own, so that whoever keeps them does not keep
    /// all of it.
    #[must_use]
    pub fn detached(self) -> Self {
        if self.values.bytes() < self.values.held_bytes() / 2 { self.compacted() } else { self }
    }

    /// The chunk with other values, which `write` appends one by one; offsets and times are kept.
    ///
    /// # Errors
    /// [`Unmappable`] where `write` gives false or the text passes 4 GiB.
    pub fn map_values(&self, mut write: impl FnMut(&str, &mut Vec<u8>) -> bool) -> Result<Self, Unmappable> {
        let mut out = Vec::new();
        let mut ends = Vec::with_capacity(self.len());
        for index in 0..self.len() {
            let unmappable = || Unmappable { offset: self.first.saturating_after(index as u64) };
            let text = std::str::from_utf8(self.value(index)).map_err(|_| unmappable())?;
            if !write(text, &mut out) {
                return Err(unmappable());
            }
            out.push(b'\n');
            ends.push(u32::try_from(out.len()).map_err(|_| unmappable())?);
        }
        Ok(Self { first: self.first, times: self.times.clone(), values: Values::new(Bytes::from(out), ends) })
    }

    /// The chunk with other values, in runs that have one for each record together; offsets and times are kept.
    ///
    /// # Errors
    /// [`Unmappable`] where they have fewer or more, or their text passes 4 GiB.
    pub fn with_values(&self, runs: Vec<Values>) -> Result<Self, Unmappable> {
        let values = Values::joined(runs).filter(|values| values.len() == self.len());
        let values = values.ok_or(Unmappable { offset: self.first })?;
        Ok(Self { first: self.first, times: self.times.clone(), values })
    }

    /// The same records as everybody reads them.
    #[must_use]
    pub fn printed(self) -> Self {
        Self { values: self.values.printed(), ..self }
    }

    /// The records from index `from` on, at most `count`; shares the text.
    #[must_use]
    pub fn slice(&self, from: usize, count: usize) -> Self {
        let from = from.min(self.len());
        let times = match &self.times {
            Times::One(time) => Times::One(*time),
            Times::Each { times, from: begin } => Times::Each { times: Arc::clone(times), from: begin + from },
        };
        Self { first: self.first.saturating_after(from as u64), times, values: self.values.slice(from, count) }
    }

    /// The records with offsets from `offset` on, at most `count`; empty where the chunk ends before.
    #[must_use]
    pub fn from_offset(&self, offset: Offset, count: usize) -> Self {
        let skip = usize::try_from(offset.since(self.first)).unwrap_or(usize::MAX);
        self.slice(skip, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk() -> Chunk {
        let values = Values::from_text(Bytes::from_static(b"{\"a\":1}\n{}\n{\"b\":\"x\"}\n")).unwrap();
        Chunk::new(Offset::new(7).unwrap(), Timestamp::from_micros(5), values)
    }

    #[test]
    fn slices_keep_offsets_and_text_together() {
        let whole = chunk();
        assert_eq!((whole.len(), whole.next().get()), (3, 10));
        let part = whole.from_offset(Offset::new(8).unwrap(), 1);
        assert_eq!((part.first().get(), part.value(0), part.len()), (8, &b"{}"[..], 1));
        assert_eq!(part.values().text(), Bytes::from_static(b"{}\n"));
        assert_eq!(part.slice(1, 5).len(), 0);
        assert_eq!(whole.from_offset(Offset::new(99).unwrap(), 1).len(), 0);
        assert_eq!(whole.slice(1, 2).slice(1, 9).value(0), b"{\"b\":\"x\"}");
        let own = whole.slice(1, 2).compacted();
        assert_eq!((own.value(0), own.value(1)), (&b"{}"[..], &b"{\"b\":\"x\"}"[..]));
        assert_eq!((own.first().get(), own.values().held_bytes()), (8, 13));
    }

    #[test]
    fn runs_of_values_take_the_place_of_those_of_a_chunk() {
        let whole = chunk();
        let runs = vec![whole.slice(0, 2).values().clone(), whole.slice(2, 1).values().clone()];
        let other = whole.slice(1, 2).with_values(vec![whole.slice(1, 2).values().clone()]).unwrap();
        assert_eq!((other.first().get(), other.value(1)), (8, &b"{\"b\":\"x\"}"[..]));
        let joined = whole.with_values(runs).unwrap();
        assert_eq!(joined.values().text(), whole.values().text());
        assert_eq!(
            (0..3).map(|at| joined.value(at)).collect::<Vec<_>>(),
            (0..3).map(|at| whole.value(at)).collect::<Vec<_>>()
        );
        assert_eq!(whole.with_values(Vec::new()).unwrap_err(), Unmappable { offset: whole.first() });
        assert!(whole.with_values(vec![whole.values().clone(), whole.slice(0, 1).values().clone()]).is_err());
    }

    #[test]
    fn text_without_its_last_line_end_is_refused() {
        assert!(Values::from_text(Bytes::from_static(b"{}")).is_none());
        assert_eq!(Values::from_text(Bytes::new()).map(|v| v.len()), Some(0));
    }
}
