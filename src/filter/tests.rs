//! What filters say of records, through the same columns that the tail makes.

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::codec::columns::to_batch;
use crate::codec::{Chunk, Values};
use crate::model::{Offset, Timestamp};

fn schema() -> Schema {
    Schema::from_json(&json!({"fields": [
        {"name": "n", "type": "int64"}, {"name": "u", "type": "uint64"}, {"name": "i8", "type": "int8"},
        {"name": "f", "type": "float64"}, {"name": "g", "type": "float32"}, {"name": "s", "type": "string"},
        {"name": "b", "type": "bool"}, {"name": "bin", "type": "binary"}, {"name": "d", "type": "date32"},
        {"name": "t", "type": "timestamp"}, {"name": "j", "type": "json"},
        {"name": "l", "type": "list", "items": {"type": "string"}},
        {"name": "ln", "type": "list", "items": {"type": "float64"}},
        {"name": "o", "type": "struct", "fields": [
            {"name": "x", "type": "int32"}, {"name": "y", "type": "struct", "fields": [{"name": "z", "type": "string"}]}]},
        {"name": "v", "type": "vector", "dim": 2}, {"name": "odd name", "type": "int64"}, {"name": "in", "type": "int64"},
        {"name": "_offset", "type": "string"}, {"name": "a.b", "type": "int64"}
    ]}))
    .unwrap()
}

const RECORDS: &[&str] = &[
    r#"{"n":1,"u":18446744073709551615,"i8":-128,"f":0.5,"g":0.1,"s":"Abc","b":true}"#,
    r#"{"n":9007199254740993,"u":0,"i8":127,"f":-0,"g":16777216,"s":"äbc","b":false,"bin":"QUI="}"#,
    r#"{"n":-9223372036854775808,"f":9007199254740992,"s":"","d":"2024-02-29","t":"2026-11-23T09:00:00.000001Z"}"#,
    r#"{"j":{"a":"x"},"l":["a",null],"ln":[0.5,-0],"o":{"x":7,"y":{"z":"q"}},"v":[1,2]}"#,
    r#"{"l":[],"o":{},"s":"a%b_c\\\nd","odd name":3,"in":4,"_offset":"own","a.b":5}"#,
    r#"{}"#,
];

fn batch() -> arrow_array::RecordBatch {
    let text: String = RECORDS.iter().map(|record| format!("{record}\n")).collect();
    let values = Values::from_text(Bytes::from(text)).unwrap();
    let times = (0..RECORDS.len()).map(|second| Timestamp::from_micros(second as i64 * 1_000_000)).collect();
    to_batch(&schema(), &[Chunk::with_times(Offset::new(10).unwrap(), times, values)]).unwrap()
}

fn passing(text: &str) -> Vec<usize> {
    let bound = Filter::parse(text).unwrap_or_else(|err| panic!("{text}: {err}")).bind(&schema());
    let mask = bound.unwrap_or_else(|err| panic!("{text}: {err}")).mask(&batch()).unwrap();
    (0..mask.len()).filter(|row| mask.value(*row)).collect()
}

fn refusal(text: &str) -> FilterError {
    Filter::parse(text).and_then(|filter| filter.bind(&schema())).expect_err(text)
}

