//! Filters that nobody means well with, or that only another dialect of SQL has.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::support::local::shared;

/// Each is refused. The topic has `n`, a string `s`, a list `l`, and `o.x`.
const REFUSED: &[&str] = &[
    " ",
    "n",
    "s",
    "TRUE",
    "1",
    "'x'",
    "NULL",
    "1 = 1",
    "TRUE = TRUE",
    "'a' = 'a'",
    "n = n",
    "n = s",
    "n = o.x",
    "n = 1;",
    "n = 1; DROP TABLE t",
    "n = 1 -- comment",
    "n = 1 /* comment */",
    "n = 1 UNION SELECT 1",
    "n IN (SELECT 1)",
    "EXISTS (SELECT 1)",
    "SELECT * FROM t",
    "(SELECT 1) = 1",
    "n = (1)",
    "(n) = 1",
    "n = 1 + 1",
    "n + 1 = 2",
    "n * 2 = 2",
    "-n = 1",
    "n % 2 = 0",
    "n = -",
    "n = --1",
    "n = 0x10",
    "n = 1_000",
    "n = 1e",
    "n = 1.",
    "n = .",
    "n = ٣",
    "n = NaN",
    "n = Infinity",
    "n == 1",
    "n === 1",
    "n =! 1",
    "n ! 1",
    "n <=> 1",
    "n IS 1",
    "n IS TRUE",
    "n IS NOT",
    "n IS DISTINCT FROM 1",
    "n ISNULL",
    "NOT",
    "NOT NOT",
    "n NOT",
    "n NOT = 1",
    "n IN",
    "n IN 1",
    "n IN ()",
    "n IN (1 2)",
    "n IN (1,)",
    "n IN (n)",
    "n IN ((1))",
    "n BETWEEN 1",
    "n BETWEEN 1, 2",
    "n BETWEEN 1 OR 2",
    "n BETWEEN AND 2",
    "s LIKE s",
    "s LIKE 1",
    "s ILIKE 'a'",
    "s SIMILAR TO 'a'",
    "s REGEXP 'a'",
    "s ~ 'a'",
    "s LIKE 'a' ESCAPE '!'",
    "s || 'a' = 'ab'",
    "s = \"x\"",
    "s = 'x",
    "s = x'00'",
    "s = E'\\n'",
    "s = N'x'",
    "s = $$x$$",
    "s = $1",
    "s = ?",
    "s = :name",
    "s = @name",
    "s = `x`",
    "`s` = 'x'",
    "[s] = 'x'",
    "s = '\u{0}' \u{0}",
    "s.x = 1",
    "o.y = 1",
    "o = 1",
    "o..x = 1",
    ".n = 1",
    "n. = 1",
    "N = 1",
    "nope = 1",
    "\"\" = 1",
    "\"n = 1",
    "n = 'x'",
    "s = 1",
    "l = 'a'",
    "array_has(s, 'a')",
    "array_has(l)",
    "array_has(l, 1)",
    "array_has('a', l)",
    "length(n) = 1",
    "abs(s) = 1",
    "lower(s)",
    "lower() = 'x'",
    "lower(s, s) = 'x'",
    "lower('X') = 'x'",
    "lower(starts_with(s, 'x')) = 'x'",
    "starts_with(s)",
    "starts_with(s, 'x') > TRUE",
    "starts_with(s, 'x') = 1",
    "contains(n, '1')",
    "repeat(s, 1000000000) = 'x'",
    "lpad(s, 1000000000) = 'x'",
    "range(1, 1000000000) = 1",
    "regexp_like(s, '(a+)+$')",
    "json_extract(s, '$') = 1",
    "is_valid()",
    "now() > _timestamp",
    "cast(n AS text) = '1'",
    "n::text = '1'",
    "CASE WHEN n = 1 THEN TRUE END",
    "COALESCE(n, 1) = 1",
    "_offset = 'x'",
    "_offset.x = 1",
    "_timestamp = 1",
    "_timestamp > 'now'",
    "_timestamp > '2026-13-01T00:00:00Z'",
    "_rowid = 1",
    "_rowaddr = 1",
    "n = 1 AND",
    "n = 1 OR",
    "n = 1 AND OR n = 2",
    "AND n = 1",
    "n = 1 n = 2",
    "n = 1, n = 2",
    "n = 1 && n = 2",
    "n = 1 || n = 2",
    "n = 1 XOR n = 2",
    "(n = 1",
    "n = 1)",
    "()",
    "(())",
];

#[tokio::test]
async fn hostile_filters_are_refused_where_they_go_wrong() {
    let topic = shared().await.topic("persisting").await;
    topic.append(r#"{"n":1,"s":"x","l":["a"],"o":{"x":1}}"#).await;
    let mut texts: Vec<String> = REFUSED.iter().map(|text| (*text).to_owned()).collect();
    texts.push("(".repeat(20_000));
    texts.push(format!("{}n = 1{}", "(".repeat(200), ")".repeat(200)));
    texts.push("lower(".repeat(5_000));
    texts.push(format!("n = 1{}", " OR n = 1".repeat(2_000)));
    texts.push(format!("n IN ({}1)", "1,".repeat(15_000)));
    texts.push(format!("s LIKE '{}'", "%_".repeat(1_000)));
    texts.push("n.".repeat(10_000));
    texts.push("NOT ".repeat(10_000));
    texts.push(format!("n = {}", "9".repeat(10) + "x"));
    assert!(texts.len() > 80, "{} texts", texts.len());
    for text in &texts {
        let rest = format!("records?filter={}", utf8_percent_encode(text, NON_ALPHANUMERIC));
        let problem = topic.get(&rest).await.problem(400, "invalid_parameter");
        let position = problem["position"].as_u64().unwrap_or_else(|| panic!("{text}: {problem}"));
        assert!(position <= text.chars().count() as u64, "{text}: {problem}");
    }
    assert_eq!(topic.get("records").await.expect(200).json()["tail_offset"], 1, "the server lives");
}

/// These are filters, and large ones: each is answered within bounds.
#[tokio::test]
async fn large_filters_are_answered() {
    let topic = shared().await.topic("persisting").await;
    let record = |n: u64| format!("{{\"n\":{n},\"s\":\"{}\"}}\n", "ab".repeat(500));
    topic.append((0..200).map(record).collect::<String>()).await;
    topic.post("flush", "").await.expect(200);
    topic.append((200..400).map(record).collect::<String>()).await;
    topic.wait_for_tail(400).await;
    for (text, count) in [
        (format!("{}n < 300{}", "(".repeat(64), ")".repeat(64)), 300),
        (format!("{}n < 300", "NOT ".repeat(1_000)), 300),
        ((0..1_000).map(|n| format!("n = {}", 2 * n)).collect::<Vec<_>>().join(" OR "), 200),
        (format!("n IN ({})", (0..4_000).map(|n| n.to_string()).collect::<Vec<_>>().join(",")), 400),
        (format!("s LIKE '{}c'", "%a%b".repeat(25)), 0),
        (format!("n < 1{}", "0".repeat(5_000)), 400),
        (format!("n > 1e-{}", "9".repeat(5_000)), 399),
        (format!("{}s{} = 'x'", "lower(".repeat(60), ")".repeat(60)), 0),
    ] {
        let rest = format!("records?limit=1000&filter={}", utf8_percent_encode(&text, NON_ALPHANUMERIC));
        let page = topic.get(&rest).await.expect(200).json();
        let records = page["records"].as_array().unwrap().len();
        assert_eq!((records, &page["next_offset"]), (count, &json!(400)), "{}", &text[..60]);
    }
}
