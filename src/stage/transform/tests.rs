//! Whole plans carried out over small files; every row is accounted for whatever the contract.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;

use super::*;
use crate::contract::parse::parse;
use crate::schema::drift::RegisteredSchema;
use crate::stage::Payload;
use crate::stage::reading::{Against, Question, observe};
use crate::table::parquet::TableFile;

const SCHEMA: &str = "schema:\n  avro: { type: record, name: t, fields: [ {name: id, type: long}, \
                      {name: v, type: [\"null\", string], default: null} ] }\n  policy: { max_bad_row_ratio: 0.5 }\n";

struct Done {
    /// `fate physical=staged+quarantined+deduplicated` of each member.
    members: Vec<String>,
    /// `partition: a b | …` of each file, by partition.
    files: Vec<String>,
    letters: Vec<String>,
}

fn admitted(key: &str) -> Admitted {
    Admitted {
        landing_partition: 0,
        landing_offset: 0,
        bucket: "raw".to_owned(),
        key: key.to_owned(),
        version_id: None,
        etag: None,
        size: 0,
        token: "t".to_owned(),
        generation: 0,
        run_id: "run".to_owned(),
        replay_id: None,
        forced: false,
        overwrites: false,
        source: "raw".to_owned(),
        first_landed: 0,
        event_time: None,
        ingest_date: "2026-01-02".to_owned(),
        partition_values: std::collections::BTreeMap::new(),
        late: false,
    }
}

/// Carries out one plan over these CSV files and shows the column `shown` of what is staged.
fn carried(contract: &str, files: &[&str], shown: &str) -> Done {
    let parsed = parse("c.yaml", &format!("dataset: t\n{SCHEMA}{contract}\n")).unwrap_or_else(|f| panic!("{f:?}"));
    let dataset = Dataset::compile(parsed).expect("compiles");
    let shape = avro::record_from_text(dataset.contract.avro_text().expect("inline")).expect("a record");
    let against = Against::new(&dataset.contract, Some(RegisteredSchema { version: 1, shape })).expect("rules are valid");
    let (mut members, mut read_plans) = (Vec::new(), Vec::new());
    for (index, text) in files.iter().enumerate() {
        let question = Question { contract: &dataset.contract, against: &against, evolution_refused: false, key: "k.csv" };
        let observed = observe(text.as_bytes(), &question).expect("readable");
        members.push(PlanMember {
            admitted: admitted(&format!("{index}.csv")),
            sha256: String::new(),
            read_plan: i32::try_from(index).expect("few"),
            rows_physical: i64::try_from(observed.drift.physical_rows).expect("few"),
            rows_bad: i64::try_from(observed.drift.quarantined_rows).expect("few"),
        });
        read_plans.push(observed.file_plan().expect("classify lets it pass").text());
    }
    let plan = BatchPlan {
        format_version: FORMAT_VERSION,
        batch_id: "t-0-0".to_owned(),
        dataset: "t".to_owned(),
        shard: 0,
        seq: 0,
        sealed_at: 0,
        trigger: String::new(),
        contract_hash: String::new(),
        schema_version: Some(1),
        read_plans,
        members,
    };
    let content = |text: &&str| Ok(Content::Bytes(std::io::Cursor::new(Bytes::copy_from_slice(text.as_bytes()))));
    let staged = carry_out(&plan, &dataset, files.iter().map(content).collect()).expect("carried out");
    let mut rows_staged = 0;
    let members = plan.members.iter().zip(&staged.members).map(|(member, done)| {
        let m = staged_member(member, done);
        assert_eq!(m.rows_physical, m.rows_staged + m.rows_quarantined + m.rows_deduplicated, "every row is accounted for");
        rows_staged += m.rows_staged;
        let told: i64 = m.reasons.values().sum();
        assert!(m.verdict != "staged" || told == m.rows_quarantined, "every quarantined row has its letter");
        format!("{} {}={}+{}+{}", m.verdict, m.rows_physical, m.rows_staged, m.rows_quarantined, m.rows_deduplicated)
    });
    let members = members.collect();
    let payload = |payload: &Payload| match payload {
        Payload::Bytes(bytes) => bytes.clone(),
        Payload::Spool(_) => panic!("these files are small"),
    };
    let mut files = Vec::new();
    let mut in_files = 0;
    for output in &staged.outputs {
        let file = TableFile::open(payload(&output.written.payload)).expect("Parquet");
        let footer = file.footer().expect("ours");
        assert_eq!(footer.objects.iter().map(|o| o.rows).collect::<Vec<_>>(), output.objects.iter().map(|(_, n)| *n).collect::<Vec<_>>());
        let batches: Vec<RecordBatch> = file.read(None, 100).expect("opens").collect::<Result<_, _>>().expect("reads");
        let values = batches.iter().flat_map(|b| column(b, shown)).collect::<Vec<_>>();
        assert_eq!(values.len() as u64, output.rows);
        in_files += output.rows;
        files.push(format!("{}: {}", output.partition, values.join(" ")));
    }
    assert_eq!(i64::try_from(in_files).expect("few"), rows_staged, "files hold what the members' counts say");
    let letters = staged.members.iter().filter_map(|m| m.letters.as_ref());
    let letters =
        letters.flat_map(|l| String::from_utf8_lossy(&payload(&l.written.payload)).lines().map(str::to_owned).collect::<Vec<_>>());
    Done { members, files, letters: letters.collect() }
}

