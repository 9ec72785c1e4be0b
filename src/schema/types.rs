//! What a schema is.

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
