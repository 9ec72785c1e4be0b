//! Any filter on any records, against a naive reading of their JSON.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::codec::columns::to_batch;
use crate::codec::{Chunk, Values};
use crate::model::{Offset, Timestamp};
use crate::schema::Columns;

/// A column of the records below.
#[derive(Clone, Copy, Debug)]
enum Name {
    Int,
    Unsigned,
    Float,
    Text,
    Bool,
    Nested,
    List,
}

impl Name {
    const fn path(self) -> &'static str {
        match self {
            Name::Int => "n",
            Name::Unsigned => "u",
            Name::Float => "f",
            Name::Text => "s",
            Name::Bool => "b",
            Name::Nested => "o.x",
            Name::List => "l",
        }
    }

    fn of(self, record: &Value) -> Option<&Value> {
        let found = self.path().split('.').try_fold(record, |value, key| value.get(key));
        found.filter(|value| !value.is_null())
    }
}

fn schema() -> Schema {
    Schema::from_json(&json!({"fields": [
        {"name": "n", "type": "int64"}, {"name": "u", "type": "uint64"}, {"name": "f", "type": "float64"},
        {"name": "s", "type": "string"}, {"name": "b", "type": "bool"},
        {"name": "o", "type": "struct", "fields": [{"name": "x", "type": "int8"}, {"name": "y", "type": "string"}]},
        {"name": "l", "type": "list", "items": {"type": "int64"}}
    ]}))
    .unwrap()
}

/// A number, as twice its value: halves are exact in it.
type Twice = i128;

fn twice() -> impl Strategy<Value = Twice> {
    let edges = [0, 1, 127, 1 << 53, (1 << 53) - 1, (1 << 53) + 1, i64::MAX.into(), u64::MAX.into()];
    let edge = prop::sample::select(edges.to_vec());
    (edge, any::<bool>(), -3..=3_i128)
        .prop_map(|(edge, negative, by)| if negative { -2 * edge + by } else { 2 * edge + by })
}

fn written(twice: Twice) -> String {
    let sign = if twice < 0 { "-" } else { "" };
    let half = if twice % 2 == 0 { "" } else { ".5" };
    format!("{sign}{}{half}", twice.unsigned_abs() / 2)
}

fn integer(min: i128, max: i128) -> impl Strategy<Value = i128> {
    twice().prop_map(move |twice| (twice / 2).clamp(min, max))
}

fn text() -> impl Strategy<Value = String> {
    "[aAb%_é']{0,3}"
}

fn record() -> impl Strategy<Value = Value> {
    let int = || integer(i64::MIN.into(), i64::MAX.into()).prop_map(|value| json!(i64::try_from(value).unwrap()));
    let maybe = |value: BoxedStrategy<Value>| prop_oneof![1 => Just(Value::Null), 3 => value];
    (
        maybe(int().boxed()),
        maybe(integer(0, u64::MAX.into()).prop_map(|value| json!(u64::try_from(value).unwrap())).boxed()),
        maybe(
            prop::sample::select(vec![-1.5, -0.0, 0.5, 1.0, 9_007_199_254_740_992.0, 1e300])
                .prop_map(|f| json!(f))
                .boxed(),
        ),
        maybe(text().prop_map(Value::from).boxed()),
        maybe(any::<bool>().prop_map(Value::from).boxed()),
        maybe(
            maybe(integer(-128, 127).prop_map(|value| json!(i8::try_from(value).unwrap())).boxed())
                .prop_map(|x| json!({"x": x, "y": "q"}))
                .boxed(),
        ),
        maybe(prop::collection::vec(maybe(int().boxed()), 0..3).prop_map(Value::from).boxed()),
    )
        .prop_map(|(n, u, f, s, b, o, l)| json!({"n": n, "u": u, "f": f, "s": s, "b": b, "o": o, "l": l}))
}

