//! What columns take and how they print.

use serde_json::json;

use super::tests::{column, first_error, schema, strict};
use crate::model::ErrorCode;

#[test]
fn values_print_in_their_one_form() {
    let cases = [
        (r#"{"type":"bool"}"#, "true", "true"),
        (r#"{"type":"int8"}"#, "-128", "-128"),
        (r#"{"type":"int64"}"#, "1.0", "1"),
        (r#"{"type":"int64"}"#, "1e2", "100"),
        (r#"{"type":"int64"}"#, "-0", "0"),
        (r#"{"type":"int64"}"#, "-0.0", "0"),
        (r#"{"type":"int64"}"#, "9007199254740993.0", "9007199254740993"),
        (r#"{"type":"int64"}"#, "-9223372036854775808", "-9223372036854775808"),
        (r#"{"type":"uint64"}"#, "18446744073709551615", "18446744073709551615"),
        (r#"{"type":"uint64"}"#, "1.8446744073709551615e19", "18446744073709551615"),
        (r#"{"type":"float64"}"#, "1", "1"),
        (r#"{"type":"float64"}"#, "1.0", "1"),
        (r#"{"type":"float64"}"#, "-0.0", "0"),
        (r#"{"type":"float64"}"#, "1e21", "1e+21"),
        (r#"{"type":"float64"}"#, "1e20", "100000000000000000000"),
        (r#"{"type":"float64"}"#, "0.000001", "0.000001"),
        (r#"{"type":"float64"}"#, "0.0000001", "1e-7"),
        (r#"{"type":"float64"}"#, "9007199254740992", "9007199254740992"),
        (r#"{"type":"float64"}"#, "100000000000000000", "100000000000000000"),
        (r#"{"type":"float64"}"#, "-1152921504606847000", "-1152921504606847000"),
        (r#"{"type":"float64"}"#, "999999999999999900000", "999999999999999900000"),
        (r#"{"type":"float64"}"#, "0.1000000000000000055511151231257827", "0.1"),
        (r#"{"type":"float64"}"#, "1e-400", "0"),
        (r#"{"type":"float32"}"#, "0.1", "0.1"),
        (r#"{"type":"float32"}"#, "16777217", "16777216"),
        (r#"{"type":"float32"}"#, "9007199254740993", "9007199000000000"),
        (r#"{"type":"float32"}"#, "3.4028235e38", "3.4028235e+38"),
        (r#"{"type":"string"}"#, r#""\u0041\/\u00e9\ud83d\ude00\n\u001F\u007f""#, "\"A/é😀\\n\\u001f\u{7f}\""),
        (r#"{"type":"binary"}"#, r#""QQ=\u003d""#, r#""QQ==""#),
        (r#"{"type":"date32"}"#, r#""2024-02-29""#, r#""2024-02-29""#),
        (r#"{"type":"timestamp"}"#, r#""2026-11-23T10:00:00.5+01:00""#, r#""2026-11-23T09:00:00.500000Z""#),
        (
            r#"{"type":"json"}"#,
            r#" { "b" : [ 1.0 , null ] , "a" : "\u0041 b" } "#,
            r#"{"b":[1.0,null],"a":"\u0041 b"}"#,
        ),
        (r#"{"type":"json"}"#, "1e400", "1e400"),
        (r#"{"type":"list","items":{"type":"int8"}}"#, "[1, null , 2.0]", "[1,null,2]"),
        (r#"{"type":"list","items":{"type":"float32"}}"#, "[0.1,16777217]", "[0.1,16777216]"),
        (
            r#"{"type":"list","items":{"type":"float64"}}"#,
            "[1e17,100000000000000000]",
            "[100000000000000000,100000000000000000]",
        ),
        (r#"{"type":"list","items":{"type":"json"}}"#, "[ null, {} , [ ] ]", "[null,{},[]]"),
        (
            r#"{"type":"list","items":{"type":"struct","fields":[{"name":"a","type":"bool"}]}}"#,
            r#"[{"a":null},null,{}]"#,
            "[{},null,{}]",
        ),
        (
            r#"{"type":"struct","fields":[{"name":"a","type":"bool"},{"name":"b","type":"int8"}]}"#,
            r#"{"b":1,"a":true}"#,
            r#"{"a":true,"b":1}"#,
        ),
        (r#"{"type":"struct","fields":[{"name":"a","type":"bool"}]}"#, r#"{"a":null}"#, "{}"),
        (r#"{"type":"vector","dim":3}"#, "[1, 0.1, 16777217]", "[1,0.1,16777216]"),
        (r#"{"type":"vector","dim":2,"item":"float16"}"#, "[0.1, 2049]", "[0.1,2048]"),
        (r#"{"type":"vector","dim":1,"item":"float64"}"#, "[100000000000000000000]", "[100000000000000000000]"),
        (r#"{"type":"vector","dim":1,"item":"float64"}"#, "[1.50]", "[1.5]"),
    ];
    for (field, value, expected) in cases {
        let schema = column(field);
        let printed =
            strict(&format!("{{ \"c\" : {value} }}"), &schema).unwrap_or_else(|err| panic!("{field} {value}: {err}"));
        assert_eq!(printed, [format!("{{\"c\":{expected}}}")], "{field} {value}");
    }
}

#[test]
fn values_that_a_column_cannot_have_are_refused_with_column_type_and_remedy() {
    let (invalid, conflict) = (ErrorCode::InvalidRecord, ErrorCode::SchemaConflict);
    let cases = [
        (r#"{"type":"bool"}"#, "1", conflict, "/c"),
        (r#"{"type":"int8"}"#, "128", invalid, "/c"),
        (r#"{"type":"uint8"}"#, "-1", invalid, "/c"),
        (r#"{"type":"int64"}"#, "1.5", invalid, "/c"),
        (r#"{"type":"int64"}"#, "9223372036854775808", invalid, "/c"),
        (r#"{"type":"int64"}"#, "1e400", invalid, "/c"),
        (r#"{"type":"int64"}"#, "\"12\"", conflict, "/c"),
        (r#"{"type":"int64"}"#, "true", conflict, "/c"),
        (r#"{"type":"int64"}"#, "[1]", conflict, "/c"),
        (r#"{"type":"float64"}"#, "9007199254740993", invalid, "/c"),
        (r#"{"type":"float64"}"#, "-9007199254740993", invalid, "/c"),
        // A double, but it prints as 1152921504606847000.
        (r#"{"type":"float64"}"#, "1152921504606846976", invalid, "/c"),
        (r#"{"type":"float64"}"#, "1000000000000000000000", invalid, "/c"),
        (r#"{"type":"float64"}"#, "1e309", invalid, "/c"),
        (r#"{"type":"float32"}"#, "3.5e38", invalid, "/c"),
        (r#"{"type":"string"}"#, "12", conflict, "/c"),
        (r#"{"type":"binary"}"#, "\"QQ\"", invalid, "/c"),
        (r#"{"type":"date32"}"#, "\"2023-02-29\"", invalid, "/c"),
        (r#"{"type":"timestamp"}"#, "\"2026-11-23T10:00:00.0000001Z\"", invalid, "/c"),
        (r#"{"type":"timestamp"}"#, "1700000000", conflict, "/c"),
        (r#"{"type":"list","items":{"type":"int8"}}"#, "[1,[],300]", conflict, "/c/1"),
        (r#"{"type":"list","items":{"type":"int8"}}"#, "{}", conflict, "/c"),
        (r#"{"type":"struct","fields":[{"name":"a/b~","type":"int8"}]}"#, r#"{"a/b~":300}"#, invalid, "/c/a~1b~0"),
        (r#"{"type":"struct","fields":[{"name":"a","type":"bool"}]}"#, "[]", conflict, "/c"),
        (r#"{"type":"struct","fields":[{"name":"a","type":"bool"}]}"#, r#"{"x":1}"#, conflict, "/c/x"),
        (r#"{"type":"struct","fields":[{"name":"a","type":"bool","nullable":false}]}"#, "{}", invalid, "/c/a"),
        (r#"{"type":"vector","dim":2}"#, "[1]", invalid, "/c"),
        (r#"{"type":"vector","dim":2}"#, "[1,2,3]", invalid, "/c"),
        (r#"{"type":"vector","dim":2}"#, "[1,null]", invalid, "/c/1"),
        (r#"{"type":"vector","dim":2}"#, "[1,\"2\"]", conflict, "/c/1"),
        (r#"{"type":"vector","dim":2,"item":"float16"}"#, "[1,65520]", invalid, "/c/1"),
        (r#"{"type":"vector","dim":2,"item":"float64"}"#, "[1,9007199254740993]", invalid, "/c/1"),
        (r#"{"type":"int8","nullable":false}"#, "null", invalid, "/c"),
    ];
    for (field, value, code, pointer) in cases {
        let refused = first_error(strict(&format!("{{\"c\":{value}}}"), &column(field)).unwrap_err());
        assert_eq!((refused.0, refused.1.as_str()), (code, pointer), "{field} {value}");
        assert!(refused.2.contains("olumn `c"), "{}", refused.2);
    }
    let missing = first_error(strict("{}", &column(r#"{"type":"int8","nullable":false}"#)).unwrap_err());
    assert_eq!(missing.1, "/c");
    assert_eq!(
        first_error(strict(r#"{"c":"12"}"#, &column(r#"{"type":"int64"}"#)).unwrap_err()).2,
        "Column `c` of type int64 cannot take the string \"12\": send an integer; a column's type does not change by itself \
         in this way."
    );
}

#[test]
fn members_come_in_schema_order_and_nulls_are_left_out() {
    let schema = schema(json!([
        {"name": "a", "type": "int64"}, {"name": "b", "type": "struct", "fields": [
            {"name": "x", "type": "string"}, {"name": "y", "type": "int64"}]}, {"name": "", "type": "json"}
    ]));
    let cases = [
        (r#"{"":null,"b":{"y":1,"x":"s"},"a":1}"#, r#"{"a":1,"b":{"x":"s","y":1}}"#),
        (r#"{"a":null,"":[ ],"b":{"y":null}}"#, r#"{"b":{},"":[]}"#),
        (r#"{"b":{"y":2},"a":1,"":{"y":1, "x":2}}"#, r#"{"a":1,"b":{"y":2},"":{"y":1,"x":2}}"#),
        (r#"{"\u0061":1,"gone":null}"#, r#"{"a":1}"#),
        ("{}", "{}"),
    ];
    for (value, expected) in cases {
        assert_eq!(strict(value, &schema).unwrap(), [expected]);
    }
}

#[test]
fn a_new_key_in_strict_is_a_conflict_unless_it_is_null() {
    let schema = schema(json!([{"name": "a", "type": "int64"}]));
    assert_eq!(strict(r#"{"a":1,"b":null}"#, &schema).unwrap(), [r#"{"a":1}"#]);
    let refused = first_error(strict(r#"{"a":1,"A":2}"#, &schema).unwrap_err());
    assert_eq!((refused.0, refused.1.as_str()), (ErrorCode::SchemaConflict, "/A"));
}
