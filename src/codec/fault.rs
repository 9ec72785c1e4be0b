//! Why reading a record stops.

use jiter::Peek;

use crate::codec::read::Malformed;
use crate::model::{ErrorCode, RecordError};
use crate::schema::{COLUMNS_MAX, FieldPath};

/// The most containers in each other; a record itself is at depth 1.
pub(super) const NESTING_MAX: usize = 100;

/// Why reading a record stops.
#[derive(Debug)]
pub(super) enum Stop {
    /// The body is no JSON.
    Malformed(Malformed),
    /// The record may fit a schema that evolves.
    Evolve,
    /// The record is refused.
    Fault(Box<Fault>),
}

impl From<Malformed> for Stop {
    fn from(malformed: Malformed) -> Self {
        Stop::Malformed(malformed)
    }
}

/// What is wrong with a record, and where. The place is put together on the way out.
#[derive(Debug)]
pub(super) struct Fault {
    code: ErrorCode,
    wrong: Wrong,
    /// Innermost first.
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Key(String),
    Item(usize),
}

#[derive(Debug)]
enum Wrong {
    /// A column's value: the type, what it cannot take, what would help.
    Column { data_type: String, cannot: String, remedy: String },
    /// A key without a column, in `strict`.
    UnknownKey,
    /// The object concerned, or the record, by a sentence that begins with its name.
    Object(String),
}

/// So many characters of a path or pointer are repeated: keys can be as long as records.
const PLACE_CHARS_MAX: usize = 1_000;

/// At most 40 characters of what a client has sent.
pub(super) fn excerpt(text: &str) -> String {
    shorten(text, 40)
}

fn shorten(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// What a value is, in words.
pub(super) fn kind_words(peek: Peek) -> &'static str {
    match peek {
        Peek::Null => "null",
        Peek::True | Peek::False => "a boolean",
        Peek::String => "a string",
        Peek::Array => "an array",
        Peek::Object => "an object",
        _ => "a number",
    }
}

impl Stop {
    fn fault(code: ErrorCode, wrong: Wrong) -> Self {
        Stop::Fault(Box::new(Fault { code, wrong, steps: Vec::new() }))
    }

    /// A column of `data_type` cannot take a value; `remedy` is a clause that says what to do.
    pub(super) fn column(code: ErrorCode, data_type: String, cannot: String, remedy: String) -> Self {
        Self::fault(code, Wrong::Column { data_type, cannot, remedy })
    }

    /// A key with a value has no column.
    pub(super) fn unknown_key() -> Self {
        Self::fault(ErrorCode::SchemaConflict, Wrong::UnknownKey)
    }

    /// A key stands twice in an object.
    pub(super) fn duplicate_key(key: &str) -> Self {
        Self::fault(ErrorCode::InvalidRecord, Wrong::Object(format!("has the key {:?} twice", excerpt(key))))
    }

    /// A container nests too deep.
    pub(super) fn too_deep() -> Self {
        let sentence = format!("nests deeper than {NESTING_MAX} levels");
        Self::fault(ErrorCode::InvalidRecord, Wrong::Object(sentence))
    }

    /// The lists of a record take more room in columns than they may.
    pub(super) fn too_wide(bytes: u64) -> Self {
        let sentence = format!(
            "has lists whose items would take more than {bytes} bytes as columns, 128 times its text: declare them as `json`"
        );
        Self::fault(ErrorCode::InvalidRecord, Wrong::Object(sentence))
    }

    /// The records up to this one ask for more columns than a topic can have.
    pub(super) fn too_many_columns() -> Self {
        let sentence = format!(
            "brings the topic over its {COLUMNS_MAX} leaf columns: declare objects with many different keys as `json`"
        );
        Self::fault(ErrorCode::TooManyColumns, Wrong::Object(sentence))
    }

    /// What stands where a record belongs is no object.
    pub(super) fn no_object(peek: Peek) -> Self {
        let sentence = format!("is {}; a record is an object", kind_words(peek));
        Self::fault(ErrorCode::InvalidRecord, Wrong::Object(sentence))
    }

    /// The same as seen from the object that has the key.
    pub(super) fn under_key(mut self, key: &str) -> Self {
        if let Stop::Fault(fault) = &mut self {
            fault.steps.push(Step::Key(key.to_owned()));
        }
        self
    }

    /// The same as seen from the array that has the item.
    pub(super) fn under_item(mut self, index: usize) -> Self {
        if let Stop::Fault(fault) = &mut self {
            fault.steps.push(Step::Item(index));
        }
        self
    }
}

impl Fault {
    /// The error of the API.
    pub(super) fn into_error(self, record: u64) -> RecordError {
        let mut pointer = String::new();
        let mut path = FieldPath::default();
        for step in self.steps.into_iter().rev() {
            pointer.push('/');
            match step {
                Step::Key(key) => {
                    pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
                    path.0.push(key);
                }
                Step::Item(index) => pointer.push_str(&index.to_string()),
            }
        }
        let (path, pointer) = (shorten(&path.to_string(), PLACE_CHARS_MAX), shorten(&pointer, PLACE_CHARS_MAX));
        let detail = match self.wrong {
            Wrong::Column { data_type, cannot, remedy } => {
                format!("Column `{path}` of type {data_type} cannot take {cannot}: {remedy}.")
            }
            Wrong::UnknownKey => format!(
                "There is no column `{path}` and the topic's schema mode is strict: leave the member out, or add the \
                 column to the schema."
            ),
            Wrong::Object(sentence) if pointer.is_empty() => format!("The record {sentence}."),
            Wrong::Object(sentence) => format!("The value at {:?} {sentence}.", excerpt(&pointer)),
        };
        RecordError { record, pointer, code: self.code, detail }
    }
}
