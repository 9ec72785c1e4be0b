//! What a schema is.

/// The most leaf columns that a topic can have.
pub const COLUMNS_MAX: usize = 1_000;

/// The most items that the vectors of one row have together: a vector that is null takes as much room in a column as one that is
/// there.
pub const VECTOR_ITEMS_MAX: usize = 65_536;

/// The most levels of columns: a top-level column is at level 1, a struct's member and a list's item one below it.
pub const LEVELS_MAX: usize = 16;

/// The columns of a topic, in the order in which records are printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// The columns. A field's `name` is the *key* of the JSON member; [`crate::schema::names`] maps it to a column name.
    pub fields: Vec<Field>,
}

/// One column, or one member of a struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The JSON key, any text.
    pub name: String,
    /// What it holds.
    pub data_type: DataType,
    /// Whether null (or absence) is a value of it.
    pub nullable: bool,
}

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataType {
    /// `true` or `false`.
    Bool,
    /// A signed or unsigned integer of 8, 16, 32 or 64 bits.
    Int(IntType),
    /// A float of 32 or 64 bits (16 only inside a vector).
    Float(FloatType),
    /// UTF-8 text.
    String,
    /// Bytes; padded base64 in JSON.
    Binary,
    /// A day, `YYYY-MM-DD`.
    Date32,
    /// A moment, in microseconds, UTC.
    Timestamp,
    /// The text of any JSON value, as given less white space between tokens.
    Json,
    /// A list; nulls inside are kept. The item is always nullable.
    List(Box<DataType>),
    /// Members in order.
    Struct(Vec<Field>),
    /// Exactly `dim` finite floats.
    Vector {
        /// How many.
        dim: u32,
        /// The width of each.
        item: FloatType,
    },
}

/// Integer widths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntType {
    /// `int8`
    I8,
    /// `int16`
    I16,
    /// `int32`
    I32,
    /// `int64`
    I64,
    /// `uint8`
    U8,
    /// `uint16`
    U16,
    /// `uint32`
    U32,
    /// `uint64`
    U64,
}

/// Float widths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FloatType {
    /// `float16`, only inside a vector.
    F16,
    /// `float32`
    F32,
    /// `float64`
    F64,
}

impl Schema {
    /// How many columns hold values themselves: structs count by their members, lists by their items.
    pub fn leaf_count(&self) -> usize {
        leaf_count(&self.fields)
    }

    /// How many items the vectors of one row have together; of those in lists, one for each list.
    pub fn vector_items(&self) -> usize {
        self.fields.iter().map(|field| field.data_type.vector_items()).fold(0, usize::saturating_add)
    }

    /// How many bytes a row takes in columns at least, whatever it holds: texts, bytes and the items of lists come on top.
    pub fn row_bytes(&self) -> usize {
        row_bytes(&self.fields)
    }

    /// The top-level column of a key.
    pub fn field(&self, key: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == key)
    }
}

fn leaf_count(fields: &[Field]) -> usize {
    fields.iter().map(|field| field.data_type.leaf_count()).sum()
}

fn row_bytes(fields: &[Field]) -> usize {
    fields.iter().map(|field| field.data_type.row_bytes()).fold(0, usize::saturating_add)
}

impl DataType {
    /// The word of the API.
    pub const fn name(&self) -> &'static str {
        match self {
            DataType::Bool => "bool",
            DataType::Int(int) => int.name(),
            DataType::Float(float) => float.name(),
            DataType::String => "string",
            DataType::Binary => "binary",
            DataType::Date32 => "date32",
            DataType::Timestamp => "timestamp",
            DataType::Json => "json",
            DataType::List(_) => "list",
            DataType::Struct(_) => "struct",
            DataType::Vector { .. } => "vector",
        }
    }

    fn vector_items(&self) -> usize {
        match self {
            DataType::Vector { dim, .. } => *dim as usize,
            DataType::Struct(members) => {
                members.iter().map(|member| member.data_type.vector_items()).fold(0, usize::saturating_add)
            }
            DataType::List(item) => item.vector_items(),
            _ => 0,
        }
    }

    /// How many bytes a value takes in its columns at least, null or not; of texts and lists, their ends.
    pub fn row_bytes(&self) -> usize {
        match self {
            DataType::Bool => 1,
            DataType::Date32 | DataType::List(_) => 4,
            DataType::String | DataType::Binary | DataType::Json | DataType::Timestamp => 8,
            DataType::Int(int) => int.bits() as usize / 8,
            DataType::Float(float) => float.bytes(),
            DataType::Vector { dim, item } => (*dim as usize).saturating_mul(item.bytes()),
            DataType::Struct(members) => row_bytes(members),
        }
    }

    /// How many columns of this type hold values themselves.
    pub fn leaf_count(&self) -> usize {
        match self {
            DataType::List(item) => item.leaf_count(),
            DataType::Struct(fields) => leaf_count(fields),
            _ => 1,
        }
    }
}

impl IntType {
    /// Every integer type, the narrow ones first, signed before unsigned.
    pub const ALL: [IntType; 8] =
        [IntType::I8, IntType::U8, IntType::I16, IntType::U16, IntType::I32, IntType::U32, IntType::I64, IntType::U64];

