use chrono::NaiveDate;
use proptest::prelude::*;

use super::ignored::Ignored;
use super::key::UnsafeKey;
use super::lateness::{Happened, Lateness};
use super::layout::{Layout, LayoutError, LayoutMismatch, hive_escape};
use super::ledger::{
    Force, Known, Newest, Progress, Removal, ReplayRequest, ReplayVerdict, SightedBy, Sighting, Verdict, after, after_removal,
    after_replay, judge, judge_replay, may_be_forgotten,
};
use super::{ignored, key, lateness, size, suffix};
use crate::domain::names::{DatasetName, Generation, ObjectKey};
use crate::domain::object::{ObjectVersion, Sequencer, SequencerFamily};
use crate::domain::reason::ReasonCode;
use crate::domain::time::{Span, Timestamp};
use crate::domain::units::ByteSize;
use crate::format::options::Format;

fn named(text: &str) -> ObjectKey {
    text.parse().expect("a key")
}

#[test]
fn unsafe_keys_are_refused_and_odd_ones_pass() {
    let parent = |segment| Err(UnsafeKey::ParentSegment { segment });
    let control = |at, code| Err(UnsafeKey::ControlCharacter { at, code });
    let cases = [
        ("../x", parent(0)),
        ("a/../b", parent(1)),
        ("a/..", parent(1)),
        ("..", parent(0)),
        ("a\\..\\b", parent(1)),
        ("a/b\\..", parent(2)),
        ("a\0b", control(1, 0)),
        ("a\r", control(1, 13)),
        ("\n", control(0, 10)),
        ("é\u{85}", control(2, 0x85)),
        ("a\u{7f}", control(1, 0x7f)),
        ("/leading", Ok(())),
        ("a//b", Ok(())),
        ("..a/b..", Ok(())),
        ("...", Ok(())),
        ("./a", Ok(())),
        ("a'\"${x}`b", Ok(())),
    ];
    for (text, expected) in cases {
        assert_eq!(key::judge(&named(text)), expected, "{text:?}");
    }
    assert_eq!(key::judge(&named(&"k".repeat(1024))), Ok(()));
    assert_eq!(UnsafeKey::ParentSegment { segment: 0 }.reason(), ReasonCode::ObjectKeyUnsafe);
}

#[test]
fn objects_that_are_no_data_are_ignored() {
    let cases = [
        ("in/", Some(0), Some(Ignored::FolderMarker)),
        ("in/", None, Some(Ignored::FolderMarker)),
        ("in/", Some(3), None),
        ("in/_SUCCESS", Some(0), Some(Ignored::SuccessMarker)),
        ("_SUCCESS", None, Some(Ignored::SuccessMarker)),
        ("in/_success", None, None),
        ("in/_temporary/0/x.csv", Some(9), Some(Ignored::TemporaryFolder)),
        ("_temporary/x.csv", Some(9), Some(Ignored::TemporaryFolder)),
        ("in/_temporary", Some(9), None),
        ("in/.x.csv", Some(9), Some(Ignored::DotFile)),
        (".hidden/x.csv", Some(9), None),
        ("in/x.csv.tmp", Some(9), Some(Ignored::TemporaryFile)),
        ("in/x.TMP", Some(9), Some(Ignored::TemporaryFile)),
        ("in/x.csv.crc", Some(9), Some(Ignored::Checksum)),
        ("in/.x.crc", Some(9), Some(Ignored::DotFile)),
        ("in/tmp", Some(9), None),
        ("in/x.csv", Some(0), None),
    ];
    for (text, bytes, expected) in cases {
        assert_eq!(ignored::judge(&named(text), bytes), expected, "{text}");
    }
}

