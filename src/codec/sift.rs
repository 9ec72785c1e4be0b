//! Parts the records of a body that columns can take from those that they cannot.

use std::ops::Range;

use crate::codec::walk::spans;
use crate::codec::{DecodeError, DecodeLimits, Decoded, Form, Records, Room, Target, decode};
use crate::model::{ErrorCode, RecordError};

/// How many refused records one pass tells of; there is another pass while there are more.
const ERRORS_AT_ONCE: usize = 10_000;

/// What a refused record becomes: its error, the record that is kept of it as text, the same decoded.
const REFUSED_BYTES: u64 = 1_000;
/// And each of its bytes, some of which are escaped.
const REFUSED_PER_BYTE: u64 = 4;

/// A body in two parts.
#[derive(Clone, Debug)]
pub struct Sifted {
    /// The records that can be stored, in their order; there may be none.
    pub taken: Decoded,
    /// Where those stand in the body that cannot, and why, in their order.
    pub refused: Vec<(Range<usize>, RecordError)>,
}

impl Sifted {
    /// What the refused records become.
    pub fn refused_bytes(&self) -> u64 {
        self.refused.iter().map(|(span, _)| refused_bytes(span)).sum()
    }
}

const fn refused_bytes(span: &Range<usize>) -> u64 {
    REFUSED_BYTES.saturating_add(REFUSED_PER_BYTE.saturating_mul(span.end.saturating_sub(span.start) as u64))
}

/// Decodes the records of a body that can be stored. What the others become is taken from `room`, pass by pass. What refuses a body whole refuses it here too: text that is no JSON, a
/// record that is too large, too many records or columns.
///
/// # Errors
/// [`DecodeError`], but for records that cannot be had in the columns.
pub fn sift(
    body: &[u8],
    form: Form,
    target: Target<'_>,
    limits: &DecodeLimits,
    room: &Room,
) -> Result<Sifted, DecodeError> {
    let limits = DecodeLimits { errors_max: ERRORS_AT_ONCE, ..*limits };
    let mut errors = match decode(body, form, target, &limits) {
        Err(error) => refusals(error)?,
        Ok(taken) => return Ok(Sifted { taken, refused: Vec::new() }),
    };
    // A body that was decoded so far is text.
    let text = std::str::from_utf8(body).unwrap_or_default();
    let mut left: Vec<(u64, Range<usize>)> = (0..).zip(spans(text, form, &limits)).collect();
    let mut refused = Vec::new();
    loop {
        let mut kept = Vec::with_capacity(left.len().saturating_sub(errors.len()));
        let mut taken = 0;
        let mut errors_left = errors.into_iter().peekable();
        for (place, (record, span)) in (0..).zip(left) {
            match errors_left.next_if(|error| error.record == place) {
                Some(error) => {
                    taken += refused_bytes(&span);
                    refused.push((span, RecordError { record, ..error }));
                }
                None => kept.push((record, span)),
            }
        }
        left = kept;
        room.take(taken)?;
        if left.is_empty() {
            let taken = Decoded::Fits(Records::default());
            refused.sort_by_key(|(_, error)| error.record);
            return Ok(Sifted { taken, refused });
        }
        errors = match decode(&array_of(text, &left), Form::Json, target, &limits) {
            Err(error) => refusals(error)?,
            Ok(taken) => {
                refused.sort_by_key(|(_, error)| error.record);
                return Ok(Sifted { taken, refused });
            }
        };
    }
}

/// The records that are refused for what they are.
fn refusals(error: DecodeError) -> Result<Vec<RecordError>, DecodeError> {
    let is_of_record = |error: &RecordError| matches!(error.code, ErrorCode::InvalidRecord | ErrorCode::SchemaConflict);
    match error {
        DecodeError::InvalidRecords { errors, .. } if errors.iter().all(is_of_record) => Ok(errors),
        other => Err(other),
    }
}

