use proptest::prelude::*;

use super::*;
use crate::codec::{DecodeLimits, Decoded, Target, decode};
use crate::model::ErrorCode;

const LIMITS: DecodeLimits = DecodeLimits { record_bytes_max: 1 << 23, records_max: 1_000_000, errors_max: 100 };

fn decoded(body: &[u8], form: Form) -> Result<Vec<u8>, DecodeError> {
    match decode(body, form, Target::Documents, &LIMITS)? {
        Decoded::Fits(records) => Ok(records.values.text().to_vec()),
        Decoded::Evolves(_) => panic!("documents have no schema"),
    }
}

/// All pieces of a body that comes in parts of a size, and what ends it.
fn cut(body: &[u8], form: Form, part: usize, bytes: usize, records: u64) -> (Vec<Piece>, Option<DecodeError>) {
    let mut cutter = Pieces::new(form, bytes, records, 1 << 23);
    let mut pieces = Vec::new();
    for part in body.chunks(part) {
        match cutter.push(part) {
            Ok(more) => pieces.extend(more),
            Err(error) => return (pieces, Some(error)),
        }
    }
    match cutter.finish() {
        Ok(more) => pieces.extend(more),
        Err(error) => return (pieces, Some(error)),
    }
    (pieces, None)
}

/// What a load stores, and its error.
fn load(body: &[u8], form: Form, part: usize, bytes: usize, records: u64) -> (Vec<u8>, Option<DecodeError>) {
    let (pieces, mut failed) = cut(body, form, part, bytes, records);
    let mut stored = Vec::new();
    for piece in pieces {
        match decoded(&piece.body, piece.form) {
            Ok(text) => stored.extend(text),
            Err(error) => {
                failed = Some(piece.place(error));
                break;
            }
        }
    }
    (stored, failed)
}

#[test]
fn pieces_are_bounded_in_bytes_and_records() {
    let body = "{\"a\":1}\n".repeat(10);
    let (pieces, failed) = cut(body.as_bytes(), Form::Ndjson, 3, 1 << 20, 4);
    assert_eq!((pieces.len(), failed), (3, None));
    assert_eq!(pieces.iter().map(|piece| piece.first_line).collect::<Vec<_>>(), [1, 5, 9]);
    assert_eq!(pieces.iter().map(|piece| piece.first_record).collect::<Vec<_>>(), [0, 4, 8]);
    let (pieces, _) = cut(body.as_bytes(), Form::Ndjson, 100, 20, 100);
    assert!(pieces.iter().all(|piece| piece.body.len() <= 20), "{pieces:?}");
    // A record larger than a piece is one.
    let (pieces, _) = cut(body.as_bytes(), Form::Sequence, 1, 1, 100);
    assert_eq!(pieces.len(), 10);
}

#[test]
fn an_array_is_cut_between_its_items() {
    let body = b" [ {\"a\":[1,\"]},\\\"\"]} ,\n {} , {\"b\":{}}\n] ";
    let (pieces, failed) = cut(body, Form::Sequence, 1, 1, 1);
    assert_eq!((pieces.len(), failed), (3, None));
    assert_eq!((&pieces[2].body[..], pieces[2].form, pieces[2].first_line), (&b"[{\"b\":{}}]"[..], Form::Json, 2));
}