#[test]
fn suffixes_and_sizes_are_judged() {
    let accepted: Vec<String> = [".csv", ".csv.gz"].map(str::to_owned).to_vec();
    for (text, fits) in [("a.csv", true), ("a.CSV", true), ("a.csv.gz", true), ("a.csv.zst", false), ("csv", false), ("é", false)] {
        assert_eq!(suffix::judge(&named(text), &accepted).is_ok(), fits, "{text}");
    }
    assert!(suffix::judge(&named("anything"), &[]).is_ok());
    let defaults = suffix::of_formats(&[Format::Csv, Format::Parquet]);
    assert!(suffix::judge(&named("x.csv.zst"), &defaults).is_ok());
    assert!(suffix::judge(&named("x.parquet"), &defaults).is_ok());
    assert!(suffix::judge(&named("x.json"), &defaults).is_err());

    let reason = |bytes, min, max: Option<u64>| size::judge(bytes, ByteSize(min), max.map(ByteSize)).err().map(|e| e.reason());
    assert_eq!(reason(0, 0, None), Some(ReasonCode::EmptyFile));
    assert_eq!(reason(9, 10, None), Some(ReasonCode::TooSmall));
    assert_eq!(reason(10, 10, Some(10)), None);
    assert_eq!(reason(11, 10, Some(10)), Some(ReasonCode::TooLarge));
}

fn orders() -> DatasetName {
    "orders".parse().expect("a name")
}

#[test]
fn layouts_take_values_and_date_from_keys() {
    let cases = [
        (
            "landing/{dataset}/{yyyy}/{MM}/{dd}/{file}",
            "landing/orders/2026/01/31/a b.csv",
            Ok(("dataset=orders yyyy=2026 MM=01 dd=31 file=a b.csv", Some((2026, 1, 31)))),
        ),
        (
            "landing/{dataset}/dt={yyyy-MM-dd}/region={region}/{file}",
            "landing/orders/dt=2024-02-29/region=e=u/x",
            Ok(("dataset=orders yyyy=2024 MM=02 dd=29 region=e=u file=x", Some((2024, 2, 29)))),
        ),
        (
            "{yyyyMMdd}T{HHmmss}_{source}.csv",
            "20260102T235959_shop.a.csv",
            Ok(("yyyy=2026 MM=01 dd=02 HH=23 mm=59 ss=59 source=shop.a", Some((2026, 1, 2)))),
        ),
        ("{yyyy}/{MM}/{path}", "2026/12/a/b/c", Ok(("yyyy=2026 MM=12 path=a/b/c", None))),
        ("a{{b}}/{file}", "a{b}/x", Ok(("file=x", None))),
        ("{tenant}-{file}", "a-b-c", Ok(("tenant=a-b file=c", None))),
    ];
    for (template, text, expected) in cases {
        let layout = Layout::compile(template, &orders()).expect(template);
        let told =
            layout.read(&named(text)).map(|f| (f.values.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(" "), f.date));
        let expected = expected
            .map(|(v, d): (&str, Option<(i32, u32, u32)>)| (v.to_owned(), d.and_then(|(y, m, d)| NaiveDate::from_ymd_opt(y, m, d))));
        assert_eq!(told, expected, "{template} {text}");
    }
}

#[test]
fn keys_of_another_shape_or_with_impossible_dates_are_refused() {
    let layout = Layout::compile("landing/{dataset}/{yyyy}/{MM}/{dd}/{file}", &orders()).expect("valid");
    for text in [
        "landing/flights/2026/01/31/x",
        "landing/orders/26/01/31/x",
        "landing/orders/2026/1/31/x",
        "landing/orders/2026/01/31/",
        "landing/orders/2026/01/31/x/y",
        "x/landing/orders/2026/01/31/x",
        "landing/orders/２０２６/01/31/x",
    ] {
        assert!(matches!(layout.read(&named(text)), Err(LayoutMismatch::Shape { .. })), "{text}");
    }
    for (text, year, month, day) in [
        ("2026/02/29", 2026, 2, 29),
        ("2026/13/01", 2026, 13, 1),
        ("2026/00/01", 2026, 0, 1),
        ("0000/01/01", 0, 1, 1),
        ("2026/04/31", 2026, 4, 31),
    ] {
        let mismatch = layout.read(&named(&format!("landing/orders/{text}/x"))).expect_err(text);
        assert_eq!(mismatch, LayoutMismatch::NoSuchDate { year, month, day });
        assert_eq!(mismatch.reason(), ReasonCode::LayoutMismatch);
    }
    let hours = Layout::compile("{HH}/{file}", &orders()).expect("valid");
    assert_eq!(hours.read(&named("24/x")), Err(LayoutMismatch::NoSuchTime { token: "hour", value: 24 }));
}

