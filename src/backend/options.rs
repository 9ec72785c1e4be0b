//! `backend_options`: names, types, defaults, checks.

use serde_json::{Map, Value, json};

use crate::model::{ErrorCode, Problem};
use crate::schema::FieldPath;

/// The options of a topic, checked, defaults filled in.
pub type OptionValues = Map<String, Value>;

/// What an option takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// `true` or `false`.
    Bool,
    /// A whole number in a range, both ends included.
    Integer {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words for each of some fields, by their paths.
    FieldsOneOf(&'static [&'static str]),
}

/// One option of a backend.
#[derive(Clone, Debug)]
pub struct OptionSpec {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub kind: OptionKind,
    /// What it is when it is not given; null where that follows from other options.
    pub default: Value,
    /// What it does, in a sentence.
    pub description: &'static str,
    /// Whether it can be changed after the topic is made.
    pub changeable: bool,
}

impl OptionKind {
    fn takes(&self, value: &Value) -> bool {
        match self {
            OptionKind::Bool => value.is_boolean(),
            OptionKind::Integer { min, max } => value.as_u64().is_some_and(|n| (*min..=*max).contains(&n)),
            OptionKind::OneOf(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            OptionKind::FieldsOneOf(words) => value.as_object().is_some_and(|fields| {
                let takes = |word: &Value| word.as_str().is_some_and(|word| words.contains(&word));
                fields.iter().all(|(path, word)| FieldPath::parse(path).is_ok() && takes(word))
            }),
        }
    }

    fn expectation(&self) -> String {
        match self {
            OptionKind::Bool => "true or false".to_owned(),
            OptionKind::Integer { min, max } => format!("a whole number from {min} to {max}"),
            OptionKind::OneOf(words) => format!("one of {}", words.join(", ")),
            OptionKind::FieldsOneOf(words) => {
                format!("an object of field paths, written as in `fields`, each with one of {}", words.join(", "))
            }
        }
    }

    const fn word(&self) -> &'static str {
        match self {
            OptionKind::Bool => "boolean",
            OptionKind::Integer { .. } => "integer",
            OptionKind::OneOf(_) => "string",
            OptionKind::FieldsOneOf(_) => "object",
        }
    }
}

impl OptionSpec {
    /// The option as `GET /v1/backends` tells it.
    pub fn to_json(&self) -> Value {
        let mut told = json!({
            "name": self.name, "type": self.kind.word(), "default": self.default, "description": self.description,
        });
        if let (Value::Object(members), OptionKind::OneOf(words) | OptionKind::FieldsOneOf(words)) =
            (&mut told, &self.kind)
        {
            members.insert("allowed".to_owned(), json!(words));
        }
        told
    }
}

/// Checks options as a client gave them; a null is an omitted one. The defaults are not filled in.
///
/// # Errors
/// A problem that names the option and what it takes: `invalid_parameter` for a number outside its range, else
/// `invalid_body`.
pub fn check_options(specs: &[OptionSpec], given: &Map<String, Value>) -> Result<OptionValues, Problem> {
    let mut checked = Map::new();
    for (name, value) in given {
        let Some(spec) = specs.iter().find(|spec| spec.name == name) else {
            let detail = format!("The backend has no option \"{name}\".");
            return Err(Problem::new(ErrorCode::InvalidBody, detail).allowing(specs.iter().map(|spec| spec.name)));
        };
        if value.is_null() {
            continue;
        }
        if !spec.kind.takes(value) {
            let detail = format!("The option \"{name}\" takes {}.", spec.kind.expectation());
            let is_out_of_range = value.is_number() && matches!(spec.kind, OptionKind::Integer { .. });
            let code = if is_out_of_range { ErrorCode::InvalidParameter } else { ErrorCode::InvalidBody };
            let problem = Problem::new(code, detail);
            return Err(match spec.kind {
                OptionKind::OneOf(words) | OptionKind::FieldsOneOf(words) => problem.allowing(words.iter().copied()),
                _ => problem,
            });
        }
        checked.insert(name.clone(), value.clone());
    }
    Ok(checked)
}

/// The given options with the defaults of all others.
pub(crate) fn with_defaults(specs: &[OptionSpec], given: &OptionValues) -> OptionValues {
    specs.iter().map(|spec| (spec.name.to_owned(), given.get(spec.name).unwrap_or(&spec.default).clone())).collect()
}
