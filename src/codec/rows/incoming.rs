//! What the columns of Arrow are as columns of a topic.

use arrow_schema::{DataType as ArrowType, Field as ArrowField};

use crate::codec::DecodeError;
use crate::codec::columns::{OFFSET_COLUMN, TIMESTAMP_COLUMN, TYPE_JSON, TYPE_KEY};
use crate::schema::names::key_of;
use crate::schema::{DataType, Field, FieldPath, FloatType, IntType, LEVELS_MAX, VECTOR_ITEMS_MAX};

/// The key and the value of a field's metadata by which others mark text as JSON.
const EXTENSION_KEY: &str = "ARROW:extension:name";
const EXTENSION_JSON: &str = "arrow.json";

/// What a column brings, dictionaries, views and small offsets aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// Only nulls.
    Null,
    /// Values without parts.
    Plain(DataType),
    /// A fixed number of floats.
    Vector { dim: u32, item: FloatType },
    /// Items.
    List(Box<Incoming>),
    /// Members.
    Struct(Vec<Member>),
}

/// One column or member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// The key that its name leads back to.
    pub(super) key: String,
    /// Which column it is, by its number among those of the same level.
    pub(super) at: usize,
    /// Whether it may have nulls.
    pub(super) nullable: bool,
    /// What it brings.
    pub(super) incoming: Incoming,
}

/// The columns of a body; the service's own are left out.
///
/// # Errors
/// [`DecodeError::UnsupportedType`], and [`DecodeError::InvalidArrow`] for a name that stands twice.
pub(super) fn members(fields: &[impl AsRef<ArrowField>]) -> Result<Vec<Member>, DecodeError> {
    let own = |field: &ArrowField| field.name() == OFFSET_COLUMN || field.name() == TIMESTAMP_COLUMN;
    let brought = fields.iter().map(AsRef::as_ref).enumerate().filter(|(_, field)| !own(field));
    members_of(brought, &FieldPath::default(), 1)
}

fn members_of<'f>(
    fields: impl Iterator<Item = (usize, &'f ArrowField)>,
    path: &FieldPath,
    level: usize,
) -> Result<Vec<Member>, DecodeError> {
    let mut members: Vec<Member> = Vec::new();
    let mut keys = std::collections::HashSet::new();
    for (at, field) in fields {
        let key = key_of(field.name()).into_owned();
        let path = path.child(&key);
        if !keys.insert(key.clone()) {
            return Err(DecodeError::InvalidArrow { reason: format!("it has the column {path} twice") });
        }
        let incoming = incoming(field, &path, level)?;
        members.push(Member { key, at, nullable: field.is_nullable(), incoming });
    }
    Ok(members)
}

/// Whether text is marked as JSON.
fn is_json(field: &ArrowField) -> bool {
    let marked = |key: &str, value: &str| field.metadata().get(key).is_some_and(|held| held == value);
    marked(TYPE_KEY, TYPE_JSON) || marked(EXTENSION_KEY, EXTENSION_JSON)
}

/// Whether a fixed-size list is a vector; what is longer is a list.
pub(super) fn is_vector(item: &ArrowType, dim: i32) -> bool {
    float_of(item).is_some() && usize::try_from(dim).is_ok_and(|dim| (1..=VECTOR_ITEMS_MAX).contains(&dim))
}

fn float_of(data_type: &ArrowType) -> Option<FloatType> {
    match data_type {
        ArrowType::Float16 => Some(FloatType::F16),
        ArrowType::Float32 => Some(FloatType::F32),
        ArrowType::Float64 => Some(FloatType::F64),
        _ => None,
    }
}

fn incoming(field: &ArrowField, path: &FieldPath, level: usize) -> Result<Incoming, DecodeError> {
    of_type(field.data_type(), is_json(field), path, level)
}