#[test]
fn malformed_layouts_name_their_fault() {
    let name = |n: &str| n.to_owned();
    let cases = [
        ("", LayoutError::Empty),
        ("a/{file", LayoutError::Unclosed { at: 2 }),
        ("a}/b", LayoutError::Stray { at: 1 }),
        ("{}", LayoutError::Name { at: 0, name: name("") }),
        ("a/{b c}", LayoutError::Name { at: 2, name: name("b c") }),
        ("{1}", LayoutError::Name { at: 0, name: name("1") }),
        ("{a}/{a}", LayoutError::Repeated { at: 4, name: name("a") }),
        ("{yyyy}{MM}{dd}/{yyyy}", LayoutError::Repeated { at: 15, name: name("yyyy") }),
        ("{a}{b}", LayoutError::Adjacent { at: 3, name: name("b") }),
        ("{file}/x", LayoutError::NotLast { at: 0, name: name("file") }),
        ("{path}/{file}", LayoutError::NotLast { at: 0, name: name("path") }),
        ("{dd}/{file}", LayoutError::PartialDate { missing: "{MM}" }),
        ("{MM}/{file}", LayoutError::PartialDate { missing: "{yyyy}" }),
    ];
    for (template, expected) in cases {
        assert_eq!(Layout::compile(template, &orders()).expect_err(template), expected, "{template}");
    }
    assert!(matches!(Layout::compile(&"x".repeat(2000), &orders()), Err(LayoutError::TooLong { .. })));
}

#[test]
fn partition_values_are_escaped_as_hive_does() {
    for (value, escaped) in
        [("a b", "a b"), ("a/b=c%", "a%2Fb%3Dc%25"), ("", "__HIVE_DEFAULT_PARTITION__"), ("é\n", "é%0A"), ("{[^]}", "%7B%5B%5E%5D%7D")]
    {
        assert_eq!(hive_escape(value), escaped);
    }
}

#[test]
fn lateness_counts_from_the_event_or_from_the_end_of_the_keys_day() {
    let at = |text| Timestamp::parse_rfc3339(text);
    let date = NaiveDate::from_ymd_opt(2026, 1, 2);
    let allowed = Span::from_secs(7 * 86_400);
    let late = |by| Lateness::Late { by: Span::from_millis(by) };
    let cases = [
        (at("2026-01-02T00:00:00Z"), None, at("2026-01-09T00:00:00Z"), Lateness::OnTime),
        (at("2026-01-02T00:00:00Z"), None, at("2026-01-09T00:00:00.001Z"), late(7 * 86_400_000 + 1)),
        (at("2026-01-02T00:00:00Z"), date, at("2026-01-09T12:00:00Z"), late(7 * 86_400_000 + 43_200_000)),
        (None, date, at("2026-01-10T00:00:00Z"), Lateness::OnTime),
        (None, date, at("2026-01-10T00:00:01Z"), late(7 * 86_400_000 + 1000)),
        (at("2027-01-01T00:00:00Z"), None, at("2026-01-01T00:00:00Z"), Lateness::OnTime),
        (None, None, at("2026-01-01T00:00:00Z"), Lateness::NotJudged),
        (None, date, None, Lateness::NotJudged),
    ];
    for (event_time, key_date, landed, expected) in cases {
        assert_eq!(
            lateness::judge(Happened::of(event_time, key_date), landed, allowed),
            expected,
            "{event_time:?} {key_date:?} {landed:?}"
        );
    }
}

/// `v:ID e:ETAG s:SIZE q:SEQUENCER`, all optional.
fn version(text: &str) -> ObjectVersion {
    let mut version = ObjectVersion::default();
    for fact in text.split_whitespace() {
        let (name, value) = fact.split_once(':').expect("name:value");
        let value = value.to_owned();
        match name {
            "v" => version.version_id = Some(value),
            "e" => version.etag = Some(value),
            "s" => version.size = Some(value.parse().expect("a size")),
            "q" => version.sequencer = Some(Sequencer { family: SequencerFamily::Hex, text: value }),
            "m" => version.last_modified = Some(Timestamp::from_millis(value.parse().expect("a time"))),
            other => panic!("unknown fact {other}"),
        }
    }
    version
}

