//! Compression, as a dataset's fields carry it.
//!
//! Lance takes the codec of a column from the metadata of the dataset's field, not from what is appended, so a change is a
//! commit of its own that touches no data; what is written from then on, by appends and merges, follows it.

use std::collections::HashMap;

use arrow_schema::{DataType, Field as ArrowField, Schema as ArrowSchema};
use lance_core::datatypes::{Field, Schema as LanceSchema};
use lance_table::transaction::{Operation, UpdateMap};

use crate::codec::columns::OFFSET_COLUMN;
use crate::schema::names::key_of;
use crate::table::TableError;
use crate::table::compression::{Codec, Compression};

/// Where Lance looks for the codec of a column, and for its level (`lance_encoding::constants`).
const COMPRESSION_META_KEY: &str = "lance-encoding:compression";
const COMPRESSION_LEVEL_META_KEY: &str = "lance-encoding:compression-level";
/// How much text is compressed at a time.
const CHUNK_META_KEY: &str = "lance-encoding:minichunk-size";
/// In Lance's 4 KiB there is little that repeats: with this zstd comes near to whole pages, and a value is read as fast.
const CHUNK_BYTES: &str = "32768";

/// How values lie in a page; of a top-level column, for all that is in it.
const LAYOUT_META_KEY: &str = "lance-encoding:structural-encoding";
/// Values that are compressed together. Where they are 128 bytes and more, Lance would compress each for itself, to more than
/// the light encodings make of them.
const LAYOUT: &str = "miniblock";

/// Metadata of a field: what each key should say, or that it should not be there.
type Wanted = Vec<(&'static str, Option<String>)>;

fn is_vector(field: &Field) -> bool {
    matches!(field.data_type(), DataType::FixedSizeList(..))
}

fn is_text(field: &Field) -> bool {
    matches!(field.data_type(), DataType::LargeUtf8 | DataType::LargeBinary)
}

/// The codec, its level, and how much it takes at a time.
fn wanted(codec: Codec, level: Option<u8>) -> Wanted {
    let word = match codec {
        // Lance takes its own "none" for no light encodings either.
        Codec::None => None,
        Codec::Lz4 => Some("lz4".to_owned()),
        Codec::Zstd => Some("zstd".to_owned()),
    };
    let level = level.filter(|_| codec == Codec::Zstd).map(|level| level.to_string());
    let chunk = word.is_some().then(|| CHUNK_BYTES.to_owned());
    vec![(COMPRESSION_META_KEY, word), (COMPRESSION_LEVEL_META_KEY, level), (CHUNK_META_KEY, chunk)]
}

/// Each column of a dataset that holds values, with the names on the way to it.
fn leaves<'f>(field: &'f Field, mut path: Vec<String>, is_item: bool, found: &mut Vec<(&'f Field, Vec<String>)>) {
    if !is_item {
        path.push(key_of(&field.name).into_owned());
    }
    if field.children.is_empty() {
        found.push((field, path));
        return;
    }
    let holds_items = matches!(field.data_type(), DataType::List(_) | DataType::LargeList(_));
    for child in &field.children {
        leaves(child, path.clone(), holds_items, found);
    }
}

/// What the metadata of a top-level column, and of those in it, should say.
fn wanted_of<'f>(column: &'f Field, compression: &Compression) -> Vec<(&'f Field, Wanted)> {
    let mut found = Vec::new();
    leaves(column, Vec::new(), false, &mut found);
    // Vectors are stored as they are; one that is larger than a chunk would not fit into the layout of text.
    let has_vector = found.iter().any(|(leaf, _)| is_vector(leaf));
    let codec = |leaf: &Field, path: &[String]| if is_vector(leaf) { Codec::None } else { compression.codec_of(path) };
    let has_compressed_text = found.iter().any(|(leaf, path)| is_text(leaf) && codec(leaf, path) != Codec::None);
    let layout = (has_compressed_text && !has_vector).then(|| LAYOUT.to_owned());
    let mut wanted: Vec<(&'f Field, Wanted)> =
        found.iter().map(|(leaf, path)| (*leaf, wanted(codec(leaf, path), compression.level))).collect();
    match wanted.iter_mut().find(|(leaf, _)| leaf.id == column.id) {
        Some((_, own)) => own.push((LAYOUT_META_KEY, layout)),
        None => wanted.push((column, vec![(LAYOUT_META_KEY, layout)])),
    }
    wanted
}

/// The commit that makes what comes follow the compression; none where it does already.
pub(super) fn change(schema: &LanceSchema, compression: &Compression) -> Option<Operation> {
    let mut updates = HashMap::new();
    let columns = schema.fields.iter().filter(|field| field.name != OFFSET_COLUMN);
    for (field, wanted) in columns.flat_map(|column| wanted_of(column, compression)) {
        if wanted.iter().any(|(key, value)| field.metadata.get(*key) != value.as_ref()) {
            let entries = wanted.into_iter().map(|(key, value)| (key.to_owned(), value).into()).collect();
            updates.insert(field.id, UpdateMap { update_entries: entries, replace: false });
        }
    }
    (!updates.is_empty()).then(|| Operation::UpdateConfig {
        config_updates: None,
        table_metadata_updates: None,
        schema_metadata_updates: None,
        field_metadata_updates: updates,
    })
}

/// The schema of a dataset that is made, with its compression.
pub(super) fn encoded(schema: ArrowSchema, compression: &Compression) -> Result<ArrowSchema, TableError> {
    if compression.is_plain() {
        return Ok(schema);
    }
    let mut lance = LanceSchema::try_from(&schema)?;
    lance.set_field_id(None);
    let Some(Operation::UpdateConfig { field_metadata_updates, .. }) = change(&lance, compression) else {
        return Ok(schema);
    };
    for (id, update) in field_metadata_updates {
        if let Some(field) = lance.mut_field_by_id(id) {
            let set = update.update_entries.into_iter().filter_map(|entry| Some((entry.key, entry.value?)));
            field.metadata.extend(set);
        }
    }
    let fields: Vec<ArrowField> = lance.fields.iter().map(ArrowField::from).collect();
    Ok(ArrowSchema::new_with_metadata(fields, schema.metadata))
}
