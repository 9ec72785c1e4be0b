//! What can be indexed, and how: pure rules.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::schema::nameable::is_nameable;
use crate::schema::{DataType, FieldPath, Schema};

/// The kinds of index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IndexType {
    /// Vectors by cells of their space, as they are.
    IvfFlat,
    /// Vectors by cells of their space, as product quantizer codes.
    IvfPq,
    /// Vectors by cells of their space, each with a graph over codes of a byte for each dimension.
    IvfHnswSq,
    /// Values in order.
    BTree,
    /// The rows of each value.
    Bitmap,
    /// The rows whose list has an item.
    LabelList,
    /// The rows whose text has a word.
    Inverted,
}

/// The values that a parameter can have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ParamKind {
    /// `true` or `false`.
    Bool,
    /// An integer from the first to the last.
    Integer(u64, u64),
    /// One of these words.
    Word(&'static [&'static str]),
}

/// One parameter of a kind of index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParamSpec {
    /// Its name.
    pub name: &'static str,
    /// What it can be.
    pub kind: ParamKind,
}

/// How an index is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexSpec {
    /// Its kind.
    pub kind: IndexType,
    /// What was given of its parameters, checked.
    pub params: IndexParams,
}

/// Given parameters of an index, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexParams(BTreeMap<String, Value>);

/// Why an index cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct InvalidIndex {
    /// One sentence that a person can act on.
    pub detail: String,
    /// What would do.
    pub allowed: Vec<String>,
    /// Whether a number is not one of those that it can be.
    pub is_out_of_range: bool,
}

impl InvalidIndex {
    fn new(detail: impl Into<String>, allowed: Vec<String>) -> Self {
        Self { detail: detail.into(), allowed, is_out_of_range: false }
    }

    fn out_of_range(detail: impl Into<String>, allowed: &[&str]) -> Self {
        let allowed = allowed.iter().map(|word| (*word).to_owned()).collect();
        Self { detail: detail.into(), allowed, is_out_of_range: true }
    }
}

const fn param(name: &'static str, kind: ParamKind) -> ParamSpec {
    ParamSpec { name, kind }
}

const METRIC: ParamSpec = param("metric", ParamKind::Word(&["l2", "cosine", "dot"]));
const PARTITIONS: ParamSpec = param("num_partitions", ParamKind::Integer(1, 65_536));

const IVF_FLAT: &[ParamSpec] = &[METRIC, PARTITIONS];
const IVF_PQ: &[ParamSpec] = &[
    METRIC,
    PARTITIONS,
    param("num_sub_vectors", ParamKind::Integer(1, 65_536)),
    param("num_bits", ParamKind::Integer(4, 8)),
];
const IVF_HNSW_SQ: &[ParamSpec] =
    &[METRIC, PARTITIONS, param("m", ParamKind::Integer(2, 64)), param("ef_construction", ParamKind::Integer(8, 512))];
const INVERTED: &[ParamSpec] = &[
    param("with_position", ParamKind::Bool),
    param("base_tokenizer", ParamKind::Word(&["simple", "whitespace", "raw", "ngram"])),
    param("language", ParamKind::Word(LANGUAGES)),
    param("lower_case", ParamKind::Bool),
    param("stem", ParamKind::Bool),
    param("remove_stop_words", ParamKind::Bool),
    param("ascii_folding", ParamKind::Bool),
    param("max_token_length", ParamKind::Integer(1, 4_096)),
    param("min_ngram_length", ParamKind::Integer(1, 32)),
    param("max_ngram_length", ParamKind::Integer(1, 32)),
];

/// The languages that words are stemmed in.
const LANGUAGES: &[&str] = &[
    "Arabic",
    "Danish",
    "Dutch",
    "English",
    "Finnish",
    "French",
    "German",
    "Greek",
    "Hungarian",
    "Italian",
    "Norwegian",
    "Portuguese",
    "Romanian",
    "Russian",
    "Spanish",
    "Swedish",
    "Tamil",
    "Turkish",
];

