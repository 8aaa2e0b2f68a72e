//! The table of functions. What is not here is refused; the volatile ones by name (decisions.md 2).

use std::sync::Arc;

use datafusion_expr::{ScalarUDF, Volatility};
use datafusion_functions::{core, datetime, math, regex, string, unicode};

/// What a name means.
pub(super) enum Meaning {
    Scalar(Arc<ScalarUDF>),
    /// Written out by the translator.
    Special,
    Volatile,
    Aggregate,
    Window,
    Unknown,
}

const VOLATILE: &[&str] = &[
    "now",
    "random",
    "rand",
    "randn",
    "uuid",
    "current_date",
    "current_time",
    "current_timestamp",
    "current_timezone",
    "curdate",
    "today",
    "localtime",
    "localtimestamp",
    "unix_timestamp",
    "monotonically_increasing_id",
    "spark_partition_id",
    "input_file_name",
    "shuffle",
    "current_user",
    "user",
    "session_user",
    "current_catalog",
    "current_database",
    "version",
];

const AGGREGATES: &[&str] = &[
    "count",
    "sum",
    "avg",
    "mean",
    "min",
    "max",
    "first",
    "last",
    "first_value",
    "last_value",
    "any_value",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "variance",
    "var_pop",
    "var_samp",
    "median",
    "percentile",
    "percentile_approx",
    "approx_count_distinct",
    "collect_list",
    "collect_set",
    "array_agg",
    "string_agg",
    "corr",
    "covar_pop",
    "covar_samp",
    "bool_and",
    "bool_or",
    "every",
    "some",
    "mode",
];

const WINDOWS: &[&str] = &["row_number", "rank", "dense_rank", "percent_rank", "ntile", "lag", "lead", "cume_dist", "nth_value"];

const SPECIAL: &[&str] = &[
    "coalesce",
    "ifnull",
    "nvl",
    "nvl2",
    "if",
    "iff",
    "nullif",
    "isnull",
    "isnotnull",
    "concat",
    "substr",
    "substring",
    "regexp_replace",
    "year",
    "month",
    "day",
    "dayofmonth",
    "hour",
    "minute",
    "second",
    "quarter",
    "date_add",
    "date_sub",
    "datediff",
    "negative",
    "lpad",
    "rpad",
];

/// Spark's names of functions we have under another one.
fn canonical(name: &str) -> &str {
    match name {
        "ucase" => "upper",
        "lcase" => "lower",
        "len" | "char_length" | "character_length" => "length",
        "instr" | "position" => "strpos",
        "startswith" => "starts_with",
        "endswith" => "ends_with",
        "pow" => "power",
        "ceiling" => "ceil",
        "sign" => "signum",
        "substring_index" => "substr_index",
        "trim" => "btrim",
        "rlike" | "regexp" => "regexp_like",
        "char" => "chr",
        other => other,
    }
}

fn scalar(name: &str) -> Option<Arc<ScalarUDF>> {
    Some(match name {
        "ascii" => string::ascii(),
        "bit_length" => string::bit_length(),
        "btrim" => string::btrim(),
        "chr" => string::chr(),
        "concat_ws" => string::concat_ws(),
        "contains" => string::contains(),
        "ends_with" => string::ends_with(),
        "levenshtein" => string::levenshtein(),
        "lower" => string::lower(),
        "ltrim" => string::ltrim(),
        "octet_length" => string::octet_length(),
        "replace" => string::replace(),
        "rtrim" => string::rtrim(),
        "split_part" => string::split_part(),
        "starts_with" => string::starts_with(),
        "to_hex" => string::to_hex(),
        "upper" => string::upper(),
        "length" => unicode::character_length(),
        "find_in_set" => unicode::find_in_set(),
        "initcap" => unicode::initcap(),
        "left" => unicode::left(),
        "lpad" => unicode::lpad(),
        "reverse" => unicode::reverse(),
        "right" => unicode::right(),
        "rpad" => unicode::rpad(),
        "strpos" => unicode::strpos(),
        "substr_index" => unicode::substr_index(),
        "translate" => unicode::translate(),
        "abs" => math::abs(),
        "acos" => math::acos(),
        "asin" => math::asin(),
        "atan" => math::atan(),
        "atan2" => math::atan2(),
        "cbrt" => math::cbrt(),
        "ceil" => math::ceil(),
        "cos" => math::cos(),
        "cosh" => math::cosh(),
        "cot" => math::cot(),
        "degrees" => math::degrees(),
        "exp" => math::exp(),
        "factorial" => math::factorial(),
        "floor" => math::floor(),
        "isnan" => math::isnan(),
        "ln" => math::ln(),
        "log" => math::log(),
        "log10" => math::log10(),
        "log2" => math::log2(),
        "nanvl" => math::nanvl(),
        "pi" => math::pi(),
        "power" => math::power(),
        "radians" => math::radians(),
        "round" => math::round(),
        "signum" => math::signum(),
        "sin" => math::sin(),
        "sinh" => math::sinh(),
        "sqrt" => math::sqrt(),
        "tan" => math::tan(),
        "tanh" => math::tanh(),
        "trunc" => math::trunc(),
        "date_part" => datetime::date_part(),
        "date_trunc" => datetime::date_trunc(),
        "from_unixtime" => datetime::from_unixtime(),
        "make_date" => datetime::make_date(),
        "to_date" => datetime::to_date(),
        "to_timestamp" => datetime::to_timestamp(&datafusion_common::config::ConfigOptions::default()),
        "to_unixtime" => datetime::to_unixtime(),
        "regexp_count" => regex::regexp_count(),
        "regexp_like" => regex::regexp_like(),
        "greatest" => core::greatest(),
        "least" => core::least(),
        _ => return None,
    })
}

/// What `name` means; case does not matter.
pub(super) fn meaning(name: &str) -> Meaning {
    let name = name.to_ascii_lowercase();
    if SPECIAL.contains(&name.as_str()) {
        return Meaning::Special;
    }
    if VOLATILE.contains(&name.as_str()) {
        return Meaning::Volatile;
    }
    match scalar(canonical(&name)) {
        Some(udf) if udf.signature().volatility == Volatility::Immutable => return Meaning::Scalar(udf),
        Some(_) => return Meaning::Volatile,
        None => {}
    }
    if AGGREGATES.contains(&name.as_str()) {
        Meaning::Aggregate
    } else if WINDOWS.contains(&name.as_str()) {
        Meaning::Window
    } else {
        Meaning::Unknown
    }
}

/// A function the translator itself asks for.
pub(super) fn known(name: &str) -> Arc<ScalarUDF> {
    match name {
        "substr" => unicode::substr(),
        "regexp_replace" => regex::regexp_replace(),
        "get_field" => core::get_field(),
        other => scalar(other).expect("the translator asks for functions of this table only"),
    }
}
