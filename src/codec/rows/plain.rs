//! Arrays as the plain type of their values: no dictionaries, runs, views or small offsets, nothing where there is null.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{
    Array, ArrayRef, Date32Array, FixedSizeListArray, ListArray, StructArray, TimestampMicrosecondArray, UInt64Array,
    make_array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType as ArrowType, Field as ArrowField, TimeUnit};
use arrow_select::take::take;

use super::faults::Faults;
use super::incoming::is_vector;
use crate::codec::columns::UTC;
use crate::codec::{DecodeError, Room};

/// The days that `YYYY-MM-DD` writes, and the times.
const DAYS: std::ops::RangeInclusive<i32> = -719_528..=2_932_896;
const MICROS: std::ops::RangeInclusive<i64> = -62_167_219_200_000_000..=253_402_300_799_999_999;
const DAY_MILLIS: i64 = 86_400_000;

/// What arrays may still grow by.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    left: u64,
    room: Room,
    /// What no room is taken for.
    held: u64,
    /// What has not been taken from the room yet.
    owed: u64,
}

impl Budget {
    pub(super) const fn new(limit: u64, room: Room, held: u64) -> Self {
        Self { limit, left: limit, room, held, owed: 0 }
    }

    pub(super) fn charge(&mut self, bytes: u64) -> Result<(), DecodeError> {
        self.left = self.left.checked_sub(bytes).ok_or(DecodeError::BatchTooLarge { limit: self.limit })?;
        self.hold(bytes)
    }

    /// Refuses what alone is more than everything may be.
    pub(super) const fn admit(&self, bytes: u64) -> Result<(), DecodeError> {
        if bytes > self.limit { Err(DecodeError::BatchTooLarge { limit: self.limit }) } else { Ok(()) }
    }

    /// Takes room for what has a limit of its own.
    pub(super) fn hold(&mut self, bytes: u64) -> Result<(), DecodeError> {
        let free = bytes.min(self.held);
        self.held -= free;
        self.owed = self.owed.saturating_add(bytes - free);
        if self.owed < Room::STEP_BYTES {
            return Ok(());
        }
        self.room.take(std::mem::take(&mut self.owed))
    }
}

pub(super) fn shape(error: &ArrowError) -> DecodeError {
    DecodeError::InvalidArrow { reason: format!("its columns contradict themselves ({error})") }
}

/// The plain form of an array; `absent` are the rows at which it is in nothing. Times and days that no column has are
/// faults, and null.
pub(super) fn plain(
    array: &ArrayRef,
    absent: Option<&NullBuffer>,
    budget: &mut Budget,
    faults: &mut Faults,
) -> Result<ArrayRef, DecodeError> {
    let array = &masked(array, absent)?;
    let to = |wanted: &ArrowType| cast(array, wanted).map_err(|error| shape(&error));
    match array.data_type() {
        ArrowType::Float16 => to(&ArrowType::Float32),
        ArrowType::Utf8 => to(&ArrowType::LargeUtf8),
        ArrowType::Binary => {
            budget.charge(8 * array.len() as u64)?;
            to(&ArrowType::LargeBinary)
        }
        // They may have no bytes at all.
        ArrowType::FixedSizeBinary(bytes) => {
            let of_one = u64::try_from(*bytes).unwrap_or(0).saturating_add(8);
            budget.charge(of_one.saturating_mul(array.len() as u64))?;
            to(&ArrowType::LargeBinary)
        }
        ArrowType::Utf8View => {
            let views = array.as_string_view();
            budget.charge(views.lengths().map(u64::from).sum())?;
            to(&ArrowType::LargeUtf8)
        }
        ArrowType::BinaryView => {
            let views = array.as_binary_view();
            budget.charge(views.lengths().map(u64::from).sum())?;
            to(&ArrowType::LargeBinary)
        }
        ArrowType::Date32 => Ok(days(array.as_primitive::<arrow_array::types::Date32Type>().iter(), faults)),
        ArrowType::Date64 => {
            let whole = |millis: i64| i32::try_from(millis / DAY_MILLIS).ok().filter(|_| millis % DAY_MILLIS == 0);
            let values = array.as_primitive::<Date64Type>();
            Ok(days(values.iter().map(|millis| millis.map(|millis| whole(millis).unwrap_or(i32::MAX))), faults))
        }
        ArrowType::Timestamp(unit, _) => Ok(times(array, *unit, faults)),
        ArrowType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let keys = cast(dictionary.keys(), &ArrowType::UInt64).map_err(|error| shape(&error))?;
            unpacked(dictionary.values(), &keys, budget, faults)
        }
        ArrowType::RunEndEncoded(ends, _) => {
            let keys = match ends.data_type() {
                ArrowType::Int16 => run_keys::<arrow_array::types::Int16Type>(array, absent, budget)?,
                ArrowType::Int32 => run_keys::<arrow_array::types::Int32Type>(array, absent, budget)?,
                _ => run_keys::<arrow_array::types::Int64Type>(array, absent, budget)?,
            };
            unpacked(&keys.1, &keys.0, budget, faults)
        }
        ArrowType::FixedSizeList(item, dim) if is_vector(item.data_type(), *dim) => Ok(Arc::clone(array)),
        ArrowType::FixedSizeList(..)
        | ArrowType::List(_)
        | ArrowType::LargeList(_)
        | ArrowType::ListView(_)
        | ArrowType::LargeListView(_) => list(array, budget, faults),
        ArrowType::Struct(fields) => {
            let structs = array.as_struct();
            let mut columns = Vec::with_capacity(fields.len());
            let mut members = Vec::with_capacity(fields.len());
            for (field, column) in fields.iter().zip(structs.columns()) {
                let mut inner = Faults::default();
                let column = plain(column, structs.nulls(), budget, &mut inner)?;
                faults.absorb(inner, |row, stop| {
                    Some((row, stop.under_key(&crate::schema::names::key_of(field.name()))))
                });
                members.push(Arc::new(ArrowField::new(field.name(), column.data_type().clone(), true)));
                columns.push(column);
            }
            let nulls = structs.nulls().cloned();
            let plain = StructArray::try_new_with_length(members.into(), columns, nulls, structs.len());
            Ok(Arc::new(plain.map_err(|error| shape(&error))?))
        }
        _ => Ok(Arc::clone(array)),
    }
}