/// An array of some records of a body.
fn array_of(text: &str, records: &[(u64, Range<usize>)]) -> Vec<u8> {
    let bytes: usize = records.iter().map(|(_, span)| span.len() + 1).sum();
    let mut array = Vec::with_capacity(bytes + 1);
    for (index, (_, span)) in records.iter().enumerate() {
        array.push(if index == 0 { b'[' } else { b',' });
        array.extend_from_slice(text.get(span.clone()).unwrap_or_default().as_bytes());
    }
    array.push(b']');
    array
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::codec::PreparedSchema;
    use crate::model::{Problem, SchemaMode};
    use crate::schema::{Schema, WideColumns};

    const LIMITS: DecodeLimits =
        DecodeLimits { record_bytes_max: 1_000, records_max: 100_000, errors_max: Problem::ERRORS_MAX };

    type Texts = (Vec<String>, Vec<(String, u64)>);

    fn sifted(body: &str, form: Form, mode: SchemaMode) -> Result<Texts, DecodeError> {
        let fields = serde_json::json!({"fields": [{"name": "n", "type": "int8"}, {"name": "s", "type": "string"}]});
        let prepared = PreparedSchema::new(Arc::new(Schema::from_json(&fields).unwrap()));
        let wide = WideColumns::default();
        let target = Target::Columns { schema: Some(&prepared), mode, wide: &wide };
        let Sifted { taken, refused } = sift(body.as_bytes(), form, target, &LIMITS, &Room::default())?;
        let records = match taken {
            Decoded::Fits(records) => records,
            Decoded::Evolves(evolution) => evolution.records,
        };
        let text = |index| String::from_utf8(records.values.get(index).to_vec()).unwrap();
        let refused = refused.into_iter().map(|(span, error)| (body[span].to_owned(), error.record)).collect();
        Ok(((0..records.values.len()).map(text).collect(), refused))
    }

    #[test]
    fn what_fits_is_taken_and_the_rest_is_told_as_it_was_sent() {
        let bodies = [
            (Form::Ndjson, "{\"n\":1}\n\n{\"n\": \"x\" }\r\n7\n{\"n\":2,\"n\":3}\n{\"s\":\"y\"}"),
            (Form::Json, "[{\"n\":1}, {\"n\": \"x\" },7 , {\"n\":2,\"n\":3},\n{\"s\":\"y\"}]"),
        ];
        for (form, body) in bodies {
            let (taken, refused) = sifted(body, form, SchemaMode::Strict).unwrap();
            assert_eq!(taken, ["{\"n\":1}", "{\"s\":\"y\"}"]);
            let texts = [("{\"n\": \"x\" }", 1), ("7", 2), ("{\"n\":2,\"n\":3}", 3)];
            assert_eq!(refused, texts.map(|(text, record)| (text.to_owned(), record)));
        }
    }

    #[test]
    fn a_refused_record_has_no_say_in_what_columns_become() {
        let body = "{\"n\":300,\"s\":1,\"gone\":true}{\"n\":7,\"new\":[1]}";
        let (taken, refused) = sifted(body, Form::Sequence, SchemaMode::Evolve).unwrap();
        assert_eq!(taken, ["{\"n\":7,\"new\":[1]}"]);
        assert_eq!(refused.len(), 1);
    }

    #[test]
    fn nothing_may_be_left_and_no_refused_record_is_too_many() {
        let body: String = (0..25_000).map(|n| format!("{{\"s\":{n}}}\n")).collect();
        let (taken, refused) = sifted(&body, Form::Ndjson, SchemaMode::Evolve).unwrap();
        assert!(taken.is_empty());
        assert!(refused.iter().map(|(_, record)| *record).eq(0..25_000));
    }

    #[test]
    fn what_refuses_a_body_whole_still_does() {
        for body in ["{\"n\":\"x\"}{", "", &format!("{{\"n\":\"x\"}}{{\"s\":\"{}\"}}", "x".repeat(2_000))] {
            assert!(sifted(body, Form::Sequence, SchemaMode::Strict).is_err(), "{body}");
        }
    }
}