#[test]
fn what_ends_a_load_is_told_in_the_place_of_the_whole_body() {
    let (malformed, invalid) = (ErrorCode::InvalidJson, ErrorCode::InvalidRecord);
    type Case = (Form, &'static str, usize, ErrorCode, Option<(u64, u64)>);
    let cases: [Case; 14] = [
        (Form::Ndjson, "{}\n\n{}\n{\"a\":}\n{}", 2, malformed, Some((4, 6))),
        (Form::Ndjson, "{}\n{}\n{\"a\"", 2, malformed, Some((3, 5))),
        (Form::Ndjson, "{}\n[{}]\n", 1, invalid, None),
        (Form::Sequence, "{} {}\n {} x {}", 3, malformed, Some((2, 5))),
        (Form::Sequence, "{}{}\n[{}]", 2, invalid, None),
        (Form::Sequence, "{} \"s\" {}", 1, invalid, None),
        (Form::Sequence, "{}{\"a\":tru}{}", 1, malformed, Some((1, 11))),
        (Form::Sequence, "{}}", 1, malformed, Some((1, 3))),
        (Form::Sequence, "[{},{}\n,{\"a\":}]", 2, malformed, Some((2, 7))),
        (Form::Sequence, "[{},\n]", 1, malformed, Some((2, 1))),
        (Form::Sequence, "[,{}]", 0, malformed, Some((1, 2))),
        (Form::Sequence, "[{}]\n{}", 1, malformed, Some((2, 1))),
        (Form::Sequence, "[{} {}]", 1, malformed, Some((1, 5))),
        (Form::Sequence, "[{}, [{}]]", 1, invalid, None),
    ];
    for (form, body, stored, code, place) in cases {
        for part in [1, 2, 100] {
            let (text, error) = load(body.as_bytes(), form, part, 1, 1);
            let error = error.unwrap_or_else(|| panic!("{body:?} is refused"));
            assert_eq!(error.code(), code, "{body:?} {error}");
            assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), stored, "{body:?}");
            match (error, place) {
                (DecodeError::InvalidJson { line, column, .. }, Some(place)) => {
                    assert_eq!((line, column), place, "{body:?}")
                }
                (DecodeError::InvalidRecords { errors, line }, None) => {
                    let before = body.split("[{}]\n").next().unwrap_or_default();
                    assert_eq!(errors[0].record, stored as u64, "{body:?}");
                    assert!(line >= 1 && line <= 1 + before.matches('\n').count() as u64, "{body:?}");
                }
                (other, _) => panic!("{body:?}: {other:?}"),
            }
        }
    }
    let cut_short = load(b"[{},{}", Form::Sequence, 1, 1, 1);
    assert_eq!(cut_short.1.map(|error| error.code()), Some(malformed));
}

#[test]
fn a_body_without_records_is_empty() {
    for (form, body) in [(Form::Ndjson, ""), (Form::Ndjson, "\n \n"), (Form::Sequence, " "), (Form::Sequence, "[ ]")] {
        assert_eq!(load(body.as_bytes(), form, 1, 8, 8).1, Some(DecodeError::EmptyBatch), "{body:?}");
    }
}

#[test]
fn a_record_over_its_limit_is_refused_before_it_is_held() {
    let bodies = [
        (Form::Ndjson, "{}\n{\"a\":1234}   \n", "{}\n{\"a\":\"12345"),
        (Form::Sequence, "{}\n{\"a\":1234}", "{}\n{\"a\":\"12345"),
        (Form::Sequence, "[{},\n{\"a\":1234}   ]", "[{},\n{\"a\":\"12345"),
    ];
    for (form, sound, large) in bodies {
        let mut cutter = Pieces::new(form, 100, 100, 10);
        let mut pieces = cutter.push(sound.as_bytes()).unwrap();
        pieces.extend(cutter.finish().unwrap());
        assert_eq!(pieces.len(), 1);
        let mut cutter = Pieces::new(form, 100, 100, 10);
        assert_eq!(cutter.push(large.as_bytes()).unwrap().len(), 1, "what is before it is stored");
        let refused = DecodeError::RecordTooLarge { limit: 10, record: 1, line: 2 };
        assert_eq!(cutter.push(b"12345678"), Err(refused.clone()));
        assert_eq!(cutter.finish(), Err(refused));
    }
}

#[test]
fn white_space_is_not_hoarded() {
    for (form, begin, middle, end) in
        [(Form::Ndjson, "{}", "{}", ""), (Form::Sequence, "{}", "{}", ""), (Form::Sequence, "[{}", ",{}", "]")]
    {
        let space = "\n".repeat(1_000);
        let body = format!("{space}{begin}{space}{middle}{space}{end}{space}");
        let (pieces, failed) = cut(body.as_bytes(), form, 7, 64, 100);
        assert_eq!((pieces.len(), failed), (2, None), "{body:?}");
        assert!(pieces.iter().all(|piece| piece.body.len() < 100));
        assert_eq!((pieces[0].first_line, pieces[1].first_line), (1_001, 2_001));
        assert_eq!(load(body.as_bytes(), form, 7, 64, 100), (b"{}\n{}\n".to_vec(), None));
    }
}

