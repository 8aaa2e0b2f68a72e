use proptest::prelude::*;

use super::*;
use crate::domain::units::ByteSize;

fn class(version: u32) -> BatchClass {
    BatchClass { contract_hash: "c1".to_owned(), schema_version: SchemaVersion(version), schema_id: SchemaId(version) }
}

fn member(bytes: u64, rows: u64) -> MemberFacts {
    MemberFacts { class: class(1), bytes, rows }
}

fn limits() -> Limits {
    Limits { max_bytes: ByteSize(100), max_files: 5, max_rows: 50, ..Limits::default() }
}

const AT: Timestamp = Timestamp::from_millis(1_000_000);

fn open_with(bytes: u64, rows: u64, members: u64) -> OpenBatch {
    OpenBatch { seq: 7, class: class(1), members, bytes, rows, opened_at: AT, last_at: AT }
}

#[test]
fn a_push_seals_before_or_after_as_the_limits_say() {
    use PlanStep::{Join, Open, Seal};
    let seal = |trigger| Seal { seq: 7, trigger };
    let fresh = [Open { seq: 8 }, Join { seq: 8, position: 0 }];
    let cases: Vec<(&str, OpenBatch, MemberFacts, Vec<PlanStep>)> = vec![
        ("fits", open_with(10, 1, 1), member(10, 1), vec![Join { seq: 7, position: 1 }]),
        ("would pass bytes", open_with(95, 1, 1), member(10, 1), vec![seal(Trigger::Size), fresh[0], fresh[1]]),
        ("would pass rows", open_with(1, 45, 1), member(1, 10), vec![seal(Trigger::Rows), fresh[0], fresh[1]]),
        ("exactly full by bytes", open_with(90, 1, 1), member(10, 1), vec![Join { seq: 7, position: 1 }, seal(Trigger::Size)]),
        ("exactly full by rows", open_with(1, 40, 1), member(1, 10), vec![Join { seq: 7, position: 1 }, seal(Trigger::Rows)]),
        ("exactly full by files", open_with(1, 1, 4), member(1, 1), vec![Join { seq: 7, position: 4 }, seal(Trigger::Files)]),
        ("limits were lowered", open_with(1, 1, 9), member(1, 1), vec![seal(Trigger::Files), fresh[0], fresh[1]]),
        (
            "an object larger than a batch is a batch of its own",
            open_with(10, 1, 1),
            member(900, 1),
            vec![seal(Trigger::Size), fresh[0], fresh[1], Seal { seq: 8, trigger: Trigger::Size }],
        ),
    ];
    for (name, open, facts, expected) in cases {
        assert_eq!(push(&Shard::Open(open), &facts, &limits(), AT).0, expected, "{name}");
    }
}

#[test]
fn schema_versions_and_contracts_never_share_a_batch() {
    let mut other_contract = member(1, 1);
    other_contract.class.contract_hash = "c2".to_owned();
    for facts in [MemberFacts { class: class(2), bytes: 1, rows: 1 }, other_contract] {
        let (steps, shard) = push(&Shard::Open(open_with(1, 1, 1)), &facts, &limits(), AT);
        assert_eq!(steps[0], PlanStep::Seal { seq: 7, trigger: Trigger::SchemaChange });
        assert!(matches!(shard, Shard::Open(open) if open.class == facts.class && open.members == 1));
    }
}

#[test]
fn an_open_batch_is_sealed_by_age_quiet_or_drain() {
    let later = |ms: i64| Timestamp::from_millis(AT.millis() + ms);
    let mut busy = open_with(1, 1, 2);
    busy.last_at = later(29_000);
    let cases = [
        (open_with(1, 1, 1), Intake::Running, 1999, None),
        (open_with(1, 1, 1), Intake::Running, 2000, Some(Trigger::Quiet)),
        (busy.clone(), Intake::Running, 29_999, None),
        (busy.clone(), Intake::Running, 30_000, Some(Trigger::Age)),
        (busy, Intake::Draining, 1, Some(Trigger::Drain)),
        (open_with(500, 1, 1), Intake::Running, 0, Some(Trigger::Size)),
        (open_with(1, 500, 1), Intake::Running, 0, Some(Trigger::Rows)),
        (open_with(1, 1, 500), Intake::Draining, 0, Some(Trigger::Files)),
    ];
    for (open, intake, ms, expected) in cases {
        assert_eq!(wake(&open, &limits(), intake, later(ms)), expected, "{open:?} after {ms} ms");
    }
}