#[test]
fn comparisons_are_exact_for_each_type() {
    let cases: &[(&str, &[usize])] = &[
        ("n = 1", &[0]),
        ("n = 1.0", &[0]),
        ("1 = n", &[0]),
        ("n != 1", &[1, 2]),
        ("n = 9007199254740992", &[]),
        ("n > 9007199254740992", &[1]),
        ("n > 9007199254740993.5", &[]),
        ("n >= 9007199254740992.5", &[1]),
        ("n < 0.5", &[2]),
        ("0.5 > n", &[2]),
        ("n < -1e400", &[]),
        ("n >= -1e400", &[0, 1, 2]),
        ("n != 0.5", &[0, 1, 2]),
        ("NOT n = 1", &[1, 2]),
        ("NOT (n = 1 OR n IS NULL)", &[1, 2]),
        ("n BETWEEN 0 AND 1", &[0]),
        ("n NOT BETWEEN 0 AND 1", &[1, 2]),
        ("n NOT BETWEEN 2 AND NULL", &[0, 2]),
        ("n IN (1, 2.5, 9007199254740993)", &[0, 1]),
        ("n NOT IN (1, 2.5)", &[1, 2]),
        ("n IN (1, NULL)", &[0]),
        ("n NOT IN (1, NULL)", &[]),
        ("n = NULL", &[]),
        ("NOT n = NULL", &[]),
        ("n IS NULL", &[3, 4, 5]),
        ("n IS NOT NULL", &[0, 1, 2]),
        ("abs(n) = 9223372036854775808", &[2]),
        ("abs(n) > 5", &[1, 2]),
        ("abs(n) < -1", &[]),
        ("abs(n) >= -1", &[0, 1, 2]),
        ("abs(n) != 1", &[1, 2]),
        ("abs(n) IN (1, -1, 9007199254740993)", &[0, 1]),
        ("u > -1", &[0, 1]),
        ("u = 18446744073709551615", &[0]),
        ("u < 18446744073709551615", &[1]),
        ("u <= 1e30", &[0, 1]),
        ("i8 > 127", &[]),
        ("i8 <= 128", &[0, 1]),
        ("abs(i8) = 128", &[0]),
        ("f = 0", &[1]),
        ("f <= 0", &[1]),
        ("f >= -0.0", &[0, 1, 2]),
        ("f < 0", &[]),
        ("f != 0", &[0, 2]),
        ("f IN (0, 0.5)", &[0, 1]),
        ("f NOT IN (0, 0.5)", &[2]),
        ("f = 9007199254740993", &[]),
        ("f = 9007199254740992", &[2]),
        ("f < 9007199254740993", &[0, 1, 2]),
        ("f > 9007199254740991", &[2]),
        ("f < 1e400", &[0, 1, 2]),
        ("g = 0.1", &[0]),
        ("g > 0.1", &[1]),
        ("g = 16777216", &[1]),
        ("b = TRUE", &[0]),
        ("b != true", &[1]),
        ("b IN (TRUE, FALSE)", &[0, 1]),
        ("bin = 'QUI='", &[1]),
        ("bin < 'QUM='", &[1]),
        ("d >= '2024-02-29'", &[2]),
        ("d < '2024-02-29'", &[]),
        ("t = '2026-11-23T10:00:00.000001+01:00'", &[2]),
        ("t = '2026-11-23T10:00:00.000001 01:00'", &[2]),
        ("_offset >= 14", &[4, 5]),
        ("_timestamp <= '1970-01-01T00:00:01Z'", &[0, 1]),
        ("_timestamp IN ('1970-01-01T00:00:05Z')", &[5]),
        // Finer than a column holds: between two moments.
        ("_timestamp > '1970-01-01T00:00:01.0000000009Z' AND _timestamp < '1970-01-01T00:00:03.0000001Z'", &[2, 3]),
        ("_timestamp >= '1970-01-01T00:00:01.0000001Z' AND _timestamp <= '1970-01-01T00:00:02.9999999Z'", &[2]),
        ("_timestamp BETWEEN '1970-01-01T00:00:00.9999999Z' AND '1970-01-01T00:00:01.0000001Z'", &[1]),
        ("_timestamp = '1970-01-01T00:00:01.0000001Z'", &[]),
        ("_timestamp != '1970-01-01T00:00:01.0000001Z' AND _timestamp <= '1970-01-01T00:00:01Z'", &[0, 1]),
        ("_timestamp IN ('1970-01-01T00:00:05Z', '1970-01-01T00:00:01.0000001Z')", &[5]),
    ];
    for (text, expected) in cases {
        assert_eq!(passing(text), *expected, "{text}");
    }
}