fn records() -> impl Strategy<Value = Vec<String>> {
    let record = prop_oneof![
        Just("{}".to_owned()),
        Just(r#"{"a":"}],[{\"\\"}"#.to_owned()),
        Just(r#"{"b":[{"c":[]},"]",-1.5e3]}"#.to_owned()),
        "[a-z]{0,9}".prop_map(|text| format!("{{\"{text}\":\"{text}\"}}")),
    ];
    prop::collection::vec(record, 1..20)
}

proptest! {
    #[test]
    fn pieces_of_any_size_hold_what_the_whole_body_holds(
        records in records(), space in prop::sample::select(vec!["", " ", "\n", " \n\t "]),
        shape in 0..3, part in 1..40_usize, bytes in 1..80_usize, count in 1..9_u64,
    ) {
        let (body, form) = match shape {
            0 => (records.join(&format!("{space}\n")), Form::Ndjson),
            1 => (records.join(space), Form::Sequence),
            _ => (format!("{space}[{space}{}{space}]{space}", records.join(&format!("{space},{space}"))), Form::Sequence),
        };
        let whole = decoded(body.as_bytes(), form).unwrap();
        prop_assert_eq!(load(body.as_bytes(), form, part, bytes, count), (whole, None));
    }

    #[test]
    fn pieces_do_not_depend_on_how_the_body_comes(
        body in "[\\[\\]{}:,\"\\\\a1 \n]{0,40}", lines in any::<bool>(), part in 1..9_usize, bytes in 1..20_usize,
    ) {
        let form = if lines { Form::Ndjson } else { Form::Sequence };
        let at_once = cut(body.as_bytes(), form, body.len().max(1), bytes, 3);
        prop_assert_eq!(cut(body.as_bytes(), form, part, bytes, 3), at_once);
        // A load is whole exactly where the body is.
        let (stored, failed) = load(body.as_bytes(), form, part, bytes, 3);
        match decoded(body.as_bytes(), form) {
            Ok(whole) => prop_assert_eq!((stored, failed), (whole, None)),
            Err(_) => prop_assert!(failed.is_some(), "{:?}", body),
        }
    }
}

#[test]
fn a_piece_that_is_cut_short_leaves_nothing_out_and_nothing_in_between() {
    for (form, body) in [
        (Form::Ndjson, "{\"a\":1}\n\n {\"a\":2} \n{\"a\":3}"),
        (Form::Sequence, " {\"a\":1}{\"a\":2}\n {\"a\":3} "),
        (Form::Sequence, "[ {\"a\":1} ,{\"a\":2}\n, {\"a\":3} ] "),
    ] {
        // Behind each single byte.
        let mut cutter = Pieces::new(form, 1 << 20, 100, 1 << 20);
        let mut pieces = Vec::new();
        for byte in body.as_bytes().chunks(1) {
            pieces.extend(cutter.push(byte).unwrap());
            assert_eq!(cutter.has_whole(), cutter.cut().map(|piece| pieces.push(piece)).is_some());
            assert_eq!(cutter.cut(), None);
        }
        pieces.extend(cutter.finish().unwrap());
        assert_eq!(pieces.iter().map(|piece| piece.first_record).collect::<Vec<_>>(), [0, 1, 2], "{body}");
        let stored: Vec<u8> = pieces.iter().flat_map(|piece| decoded(&piece.body, piece.form).unwrap()).collect();
        assert_eq!(stored, decoded(body.as_bytes(), form).unwrap(), "{body}");
    }
    // What is wrong behind it is told where it stands.
    let mut cutter = Pieces::new(Form::Sequence, 1 << 20, 100, 1 << 20);
    assert_eq!(cutter.push(b"[{}\n, ").unwrap(), []);
    assert!(cutter.cut().is_some());
    assert_eq!(cutter.push(b"\n ").unwrap(), []);
    let [piece] = &cutter.finish().unwrap()[..] else { panic!("the array does not end") };
    let error = piece.place(decoded(&piece.body, piece.form).unwrap_err());
    assert!(matches!(error, DecodeError::InvalidJson { line: 3, .. }), "{error:?}");
}
