//! 128 bits that tell values apart, a column at a time: numbers by their bits, all else by hash.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes as t;
use arrow::datatypes::{ArrowPrimitiveType, DataType, TimeUnit};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use xxhash_rust::xxh3::xxh3_128;

/// One fingerprint per value; meaningless where the value is NULL. Comparable between columns of one type.
///
/// # Errors
/// Arrow cannot compare values of this type.
pub fn fingerprints(array: &ArrayRef) -> Result<Vec<u128>, ArrowError> {
    fn whole<T: ArrowPrimitiveType>(array: &ArrayRef, bits: impl Fn(T::Native) -> u128) -> Vec<u128> {
        array.as_primitive::<T>().values().iter().map(|v| bits(*v)).collect()
    }
    Ok(match array.data_type() {
        DataType::Int8 => whole::<t::Int8Type>(array, |v| v as u128),
        DataType::Int16 => whole::<t::Int16Type>(array, |v| v as u128),
        DataType::Int32 => whole::<t::Int32Type>(array, |v| v as u128),
        DataType::Int64 => whole::<t::Int64Type>(array, |v| v as u128),
        DataType::UInt8 => whole::<t::UInt8Type>(array, u128::from),
        DataType::UInt16 => whole::<t::UInt16Type>(array, u128::from),
        DataType::UInt32 => whole::<t::UInt32Type>(array, u128::from),
        DataType::UInt64 => whole::<t::UInt64Type>(array, u128::from),
        DataType::Date32 => whole::<t::Date32Type>(array, |v| v as u128),
        DataType::Date64 => whole::<t::Date64Type>(array, |v| v as u128),
        DataType::Decimal128(..) => whole::<t::Decimal128Type>(array, |v| v as u128),
        DataType::Timestamp(TimeUnit::Microsecond, _) => whole::<t::TimestampMicrosecondType>(array, |v| v as u128),
        DataType::Timestamp(TimeUnit::Millisecond, _) => whole::<t::TimestampMillisecondType>(array, |v| v as u128),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => whole::<t::TimestampNanosecondType>(array, |v| v as u128),
        DataType::Timestamp(TimeUnit::Second, _) => whole::<t::TimestampSecondType>(array, |v| v as u128),
        DataType::Float32 => whole::<t::Float32Type>(array, |v| float_bits(f64::from(v))),
        DataType::Float64 => whole::<t::Float64Type>(array, float_bits),
        DataType::Boolean => array.as_boolean().values().iter().map(u128::from).collect(),
        DataType::Binary => (0..array.len()).map(|row| xxh3_128(array.as_binary::<i32>().value(row))).collect(),
        DataType::Utf8 => (0..array.len()).map(|row| xxh3_128(array.as_string::<i32>().value(row).as_bytes())).collect(),
        DataType::LargeUtf8 | DataType::Utf8View => fingerprints(&cast(array, &DataType::Utf8)?)?,
        DataType::Dictionary(_, value) => fingerprints(&cast(array, value)?)?,
        other => {
            let converter = RowConverter::new(vec![SortField::new(other.clone())])?;
            let rows = converter.convert_columns(std::slice::from_ref(array))?;
            rows.iter().map(|row| xxh3_128(row.as_ref())).collect()
        }
    })
}

/// One zero and one NaN.
fn float_bits(value: f64) -> u128 {
    let value = if value == 0.0 { 0.0 } else { value };
    u128::from(if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() })
}

/// Stands for NULL beside values: the fingerprint of no number, for a decimal of 38 digits is smaller.
const NULL: u128 = 0x85b5_4a32_d192_ed03_abc9_8388_fb8f_ac03;

/// Several columns side by side: a fingerprint per row, in which NULL is a value like any other.
pub fn of_rows(columns: &[(&[u128], Option<&NullBuffer>)], n_rows: usize) -> Vec<u128> {
    let value = |(prints, nulls): &(&[u128], Option<&NullBuffer>), row: usize| match nulls {
        Some(nulls) if nulls.is_null(row) => NULL,
        _ => prints[row],
    };
    if let [one] = columns {
        return (0..n_rows).map(|row| value(one, row)).collect();
    }
    let mut bytes = vec![0; columns.len() * size_of::<u128>()];
    let of_row = |row| {
        for (place, column) in bytes.chunks_exact_mut(size_of::<u128>()).zip(columns) {
            place.copy_from_slice(&value(column, row).to_le_bytes());
        }
        xxh3_128(&bytes)
    };
    (0..n_rows).map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Float64Array, Int64Array, LargeStringArray, ListArray, StringArray, StringDictionaryBuilder};
    use arrow::datatypes::{Int32Type, Int64Type};

    use super::*;

    fn of(array: impl Array + 'static) -> Vec<u128> {
        let array: ArrayRef = Arc::new(array);
        fingerprints(&array).expect("comparable")
    }

    #[test]
    fn equal_values_agree_and_others_do_not() {
        let differing = |prints: &[u128]| prints[0] == prints[1] && prints[0] != prints[2];
        assert!(differing(&of(StringArray::from(vec!["a", "a", "b"]))));
        assert!(differing(&of(Int64Array::from(vec![-1, -1, 1]))));
        assert!(differing(&of(Float64Array::from(vec![0.0, -0.0, f64::NAN]))), "there is one zero");
        assert!(differing(&of(Float64Array::from(vec![f64::NAN, -f64::NAN, 0.0]))), "and one NaN");
        assert!(differing(&of(Decimal128Array::from(vec![i128::MIN, i128::MIN, i128::MAX]))));
        let lists = [Some(vec![Some(1), None]), Some(vec![Some(1), None]), Some(vec![Some(1)])];
        assert!(differing(&of(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))));
        let mut dictionary = StringDictionaryBuilder::<Int32Type>::new();
        ["a", "a", "b"].into_iter().for_each(|text| dictionary.append_value(text));
        let texts = of(StringArray::from(vec!["a", "a", "b"]));
        assert_eq!(of(dictionary.finish()), texts, "how a text is held does not matter");
        assert_eq!(of(LargeStringArray::from(vec!["a", "a", "b"])), texts);
    }

    #[test]
    fn rows_of_two_columns_are_told_apart_by_both_and_by_null() {
        let (a, b) = ([1u128, 2, 1, 1], [2u128, 1, 2, 2]);
        let nulls = NullBuffer::from(vec![true, true, true, false]);
        let prints = of_rows(&[(&a, None), (&b, Some(&nulls))], 4);
        assert_eq!(prints[0], prints[2]);
        assert!(prints[0] != prints[1] && prints[0] != prints[3]);
        assert_eq!(of_rows(&[(&b, Some(&nulls))], 4), [2, 1, 2, NULL], "one column stands for itself");
        assert!(NULL as i128 <= -(10i128.pow(38)), "no decimal looks like it");
    }
}