impl IndexType {
    /// All kinds.
    pub const ALL: [Self; 7] =
        [Self::IvfFlat, Self::IvfPq, Self::IvfHnswSq, Self::BTree, Self::Bitmap, Self::LabelList, Self::Inverted];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IvfFlat => "ivf_flat",
            Self::IvfPq => "ivf_pq",
            Self::IvfHnswSq => "ivf_hnsw_sq",
            Self::BTree => "btree",
            Self::Bitmap => "bitmap",
            Self::LabelList => "label_list",
            Self::Inverted => "inverted",
        }
    }

    /// The kind of a word.
    ///
    /// # Errors
    /// [`InvalidIndex`] with the words that there are.
    pub fn parse(word: &str) -> Result<Self, InvalidIndex> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == word);
        found.ok_or_else(|| InvalidIndex::new(format!("There is no index type {word:?}."), words(&Self::ALL)))
    }

    /// Whether it finds neighbours of vectors.
    pub const fn is_vector(self) -> bool {
        matches!(self, Self::IvfFlat | Self::IvfPq | Self::IvfHnswSq)
    }

    /// Whether one index can be over several columns.
    const fn takes_several(self) -> bool {
        matches!(self, Self::Inverted)
    }

    /// The parameters that it takes.
    pub const fn params(self) -> &'static [ParamSpec] {
        match self {
            Self::IvfFlat => IVF_FLAT,
            Self::IvfPq => IVF_PQ,
            Self::IvfHnswSq => IVF_HNSW_SQ,
            Self::BTree | Self::Bitmap | Self::LabelList => &[],
            Self::Inverted => INVERTED,
        }
    }

    /// Whether a column of this type can have it.
    pub fn takes(self, column: &DataType) -> bool {
        match self {
            Self::IvfFlat | Self::IvfPq | Self::IvfHnswSq => matches!(column, DataType::Vector { .. }),
            Self::BTree | Self::Bitmap => is_scalar(column),
            Self::LabelList => matches!(column, DataType::List(item) if is_scalar(item)),
            Self::Inverted => matches!(column, DataType::String),
        }
    }
}

/// Whether values of a type have an order and can be looked up.
const fn is_scalar(column: &DataType) -> bool {
    matches!(
        column,
        DataType::Bool
            | DataType::Int(_)
            | DataType::Float(_)
            | DataType::String
            | DataType::Date32
            | DataType::Timestamp
    )
}

fn words(kinds: &[IndexType]) -> Vec<String> {
    kinds.iter().map(|kind| kind.as_str().to_owned()).collect()
}

impl ParamSpec {
    fn check(&self, value: &Value) -> Result<(), InvalidIndex> {
        let detail = |wanted: &str| format!("The index parameter \"{}\" is {wanted}.", self.name);
        let refused = |wanted: &str, words: &[&str]| {
            let allowed = words.iter().map(|word| (*word).to_owned()).collect();
            Err(InvalidIndex::new(detail(wanted), allowed))
        };
        match self.kind {
            ParamKind::Bool if value.is_boolean() => Ok(()),
            ParamKind::Bool => refused("true or false", &["true", "false"]),
            ParamKind::Integer(min, max) => match value.as_u64() {
                Some(number) if (min..=max).contains(&number) => Ok(()),
                _ => {
                    let wanted = format!("an integer from {min} to {max}");
                    if !value.is_number() {
                        return refused(&wanted, &[]);
                    }
                    Err(InvalidIndex::out_of_range(detail(&wanted), &[]))
                }
            },
            ParamKind::Word(words) => match value.as_str() {
                Some(word) if words.contains(&word) => Ok(()),
                _ => refused(&format!("one of {}", words.join(", ")), words),
            },
        }
    }
}

impl IndexParams {
    /// Checks parameters as a client has given them; null is not given.
    fn of(kind: IndexType, given: Map<String, Value>) -> Result<Self, InvalidIndex> {
        let mut params = BTreeMap::new();
        for (name, value) in given.into_iter().filter(|(_, value)| !value.is_null()) {
            let Some(spec) = kind.params().iter().find(|spec| spec.name == name) else {
                let known = kind.params().iter().map(|spec| spec.name.to_owned()).collect();
                let detail = format!("An index of type {} has no parameter {name:?}.", kind.as_str());
                return Err(InvalidIndex::new(detail, known));
            };
            spec.check(&value)?;
            params.insert(name, value);
        }
        Ok(Self(params))
    }

    /// An integer, where it is given.
    pub fn integer(&self, name: &str) -> Option<usize> {
        self.0.get(name).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok())
    }

    /// A word, where it is given.
    pub fn word(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// A truth, where it is given.
    pub fn truth(&self, name: &str) -> Option<bool> {
        self.0.get(name).and_then(Value::as_bool)
    }

    /// As a JSON object, names in order.
    pub fn to_json(&self) -> Value {
        Value::Object(self.0.clone().into_iter().collect())
    }
}

impl IndexSpec {
    /// An index of a kind with parameters as a client has given them.
    ///
    /// # Errors
    /// [`InvalidIndex`] for a parameter that it does not have, or a value that it cannot be.
    pub fn new(kind: IndexType, given: Map<String, Value>) -> Result<Self, InvalidIndex> {
        let params = IndexParams::of(kind, given)?;
        let out_of_range = |detail: &str, allowed: &[&str]| Err(InvalidIndex::out_of_range(detail, allowed));
        if params.integer("num_bits").is_some_and(|bits| bits != 4 && bits != 8) {
            return out_of_range("The index parameter \"num_bits\" is 4 or 8.", &["4", "8"]);
        }
        let (min, max) = (params.integer("min_ngram_length"), params.integer("max_ngram_length"));
        let min = min.unwrap_or(NGRAM_MIN);
        let Some(lengths) = max.unwrap_or(NGRAM_MAX.max(min)).checked_sub(min) else {
            return out_of_range("\"min_ngram_length\" is not more than \"max_ngram_length\".", &[]);
        };
        if lengths > NGRAM_LENGTHS {
            return out_of_range("\"max_ngram_length\" is at most 8 more than \"min_ngram_length\".", &[]);
        }
        Ok(Self { kind, params })
    }