fn event(text: &str, time: Option<i64>) -> Sighting {
    Sighting { version: version(text), time: time.map(Timestamp::from_millis), by: SightedBy::Event, landed: Timestamp::EPOCH, head: None }
}

fn listing(text: &str, time: Option<i64>) -> Sighting {
    Sighting { by: SightedBy::Listing, ..event(text, time) }
}

#[test]
fn a_sighting_is_news_old_news_or_no_news() {
    use Verdict::{Duplicate, Overwrite, Superseded};
    let cases = [
        ("the same version id", event("v:1 e:a s:1 q:10", None), event("v:1 e:a s:1 q:10", None), Duplicate),
        ("version ids beat everything", event("v:1 e:a s:1 q:10", None), event("v:2 e:a s:1 q:11", None), Overwrite),
        ("an older version id", event("v:2 e:b s:1 q:11", None), event("v:1 e:a s:1 q:10", None), Superseded),
        ("delivered twice", event("e:a s:1 q:10", None), event("e:a s:1 q:10", None), Duplicate),
        ("the same bytes written again", event("e:a s:1 q:10", None), event("e:a s:1 q:11", None), Overwrite),
        ("the same bytes, the older write late", event("e:a s:1 q:11", None), event("e:a s:1 q:10", None), Superseded),
        ("other bytes, newer", event("e:a s:1 q:10", None), event("e:b s:1 q:11", None), Overwrite),
        ("other bytes, older", event("e:b s:1 q:11", None), event("e:a s:1 q:10", None), Superseded),
        ("shorter sequencers are padded", event("e:a s:1 q:10", None), event("e:a s:1 q:1", None), Duplicate),
        ("a listing after its event", event("e:a s:1 q:10", None), listing("e:a s:1 m:5", Some(5)), Duplicate),
        ("a quoted e-tag of a listing", event("e:a s:1 q:10", None), listing("e:\"a\" s:1", None), Duplicate),
        ("an event after its listing", listing("e:a s:1 m:5", Some(5)), event("e:a s:1 q:10", Some(4)), Duplicate),
        ("a listing of a versioned bucket without ids", event("v:1 e:a s:1 q:10", None), listing("e:a s:1", None), Duplicate),
        ("a listing of another size", event("e:a s:1 q:10", Some(1)), listing("e:a s:2", Some(2)), Overwrite),
        ("an event without the size, as MinIO's of 0 bytes", event("e:a q:10", None), listing("e:a s:0", None), Duplicate),
        ("two listings of a newer file", listing("e:a s:1", Some(5)), listing("e:b s:1", Some(6)), Overwrite),
        ("a listing that is behind", event("e:b s:1 q:11", Some(6)), listing("e:a s:1", Some(5)), Superseded),
        ("a local file, unchanged", listing("s:1 m:5", Some(5)), listing("s:1 m:5", Some(5)), Duplicate),
        ("a local file, touched", listing("s:1 m:5", Some(5)), listing("s:1 m:6", Some(6)), Overwrite),
    ];
    for (name, first, second, expected) in cases {
        assert_eq!(judge(None, &first), Verdict::New, "{name}");
        let known = after(None, &first, Verdict::New);
        assert_eq!(judge(Some(&known), &second), expected, "{name}");
    }
}

#[test]
fn the_store_decides_where_sequencers_cannot() {
    let counter = |text: &str| Some(Sequencer { family: SequencerFamily::Incomparable, text: text.to_owned() });
    let mut first = event("e:a s:1", Some(9));
    first.version.sequencer = counter("7");
    let known = after(None, &first, Verdict::New);
    let mut second = event("e:b s:1", Some(3));
    second.version.sequencer = counter("2");
    assert_eq!(judge(Some(&known), &second), Verdict::Superseded, "times are a hint");
    second.head = Some(version("e:b s:1"));
    assert_eq!(judge(Some(&known), &second), Verdict::Overwrite, "the store has the sighted version");
    second.head = Some(version("e:a s:1"));
    assert_eq!(judge(Some(&known), &second), Verdict::Superseded, "the store has the known version");
}