#[test]
fn text_lists_and_nested_values_are_tested() {
    let cases: &[(&str, &[usize])] = &[
        ("s = 'Abc'", &[0]),
        ("s > 'z'", &[1]),
        ("s < 'B'", &[0, 2]),
        ("lower(s) = 'abc'", &[0]),
        ("upper(s) IN ('ÄBC')", &[1]),
        ("lower(upper(s)) = 'äbc'", &[1]),
        ("length(s) = 3", &[0, 1]),
        ("length(s) < 0.5", &[2]),
        ("abs(length(s)) BETWEEN 3 AND 5", &[0, 1]),
        ("s LIKE 'A%'", &[0]),
        ("s LIKE '_bc'", &[0, 1]),
        ("s NOT LIKE '%b%'", &[2]),
        ("s LIKE 'a\\%b\\_c%d'", &[4]),
        ("s LIKE NULL", &[]),
        ("NOT s LIKE '%b%'", &[2]),
        ("starts_with(s, 'A')", &[0]),
        ("NOT starts_with(s, 'A')", &[1, 2, 4]),
        ("starts_with(s, 'A') = FALSE", &[1, 2, 4]),
        ("contains(lower(s), 'bc')", &[0, 1]),
        ("contains(s, '')", &[0, 1, 2, 4]),
        ("array_has(l, 'a')", &[3]),
        ("NOT array_has(l, 'a')", &[4]),
        ("array_has(l, 'b') != TRUE", &[3, 4]),
        ("array_has(l, NULL)", &[]),
        ("array_has(ln, 0)", &[3]),
        ("array_has(ln, 0.25)", &[]),
        ("NOT array_has(ln, 9007199254740993)", &[3]),
        ("l IS NOT NULL", &[3, 4]),
        ("o.x = 7", &[3]),
        ("o.y.z = 'q'", &[3]),
        ("o.y.z IS NULL", &[0, 1, 2, 4, 5]),
        ("o IS NULL", &[0, 1, 2, 5]),
        ("o.y IS NOT NULL", &[3]),
        ("v IS NOT NULL", &[3]),
        ("j IS NOT NULL", &[3]),
        ("j LIKE '%\"x\"%'", &[3]),
        ("contains(j, '\"a\"')", &[3]),
        ("\"odd name\" = 3", &[4]),
        ("\"in\" = 4", &[4]),
        ("%5Foffset = 'own'", &[4]),
        ("\"a.b\" = 5", &[4]),
        ("\"a%2Eb\" = 5", &[4]),
        ("n = 1 OR s = '' AND d IS NULL OR b = FALSE", &[0, 1]),
        ("(n = 1 OR s = '') and not (d is null)", &[2]),
        ("NOT NOT n = 1", &[0]),
    ];
    for (text, expected) in cases {
        assert_eq!(passing(text), *expected, "{text}");
    }
}

#[test]
fn what_is_no_filter_is_refused_where_it_goes_wrong() {
    let cases: &[(&str, u64)] = &[
        ("", 0),
        ("n", 1),
        ("n =", 3),
        ("n = = 1", 4),
        ("ü = 1 AND", 9),
        ("n = 1 OR", 8),
        ("n = 1 n = 2", 6),
        ("(n = 1", 6),
        ("n = 1)", 5),
        ("n IN ()", 6),
        ("n IN (1,)", 8),
        ("n BETWEEN 1", 11),
        ("n NOT = 1", 6),
        ("n IS 1", 5),
        ("n = m", 4),
        ("1 = 1", 4),
        ("TRUE", 4),
        ("AND n = 1", 0),
        ("n + 1 = 2", 2),
        ("sqrt(n) = 2", 0),
        ("lower(s = 'x')", 8),
        ("starts_with(s)", 13),
        ("starts_with(s, 'a') > TRUE", 20),
        ("n = 'x'", 4),
        ("s = 1", 4),
        ("nope = 1", 0),
        ("N = 1", 0),
        ("o.nope = 1", 0),
        ("n.x = 1", 0),
        ("l.x = 1", 0),
        ("_offset.x = 1", 0),
        ("_offset = 'x'", 10),
        ("_timestamp > 'yesterday'", 13),
        ("b = 1", 4),
        ("b < TRUE", 0),
        ("d = '2024-02-30'", 4),
        ("bin = 'QUI'", 6),
        ("j = '1'", 0),
        ("v = 1", 0),
        ("o = 1", 0),
        ("l = 'a'", 0),
        ("n LIKE 'a'", 0),
        ("s LIKE 1", 7),
        ("abs(s) = 1", 0),
        ("length(n) = 1", 0),
        ("array_has(s, 'a')", 10),
        ("array_has(l, 1)", 13),
        ("contains(n, 'a')", 9),
        ("n IN (1, 'x')", 9),
        ("n BETWEEN 'a' AND 1", 10),
    ];
    for (text, position) in cases {
        assert_eq!(refusal(text).position, *position, "{text}: {}", refusal(text));
    }
    assert!(refusal("nope = 1").allowed.contains(&"\"odd name\"".to_owned()));
    assert!(refusal("n 1").allowed.contains(&"BETWEEN".to_owned()));
}

