use std::sync::Arc;

use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::types::Int8Type;
use arrow_array::{
    ArrayRef, BinaryViewArray, FixedSizeListArray, Float32Array, Int32Array, ListArray, NullArray, StringArray,
    StringViewArray, StructArray,
};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::{DataType, Field};
use proptest::prelude::*;

use super::*;

const LIMITS: IpcLimits = IpcLimits { message_bytes_max: 1 << 20, batch_records_max: 1_000 };

fn field(name: &str, array: &ArrayRef) -> Field {
    Field::new(name, array.data_type().clone(), true)
}

/// Rows of about every layout that there is.
fn rows() -> RecordBatch {
    let mut words = StringDictionaryBuilder::<Int8Type>::new();
    ["x", "y", "x", "x"].into_iter().for_each(|word| words.append_value(word));
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(3), Some(-4)]));
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let floats = Arc::new(Float32Array::from(vec![0.5; 8]));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::clone(&numbers)),
        ("s", Arc::new(StringArray::from(vec![Some("é"), None, Some(""), Some("long enough for no view")]))),
        ("v", Arc::new(StringViewArray::from(vec!["a", "b", "c", "a text that is longer than twelve bytes"]))),
        ("w", Arc::new(BinaryViewArray::from(vec![&b"a"[..], b"", b"\xff", b"bytes that are longer than twelve"]))),
        ("d", Arc::new(words.finish())),
        (
            "l",
            Arc::new(ListArray::from_iter_primitive::<arrow_array::types::Int64Type, _, _>(vec![
                Some(vec![Some(1), None]),
                None,
                Some(vec![]),
                Some(vec![Some(7)]),
            ])),
        ),
        ("f", Arc::new(FixedSizeListArray::new(item, 2, floats, None))),
        ("o", Arc::new(StructArray::from(vec![(Arc::new(field("n", &numbers)), Arc::clone(&numbers))]))),
        ("z", Arc::new(NullArray::new(4))),
    ];
    let schema = arrow_schema::Schema::new(columns.iter().map(|(name, array)| field(name, array)).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, array)| array).collect()).unwrap()
}

fn stream(batches: &[RecordBatch], compression: Option<CompressionType>) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.into_inner().unwrap()
}

const CODECS: [Option<CompressionType>; 3] = [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)];

#[test]
fn a_stream_reads_back_however_it_is_split_and_compressed() {
    let batches = [rows(), rows().slice(1, 2)];
    for compression in CODECS {
        let bytes = stream(&batches, compression);
        assert_eq!(read_all(&bytes, LIMITS, &Room::default()).unwrap().1, batches, "{compression:?}");
        for piece in [1, 7, 1_000] {
            let mut reader = IpcReader::new(LIMITS);
            let mut found = Vec::new();
            for part in bytes.chunks(piece) {
                reader.push(part);
                found.extend(std::iter::from_fn(|| reader.next_batch(&Room::default()).unwrap()));
            }
            reader.finish().unwrap();
            assert_eq!(found, batches, "{compression:?} by {piece}");
        }
    }
}

#[test]
fn a_stream_that_is_cut_or_goes_on_is_refused() {
    let bytes = stream(&[rows()], None);
    // The end may be missing: the connection's end is as good.
    assert!(read_all(&bytes[..bytes.len() - 8], LIMITS, &Room::default()).is_ok());
    for end in 1..bytes.len() - 8 {
        let cut = read_all(&bytes[..end], LIMITS, &Room::default());
        let whole_schema = matches!(&cut, Ok((_, batches)) if batches.is_empty());
        assert!(whole_schema || matches!(cut, Err(DecodeError::InvalidArrow { .. })), "{end}: {cut:?}");
    }
    let longer = [&bytes[..], b"x"].concat();
    assert!(matches!(read_all(&longer, LIMITS, &Room::default()), Err(DecodeError::InvalidArrow { .. })));
    assert_eq!(read_all(b"", LIMITS, &Room::default()).unwrap_err(), DecodeError::EmptyBatch);
    assert!(matches!(read_all(b"{\"a\":1}", LIMITS, &Room::default()), Err(DecodeError::InvalidArrow { .. })));
}

#[test]
fn what_decompresses_to_more_than_is_allowed_is_not_decompressed() {
    let zeros: ArrayRef = Arc::new(Int32Array::from(vec![0; 1_000]));
    let schema = Arc::new(arrow_schema::Schema::new(vec![field("n", &zeros)]));
    let batch = RecordBatch::try_new(schema, vec![zeros]).unwrap();
    for compression in CODECS {
        let bytes = stream(std::slice::from_ref(&batch), compression);
        let limits = IpcLimits { message_bytes_max: 4_500, ..LIMITS };
        assert!(read_all(&bytes, limits, &Room::default()).is_ok(), "{compression:?}");
        let limits = IpcLimits { message_bytes_max: 3_900, ..LIMITS };
        assert_eq!(
            read_all(&bytes, limits, &Room::default()).unwrap_err(),
            DecodeError::MessageTooLarge { limit: 3_900 }
        );
    }
    let limits = IpcLimits { batch_records_max: 999, ..LIMITS };
    let too_many = read_all(&stream(&[batch], None), limits, &Room::default());
    assert_eq!(too_many.unwrap_err(), DecodeError::TooManyRecords { limit: 999 });
}

#[test]
fn lz4_is_counted_by_what_its_blocks_can_be_and_not_by_what_it_claims() {
    // Eight zeros compressed would be one block; here are two hundred blocks of at most 64 KiB that claim nothing.
    let mut frame = vec![0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
    for _ in 0..200 {
        frame.extend_from_slice(&2_000_u32.to_le_bytes());
        frame.extend_from_slice(&[0; 2_000]);
    }
    frame.extend_from_slice(&[0; 4]);
    assert_eq!(guard::lz4_bytes(&frame), 199 * 65_536);
    // What is no frame is counted by the most that LZ4 can make of it.
    assert_eq!(guard::lz4_bytes(&[7; 100]), 25_500);
}

proptest! {
    /// A damaged stream gives rows or is refused; nothing panics past the reader, nothing takes memory without bounds.
    #[test]
    fn damage_is_survived(codec in 0_usize..3, flips in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 1..4)) {
        let mut bytes = stream(&[rows(), rows()], CODECS[codec]);
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        match read_all(&bytes, LIMITS, &Room::default()) {
            Ok((_, batches)) => prop_assert!(batches.len() <= 2),
            Err(error) => {
                let known = matches!(
                    error,
                    DecodeError::InvalidArrow { .. } | DecodeError::MessageTooLarge { .. }
                        | DecodeError::TooManyRecords { .. } | DecodeError::EmptyBatch
                );
                prop_assert!(known, "{:?}", error);
            }
        }
    }
}
