//! What becomes of a topic's columns in each mode, as docs/schema-evolution.md tells it: the page's tables are what the
//! server answers here.
//!
//! `PERSISTING_WRITE_DOCS=1` writes them anew.

use std::fmt::Write;

use futures::{StreamExt, stream};
use serde_json::{Value, json};

use super::registry::flush;
use crate::support::api::{Answer, Api, Topic};
use crate::support::local::shared;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schema-evolution.md");
const BEGIN: &str = "<!-- what follows is compared with the server's answers by tests/it/http/outcomes.rs -->\n";

/// How many cases are tried at a time.
const AT_ONCE: usize = 6;

/// Where a change is tried: the words of the page, and how the topic is made.
const MODES: [(&str, &str, Option<&str>); 4] = [
    ("`memory`", "memory", None),
    ("`lance`, strict", "lance", None),
    ("`persisting`, strict", "persisting", Some("strict")),
    ("`persisting`, evolve", "persisting", Some("evolve")),
];

/// What is done to the topic.
enum Change {
    /// A record is appended.
    Append(&'static str),
    /// Changes are posted to `…/schemas`.
    Post(&'static str),
}

struct Case {
    title: &'static str,
    /// The declared fields; empty where the first record says.
    declared: &'static str,
    before: &'static [&'static str],
    change: Change,
}

/// An append to a topic whose first records say what its columns are.
const fn inferred(title: &'static str, before: &'static [&'static str], record: &'static str) -> Case {
    Case { title, declared: "", before, change: Change::Append(record) }
}

const fn declared(
    title: &'static str,
    fields: &'static str,
    before: &'static [&'static str],
    record: &'static str,
) -> Case {
    Case { title, declared: fields, before, change: Change::Append(record) }
}

const fn posted(
    title: &'static str,
    fields: &'static str,
    before: &'static [&'static str],
    changes: &'static str,
) -> Case {
    Case { title, declared: fields, before, change: Change::Post(changes) }
}

const LIST: &str = r#"{"name":"v","type":"list","items":{"type":"float64"}}"#;
const JSON: &str = r#"{"name":"j","type":"json"}"#;

