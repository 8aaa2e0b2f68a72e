use proptest::prelude::*;

use super::*;

fn rules(text: &str) -> String {
    format!("Rules = [ {text} ]")
}

/// Parses, and holds that the printed form parses to the same tree.
fn accepted(text: &str) -> Ruleset {
    let tree = parse(text).unwrap_or_else(|d| panic!("{text}\n{d:#?}"));
    let printed = tree.to_string();
    assert_eq!(parse(&printed).unwrap_or_else(|d| panic!("{printed}\n{d:#?}")), tree, "{text}\n{printed}");
    tree
}

fn refused(text: &str, part: &str) {
    match parse(text) {
        Ok(tree) => panic!("{text} must be refused, read as {tree}"),
        Err(faults) => assert!(faults.iter().any(|d| d.message.contains(part)), "{text}: {part:?} is not in {faults:#?}"),
    }
}

#[test]
fn every_rule_type_is_read() {
    for rule in [
        "RowCount > 1",
        "ColumnCount between 1 and 3",
        r#"Completeness "a" > 0.9"#,
        r#"IsComplete "a""#,
        r#"Uniqueness "a" "b" = 1.0"#,
        r#"IsUnique "a" "b""#,
        r#"UniqueValueRatio "a" > 0.5"#,
        r#"IsPrimaryKey "a" "b""#,
        r#"DistinctValuesCount "a" in [1, 2]"#,
        r#"Mean "a" = 3"#,
        r#"Sum "a" not between -1.5 and 3"#,
        r#"StandardDeviation "a" < 2"#,
        r#"Variance "a" <= 2"#,
        r#"Entropy "a" > 0"#,
        r#"ColumnCorrelation "a" "b" > 0.1"#,
        r#"ColumnCorrelation of "a" and "b" > 0.5"#,
        r#"ColumnLength "a" between 1 and 9"#,
        r#"ColumnValues "a" = 5"#,
        r#"ColumnValues "a" = "5""#,
        r#"ColumnValues "a" = NULL"#,
        r#"ColumnValues "a" in ["x", NULL, EMPTY]"#,
        r#"ColumnValues "a" not matches "[a-z]\d+" with threshold > 0.9"#,
        r#"ColumnValues "a" > "2024-01-01""#,
        r#"ColumnValues "a" between (now() - 3 days) and now()"#,
        r#"ColumnValues "a" <= "9:30 AM" with timeZone = "UTC""#,
        r#"ColumnValues "a" != whitespaces_only"#,
        r#"ColumnValues "a" in [NULL, "2024-01-01"]"#,
        r#"ColumnValues a.b_c > 1"#,
        r#"ColumnDataType "a" = "DECIMAL(10,2)" with threshold >= 0.5"#,
        r#"DataFreshness "a" <= 24 hours"#,
        r#"DataFreshness "a" between 1 days and 90 minutes"#,
        r#"ColumnExists "a""#,
        r#"ColumnNamesMatchPattern "[a-z]+""#,
        r#"CustomSql "select count(*) from primary" > 3"#,
        r#"CustomSql "select a from primary" with threshold > 0.1"#,
        r#"ReferentialIntegrity "a,b" "ref.{x,y}" = 1"#,
        r#"DatasetMatch "ref" "k->k2" "m->m2" > 0.9"#,
        r#"RowCountMatch "ref" = 1"#,
        r#"SchemaMatch "ref" = 1"#,
        r#"AggregateMatch "sum(a)" "avg(ref.b)" = 1"#,
        r#"DetectAnomalies "RowCount""#,
        r#"FileFreshness > (now() - 3 days)"#,
        r#"FileFreshness "s3://b/p" between "9:30 AM" and "21:45""#,
        r#"FileMatch "s3://a" "s3://b""#,
        r#"FileMatch "s3://a" in ["x"]"#,
        r#"FileUniqueness "s3://a" > 0.5 with hashAlgorithm = "MD5""#,
        r#"FileSize "s3://a" > 5 MB"#,
        "FileSize > 5",
        r#"FileSize between 1 KB and 2 TB"#,
        "DuplicateRowCount = 0",
        r#"Range "a" > 1"#,
        r#"InterquartileRange "a" > 1"#,
        r#"ZerosCount "a" = 0"#,
        r#"Skewness "a" < 1"#,
        r#"Kurtosis "a" < 1"#,
        r#"RowCount between 0.9 * avg(last(10)) and 1.1 * avg(last(10))"#,
        r#"Completeness "a" > 0.9 where "x > 1" labels=["k"="v"]"#,
        r#"(IsComplete "a") and (IsUnique "b")"#,
        r#"(IsComplete "a" and IsUnique "b") or RowCount > 1"#,
        r#"((IsComplete "a") or (IsUnique "b")) labels=["k"="v"]"#,
        r#"IsComplete "a" and IsUnique "b" or RowCount = 1 AND RowCount = 2"#,
        r#"(((IsComplete "a") OR (IsUnique "b")) labels=["x"="y"]) and (RowCount > 1)"#,
    ] {
        accepted(&rules(rule));
    }
    accepted("Analyzers = [ RowCount, Completeness \"a\", AllStatistics \"b\" ]");
    accepted("Rules = [ ] Analyzers = [ RowCount ]");
}