#[test]
fn a_duplicate_adds_the_facts_that_were_missing() {
    let known = after(None, &listing("e:a s:1", Some(5)), Verdict::New);
    let seen = Sighting { landed: Timestamp::from_millis(-3), ..event("v:1 e:a s:1 q:10", Some(4)) };
    assert_eq!(judge(Some(&known), &seen), Verdict::Duplicate);
    let known = after(Some(known), &seen, Verdict::Duplicate);
    assert_eq!(known.newest.as_ref().map(|n| n.version.clone()), Some(version("v:1 e:a s:1 q:10")));
    assert_eq!(known.newest.as_ref().map(|n| n.first_landed.millis()), Some(-3), "the first landing is the earliest");
    assert_eq!(judge(Some(&known), &event("e:z s:1 q:0F", None)), Verdict::Superseded, "now older events are recognized");
}

#[test]
fn a_delete_that_arrives_before_its_put_still_wins() {
    let removal = |text, time: Option<i64>| Removal { version: version(text), time: time.map(Timestamp::from_millis) };
    let after_removal = |known, removal| after_removal(known, removal, Timestamp::EPOCH);
    let known = after_removal(None, removal("q:20", Some(20)));
    assert_eq!(judge(Some(&known), &event("e:a s:1 q:10", Some(10))), Verdict::Superseded);
    assert_eq!(judge(Some(&known), &event("e:a s:1 q:21", Some(21))), Verdict::New);
    assert_eq!(judge(Some(&known), &event("e:a s:1 q:20", Some(20))), Verdict::Superseded, "one sequencer is one event: the removal");
    let known = after_removal(Some(known), removal("q:15", Some(15)));
    assert_eq!(judge(Some(&known), &event("e:a s:1 q:18", None)), Verdict::Superseded, "the later removal stays");

    let put = event("e:a s:1 q:10", Some(10));
    let known = after_removal(Some(after(None, &put, Verdict::New)), removal("q:20", Some(20)));
    assert_eq!(judge(Some(&known), &put), Verdict::Superseded, "the put is delivered again after the delete");
    assert_eq!(judge(Some(&known), &event("e:a s:1 q:30", Some(30))), Verdict::Overwrite, "the same bytes come back");
    assert_eq!(judge(Some(&known), &listing("e:a s:1", Some(30))), Verdict::Overwrite, "a listing sees them come back");
    assert_eq!(judge(Some(&known), &listing("e:a s:1", Some(10))), Verdict::Duplicate, "a listing older than the delete");
}

