//! Which integers of columns are past what a double holds exactly.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{ArrayRef, RecordBatch};

use super::column_name;
use crate::schema::{DataType, EXACT_INTEGER_MAX, FieldPath, Schema, WideColumns};

/// The integer columns of a batch that hold such a number.
pub fn wide_in(schema: &Schema, batch: &RecordBatch) -> WideColumns {
    let mut wide = WideColumns::default();
    for field in &schema.fields {
        if let Some(column) = batch.column_by_name(&column_name(&field.name, true)) {
            look(&FieldPath(vec![field.name.clone()]), &field.data_type, column, &mut wide);
        }
    }
    wide
}

fn look(path: &FieldPath, data_type: &DataType, column: &ArrayRef, wide: &mut WideColumns) {
    match data_type {
        DataType::Int(_) => {
            let signed = column.as_primitive_opt::<Int64Type>();
            let unsigned = column.as_primitive_opt::<UInt64Type>();
            let is_wide = |number: i128| number.abs() > EXACT_INTEGER_MAX;
            let has_wide = signed.is_some_and(|numbers| numbers.iter().flatten().any(|number| is_wide(number.into())))
                || unsigned.is_some_and(|numbers| numbers.iter().flatten().any(|number| is_wide(number.into())));
            if has_wide {
                wide.insert(path);
            }
        }
        DataType::List(item) => {
            if let Some(list) = column.as_list_opt::<i32>() {
                look(path, item, list.values(), wide);
            }
        }
        DataType::Struct(fields) => {
            let Some(members) = column.as_struct_opt() else { return };
            for field in fields {
                if let Some(member) = members.column_by_name(&column_name(&field.name, false)) {
                    let mut inner = path.clone();
                    inner.0.push(field.name.clone());
                    look(&inner, &field.data_type, member, wide);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::columns::to_batch;
    use crate::codec::{Chunk, Values};
    use crate::model::{Offset, Timestamp};

    #[test]
    fn wide_integers_are_found_at_every_depth_beside_numbers_that_json_prints_as_integers() {
        let field = |name: &str, data_type: &str| format!("{{\"name\":\"{name}\",{data_type}}}");
        let fields = [
            field("narrow", "\"type\":\"int64\""),
            field("wide", "\"type\":\"uint64\""),
            field("float", "\"type\":\"float64\",\"nullable\":false"),
            field(
                "list",
                "\"type\":\"list\",\"items\":{\"type\":\"struct\",\"fields\":[{\"name\":\"n\",\"type\":\"int64\"}]}",
            ),
        ];
        let schema: serde_json::Value =
            serde_json::from_str(&format!("{{\"fields\":[{}]}}", fields.join(","))).unwrap();
        let schema = Schema::from_json(&schema).unwrap();
        // A float past 64 bits prints as digits alone, and one that JSON lacks as null.
        let lines = [
            r#"{"narrow":9007199254740992,"wide":9007199254740993,"float":100000000000000000000,"list":[{"n":1}]}"#,
            r#"{"narrow":-1,"float":null,"list":[{"n":-9007199254740993}]}"#,
        ];
        let text = format!("{}\n", lines.join("\n"));
        let ends = [lines[0].len() + 1, text.len()].map(|end| u32::try_from(end).unwrap());
        let values = Values::new(text.into(), ends.to_vec());
        let chunk = Chunk::new(Offset::ZERO, Timestamp::from_micros(1), values);
        let wide = wide_in(&schema, &to_batch(&schema, &[chunk]).unwrap());
        let has = |path: &str| wide.contains(&FieldPath::parse(path).unwrap());
        assert_eq!([has("narrow"), has("wide"), has("list.n")], [false, true, true]);
    }
}