#[test]
fn every_section_is_read() {
    let tree = accepted(
        "# head\r\nMetadata = { \"Version\": \"1.0\" }\r\nDataSources = { \"Primary\": \"p\", \"AdditionalDataSources\": [\"a\", \"b\"] }\r\n\
         one = \"x\"\r\nmany = [\"x\", \"y\"]\r\nDefaultLabels = [\"team\"=\"t\"]\r\nRules = [ # why\r\n IsComplete $one, ColumnValues \"c\" in $many,\r\n\
         ColumnValues \"c\" = $one ]\r\nAnalyzers = [ Mean \"a\" ] # end without a line break",
    );
    assert_eq!((tree.rules.len(), tree.analyzers.len(), tree.variables.len(), tree.default_labels.len()), (3, 1, 2, 1));
}

#[test]
fn arithmetic_has_one_level_from_left_to_right() {
    let tree = accepted(&rules("RowCount = 1 + 2 * 3, RowCount = 1 + (2 * 3)"));
    assert_eq!(tree.rules[0].to_string(), "RowCount = 1 + 2 * 3");
    assert_eq!(tree.rules[1].to_string(), "RowCount = 1 + (2 * 3)");
    assert_ne!(tree.rules[0], tree.rules[1]);
}

#[test]
fn and_binds_tighter_than_or() {
    let tree = accepted(&rules("RowCount = 1 or RowCount = 2 and RowCount = 3"));
    assert_eq!(tree.rules[0].to_string(), "(RowCount = 1) or ((RowCount = 2) and (RowCount = 3))");
}

