//! Records to send, each with a serial number of its own, and whether what is read is what was sent.

use persisting::codec::Form;
use persisting::io::fault::Random;
use serde_json::{Map, Value, json};

/// The member that holds the serial number.
pub const SERIAL: &str = "id";

/// What the records of a topic look like by now.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// Whether only the declared columns are sent.
    strict: bool,
    /// Columns beside the first ones.
    columns: usize,
}

impl Shape {
    /// The columns of [`declared`], and no others.
    pub fn strict() -> Self {
        Self { strict: true, columns: 0 }
    }

    /// A record with this serial number; now and then with a new column, or a float where there were integers.
    pub fn record(&mut self, serial: u64, random: &mut Random) -> Value {
        let mut members = Map::new();
        members.insert(SERIAL.to_owned(), json!(serial));
        if random.chance(0.7) {
            members.insert("n".to_owned(), number(random, !self.strict));
        }
        if random.chance(0.5) {
            members.insert("s".to_owned(), json!(text(random)));
        }
        if self.strict {
            return Value::Object(members);
        }
        if self.columns < 12 && random.chance(0.06) {
            self.columns += 1;
        }
        for column in 0..self.columns {
            if random.chance(0.4) {
                members.insert(format!("x{column}"), value(column, random));
            }
        }
        Value::Object(members)
    }
}

/// A schema for topics whose columns do not evolve.
pub fn declared() -> Value {
    json!({"fields": [
        {"name": SERIAL, "type": "int64"}, {"name": "n", "type": "float64"}, {"name": "s", "type": "string"},
    ]})
}

fn number(random: &mut Random, evolves: bool) -> Value {
    match random.below(40) {
        0 if evolves => json!((1_i64 << 53) + 1 + 2 * random.below(100) as i64),
        1 | 2 => json!(random.below(1_000) as f64 / 8.0 + 0.125),
        _ => json!(random.below(2_000) as i64 - 1_000),
    }
}

fn text(random: &mut Random) -> String {
    let length = if random.chance(0.05) { random.below(1_500) } else { random.below(40) };
    (0..length).map(|_| char::from(b'a' + u8::try_from(random.below(26)).unwrap_or(0))).collect()
}

fn value(column: usize, random: &mut Random) -> Value {
    match column % 4 {
        0 => number(random, true),
        1 => json!(text(random)),
        2 => json!({"a": random.below(100), "b": text(random)}),
        _ => (0..1 + random.below(3)).map(|_| json!(random.below(100))).collect(),
    }
}

/// The body that holds these records, and its form.
pub fn body(records: &[Value], random: &mut Random) -> (String, Form) {
    let lines = || records.iter().map(|record| format!("{record}\n")).collect::<String>();
    match random.below(3) {
        0 if records.len() == 1 => (records.iter().map(Value::to_string).collect(), Form::Json),
        0 => (Value::Array(records.to_vec()).to_string(), Form::Json),
        1 => (lines(), Form::Ndjson),
        _ => (lines(), Form::Sequence),
    }
}

/// Whether what is read has the value of what was sent: numbers compare as such, a null is no member.
pub fn is_same(sent: &Value, read: &Value) -> bool {
    match (sent, read) {
        (Value::Object(sent), Value::Object(read)) => {
            let given = |members: &Map<String, Value>| members.values().filter(|value| !value.is_null()).count();
            given(sent) == given(read)
                && sent
                    .iter()
                    .filter(|(_, value)| !value.is_null())
                    .all(|(name, value)| read.get(name).is_some_and(|found| is_same(value, found)))
        }
        (Value::Array(sent), Value::Array(read)) => {
            sent.len() == read.len() && sent.iter().zip(read).all(|(sent, read)| is_same(sent, read))
        }
        (Value::Number(sent), Value::Number(read)) => match (sent.as_i64(), read.as_i64()) {
            (Some(sent), Some(read)) => sent == read,
            _ => sent.as_f64() == read.as_f64(),
        },
        (sent, read) => sent == read,
    }
}

/// Whether a record holds an integer that no float column takes.
pub fn is_wide(record: &Value) -> bool {
    let members = record.as_object().into_iter().flat_map(Map::values);
    members.filter_map(Value::as_i64).any(|number| number.unsigned_abs() > 1 << 53)
}