    /// Checks that columns are there and can have the index.
    ///
    /// # Errors
    /// [`InvalidIndex`] with the kinds that the column can have.
    pub fn check(&self, schema: Option<&Schema>, columns: &[FieldPath]) -> Result<(), InvalidIndex> {
        if columns.is_empty() || (columns.len() > 1 && !self.kind.takes_several()) {
            let columns = if self.kind.takes_several() { "one column or several" } else { "one column" };
            let detail = format!("An index of type {} is over {columns}.", self.kind.as_str());
            return Err(InvalidIndex::new(detail, Vec::new()));
        }
        if let Some(twice) =
            columns.iter().enumerate().find(|(at, path)| columns.iter().take(*at).any(|it| it == *path))
        {
            return Err(InvalidIndex::new(format!("The column {} is named twice.", twice.1), Vec::new()));
        }
        for path in columns {
            let column = schema.and_then(|schema| column_at(schema, path));
            let Some(column) = column else {
                let detail = match path.0.len() {
                    1 => format!("The topic has no column {path}."),
                    _ => format!("The topic has no column {path}: a path leads through structs, not through lists."),
                };
                let allowed = schema.map(|schema| schema.fields.iter().map(|field| field.name.clone()).collect());
                return Err(InvalidIndex::new(detail, allowed.unwrap_or_default()));
            };
            self.check_column(path, column)?;
        }
        Ok(())
    }

    fn check_column(&self, path: &FieldPath, column: &DataType) -> Result<(), InvalidIndex> {
        let kind = self.kind;
        if !kind.takes(column) {
            let possible: Vec<IndexType> = IndexType::ALL.into_iter().filter(|kind| kind.takes(column)).collect();
            let instead = if possible.is_empty() { " nor any other" } else { "" };
            let detail = format!(
                "The column {path} is of type {}, which cannot have an index of type {}{instead}.",
                column.name(),
                kind.as_str()
            );
            return Err(InvalidIndex::new(detail, words(&possible)));
        }
        if kind.is_vector() && path.0.last().is_some_and(|key| NAMES_TAKEN.contains(&key.as_str())) {
            let detail =
                format!("Indexes of vectors have a column {path} of their own: the column is to be renamed first.");
            return Err(InvalidIndex::new(detail, Vec::new()));
        }
        if !kind.is_vector() && !is_nameable(path) {
            let detail = format!(
                "An index of type {} cannot be built of the column {path}: one of its names is a word of SQL, or no name in \
                 it. The column is to be renamed first.",
                kind.as_str()
            );
            return Err(InvalidIndex::new(detail, Vec::new()));
        }
        if let (DataType::Vector { dim, .. }, Some(parts)) = (column, self.params.integer("num_sub_vectors"))
            && !usize::try_from(*dim).is_ok_and(|dim| dim.is_multiple_of(parts))
        {
            let detail = format!("\"num_sub_vectors\" divides the {dim} dimensions of the column {path} evenly.");
            return Err(InvalidIndex::new(detail, Vec::new()));
        }
        // Two codes of four bits share a byte.
        let is_odd = |number: usize| !number.is_multiple_of(2);
        if let DataType::Vector { dim, .. } = column
            && self.params.integer("num_bits") == Some(4)
            && (usize::try_from(*dim).is_ok_and(is_odd) || self.params.integer("num_sub_vectors").is_some_and(is_odd))
        {
            let detail =
                "\"num_bits\" is 4 only where \"num_sub_vectors\" and the vectors' dimensions are even.".to_owned();
            return Err(InvalidIndex::new(detail, vec!["8".to_owned()]));
        }
        Ok(())
    }
}

/// What Lance calls columns inside of indexes of vectors: it takes a column of the name for its own.
const NAMES_TAKEN: [&str; 6] = ["flat", "__pq_code", "__sq_code", "__ivf_part_id", "__centroid_dist", "row_id"];

/// The shortest run of letters that is indexed by the `ngram` tokenizer, unless it is said otherwise.
pub const NGRAM_MIN: usize = 3;
/// The longest one.
pub const NGRAM_MAX: usize = 3;

/// How much longer than the shortest the longest can be: each letter begins one run of each length.
const NGRAM_LENGTHS: usize = 8;

/// The type of the column at a path through structs.
pub fn column_at<'s>(schema: &'s Schema, path: &FieldPath) -> Option<&'s DataType> {
    let (first, rest) = path.0.split_first()?;
    let mut column = &schema.fields.iter().find(|field| field.name == *first)?.data_type;
    for key in rest {
        let DataType::Struct(members) = column else { return None };
        column = &members.iter().find(|member| member.name == *key)?.data_type;
    }
    Some(column)
}
