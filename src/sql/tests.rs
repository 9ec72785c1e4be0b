//! Statements and what is said of them, without topics.

use serde_json::json;

use super::bind::bind;
use super::text::parse;
use super::walk::{Walked, walk};
use crate::model::{ErrorCode, Problem};

fn looked_at(sql: &str) -> Result<Walked, Problem> {
    let mut query = parse(sql)?;
    bind(sql, &mut query, &[])?;
    walk(sql, &query)
}

#[test]
fn tables_are_those_that_are_no_common_table_expressions() {
    for (sql, tables, repeats) in [
        ("SELECT 1", vec![], false),
        ("SELECT * FROM a", vec!["a"], false),
        ("SELECT * FROM a x, a y", vec!["a"], true),
        ("SELECT * FROM a JOIN \"b-c.d\" ON true", vec!["a", "b-c.d"], true),
        ("WITH c AS (SELECT * FROM a) SELECT * FROM c", vec!["a"], false),
        ("WITH a AS (SELECT * FROM a) SELECT * FROM a", vec!["a"], false),
        ("WITH c AS (SELECT 1) SELECT * FROM c WHERE EXISTS (SELECT 1 FROM d)", vec!["d"], false),
        ("SELECT (SELECT max(n) FROM b) FROM a", vec!["b", "a"], true),
        ("SELECT row_number() OVER () FROM a", vec!["a"], true),
        ("SELECT n FROM a UNION SELECT n FROM b", vec!["a", "b"], true),
    ] {
        let walked = looked_at(sql).unwrap();
        assert_eq!(
            (walked.tables, walked.repeats_rows),
            (tables.into_iter().map(str::to_owned).collect(), repeats),
            "{sql}"
        );
    }
}

#[test]
fn what_is_used_often_counts_often() {
    let doubling = |levels: usize| {
        let steps: String = (1..=levels)
            .map(|at| format!(", c{at} AS (SELECT * FROM c{p} UNION ALL SELECT * FROM c{p})", p = at - 1))
            .collect();
        format!("WITH c0 AS (SELECT * FROM a){steps} SELECT * FROM c{levels}")
    };
    assert!(looked_at(&doubling(5)).is_ok());
    assert_eq!(looked_at(&doubling(6)).unwrap_err().limit, Some(32));
    let nested = |levels: usize| {
        let open = "SELECT x+x AS x FROM (".repeat(levels);
        format!("{open}SELECT n AS x FROM a{}", ") AS y".repeat(levels))
    };
    assert!(looked_at(&nested(10)).is_ok());
    assert_eq!(looked_at(&nested(11)).unwrap_err().limit, Some(2_000));
    let deep = |levels: usize| {
        let open = format!("SELECT n{} AS n FROM (", " || 'a'".repeat(98)).repeat(levels);
        format!("{open}SELECT n FROM a{}", ") AS y".repeat(levels))
    };
    assert!(looked_at(&deep(5)).is_ok());
    assert_eq!(looked_at(&deep(6)).unwrap_err().limit, Some(500));
}

#[test]
fn a_name_of_several_parts_is_no_topic() {
    let problem = looked_at("SELECT * FROM information_schema.tables").unwrap_err();
    assert_eq!((problem.code, problem.position), (ErrorCode::TopicNotFound, Some(14)));
}

#[test]
fn parameters_cannot_stand_for_names() {
    for sql in ["SELECT * FROM $1", "SELECT 1 AS $1", "SELECT DATE $1"] {
        let mut query = match parse(sql) {
            Err(_) => continue,
            Ok(query) => query,
        };
        let bound = bind(sql, &mut query, &[json!("a")]).and_then(|()| walk(sql, &query).map(drop));
        assert!(bound.is_err(), "{sql}");
    }
}

#[test]
fn approximate_percentiles_make_no_room_that_is_asked_for() {
    for (arguments, served) in [
        ("(x, 0.5)", true),
        ("(x, 0.5, 1000000000000000)", false),
        ("(0.5) WITHIN GROUP (ORDER BY x)", true),
        ("(0.5, 1000000000000000) WITHIN GROUP (ORDER BY x)", false),
        ("(0.5, 1000000000000000 ORDER BY x)", false),
    ] {
        let sql = format!("SELECT approx_percentile_cont{arguments} FROM a");
        assert_eq!(looked_at(&sql).is_ok(), served, "{sql}");
    }
}

#[test]
fn patterns_of_like_are_short_and_not_computed() {
    for operator in ["LIKE", "NOT LIKE", "ILIKE"] {
        for pattern in ["'a%'", "('a%')", "NULL"] {
            assert!(looked_at(&format!("SELECT * FROM a WHERE s {operator} {pattern}")).is_ok(), "{pattern}");
        }
        for pattern in ["t".to_owned(), "'%' || t".to_owned(), format!("'{}'", "_".repeat(1_025))] {
            assert!(looked_at(&format!("SELECT * FROM a WHERE s {operator} {pattern}")).is_err(), "{pattern}");
        }
    }
    let many = |times: usize| format!("SELECT * FROM a WHERE false{}", " OR s LIKE 'a%_'".repeat(times));
    assert!(looked_at(&many(50)).is_ok());
    assert_eq!(looked_at(&many(51)).unwrap_err().limit, Some(100));
}

#[test]
fn what_is_looked_for_everywhere_is_short_and_not_computed() {
    for call in ["strpos(s, _)", "instr(s, _)", "position(_ IN s)", "btrim(s, _)", "trim(_ FROM s)", "rtrim(s, _)"] {
        let asked = |sought: &str| looked_at(&format!("SELECT {} FROM a", call.replace('_', sought)));
        for (sought, served) in [("'ab'", true), ("('ab')", true), ("k", false), ("lower('ab')", false)] {
            assert_eq!(asked(sought).is_ok(), served, "{call} of {sought}");
        }
        assert_eq!(asked(&format!("'{}'", "x".repeat(1_025))).unwrap_err().limit, Some(1_024), "{call}");
    }
    assert!(looked_at("SELECT trim(s), ltrim(s), contains(s, k) FROM a").is_ok());
}

#[test]
fn places_and_steps_are_whole_numbers_other_than_zero() {
    for call in ["nth_value(s, ", "array_slice(l, 2, 1, ", "list_slice(l, 2, 1, "] {
        for (number, served) in [
            ("2", true),
            ("-1", true),
            ("0", false),
            ("-0", false),
            ("1.5", false),
            ("_offset", false),
            ("-9223372036854775808", false),
        ] {
            let sql = format!("SELECT {call}{number}) FROM a");
            assert_eq!(looked_at(&sql).is_ok(), served, "{sql}");
        }
    }
}

#[test]
fn what_the_planner_has_no_form_for_is_refused_by_name() {
    for (sql, what) in [("SELECT DISTINCT ON (n) n FROM a", "DISTINCT ON"), ("SELECT * ILIKE '%x%' FROM a", "* ILIKE")]
    {
        let detail = looked_at(sql).unwrap_err().detail.clone();
        assert!(detail.starts_with(what), "{sql}: {detail}");
    }
}