fn of_type(data_type: &ArrowType, is_json: bool, path: &FieldPath, level: usize) -> Result<Incoming, DecodeError> {
    let plain = |data_type: DataType| Ok(Incoming::Plain(data_type));
    let int = |int: IntType| plain(DataType::Int(int));
    match data_type {
        ArrowType::Null => Ok(Incoming::Null),
        ArrowType::Boolean => plain(DataType::Bool),
        ArrowType::Int8 => int(IntType::I8),
        ArrowType::Int16 => int(IntType::I16),
        ArrowType::Int32 => int(IntType::I32),
        ArrowType::Int64 => int(IntType::I64),
        ArrowType::UInt8 => int(IntType::U8),
        ArrowType::UInt16 => int(IntType::U16),
        ArrowType::UInt32 => int(IntType::U32),
        ArrowType::UInt64 => int(IntType::U64),
        // No column but a vector's is so narrow; each value is one of the next type.
        ArrowType::Float16 | ArrowType::Float32 => plain(DataType::Float(FloatType::F32)),
        ArrowType::Float64 => plain(DataType::Float(FloatType::F64)),
        ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View if is_json => plain(DataType::Json),
        ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View => plain(DataType::String),
        ArrowType::Binary | ArrowType::LargeBinary | ArrowType::BinaryView | ArrowType::FixedSizeBinary(_) => {
            plain(DataType::Binary)
        }
        ArrowType::Date32 | ArrowType::Date64 => plain(DataType::Date32),
        ArrowType::Timestamp(..) => plain(DataType::Timestamp),
        ArrowType::Dictionary(_, values) if !values.is_nested() => of_type(values, is_json, path, level),
        ArrowType::RunEndEncoded(_, values) if !values.data_type().is_nested() => {
            of_type(values.data_type(), is_json, path, level)
        }
        ArrowType::FixedSizeList(item, dim) => match (float_of(item.data_type()), u32::try_from(*dim)) {
            (Some(width), Ok(found)) if is_vector(item.data_type(), *dim) => {
                Ok(Incoming::Vector { dim: found, item: width })
            }
            _ => Ok(Incoming::List(Box::new(incoming(item, path, level + 1)?))),
        },
        ArrowType::List(item)
        | ArrowType::LargeList(item)
        | ArrowType::ListView(item)
        | ArrowType::LargeListView(item) => Ok(Incoming::List(Box::new(incoming(item, path, level + 1)?))),
        ArrowType::Struct(fields) => {
            let fields = fields.iter().map(AsRef::as_ref).enumerate();
            Ok(Incoming::Struct(members_of(fields, path, level + 1)?))
        }
        other => Err(DecodeError::UnsupportedType { path: path.clone(), data_type: shown(other) }),
    }
}

fn shown(data_type: &ArrowType) -> String {
    data_type.to_string().chars().take(100).collect()
}

impl Incoming {
    /// The type of a column made for it at a level; none for nulls, of which no type is known.
    pub(super) fn data_type(&self, level: usize) -> Option<DataType> {
        Some(match self {
            Incoming::Null => return None,
            Incoming::Plain(data_type) => data_type.clone(),
            Incoming::Vector { dim, item } => DataType::Vector { dim: *dim, item: *item },
            Incoming::List(_) | Incoming::Struct(_) if level >= LEVELS_MAX => DataType::Json,
            // Of what is always empty nothing is known either.
            Incoming::List(item) => match item.data_type(level + 1) {
                Some(item) => DataType::List(Box::new(item)),
                None => DataType::Json,
            },
            Incoming::Struct(members) => match fields(members, level + 1, true) {
                fields if fields.is_empty() => DataType::Json,
                fields => DataType::Struct(fields),
            },
        })
    }

    /// In words.
    pub(super) fn words(&self) -> String {
        match self {
            Incoming::Null => "nulls".to_owned(),
            Incoming::Plain(data_type) => format!("values of type {}", data_type.name()),
            Incoming::Vector { dim, item } => format!("lists of {dim} {}", item.name()),
            Incoming::List(_) => "lists".to_owned(),
            Incoming::Struct(_) => "structs".to_owned(),
        }
    }
}

/// Columns for members that have a type; with `declared` those that have no nulls are not nullable.
pub(super) fn fields(members: &[Member], level: usize, declared: bool) -> Vec<Field> {
    let field = |member: &Member| {
        let data_type = member.incoming.data_type(level)?;
        Some(Field { name: member.key.clone(), data_type, nullable: member.nullable || !declared })
    };
    members.iter().filter_map(field).collect()
}