#[test]
fn replays_raise_the_generation_unless_nothing_is_left_to_do() {
    use ReplayVerdict::{Admit, Duplicate, InFlight, Superseded};
    let known = |progress| Known {
        newest: Some(Newest {
            version: version("e:a s:1 q:10"),
            time: None,
            sighted_by: SightedBy::Event,
            first_landed: Timestamp::from_millis(77),
            generation: Generation(2),
            progress,
        }),
        removal: None,
        touched: Timestamp::EPOCH,
    };
    let request = |text, force| ReplayRequest {
        version: version(text),
        force,
        generation: None,
        first_landed: None,
        landed: Timestamp::from_millis(500),
    };
    let cases = [
        (Progress::Published, Force::No, "e:a s:1", Duplicate),
        (Progress::Registered, Force::No, "e:a s:1", Duplicate),
        (Progress::Published, Force::Yes, "e:a s:1", Admit(Generation(3))),
        (Progress::Quarantined, Force::No, "e:a s:1", Admit(Generation(3))),
        (Progress::Ignored, Force::No, "e:a s:1", Admit(Generation(3))),
        (Progress::InFlight, Force::No, "e:a s:1", InFlight),
        (Progress::InFlight, Force::Yes, "e:a s:1", Admit(Generation(3))),
        (Progress::Superseded, Force::Yes, "e:a s:1", Superseded),
        (Progress::Published, Force::Yes, "e:old s:1 q:0F", Superseded),
        (Progress::Published, Force::Yes, "e:old s:1", Superseded),
        (Progress::Published, Force::No, "e:new s:1 q:11", Admit(Generation(3))),
    ];
    for (progress, force, text, expected) in cases {
        assert_eq!(judge_replay(Some(&known(progress)), &request(text, force)), expected, "{progress:?} {force:?} {text}");
    }
    let forgotten = ReplayRequest { generation: Some(Generation(4)), ..request("e:a s:1", Force::No) };
    assert_eq!(judge_replay(None, &forgotten), Admit(Generation(5)));
    assert_eq!(judge_replay(Some(&known(Progress::Quarantined)), &forgotten), Admit(Generation(5)), "the higher generation counts");
    assert_eq!(judge_replay(None, &request("e:a s:1", Force::No)), Admit(Generation(1)));

    let replayed = after_replay(Some(known(Progress::Quarantined)), &request("e:a s:1", Force::No), Generation(3));
    assert_eq!(judge_replay(Some(&replayed), &request("e:a s:1", Force::No)), InFlight);
    let first_landed = |known: Known| known.newest.map(|n| n.first_landed.millis());
    assert_eq!(first_landed(replayed.clone()), Some(77), "a replay lands in the partition of the first landing");
    let stated = ReplayRequest { first_landed: Some(Timestamp::from_millis(9)), ..request("e:a s:1", Force::No) };
    assert_eq!(first_landed(after_replay(None, &stated, Generation(1))), Some(9));
    assert_eq!(first_landed(after_replay(None, &request("e:a s:1", Force::No), Generation(1))), Some(500));
    assert_eq!(judge(Some(&replayed), &event("e:a s:1 q:10", None)), Verdict::Duplicate, "live redelivery stays a duplicate");
    assert_eq!(judge(Some(&replayed), &event("e:b s:1 q:0F", None)), Verdict::Superseded, "the replay keeps the sequencer");
}

#[test]
fn a_key_is_forgotten_only_when_it_is_quiet_and_nothing_is_in_flight() {
    let horizon = Span::from_secs(14 * 86_400);
    let late = Timestamp::EPOCH.plus(horizon).plus(Span::from_millis(1));
    let mut known = after(None, &event("e:a s:1 q:10", None), Verdict::New);
    assert!(!may_be_forgotten(&known, late, horizon), "it is in flight");
    if let Some(newest) = &mut known.newest {
        newest.progress = Progress::Published;
    }
    assert!(may_be_forgotten(&known, late, horizon));
    assert!(!may_be_forgotten(&known, Timestamp::EPOCH.plus(horizon), horizon));
    let again = Sighting { landed: Timestamp::from_millis(5), ..event("e:a s:1 q:10", None) };
    assert!(!may_be_forgotten(&after(Some(known), &again, Verdict::Duplicate), late, horizon), "it was heard of again");
}

proptest! {
    #[test]
    fn any_template_compiles_or_is_refused_and_reads_any_key(template in "[a-zM{}/=-]{0,24}", text in "[a-z0-9/=.-]{1,24}") {
        if let Ok(layout) = Layout::compile(&template, &orders()) {
            let _ = layout.read(&named(&text));
        }
    }

    #[test]
    fn redelivery_in_any_order_ends_with_the_newest_write(order in Just((1u32..6).collect::<Vec<_>>()).prop_shuffle(), again in 0usize..5) {
        let write = |n: u32| event(&format!("e:e{n} s:{n} q:{n:02X}"), None);
        let mut known: Option<Known> = None;
        for n in order.iter().chain(order.get(again)) {
            let verdict = judge(known.as_ref(), &write(*n));
            known = Some(after(known, &write(*n), verdict));
        }
        let newest = known.and_then(|k| k.newest).map(|n| n.version);
        prop_assert_eq!(newest, Some(write(5).version));
    }

    #[test]
    fn a_second_delivery_is_always_a_duplicate(etag in "[a-f0-9]{1,4}", size in 0u64..9, sequencer in "[0-9A-F]{1,6}") {
        let sighting = event(&format!("e:{etag} s:{size} q:{sequencer}"), None);
        let known = after(None, &sighting, Verdict::New);
        prop_assert_eq!(judge(Some(&known), &sighting), Verdict::Duplicate);
    }
}