/// A filter, with what it says of a record: none for unknown.
#[derive(Clone, Debug)]
enum Said {
    Compare(Name, &'static str, Twice),
    In(Name, Vec<Option<Twice>>, bool),
    Between(Name, Twice, Twice, bool),
    Text(&'static str, String),
    Like(String, bool),
    StartsWith(String),
    Contains(String),
    Has(Twice),
    IsTrue(bool),
    Null(Name, bool),
    Not(Box<Said>),
    And(Vec<Said>),
    Or(Vec<Said>),
}

const OPERATORS: [&str; 7] = ["=", "!=", "<>", "<", "<=", ">", ">="];

fn said() -> impl Strategy<Value = Said> {
    let number = || prop::sample::select(vec![Name::Int, Name::Unsigned, Name::Float, Name::Nested]);
    let any_name = vec![Name::Int, Name::Unsigned, Name::Float, Name::Text, Name::Bool, Name::Nested, Name::List];
    let operator = || prop::sample::select(OPERATORS.to_vec());
    let leaf = prop_oneof![
        4 => (number(), operator(), twice()).prop_map(|(name, operator, value)| Said::Compare(name, operator, value)),
        1 => (number(), prop::collection::vec(prop::option::weighted(0.9, twice()), 1..4), any::<bool>())
            .prop_map(|(name, list, negated)| Said::In(name, list, negated)),
        1 => (number(), twice(), twice(), any::<bool>()).prop_map(|(name, low, high, not)| Said::Between(name, low, high, not)),
        1 => (operator(), text()).prop_map(|(operator, text)| Said::Text(operator, text)),
        1 => (text(), any::<bool>()).prop_map(|(pattern, negated)| Said::Like(pattern, negated)),
        1 => text().prop_map(Said::StartsWith),
        1 => text().prop_map(Said::Contains),
        1 => twice().prop_map(Said::Has),
        1 => any::<bool>().prop_map(Said::IsTrue),
        1 => (prop::sample::select(any_name), any::<bool>()).prop_map(|(name, negated)| Said::Null(name, negated)),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|said| Said::Not(Box::new(said))),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Said::And),
            prop::collection::vec(inner, 1..4).prop_map(Said::Or),
        ]
    })
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn not(negated: bool) -> &'static str {
    if negated { "NOT " } else { "" }
}

fn print(said: &Said) -> String {
    let many = |all: &[Said], word: &str| format!("({})", all.iter().map(print).collect::<Vec<_>>().join(word));
    match said {
        Said::Compare(name, operator, value) => format!("{} {operator} {}", name.path(), written(*value)),
        Said::In(name, list, negated) => {
            let list: Vec<String> = list.iter().map(|value| value.map_or("NULL".to_owned(), written)).collect();
            format!("{} {}IN ({})", name.path(), not(*negated), list.join(", "))
        }
        Said::Between(name, low, high, negated) => {
            format!("{} {}BETWEEN {} AND {}", name.path(), not(*negated), written(*low), written(*high))
        }
        Said::Text(operator, text) => format!("s {operator} {}", quoted(text)),
        Said::Like(pattern, negated) => format!("s {}LIKE {}", not(*negated), quoted(pattern)),
        Said::StartsWith(text) => format!("starts_with(s, {})", quoted(text)),
        Said::Contains(text) => format!("contains(s, {})", quoted(text)),
        Said::Has(value) => format!("array_has(l, {})", written(*value)),
        Said::IsTrue(value) => format!("b = {value}"),
        Said::Null(name, negated) => format!("{} IS {}NULL", name.path(), not(*negated)),
        Said::Not(inner) => format!("NOT ({})", print(inner)),
        Said::And(all) => many(all, " AND "),
        Said::Or(all) => many(all, " OR "),
    }
}

/// How a stored number stands to a literal.
fn ordering(value: &Value, literal: Twice) -> std::cmp::Ordering {
    if let Some(value) = value.as_i64() {
        return (2 * i128::from(value)).cmp(&literal);
    }
    if let Some(value) = value.as_u64() {
        return (2 * i128::from(value)).cmp(&literal);
    }
    let value = value.as_f64().unwrap();
    if literal % 2 != 0 {
        // A literal with a fraction is the nearest double.
        let literal: f64 = written(literal).parse().unwrap();
        return value.partial_cmp(&literal).unwrap();
    }
    // All stored floats but the large one are halves.
    if value.abs() > 1e30 { value.partial_cmp(&0.0).unwrap() } else { ((2.0 * value) as i128).cmp(&literal) }
}

fn holds(operator: &str, order: std::cmp::Ordering) -> bool {
    match operator {
        "=" => order.is_eq(),
        "!=" | "<>" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    }
}

fn like(text: &[char], pattern: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('%', rest)) => (0..=text.len()).any(|from| like(&text[from..], rest)),
        Some(('_', rest)) => !text.is_empty() && like(&text[1..], rest),
        Some((letter, rest)) => text.first() == Some(letter) && like(&text[1..], rest),
    }
}