/// An array that is null wherever there is nothing for it to be in.
fn masked(array: &ArrayRef, absent: Option<&NullBuffer>) -> Result<ArrayRef, DecodeError> {
    if absent.is_none_or(|absent| absent.null_count() == 0) || array.data_type() == &ArrowType::Null {
        return Ok(Arc::clone(array));
    }
    if matches!(array.data_type(), ArrowType::RunEndEncoded(..)) {
        // They have no nulls of their own: what they unpack to has.
        return Ok(Arc::clone(array));
    }
    let nulls = NullBuffer::union(array.nulls(), absent);
    let data = array.to_data().into_builder().nulls(nulls).build();
    Ok(make_array(data.map_err(|error| shape(&error))?))
}

fn days(values: impl Iterator<Item = Option<i32>>, faults: &mut Faults) -> ArrayRef {
    let checked = values.enumerate().map(|(row, day)| {
        let fitting = day.filter(|day| DAYS.contains(day));
        if day.is_some() && fitting.is_none() {
            faults.date32(row);
        }
        fitting
    });
    Arc::new(checked.collect::<Date32Array>())
}

fn times(array: &ArrayRef, unit: TimeUnit, faults: &mut Faults) -> ArrayRef {
    let rows = array.len();
    let raw: Vec<Option<i64>> = match unit {
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().iter().collect(),
        TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().iter().collect(),
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().iter().collect(),
        TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().iter().collect(),
    };
    let micros = |time: i64| match unit {
        TimeUnit::Second => time.checked_mul(1_000_000),
        TimeUnit::Millisecond => time.checked_mul(1_000),
        TimeUnit::Microsecond => Some(time),
        TimeUnit::Nanosecond => (time % 1_000 == 0).then_some(time / 1_000),
    };
    let mut found = Vec::with_capacity(rows);
    for (row, time) in raw.into_iter().enumerate() {
        let fitting = time.and_then(micros).filter(|time| MICROS.contains(time));
        if time.is_some() && fitting.is_none() {
            faults.timestamp(row);
        }
        found.push(fitting);
    }
    Arc::new(TimestampMicrosecondArray::from(found).with_timezone(UTC))
}

/// Values, one for each key.
fn unpacked(
    values: &ArrayRef,
    keys: &ArrayRef,
    budget: &mut Budget,
    faults: &mut Faults,
) -> Result<ArrayRef, DecodeError> {
    let large = match values.data_type() {
        ArrowType::Utf8 => Some(ArrowType::LargeUtf8),
        ArrowType::Binary => Some(ArrowType::LargeBinary),
        _ => None,
    };
    let values = match large {
        // Texts behind offsets are at most as large as their message; what they become is counted below.
        Some(large) => cast(values, &large).map_err(|error| shape(&error))?,
        None => Arc::clone(values),
    };
    let lengths = |offsets: &[i64]| -> u64 {
        let length = |key: u64| {
            let at = usize::try_from(key).unwrap_or(usize::MAX);
            let (from, to) = (offsets.get(at), at.checked_add(1).and_then(|next| offsets.get(next)));
            from.zip(to).and_then(|(from, to)| u64::try_from(to - from).ok()).unwrap_or(0)
        };
        keys.as_primitive::<arrow_array::types::UInt64Type>().iter().flatten().map(length).sum()
    };
    budget.charge(match values.data_type() {
        ArrowType::LargeUtf8 => lengths(values.as_string::<i64>().value_offsets()),
        ArrowType::LargeBinary => lengths(values.as_binary::<i64>().value_offsets()),
        ArrowType::FixedSizeBinary(bytes) => u64::try_from(*bytes).unwrap_or(0).saturating_mul(keys.len() as u64),
        // Views stay views, of which many may lie over the same bytes: what those that are taken become is counted behind.
        ArrowType::Utf8View | ArrowType::BinaryView => 16 * keys.len() as u64,
        _ => 8 * keys.len() as u64,
    })?;
    let taken = take(&values, keys, None).map_err(|error| shape(&error))?;
    plain(&taken, None, budget, faults)
}