#[test]
fn bounds_hold_whatever_comes() {
    let nested = |depth: usize| format!("{}n = 1{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(passing(&nested(DEPTH_MAX)), [0]);
    assert_eq!(refusal(&nested(DEPTH_MAX + 1)).position, DEPTH_MAX as u64);
    refusal(&"(".repeat(50_000));
    refusal(&"lower(".repeat(10_000));
    assert_eq!(passing(&format!("{}n = 1", "NOT ".repeat(10_000))), [0]);
    let tests = |count| vec!["n = 1"; count].join(" OR ");
    assert_eq!(passing(&tests(TESTS_MAX)), [0]);
    refusal(&tests(TESTS_MAX + 1));
    let list = |count| format!("n IN ({})", vec!["1"; count].join(","));
    assert_eq!(passing(&list(LITERALS_MAX)), [0]);
    refusal(&list(LITERALS_MAX + 1));
    refusal(&format!("s = '{}'", "x".repeat(FILTER_BYTES_MAX)));
    refusal(&"ä".repeat(FILTER_BYTES_MAX));
    assert!(passing(&format!("s = '{}'", "x".repeat(FILTER_BYTES_MAX - 10))).is_empty());
    assert!(passing(&format!("s LIKE '{}'", "_%".repeat(WILDCARDS_MAX / 2))).is_empty());
    refusal(&format!("s LIKE '{}'", "%_".repeat(WILDCARDS_MAX)));
    let half = format!("s LIKE '{}'", "_".repeat(WILDCARDS_MAX / 2));
    assert!(passing(&format!("{half} OR {half}")).is_empty());
    refusal(&format!("{half} OR {half} OR {half}"));
    let kept = |count| Filter::parse(&list(count)).unwrap().for_stream();
    assert!(kept(STREAM_LITERALS_MAX).is_ok());
    assert_eq!(kept(STREAM_LITERALS_MAX + 1).unwrap_err().position, list(STREAM_LITERALS_MAX + 1).len() as u64);
    // Digits and exponents without end are numbers like any other.
    assert_eq!(passing(&format!("n = 1{}e-{}", "0".repeat(9_000), 9_000)), [0]);
}

#[test]
fn columns_that_are_not_there_are_null_where_that_is_asked_for() {
    let mask = |text: &str, schema: &Schema| {
        let bound = Filter::parse(text).unwrap().bind_to_what_is_there(schema).unwrap();
        bound.mask(&batch()).unwrap().true_count()
    };
    let none = Schema::default();
    assert_eq!(mask("x = 1", &none), 0);
    assert_eq!(mask("NOT x = 1", &none), 0);
    assert_eq!(mask("x IS NULL", &none), RECORDS.len());
    assert_eq!(mask("NOT x.y IS NULL", &none), 0);
    assert_eq!(mask("x = 1 OR _offset < 12", &none), 2);
    assert_eq!(mask("NOT starts_with(x, 'a')", &none), 0);
    assert_eq!(mask("n = 'x' OR n.y IS NULL OR n = 1", &schema()), RECORDS.len());
    assert_eq!(mask("NOT n = 'x'", &schema()), 0);
}

#[test]
fn a_filter_names_what_it_reads() {
    let bound =
        Filter::parse("o.y.z = 'q' AND (n > 1 OR o.y.z IS NULL) AND _offset > 2").unwrap().bind(&schema()).unwrap();
    let names: Vec<String> = bound.columns().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["o.y.z", "n"]);
    let expr = bound.expr().to_string();
    assert!(expr.contains("get_field(get_field(o, Utf8(\"y\")), Utf8(\"z\"))") && expr.contains("_offset"), "{expr}");
}