const CASES: &[Case] = &[
    inferred("A new field", &[r#"{"id":1}"#], r#"{"id":2,"new":"x"}"#),
    inferred("A new field that is null", &[r#"{"id":1}"#], r#"{"id":2,"new":null}"#),
    inferred("A new field in a struct", &[r#"{"s":{"x":1}}"#], r#"{"s":{"x":2,"y":true}}"#),
    inferred("A new field in the structs of a list", &[r#"{"l":[{"x":1}]}"#], r#"{"l":[{"x":2},{"y":true}]}"#),
    declared("A wider integer", r#"{"name":"n","type":"int32"}"#, &[r#"{"n":7}"#], r#"{"n":3000000000}"#),
    declared(
        "A negative integer for an unsigned column",
        r#"{"name":"n","type":"uint8"}"#,
        &[r#"{"n":7}"#],
        r#"{"n":-1}"#,
    ),
    inferred("An integer past 64 bits", &[r#"{"n":7}"#], r#"{"n":18446744073709551616}"#),
    inferred("A whole float for an integer column", &[r#"{"n":7}"#], r#"{"n":8.0}"#),
    inferred("A fraction for an integer column", &[r#"{"n":7}"#], r#"{"n":1.5}"#),
    inferred("A fraction for an integer in a struct", &[r#"{"s":{"n":7}}"#], r#"{"s":{"n":1.5}}"#),
    inferred("A fraction for the integers of a list", &[r#"{"l":[7]}"#], r#"{"l":[1.5]}"#),
    inferred("A fraction, after an integer past 2^53", &[r#"{"n":9007199254740993}"#], r#"{"n":1.5}"#),
    inferred(
        "A fraction in a struct, after an integer past 2^53",
        &[r#"{"s":{"n":9007199254740993}}"#],
        r#"{"s":{"n":1.5}}"#,
    ),
    inferred("A fraction in a list, after an integer past 2^53", &[r#"{"l":[9007199254740993]}"#], r#"{"l":[1.5]}"#),
    inferred("An integer past 2^53 for a float column", &[r#"{"f":0.5}"#], r#"{"f":9007199254740993}"#),
    inferred("An integer past 2^53 as a float prints", &[r#"{"f":0.5}"#], r#"{"f":100000000000000000}"#),
    declared(
        "A number that float32 rounds",
        r#"{"name":"f","type":"float32"}"#,
        &[r#"{"f":0.5}"#],
        r#"{"f":16777217}"#,
    ),
    declared("A number past float32", r#"{"name":"f","type":"float32"}"#, &[r#"{"f":0.5}"#], r#"{"f":1e39}"#),
    inferred("A list for a scalar", &[r#"{"a":1}"#], r#"{"a":[1,2]}"#),
    inferred("A string for an integer", &[r#"{"a":1}"#], r#"{"a":"2"}"#),
    inferred("An integer for a string", &[r#"{"a":"x"}"#], r#"{"a":2}"#),
    inferred("Anything for a json column", &[r#"{"a":1}{"a":"x"}"#], r#"{"a":{"b":[2]}}"#),
    declared(
        "A vector of another length",
        r#"{"name":"v","type":"vector","dim":2}"#,
        &[r#"{"v":[0.5,1]}"#],
        r#"{"v":[1,2,3]}"#,
    ),
    posted("Posted: a field renamed", "", &[r#"{"a":1,"b":2}"#], r#"[{"op":"rename","path":"a","to":"z"}]"#),
    posted("Posted: a field dropped", "", &[r#"{"a":1,"b":2}"#], r#"[{"op":"drop","path":"a"}]"#),
    posted("Posted: a field added", "", &[r#"{"a":1}"#], r#"[{"op":"add","path":"z","to":{"type":"bool"}}]"#),
    posted(
        "Posted: an integer widened",
        r#"{"name":"n","type":"int32"}"#,
        &[r#"{"n":7}"#],
        r#"[{"op":"widen","path":"n","to":{"type":"float64"}}]"#,
    ),
    posted(
        "Posted: float32 widened",
        r#"{"name":"f","type":"float32"}"#,
        &[r#"{"f":0.1}"#],
        r#"[{"op":"widen","path":"f","to":{"type":"float64"}}]"#,
    ),
    posted(
        "Posted: integers past 2^53 as floats",
        "",
        &[r#"{"n":9007199254740993}"#],
        r#"[{"op":"widen","path":"n","to":{"type":"float64"}}]"#,
    ),
    posted(
        "Posted: a list to a vector",
        LIST,
        &[r#"{"v":[0.5,1]}"#, "{}"],
        r#"[{"op":"convert","path":"v","to":{"type":"vector","dim":2}}]"#,
    ),
    posted(
        "Posted: a list to a vector, one of another length",
        LIST,
        &[r#"{"v":[0.5,1]}"#, r#"{"v":[1]}"#],
        r#"[{"op":"convert","path":"v","to":{"type":"vector","dim":2}}]"#,
    ),
    posted(
        "Posted: json to a type",
        JSON,
        &[r#"{"j":{"k":1.0}}"#, "{}"],
        r#"[{"op":"convert","path":"j","to":{"type":"struct","fields":[{"name":"k","type":"int64"}]}}]"#,
    ),
    posted(
        "Posted: json to a type that one value is not of",
        JSON,
        &[r#"{"j":1}"#, r#"{"j":"x"}"#],
        r#"[{"op":"convert","path":"j","to":{"type":"int64"}}]"#,
    ),
    posted(
        "Posted: a string to an integer",
        "",
        &[r#"{"a":"1"}"#],
        r#"[{"op":"convert","path":"a","to":{"type":"int64"}}]"#,
    ),
];

/// What a mode makes of a change.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    status: u16,
    /// The problem's code, or the schema version that the topic has then.
    verdict: String,
    detail: String,
    /// What the topic reads as, before a flush and after it.
    values: Vec<String>,
}

impl Outcome {
    /// The answer in the overview.
    fn brief(&self) -> String {
        match self.status {
            200..300 => format!("{}{}", self.status, self.verdict),
            status => format!("{status} `{}`", self.verdict),
        }
    }
}

impl Case {
    async fn topic(&self, api: &Api, backend: &str, mode: Option<&str>) -> Topic {
        let mut configuration = json!({ "backend": backend });
        if backend != "memory" {
            // Nothing is committed but by a flush.
            configuration["backend_options"] = json!({"flush_interval_ms": 3_600_000});
            if !self.declared.is_empty() {
                let field: Value = serde_json::from_str(self.declared).unwrap();
                configuration["schema"] = json!({ "fields": [field] });
            }
        }
        if let Some(mode) = mode {
            configuration["schema_mode"] = mode.into();
        }
        let topic = api.make(configuration).await;
        for records in self.before {
            topic.append(*records).await;
        }
        topic
    }

    async fn change(&self, topic: &Topic) -> Answer {
        match self.change {
            Change::Append(record) => topic.post("records", record).await,
            Change::Post(changes) => topic.post("schemas", format!("{{\"changes\":{changes}}}")).await,
        }
    }

    /// The outcome, with what was there in memory or on disk when the change came.
    async fn outcome(&self, api: &Api, backend: &str, mode: Option<&str>, flushed: bool) -> Outcome {
        let topic = self.topic(api, backend, mode).await;
        let stored = topic.tail().await;
        if flushed {
            flush(&topic).await;
        }
        let before = topic.get("").await.json()["schema_version"].clone();
        let answer = self.change(&topic).await;
        let status = answer.status.as_u16();
        let (verdict, detail) = if answer.status.is_success() {
            topic.wait_for_tail(stored + u64::from(matches!(self.change, Change::Append(_)))).await;
            let after = topic.get("").await.json()["schema_version"].clone();
            (if before == after { String::new() } else { format!(", version {after}") }, String::new())
        } else {
            let code = answer.json()["code"].as_str().unwrap().to_owned();
            let problem = answer.problem(status, &code);
            assert_eq!(topic.get("").await.json()["schema_version"], before, "a refusal changes nothing");
            let detail = problem["errors"][0]["detail"].as_str().or(problem["detail"].as_str()).unwrap();
            (code, detail.to_owned())
        };
        let values = topic.values(0).await;
        flush(&topic).await;
        assert_eq!(topic.values(0).await, values, "{} on {backend}: a flush changes no byte", self.title);
        Outcome { status, verdict, detail, values }
    }

    async fn outcomes(&self, api: &Api) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for (words, backend, mode) in MODES {
            let outcome = self.outcome(api, backend, mode, false).await;
            let on_disk = self.outcome(api, backend, mode, true).await;
            assert_eq!(outcome, on_disk, "{} on {words}: the same from memory and from disk", self.title);
            outcomes.push(outcome);
        }
        outcomes
    }

    /// The case in full.
    fn tell(&self, outcomes: &[Outcome], page: &mut String) {
        let done = match self.change {
            Change::Append(record) => format!("then append `{record}`."),
            Change::Post(changes) => format!("then post the changes `{changes}`."),
        };
        let declared = if self.declared.is_empty() { String::new() } else { format!("Declare `{}`; ", self.declared) };
        let stored: Vec<String> = self.before.iter().map(|record| format!("`{record}`")).collect();
        let store = if declared.is_empty() { "Store" } else { "store" };
        let title = self.title;
        writeln!(page, "### {title}\n\n{declared}{store} {}, {done}\n", stored.join(" and ")).unwrap();
        writeln!(page, "| Mode | Answer | The topic reads |\n|---|---|---|").unwrap();
        let mut reasons: Vec<&str> = Vec::new();
        for ((words, ..), outcome) in MODES.iter().zip(outcomes) {
            let values: Vec<String> = outcome.values.iter().map(|value| format!("`{value}`")).collect();
            writeln!(page, "| {words} | {} | {} |", outcome.brief(), values.join("<br>")).unwrap();
            if !outcome.detail.is_empty() && !reasons.contains(&outcome.detail.as_str()) {
                reasons.push(&outcome.detail);
            }
        }
        page.push('\n');
        for reason in reasons {
            writeln!(page, "> {reason}\n").unwrap();
        }
    }
}

#[tokio::test]
async fn the_page_on_schema_evolution_is_what_the_server_answers() {
    let api = shared().await;
    let mut overview = String::from("## At a glance\n\n| Change |");
    for (words, ..) in MODES {
        write!(overview, " {words} |").unwrap();
    }
    overview.push_str("\n|---|---|---|---|---|\n");
    let mut details = String::from("\n## One by one\n\n");
    let all = stream::iter(CASES).map(|case| case.outcomes(&api)).buffered(AT_ONCE).collect::<Vec<_>>().await;
    for (case, outcomes) in CASES.iter().zip(all) {
        let row: Vec<String> = outcomes.iter().map(Outcome::brief).collect();
        writeln!(overview, "| {} | {} |", case.title, row.join(" | ")).unwrap();
        case.tell(&outcomes, &mut details);
    }
    let told = overview + details.trim_end() + "\n";
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (words, tables) = page.split_once(BEGIN).expect("the page has its mark");
    if std::env::var_os("PERSISTING_WRITE_DOCS").is_some() {
        std::fs::write(PAGE, format!("{words}{BEGIN}\n{told}")).unwrap();
        return;
    }
    for (line, (written, answered)) in tables.trim_start().lines().zip(told.lines()).enumerate() {
        assert_eq!(written, answered, "line {line} of the tables; PERSISTING_WRITE_DOCS=1 writes them anew");
    }
    assert_eq!(tables.trim_start(), told, "PERSISTING_WRITE_DOCS=1 writes the tables anew");
}
