//! What one cell turned out to be: a bin, a value and a hint. Observation counts bins; execution
//! looks up what the plan does with a bin. Both call the same function, so their counts agree.

use std::borrow::Cow;

macro_rules! bins {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// How a value stands to its column's type, before any policy. A value is in exactly one bin.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Bin {
            $($(#[$doc])* $variant,)*
        }

        impl Bin {
            pub const ALL: &'static [Bin] = &[$(Bin::$variant,)*];

            /// The word of plans.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Bin::$variant => $text,)*
                }
            }

            pub fn from_word(word: &str) -> Option<Bin> {
                match word {
                    $($text => Some(Bin::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

bins! {
    /// A value of the type as written (L0, L1).
    Exact = "exact",
    /// Null, or a null token of the contract.
    Null = "null",
    /// The record has no such field.
    Absent = "absent",
    /// A recognized null token the contract does not name (TY16).
    NullToken = "null_token",
    /// A JSON string holding a canonical literal of the type (TY4).
    StringLiteral = "string_literal",
    /// A number or boolean token where text is registered (TY5).
    Token = "token",
    /// A decimal without fraction where an integer is registered (TY6a).
    Integral = "integral",
    /// A decimal with a fraction where an integer is registered (TY6b).
    Fractional = "fractional",
    /// Fits only the next wider registered type (TY3).
    Wide = "wide",
    /// Wide, and digits are lost besides.
    WideDigits = "wide_digits",
    /// A number no evolution of the type can hold.
    Overflow = "overflow",
    /// One of the known boolean pairs (TY10).
    BooleanDialect = "boolean_dialect",
    /// A number with separators or a currency (TY11).
    NumberDialect = "number_dialect",
    /// A date or timestamp in another layout (TY12).
    DateDialect = "date_dialect",
    /// A date where a timestamp is registered, or a timestamp at midnight where a date is (TY13a, b).
    Midnight = "midnight",
    /// A timestamp with a time where a date is registered (TY13c).
    WithTime = "with_time",
    /// A naive timestamp where a zoned one is registered, or the reverse (TY14).
    Zone = "zone",
    /// Sub-precision digits that are zero (TY15a).
    SubZeros = "sub_zeros",
    /// Sub-precision digits that are not (TY15b).
    SubDigits = "sub_digits",
    /// Digits beyond the scale that are zero (TY18a).
    ScaleZeros = "scale_zeros",
    /// Digits beyond the scale that are not (TY18b).
    ScaleDigits = "scale_digits",
    /// Outside the list of allowed values or symbols (EN).
    Code = "code",
    /// Below `min` or above `max`.
    Range = "range",
    /// Does not match `pattern`.
    Pattern = "pattern",
    /// A lossless change of shape (ST2).
    Reshape = "reshape",
    /// A change of shape that loses or invents structure (ST1).
    Structure = "structure",
    /// Cannot be cast at all (L4).
    Bad = "bad",
}

/// Number of bins.
pub const BIN_COUNT: usize = Bin::Bad as usize + 1;

impl Bin {
    /// A value of the type as it is, whatever the contract's list, range and pattern say of it.
    pub fn is_of_type(self) -> bool {
        matches!(self, Bin::Exact | Bin::SubZeros | Bin::Code | Bin::Range | Bin::Pattern)
    }

    /// Neither null nor absent: counts in the denominator of β.
    pub fn has_value(self) -> bool {
        !matches!(self, Bin::Null | Bin::Absent)
    }
}

/// A typed value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    /// Unscaled; the scale is the column's.
    Decimal(i128),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    /// Days since 1970-01-01.
    Date(i32),
    /// Millis or micros since the epoch, by the column's unit.
    Timestamp(i64),
    Array(Vec<Value<'a>>),
    Map(Vec<(Cow<'a, str>, Value<'a>)>),
    Record(Vec<Value<'a>>),
}

/// One cell, read against its column's type.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading<'a> {
    pub bin: Bin,
    pub value: Value<'a>,
    /// Dialects under which the cell can be read, by type: date layouts, number dialects or boolean
    /// pairs. Over a column hints are combined by *and*.
    pub hint: u64,
}

/// A hint that excludes nothing.
pub const ANY_HINT: u64 = u64::MAX;

impl<'a> Reading<'a> {
    pub fn new(bin: Bin, value: Value<'a>) -> Self {
        Self { bin, value, hint: ANY_HINT }
    }

    pub fn hinted(bin: Bin, value: Value<'a>, hint: u64) -> Self {
        Self { bin, value, hint }
    }

    /// Unreadable: excludes every dialect of the column.
    pub fn bad(bin: Bin) -> Self {
        Self { bin, value: Value::Null, hint: 0 }
    }
}
