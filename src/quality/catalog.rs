//! The rule types: what each may carry and whether it says which rows fail (dqdl.md §1.3).

/// Which kinds of condition a rule type takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionKinds {
    None,
    Number,
    NumberTextOrDate,
    Text,
    TextOrNone,
    Duration,
    Date,
    Size,
    NumberOrNone,
}

/// Whether a rule type says which rows fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowVerdicts {
    Never,
    Always,
    /// Only outside composites.
    Alone,
}

/// What a rule type may carry.
#[derive(Debug, Clone, Copy)]
pub struct Signature {
    pub name: &'static str,
    pub parameters_min: usize,
    pub parameters_max: usize,
    pub condition: ConditionKinds,
    pub takes_where: bool,
    pub takes_threshold: bool,
    pub rows: RowVerdicts,
    /// The parameters name columns of the primary data set.
    pub columns: bool,
    pub evaluated: bool,
}

macro_rules! catalog {
    ($($name:ident $min:literal..=$max:literal $condition:ident $w:ident $t:ident $rows:ident $columns:ident $evaluated:ident,)*) => {
        /// One of the 40 rule types.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum RuleKind { $($name,)* }

        impl RuleKind {
            pub const ALL: &[RuleKind] = &[$(RuleKind::$name,)*];

            pub const fn signature(self) -> Signature {
                match self {
                    $(RuleKind::$name => Signature {
                        name: stringify!($name),
                        parameters_min: $min,
                        parameters_max: $max,
                        condition: ConditionKinds::$condition,
                        takes_where: flag::$w,
                        takes_threshold: flag::$t,
                        rows: RowVerdicts::$rows,
                        columns: flag::$columns,
                        evaluated: flag::$evaluated,
                    },)*
                }
            }
        }
    };
}

#[allow(non_upper_case_globals, reason = "the table below reads better in lower case")]
mod flag {
    pub const w: bool = true;
    pub const t: bool = true;
    pub const cols: bool = true;
    pub const yes: bool = true;
    pub const no: bool = false;
}

// name, parameters, condition, where, threshold, row verdicts, parameters are columns, evaluated by this engine
catalog! {
    RowCount 0..=0 Number w no Never no yes,
    ColumnCount 0..=0 Number no no Never no yes,
    Completeness 1..=1 Number w no Alone cols yes,
    IsComplete 1..=1 None w no Always cols yes,
    Uniqueness 1..=64 Number w no Alone cols yes,
    IsUnique 1..=64 None w no Always cols yes,
    UniqueValueRatio 1..=1 Number w no Always cols yes,
    IsPrimaryKey 1..=64 None w no Always cols yes,
    DistinctValuesCount 1..=1 Number w no Never cols yes,
    Mean 1..=1 Number w no Never cols yes,
    Sum 1..=1 Number w no Never cols yes,
    StandardDeviation 1..=1 Number w no Never cols yes,
    Variance 1..=1 Number w no Never cols yes,
    Entropy 1..=1 Number w no Never cols yes,
    ColumnCorrelation 2..=2 Number w no Never cols yes,
    ColumnLength 1..=1 Number w no Always cols yes,
    ColumnValues 1..=1 NumberTextOrDate w t Always cols yes,
    ColumnDataType 1..=1 Text w t Never cols yes,
    DataFreshness 1..=1 Duration w no Always cols yes,
    ColumnExists 1..=1 None no no Never no yes,
    ColumnNamesMatchPattern 1..=1 None no no Never no yes,
    CustomSql 1..=1 NumberOrNone no t Never no no,
    ReferentialIntegrity 2..=2 Number no no Never no no,
    DatasetMatch 2..=3 Number no no Never no no,
    RowCountMatch 1..=1 Number no no Never no no,
    SchemaMatch 1..=1 Number no no Never no no,
    AggregateMatch 2..=2 Number no no Never no no,
    DetectAnomalies 1..=8 None no no Never no no,
    AllStatistics 1..=1 None no no Never cols no,
    FileFreshness 0..=1 Date no t Never no no,
    FileMatch 0..=2 TextOrNone no no Never no no,
    FileUniqueness 0..=1 Number no no Never no no,
    FileSize 0..=1 Size no t Never no no,
    DuplicateRowCount 0..=64 Number w no Never cols no,
    Range 1..=1 Number w no Never cols no,
    InterquartileRange 1..=1 Number w no Never cols no,
    ZerosCount 1..=1 Number w no Never cols no,
    Skewness 1..=1 Number w no Never cols no,
    Kurtosis 1..=1 Number w no Never cols no,
}

impl RuleKind {
    pub const fn name(self) -> &'static str {
        self.signature().name
    }

    /// The type of this name; names are case-sensitive.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// Whether the type may stand among analyzers: a metric without a verdict.
    pub const fn is_analyzer(self) -> bool {
        matches!(self, RuleKind::AllStatistics)
            || matches!(
                self.signature().condition,
                ConditionKinds::Number | ConditionKinds::NumberTextOrDate | ConditionKinds::NumberOrNone
            )
    }
}