/// Whether all hold, where some may be unknown.
fn every(all: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let said: Vec<Option<bool>> = all.collect();
    let known = said.iter().all(Option::is_some);
    if said.contains(&Some(false)) { Some(false) } else { known.then_some(true) }
}

fn naive(said: &Said, record: &Value) -> Option<bool> {
    let text = || Name::Text.of(record).map(|text| text.as_str().unwrap());
    match said {
        Said::Compare(name, operator, literal) => Some(holds(operator, ordering(name.of(record)?, *literal))),
        Said::In(name, list, negated) => {
            let value = name.of(record)?;
            let found = list.iter().flatten().any(|literal| ordering(value, *literal).is_eq());
            let known = if found || list.iter().all(Option::is_some) { Some(found) } else { None };
            known.map(|found| found != *negated)
        }
        Said::Between(name, low, high, negated) => {
            let value = name.of(record)?;
            Some((ordering(value, *low).is_ge() && ordering(value, *high).is_le()) != *negated)
        }
        Said::Text(operator, literal) => Some(holds(operator, text()?.as_bytes().cmp(literal.as_bytes()))),
        Said::Like(pattern, negated) => {
            let (text, pattern): (Vec<char>, Vec<char>) = (text()?.chars().collect(), pattern.chars().collect());
            Some(like(&text, &pattern) != *negated)
        }
        Said::StartsWith(literal) => Some(text()?.starts_with(literal.as_str())),
        Said::Contains(literal) => Some(text()?.contains(literal.as_str())),
        Said::Has(literal) => {
            let items = Name::List.of(record)?.as_array().unwrap();
            Some(items.iter().any(|item| !item.is_null() && ordering(item, *literal).is_eq()))
        }
        Said::IsTrue(value) => Some(Name::Bool.of(record)?.as_bool().unwrap() == *value),
        Said::Null(name, negated) => Some(name.of(record).is_none() != *negated),
        Said::Not(inner) => naive(inner, record).map(|said| !said),
        Said::And(all) => every(all.iter().map(|said| naive(said, record))),
        Said::Or(all) => every(all.iter().map(|said| naive(said, record).map(|said| !said))).map(|none| !none),
    }
}

/// Without its nulls, which is how a record is stored.
fn stored(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key.clone(), stored(value))).collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

/// As the columns print it: floats without `.0`.
fn line(record: &Value) -> String {
    format!("{}\n", stored(record)).replace(".0,", ",").replace(".0}", "}").replace("1e300", "1e+300")
}

proptest! {
    #[test]
    fn filters_pass_what_a_naive_reading_of_the_records_passes(
        records in prop::collection::vec(record(), 1..24),
        said in said(),
    ) {
        let text: String = records.iter().map(line).collect();
        let chunk = Chunk::new(Offset::ZERO, Timestamp::default(), Values::from_text(Bytes::from(text)).unwrap());
        let columns = Columns::plain(schema());
        let bound = Filter::parse(&print(&said)).unwrap().bind(&columns.schema).unwrap();
        let expected: Vec<u64> = records.iter().zip(0..).filter(|(record, _)| naive(&said, record) == Some(true)).map(|(_, at)| at).collect();
        let mask = bound.mask(&to_batch(&columns.schema, std::slice::from_ref(&chunk)).unwrap()).unwrap();
        prop_assert_eq!(mask.values().set_indices().map(|at| at as u64).collect::<Vec<_>>(), expected.clone(), "{}", print(&said));
        // The same of the text, of which only the filter's columns are laid out.
        let reach = Reach { until: Offset::MAX, records: usize::MAX, bytes: usize::MAX, looked_at: usize::MAX };
        let found = Sieve::new(bound, &columns).sift(&[chunk], &columns, reach).unwrap();
        let offsets = found.chunks.iter().flat_map(|chunk| chunk.first().get()..chunk.next().get());
        prop_assert_eq!(offsets.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn any_text_is_read_or_refused_within_it(text in "\\PC{0,40}|[a-c'\"()=<>!.,%0-9 ]{0,30}|(a|=|1|AND|OR|NOT|\\(|\\)|IN|LIKE|NULL|,| ){0,20}") {
        if let Err(error) = Filter::parse(&text) {
            prop_assert!(error.position <= text.chars().count() as u64, "{}", error);
        }
    }
}