#[test]
fn refusals_say_why() {
    for (text, part) in [
        ("", "expected `Rules"),
        ("Rules = []", "neither a rule nor an analyzer"),
        ("rules = [ RowCount > 1 ]", "expected"),
        ("Rules = [ RowCount > 1 ] ]", "nothing may follow"),
        ("Rules = [ RowCount > 1 ] Rules = [ RowCount > 2 ]", "nothing may follow"),
        ("Rules = [ RowCount > 1, ]", "expected a rule after"),
        ("Rules = [ RowCount > 1", "`]`"),
        ("Metadata = { \"Other\": \"1\" } Rules = [ RowCount > 1 ]", "Metadata has no key"),
        ("DataSources = { \"Other\": \"1\" } Rules = [ RowCount > 1 ]", "DataSources has no key"),
        ("DefaultLabels = [] Rules = [ RowCount > 1 ]", "label key"),
        ("x = \"a\" x = \"b\" Rules = [ RowCount > 1 ]", "defined twice"),
        ("_x = \"a\" Rules = [ RowCount > 1 ]", "may not start"),
        ("x = 5 Rules = [ RowCount > 1 ]", "variables hold nothing else"),
        ("x = [\"a\", [\"b\"]] Rules = [ RowCount > 1 ]", "strings only"),
        ("x = [\"a\"] Rules = [ ColumnValues \"c\" = $x ]", "is a list"),
        ("x = \"a\" Rules = [ ColumnValues \"c\" in $x ]", "needs a list"),
        ("Rules = [ IsComplete $x ]", "not defined"),
        ("Rules = [ RowCount > 1 ", "`]`"),
        ("Analyzers = [ IsComplete \"a\" ]", "cannot be an analyzer"),
        ("Analyzers = [ RowCount > 1 ]", "parameters only"),
        ("Rules = [ AllStatistics \"a\" ]", "under Analyzers"),
        ("Rules = [ IsComplete \"a ]", "no closing quote"),
        ("Rules = [ IsComplete 'a' ]", "has no meaning"),
    ] {
        refused(text, part);
    }
    for (rule, part) in [
        ("rowcount > 1", "did you mean `RowCount`"),
        ("RowCount", "a condition"),
        (r#"RowCount "id" > 100"#, "no parameter"),
        (r#"RowCount BETWEEN 1 and 2"#, "no parameter"),
        (r#"IsComplete "a" > 1"#, "no condition"),
        (r#"IsComplete"#, "one parameter"),
        (r#"IsComplete "2024-01-01""#, "shaped like a date"),
        (r#"IsComplete "9:30 AM""#, "shaped like a date"),
        ("IsComplete days", "one parameter"),
        ("IsComplete 5", "one parameter"),
        (r#"Mean "a" = "x""#, "a number condition"),
        (r#"Mean "a" > 1e5"#, "expected a number"),
        (r#"Mean "a" > .5"#, "expected a number"),
        (r#"Mean "a" > +1"#, "expected a number"),
        (r#"Mean "a" > 1_000"#, "expected a number"),
        (r#"Mean "a" = -(1)"#, "after `-`"),
        (r#"ColumnValues "a" > "x""#, "no order"),
        (r#"ColumnValues "a" between "x" and "y""#, "no order"),
        (r#"ColumnValues "a" in ["x", 5]"#, "expected a string"),
        (r#"ColumnValues "a" in [5, "x"]"#, "expected a number"),
        (r#"ColumnValues "a" in []"#, "expected a number"),
        (r#"ColumnValues "a" = Null"#, "expected a number"),
        (r#"ColumnValues "a" > now() - 3 days"#, "parentheses"),
        (r#"ColumnValues "a" > (now() - 1.5 days)"#, "whole number"),
        (r#"ColumnValues "a" NOT in ["x"]"#, "one parameter"),
        (r#"ColumnValues "a" > 5 days"#, "a number, string or date"),
        (r#"DataFreshness "a" < 5"#, "`days`, `hours` or `minutes`"),
        (r#"DataFreshness "a" < 5 Hours"#, "`days`, `hours` or `minutes`"),
        (r#"FileSize > 1.5 MB"#, "whole number"),
        (r#"IsComplete "a" where """#, "is empty"),
        (r#"IsComplete "a" where x"#, "SQL predicate"),
        (r#"ColumnCount > 1 where "x""#, "takes no `where`"),
        (r#"IsComplete "a" with threshold > 0.5"#, "takes no `with threshold`"),
        (r#"ColumnValues "a" > 1 with threshold > 0.5 with threshold > 0.6"#, "given twice"),
        (r#"ColumnValues "a" > 1 with format > "x""#, "no other operator"),
        (r#"ColumnValues "a" > 1 with threshold > 0.5 where "x""#, "after a rule"),
        (r#"IsComplete "a" labels=["k"="v"] where "x""#, "after a rule"),
        (r#"IsComplete "a" labels=["k"="v", "k"="w"]"#, "given twice"),
        (r#"IsComplete "a" labels=["k"=""]"#, "is empty"),
        (r#"IsComplete "a" labels=[]"#, "label key"),
        (r#"(IsComplete "a" labels=["k"="v"]) labels=["k"="w"]"#, "labels are given twice"),
        (r#"(IsComplete "a") And (IsUnique "b")"#, "after a rule"),
        (r#"not (IsComplete "a")"#, "not a rule type"),
        (r#"(IsComplete "a""#, "`)`"),
    ] {
        refused(&rules(rule), part);
    }
    refused(&rules(&format!(r#"IsComplete "a" labels=["{}"="v"]"#, "k".repeat(129))), "at most 128");
    refused(&rules(&format!(r#"IsComplete "a" labels=["k"="{}"]"#, "v".repeat(257))), "at most 256");
    let eleven = (0..11).map(|n| format!("\"k{n}\"=\"v\"")).collect::<Vec<_>>().join(", ");
    refused(&rules(&format!("IsComplete \"a\" labels=[{eleven}]")), "at most 10");
    refused(&rules(&format!("{}RowCount > 1{}", "(".repeat(100_000), ")".repeat(100_000))), "deeper than");
    refused(&rules(&format!("RowCount > {}1{}", "(".repeat(100_000), ")".repeat(100_000))), "deeper than");
    refused(&rules(&format!("RowCount > 1{}", " + 1".repeat(100_000))), "more than");
    let wave = format!("{}1{}", "(".repeat(60), " + 1 + 1 + 1)".repeat(60));
    refused(&rules(&format!("RowCount > {wave}")), "more than");
    refused(&"x".repeat(TEXT_BYTES_MAX + 1), "at most");
}

#[test]
fn all_faults_are_listed_with_their_places() {
    let faults =
        parse("Rules = [\n  RowCount,\n  IsComplete \"a\",\n  Nonsense \"a\" > 1,\n  Mean \"a\" > .5\n]").expect_err("three faults");
    let places: Vec<_> = faults.iter().map(|d| (d.line, d.column, d.rule.as_deref())).collect();
    assert_eq!(places, [(2, 11, Some("RowCount")), (4, 3, None), (5, 14, Some("Mean"))]);
}

proptest! {
    #[test]
    fn random_text_never_panics(text in "\\PC*") {
        let _ = parse(&text);
    }

    #[test]
    fn random_tokens_never_panic_and_what_parses_prints_to_itself(
        words in prop::collection::vec(prop::sample::select(vec![
            "RowCount", "ColumnValues", "IsComplete", "\"a\"", "\"2024-01-01\"", "and", "or", "of", "not", "in", "between", "=", ">", "!=",
            "(", ")", "[", "]", ",", "1", "-", "+", "1.5", "NULL", "EMPTY", "where", "with", "threshold", "labels", "$x", "now()", "days",
            "\"k\"=\"v\"", "matches",
        ]), 0..24)
    ) {
        let text = format!("x = \"q\" Rules = [ {} ]", words.join(" "));
        if let Ok(tree) = parse(&text) {
            prop_assert_eq!(parse(&tree.to_string()).expect("canonical text parses"), tree);
        }
    }

    #[test]
    fn printed_rules_parse_to_themselves(
        legs in prop::collection::vec((0usize..7, "[a-z]{1,4}", -1000i32..1000, any::<bool>(), 0usize..3), 1..5),
        or in any::<bool>(), labeled in any::<bool>(),
    ) {
        let leg = |(shape, name, n, filtered, threshold): &(usize, String, i32, bool, usize)| {
            let x = f64::from(*n) / 8.0;
            let filter = if *filtered { " where \"x = 1\"" } else { "" };
            let tail = ["", " with threshold > 0.5", " with threshold between 0.1 and 0.9 with format = \"f\""][*threshold];
            match shape {
                0 => format!("IsComplete \"{name}\"{filter}"),
                1 => format!("ColumnValues \"{name}\" > {x}{filter}{tail}"),
                2 => format!("ColumnValues \"{name}\" in [\"{name}\", NULL]{filter}{tail}"),
                3 => format!("ColumnValues \"{name}\" not between (now() - {} days) and now(){filter}{tail}", n.unsigned_abs()),
                4 => format!("RowCount > {x} * (avg(last(3)) - {x}) / 2{filter}"),
                5 => format!("DataFreshness \"{name}\" < {} hours{filter}", n.unsigned_abs()),
                _ => format!("(Mean \"{name}\" = {x}) and (IsUnique \"{name}\"{filter})"),
            }
        };
        let joined = legs.iter().map(|l| format!("({})", leg(l))).collect::<Vec<_>>().join(if or { " or " } else { " and " });
        let rule = if labeled && legs.len() > 1 { format!("({joined}) labels=[\"k\"=\"v\"]") } else { joined };
        accepted(&rules(&rule));
    }
}