#[test]
fn quiet_can_be_turned_off() {
    let no_quiet = Limits { quiet: Span::ZERO, ..limits() };
    let open = open_with(1, 1, 1);
    assert_eq!(wake(&open, &no_quiet, Intake::Running, AT.plus(Span::from_secs(29))), None);
    assert_eq!(next_wake(&open, &no_quiet), AT.plus(Span::from_secs(30)));
    assert_eq!(next_wake(&open, &limits()), AT.plus(Span::from_secs(2)));
}

#[test]
fn trigger_words_round_trip() {
    for trigger in Trigger::ALL {
        assert_eq!(trigger.as_str().parse(), Ok(trigger));
    }
    assert!("later".parse::<Trigger>().is_err());
}

#[derive(Debug, Clone)]
enum Happening {
    Member(u32, u64, u64),
    Time(i64),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        4 => (1u32..3, 0u64..140, 0u64..70).prop_map(|(v, b, r)| Happening::Member(v, b, r)),
        1 => (0i64..40_000).prop_map(Happening::Time),
    ];
    proptest::collection::vec(one, 0..200)
}

/// Plays happenings with a model store of members; answers sealed batches as lists of member numbers.
fn play(all: &[Happening], limits: &Limits) -> Vec<(u64, Vec<usize>)> {
    let (mut shard, mut now, mut sealed, mut held) = (Shard::default(), AT, Vec::new(), Vec::<usize>::new());
    let mut number = 0usize;
    for happening in all {
        match happening {
            Happening::Time(ms) => {
                now = now.plus(Span::from_millis(*ms));
                if let Shard::Open(open) = shard.clone()
                    && wake(&open, limits, Intake::Running, now).is_some()
                {
                    assert!(next_wake(&open, limits) <= now, "a timer rings no later than it seals");
                    sealed.push((open.seq, std::mem::take(&mut held)));
                    shard = Shard::Empty { next_seq: open.seq + 1 };
                }
            }
            Happening::Member(version, bytes, rows) => {
                let facts = MemberFacts { class: class(*version), bytes: *bytes, rows: *rows };
                let (steps, next) = push(&shard, &facts, limits, now);
                for step in steps {
                    match step {
                        PlanStep::Seal { seq, .. } => sealed.push((seq, std::mem::take(&mut held))),
                        PlanStep::Open { .. } => assert!(held.is_empty(), "a batch opens only after the last is sealed"),
                        PlanStep::Join { position, .. } => {
                            assert_eq!(position, held.len() as u64);
                            held.push(number);
                        }
                    }
                }
                shard = next;
                number += 1;
            }
        }
    }
    if let Shard::Open(open) = shard {
        assert!(wake(&open, limits, Intake::Draining, now).is_some(), "a drain leaves nothing open");
        sealed.push((open.seq, held));
    }
    sealed
}

proptest! {
    #[test]
    fn nothing_is_lost_or_doubled_and_order_and_limits_hold(all in happenings()) {
        let limits = limits();
        let members: Vec<(u32, u64, u64)> =
            all.iter().filter_map(|h| if let Happening::Member(v, b, r) = h { Some((*v, *b, *r)) } else { None }).collect();
        let sealed = play(&all, &limits);
        let order: Vec<usize> = sealed.iter().flat_map(|(_, m)| m.iter().copied()).collect();
        prop_assert_eq!(order, (0..members.len()).collect::<Vec<_>>());
        for (expected, (seq, batch)) in sealed.iter().enumerate() {
            prop_assert_eq!(*seq, expected as u64);
            prop_assert!(!batch.is_empty());
            prop_assert!(batch.len() as u64 <= limits.max_files);
            let bytes: u64 = batch.iter().map(|m| members[*m].1).sum();
            let rows: u64 = batch.iter().map(|m| members[*m].2).sum();
            prop_assert!(batch.len() == 1 || (bytes <= limits.max_bytes.bytes() && rows <= limits.max_rows));
            prop_assert!(batch.iter().all(|m| members[*m].0 == members[batch[0]].0));
        }
    }

    #[test]
    fn extreme_numbers_never_panic(bytes in any::<u64>(), rows in any::<u64>(), at in any::<i64>(), files in any::<u64>()) {
        let limits = Limits { max_bytes: ByteSize(bytes), max_files: files, max_rows: rows, ..Limits::default() };
        let open = OpenBatch { seq: u64::MAX, members: u64::MAX, bytes: u64::MAX, rows: u64::MAX, ..open_with(1, 1, 1) };
        let (steps, _) = push(&Shard::Open(open), &member(bytes, rows), &limits, Timestamp::from_millis(at));
        prop_assert_eq!(steps.iter().filter(|s| matches!(s, PlanStep::Join { .. })).count(), 1);
    }
}