    /// The word of the API.
    pub const fn name(self) -> &'static str {
        match self {
            IntType::I8 => "int8",
            IntType::I16 => "int16",
            IntType::I32 => "int32",
            IntType::I64 => "int64",
            IntType::U8 => "uint8",
            IntType::U16 => "uint16",
            IntType::U32 => "uint32",
            IntType::U64 => "uint64",
        }
    }

    /// The least value.
    pub const fn min(self) -> i128 {
        match self {
            IntType::I8 => i8::MIN as i128,
            IntType::I16 => i16::MIN as i128,
            IntType::I32 => i32::MIN as i128,
            IntType::I64 => i64::MIN as i128,
            IntType::U8 | IntType::U16 | IntType::U32 | IntType::U64 => 0,
        }
    }

    /// The greatest value.
    pub const fn max(self) -> i128 {
        match self {
            IntType::I8 => i8::MAX as i128,
            IntType::I16 => i16::MAX as i128,
            IntType::I32 => i32::MAX as i128,
            IntType::I64 => i64::MAX as i128,
            IntType::U8 => u8::MAX as i128,
            IntType::U16 => u16::MAX as i128,
            IntType::U32 => u32::MAX as i128,
            IntType::U64 => u64::MAX as i128,
        }
    }

    /// Whether a value is one of this type.
    pub const fn holds(self, value: i128) -> bool {
        self.min() <= value && value <= self.max()
    }

    /// Whether negative values are none of this type.
    pub const fn is_unsigned(self) -> bool {
        self.min() == 0
    }

    /// The narrowest type that holds all of this one and everything from `min` to `max`. Of two that are equally wide it
    /// is the one with this type's sign. None where 64 bits are too few.
    pub fn widened_to(self, min: i128, max: i128) -> Option<IntType> {
        let (min, max) = (min.min(self.min()), max.max(self.max()));
        let holding = || Self::ALL.into_iter().filter(|int| int.holds(min) && int.holds(max));
        let narrowest = holding().next()?;
        let same_width = |int: &IntType| int.bits() == narrowest.bits() && int.is_unsigned() == self.is_unsigned();
        holding().find(same_width).or(Some(narrowest))
    }

    /// How many bits a value takes.
    pub const fn bits(self) -> u32 {
        match self {
            IntType::I8 | IntType::U8 => 8,
            IntType::I16 | IntType::U16 => 16,
            IntType::I32 | IntType::U32 => 32,
            IntType::I64 | IntType::U64 => 64,
        }
    }
}

impl FloatType {
    /// How many bytes a value takes.
    pub const fn bytes(self) -> usize {
        self.bits() as usize / 8
    }

    /// How many bits a value takes.
    pub const fn bits(self) -> u32 {
        match self {
            FloatType::F16 => 16,
            FloatType::F32 => 32,
            FloatType::F64 => 64,
        }
    }

    /// The word of the API.
    pub const fn name(self) -> &'static str {
        match self {
            FloatType::F16 => "float16",
            FloatType::F32 => "float32",
            FloatType::F64 => "float64",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_takes_its_fixed_columns_whatever_it_holds() {
        let field = |name: &str, data_type| Field { name: name.to_owned(), data_type, nullable: true };
        let vector = |dim| DataType::Vector { dim, item: FloatType::F32 };
        let inner = DataType::Struct(vec![field("d", DataType::Bool), field("v", vector(8))]);
        let listed = DataType::List(Box::new(vector(1_000)));
        let fields = vec![field("a", DataType::Int(IntType::I16)), field("s", inner), field("l", listed)];
        let schema = Schema { fields };
        assert_eq!((schema.row_bytes(), schema.vector_items()), (2 + 1 + 32 + 4, 1_008));
        let most = Schema { fields: vec![field("v", vector(u32::MAX)), field("w", vector(u32::MAX))] };
        assert!(most.row_bytes() > most.vector_items() && most.vector_items() > VECTOR_ITEMS_MAX);
    }

    #[test]
    fn an_integer_type_widens_to_the_narrowest_that_holds_old_and_new() {
        let cases = [
            (IntType::I8, 300, 300, Some(IntType::I16)),
            (IntType::I8, 200, 200, Some(IntType::I16)),
            (IntType::U8, 256, 256, Some(IntType::U16)),
            (IntType::U8, -1, -1, Some(IntType::I16)),
            (IntType::U8, -1, 40_000, Some(IntType::I32)),
            (IntType::U32, -1, 0, Some(IntType::I64)),
            (IntType::U32, 0, 1 << 32, Some(IntType::U64)),
            (IntType::I16, 0, 1 << 31, Some(IntType::I64)),
            (IntType::I64, 0, 1 << 63, None),
            (IntType::U64, -1, 0, None),
            (IntType::I8, 0, 1 << 63, None),
            (IntType::I32, 0, 5, Some(IntType::I32)),
        ];
        for (from, min, max, to) in cases {
            assert_eq!(from.widened_to(min, max), to, "{from:?} with {min}..{max}");
        }
    }
}
