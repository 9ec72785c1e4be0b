//! The builder of a column of texts.

use arrow_array::builder::{ArrayBuilder as _, LargeStringBuilder};
use arrow_array::{Array as _, LargeStringArray};

use super::runs::TEXT_BYTES;

/// After so many values the room for all is guessed.
const SAMPLE: usize = 512;

/// Builds a column of texts. Room for them is taken once, by the length of the first ones, instead of doubled again and again:
/// each time all that is there would be copied, into memory that the system has yet to clear.
#[derive(Debug)]
pub(super) struct Texts {
    builder: LargeStringBuilder,
    rows: usize,
}

impl Texts {
    /// A builder for so many values.
    pub(super) fn new(rows: usize) -> Self {
        Self { builder: LargeStringBuilder::with_capacity(rows, 0), rows }
    }

    pub(super) fn append_value(&mut self, text: &str) {
        if self.builder.len() == SAMPLE {
            self.make_room();
        }
        self.builder.append_value(text);
    }

    pub(super) fn append_null(&mut self) {
        if self.builder.len() == SAMPLE {
            self.make_room();
        }
        self.builder.append_null();
    }

    /// Goes on in a builder with room for all values, if the rest is like the first ones.
    #[cold]
    fn make_room(&mut self) {
        let bytes = self.builder.values_slice().len();
        let (all, spare) = (bytes.saturating_mul(self.rows) / SAMPLE, bytes.saturating_mul(self.rows) / SAMPLE / 16);
        let room = all.saturating_add(spare).min(TEXT_BYTES);
        if room <= 2 * bytes {
            return;
        }
        let first = self.builder.finish();
        let mut builder = LargeStringBuilder::with_capacity(self.rows.max(first.len()), room);
        for text in &first {
            builder.append_option(text);
        }
        self.builder = builder;
    }

    pub(super) fn finish(mut self) -> LargeStringArray {
        self.builder.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_once_by_the_length_of_the_first_values() {
        let mut texts = Texts::new(10_000);
        let text = |at: usize| (!at.is_multiple_of(3)).then(|| format!("text {at:05}"));
        for at in 0..10_000 {
            match text(at) {
                Some(text) => texts.append_value(&text),
                None => texts.append_null(),
            }
            if at == SAMPLE {
                assert!(texts.builder.values_slice().len() < 10_000);
            }
        }
        let column = texts.finish();
        assert_eq!(
            column.iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>(),
            (0..10_000).map(text).collect::<Vec<_>>()
        );
        let (used, taken) = (column.values().len(), column.values().capacity());
        assert!(taken < used + used / 4, "{taken} bytes for {used}");
    }

    #[test]
    fn long_first_values_do_not_take_more_than_a_batch_has() {
        let mut texts = Texts::new(1_000_000);
        (0..SAMPLE).for_each(|_| texts.append_value(&"x".repeat(8_000)));
        (0..10).for_each(|_| texts.append_null());
        let column = texts.finish();
        assert!(column.values().capacity() <= 2 * TEXT_BYTES, "{}", column.values().capacity());
        assert_eq!(column.len(), SAMPLE + 10);
    }
}