fn column(batch: &RecordBatch, name: &str) -> Vec<String> {
    let options = FormatOptions::default().with_null("null");
    let column = batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name} in {:?}", batch.schema()));
    let formatter = ArrayFormatter::try_new(column, &options).expect("printable");
    (0..batch.num_rows()).map(|row| formatter.value(row).to_string()).collect()
}

const FILES: [&str; 3] = ["id,v\n1,a\n2,b\n1,a\n", "id,v\n1,a\n2,x\n3,c\n", "id,v\n1,q\n2,q\n4,d\n"];

#[test]
fn duplicates_within_a_file_and_across_a_batch() {
    let within = carried("rows: { dedupe: { key: [id] } }", &FILES, "v");
    assert_eq!(within.members, ["staged 3=2+0+1", "staged 3=3+0+0", "staged 3=3+0+0"]);
    let across = carried("rows: { dedupe: { key: [id], scope: batch } }", &FILES, "v");
    assert_eq!(across.members, ["staged 3=2+0+1", "staged 3=1+1+1", "rejected 0=0+0+0"], "two conflicts in three rows are too many");
    assert_eq!(across.files, [": a b c"], "nothing of the rejected file is left");
    let kept = carried("rows: { dedupe: { key: [id], scope: batch, conflicting_duplicate: keep } }", &FILES, "v");
    assert_eq!(kept.members, ["staged 3=2+0+1", "staged 3=2+0+1", "staged 3=3+0+0"]);
    let strict = carried("rows: { dedupe: { key: [id], scope: batch, conflicting_duplicate: reject_file } }", &FILES, "v");
    assert_eq!(strict.members, ["staged 3=2+0+1", "rejected 0=0+0+0", "rejected 0=0+0+0"]);
    let exact = carried("rows: { dedupe: { key: [id], scope: batch, exact_duplicate: quarantine_rest } }", &FILES[..1], "v");
    assert_eq!(exact.members, ["staged 3=2+1+0"]);
}

#[test]
fn rows_of_a_rejected_file_were_never_first() {
    let files = ["id,v\n1,a\n2,b\n3,c\n", "id,v\n1,x\n2,x\n9,new\n", "id,v\n9,new\n"];
    let done = carried("rows: { dedupe: { key: [id], scope: batch } }", &files, "v");
    assert_eq!(done.members, ["staged 3=3+0+0", "rejected 0=0+0+0", "staged 1=1+0+0"]);
}

#[test]
fn a_row_derive_refuses_is_told_with_its_place_and_too_many_reject_the_file() {
    let contract = "transform: { derive: { n: \"cast(v as int)\" } }";
    let done = carried(contract, &["id,v\n1,5\n2,\"x\ny\"\n3,7\n", "id,v\n1,a\n2,b\n3,7\n", "id,v\n8,8\n"], "n");
    assert_eq!(done.members, ["staged 3=2+1+0", "rejected 0=0+0+0", "staged 1=1+0+0"]);
    assert_eq!(done.files, [": 5 7 8"]);
    let letter: serde_json::Value = serde_json::from_str(&done.letters[0]).expect("JSON");
    assert_eq!((letter["row"].as_u64(), letter["line"].as_u64(), letter["byte_offset"].as_u64()), (Some(1), Some(3), Some(9)));
    assert_eq!((letter["source"].as_str(), letter["reason"].as_str()), (Some("2,\"x\ny\""), Some("derive_failed")));
    let strict = carried(&format!("rows: {{ on_bad_row: reject_file }}\n{contract}"), &["id,v\n1,5\n2,x\n3,7\n"], "n");
    assert_eq!(strict.members, ["rejected 0=0+0+0"]);
}

#[test]
fn a_sensitive_value_is_in_no_letter() {
    let contract = "  columns: { v: { sensitive: true } }\ntransform: { derive: { n: \"cast(v as int)\" } }";
    let done = carried(contract, &["id,v\n1,5\n2,secret\n3,7\n"], "n");
    assert!(done.letters.len() == 1 && !done.letters[0].contains("secret"), "{:?}", done.letters);
}

#[test]
fn partitions_by_a_source_column_escape_what_a_path_cannot_hold() {
    let contract = "transform: { select: [id, v], partition_by: [ingest_date, v] }";
    let done = carried(contract, &["id,v\n1,a/b\n2,\n3,\"=%\"\n4,a/b\n", "id,v\n5,..\n6,a/b\n"], "id");
    let date = "ingest_date=2026-01-02";
    let wanted = ["v=..: 5", "v=__HIVE_DEFAULT_PARTITION__: 2", "v=%3D%25: 3", "v=a%2Fb: 1 4 6"].map(|w| format!("{date}/{w}"));
    assert_eq!(done.files.iter().cloned().collect::<BTreeSet<_>>(), wanted.into_iter().collect());
}

#[test]
fn a_resolved_column_lands_in_its_type_with_its_original() {
    let contract = "transform: { resolve: { v: \"project:long\" } }";
    let done = carried(contract, &["id,v\n1,5\n2,x\n"], "v");
    assert_eq!((done.members, done.files), (vec!["staged 2=2+0+0".to_owned()], vec![": 5 null".to_owned()]));
    assert_eq!(carried(contract, &["id,v\n1,5\n2,x\n"], "v__raw").files, [": null x"]);
}
