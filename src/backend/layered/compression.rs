//! The options of compression.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::backend::{OptionKind, OptionSpec, OptionValues};
use crate::schema::FieldPath;
use crate::table::compression::{Codec, Compression, LEVELS};

pub(super) fn options() -> [OptionSpec; 3] {
    [
        OptionSpec {
            name: "compression",
            kind: OptionKind::OneOf(Codec::WORDS),
            default: json!("none"),
            description: "How columns are compressed beyond the light encodings that all have; for new data.",
            changeable: true,
        },
        OptionSpec {
            name: "compression_level",
            kind: OptionKind::Integer { min: *LEVELS.start(), max: *LEVELS.end() },
            default: Value::Null,
            description: "The level of zstd, wherever it is used; for new data.",
            changeable: true,
        },
        OptionSpec {
            name: "field_compression",
            kind: OptionKind::FieldsOneOf(Codec::WORDS),
            default: json!({}),
            description: "Fields that are compressed otherwise, by their paths as in `fields`, with all that is in them.",
            changeable: true,
        },
    ]
}

/// The compression that options, checked before, ask for.
pub(super) fn of(options: &OptionValues) -> Compression {
    let codec = |value: &Value| value.as_str().and_then(Codec::parse);
    let fields = options.get("field_compression").and_then(Value::as_object).into_iter().flatten();
    let fields: BTreeMap<FieldPath, Codec> =
        fields.filter_map(|(path, word)| Some((FieldPath::parse(path).ok()?, codec(word)?))).collect();
    let level = options.get("compression_level").and_then(Value::as_u64).and_then(|level| u8::try_from(level).ok());
    Compression { codec: options.get("compression").and_then(codec).unwrap_or_default(), level, fields }
}
