//! Records that tell who has sent them, under schemas that grow.

use serde_json::{Map, Value, json};

use super::random::Random;

/// Cycles after which new keys come.
const PHASE_CYCLES: u64 = 12;
/// Keys of so many phases are in use; later phases take the first ones again.
const PHASES: u64 = 12;

/// What records look like at present.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Whether only the columns of [`strict_schema`] may come.
    pub strict: bool,
    /// The cycle, which new keys and types follow.
    pub cycle: u64,
}

/// The columns of topics whose schema does not evolve.
pub fn strict_schema() -> Value {
    let field = |name: &str, kind: &str| json!({"name": name, "type": kind});
    json!({"fields": [
        field("r", "int64"), field("i", "int64"), field("w", "int64"),
        field("s", "string"), field("f", "float64"), field("b", "bool"),
        {"name": "o", "type": "struct", "fields": [field("x", "int64"), field("y", "string")]},
        {"name": "l", "type": "list", "items": {"type": "int64"}},
    ]})
}

/// Record `index` of a request.
pub fn record(random: &mut Random, request: u64, index: usize, writer: u32, shape: Shape) -> Value {
    let mut record = Map::new();
    record.insert("r".into(), json!(request));
    record.insert("i".into(), json!(index));
    record.insert("w".into(), json!(writer));
    if !random.once_in(3) {
        record.insert("s".into(), json!(text(random)));
    }
    if random.once_in(2) {
        record.insert("f".into(), json!(fraction(random)));
    }
    match random.below(4) {
        0 => drop(record.insert("b".into(), json!(true))),
        1 => drop(record.insert("b".into(), Value::Null)),
        _ => {}
    }
    if random.once_in(4) {
        record.insert("o".into(), json!({"x": random.below(1 << 40), "y": text(random)}));
    }
    if random.once_in(4) {
        record.insert("l".into(), json!([random.below(9), random.below(1 << 50)]));
    }
    if !shape.strict {
        evolving(&mut record, random, shape.cycle);
    }
    Value::Object(record)
}

/// Keys that come with the cycles: integers first, floats in the second half of their phase, at three depths.
fn evolving(record: &mut Map<String, Value>, random: &mut Random, cycle: u64) {
    let phase = (cycle / PHASE_CYCLES) % PHASES;
    let late = cycle % PHASE_CYCLES >= PHASE_CYCLES / 2;
    let number = |random: &mut Random| {
        if late && random.once_in(3) { json!(fraction(random)) } else { json!(random.below(1 << 45)) }
    };
    if random.once_in(3) {
        record.insert(format!("q{phase}"), number(random));
    }
    if random.once_in(6) {
        record.insert(format!("k{phase} ü.`"), json!(text(random)));
    }
    if random.once_in(6) {
        record.insert(format!("n{phase}"), json!({"deep": {"m": number(random)}, "t": random.once_in(2)}));
    }
    if random.once_in(8) {
        record.insert(format!("v{phase}"), json!([number(random), null, number(random)]));
    }
    if random.once_in(8) {
        let sign = if random.once_in(2) { 1 } else { -1 };
        let large = i64::try_from(random.below(1 << 62)).unwrap_or_default();
        record.insert("big".into(), json!(sign * large));
    }
}

/// A float that every decimal form gives back exactly.
fn fraction(random: &mut Random) -> f64 {
    let eighths = i32::try_from(random.below(1 << 20)).unwrap_or_default() - (1 << 19);
    f64::from(eighths) / 8.0 + 0.0
}

fn text(random: &mut Random) -> String {
    let words = ["", "plain", "zwölf €", "line\nbreak \"quoted\" \\ \u{1}", "\u{1F980}\u{2028}", "x"];
    let word = *random.pick(&words);
    word.repeat(usize::try_from(random.between(1, 6)).unwrap_or(1))
}

/// A value as it counts: absent and null are the same, and so are `1` and `1.0`.
pub fn plain(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), plain(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Number(number) => match number.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "it is whole and small")]
            Some(float) if !number.is_i64() && float.fract() == 0.0 && float.abs() < 2_f64.powi(53) => {
                json!(float as i64)
            }
            _ => value.clone(),
        },
        _ => value.clone(),
    }
}