/// Which value of its runs each row has, and these values. Runs have no nulls of their own.
fn run_keys<R: arrow_array::types::RunEndIndexType>(
    array: &ArrayRef,
    absent: Option<&NullBuffer>,
    budget: &mut Budget,
) -> Result<(ArrayRef, ArrayRef), DecodeError> {
    let runs = array.as_any().downcast_ref::<arrow_array::RunArray<R>>();
    let runs = runs.ok_or_else(|| DecodeError::InvalidArrow { reason: "a column of runs has no ends".to_owned() })?;
    budget.charge(8 * runs.len() as u64)?;
    let there = |row: usize| absent.is_none_or(|absent| absent.is_valid(row));
    let keys = (0..runs.len()).map(|row| there(row).then(|| runs.get_physical_index(row) as u64));
    Ok((Arc::new(keys.collect::<UInt64Array>()), Arc::clone(runs.values())))
}

/// Lists one behind the other, without items that nobody has.
fn list(array: &ArrayRef, budget: &mut Budget, faults: &mut Faults) -> Result<ArrayRef, DecodeError> {
    if matches!(array.data_type(), ArrowType::FixedSizeList(..)) {
        // They have no offsets that could be counted, and get some.
        budget.charge(16 * array.len() as u64)?;
    }
    let (ranges, values): (Vec<(u64, u64)>, ArrayRef) = match array.data_type() {
        ArrowType::List(_) => {
            let lists = array.as_list::<i32>();
            (pairs(lists.value_offsets()), Arc::clone(lists.values()))
        }
        ArrowType::LargeList(_) => {
            let lists = array.as_list::<i64>();
            (pairs(lists.value_offsets()), Arc::clone(lists.values()))
        }
        ArrowType::ListView(_) => {
            let lists = array.as_list_view::<i32>();
            (views(lists.value_offsets(), lists.value_sizes()), Arc::clone(lists.values()))
        }
        ArrowType::LargeListView(_) => {
            let lists = array.as_list_view::<i64>();
            (views(lists.value_offsets(), lists.value_sizes()), Arc::clone(lists.values()))
        }
        _ => {
            let lists: &FixedSizeListArray = array.as_fixed_size_list();
            let dim = u64::try_from(lists.value_length()).unwrap_or(0);
            ((0..lists.len() as u64).map(|row| (row * dim, dim)).collect(), Arc::clone(lists.values()))
        }
    };
    let shown = |row: usize, length: u64| if array.is_null(row) { 0 } else { length };
    let total: u64 = ranges.iter().enumerate().map(|(row, (_, length))| shown(row, *length)).sum();
    if i32::try_from(total).is_err() {
        return Err(DecodeError::InvalidArrow { reason: "a column has more than 2^31 items in one batch".to_owned() });
    }
    // Each item prints at least so much, whatever it takes here: some take nothing.
    budget.charge(2 * total)?;
    let mut next = 0;
    let in_order = ranges.iter().enumerate().all(|(row, (from, length))| {
        let there = shown(row, *length);
        let fits = there == 0 || *from == next;
        next += there;
        fits
    });
    let values = if in_order && values.len() as u64 == total {
        values
    } else {
        // Views can have the same items many times.
        let of_one = (values.get_array_memory_size() as u64).div_ceil((values.len() as u64).max(1));
        budget.charge(if total > values.len() as u64 { total.saturating_mul(of_one.max(8)) } else { 8 * total })?;
        let items = ranges.iter().enumerate().flat_map(|(row, (from, length))| *from..*from + shown(row, *length));
        let items = UInt64Array::from_iter_values(items);
        take(&values, &items, None).map_err(|error| shape(&error))?
    };
    let lengths = ranges.iter().enumerate().map(|(row, (_, length))| usize::try_from(shown(row, *length)).unwrap_or(0));
    let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
    let mut inner = Faults::default();
    let values = plain(&values, None, budget, &mut inner)?;
    faults.absorb_items(inner, &offsets);
    let item = Arc::new(ArrowField::new("item", values.data_type().clone(), true));
    let lists = ListArray::try_new(item, offsets, values, array.nulls().cloned());
    Ok(Arc::new(lists.map_err(|error| shape(&error))?))
}

fn number(value: impl TryInto<u64>) -> u64 {
    value.try_into().unwrap_or(0)
}

fn pairs<O: Copy + TryInto<u64>>(offsets: &[O]) -> Vec<(u64, u64)> {
    let pair = |pair: &[O]| match pair {
        [from, to] => (number(*from), number(*to).saturating_sub(number(*from))),
        _ => (0, 0),
    };
    offsets.windows(2).map(pair).collect()
}

fn views<O: Copy + TryInto<u64>>(offsets: &[O], sizes: &[O]) -> Vec<(u64, u64)> {
    offsets.iter().zip(sizes).map(|(from, size)| (number(*from), number(*size))).collect()
}
