use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// One line per fact, as the case files write them.
fn told(parsed: &Parsed) -> String {
    let mut lines = Vec::new();
    for e in &parsed.events {
        let marker = if e.class == (EventClass::Removed { marker: true }) { "(marker)" } else { "" };
        let mut line = format!("{}{marker} {} {}", e.class.as_str(), e.event_name, e.object);
        let facts = [
            ("size", e.version.size.map(|s| s.to_string())),
            ("etag", e.version.etag.clone()),
            ("version", e.version.version_id.clone()),
            ("seq", e.version.sequencer.as_ref().map(|s| s.text.clone())),
            ("time", e.time.map(|t| t.to_string())),
            ("family", Some(e.family.to_string())),
            ("record", e.record.map(|r| r.to_string())),
            ("replay", e.replay_name.clone()),
        ];
        for (name, fact) in facts {
            if let Some(fact) = fact {
                line.push_str(&format!(" {name}={fact}"));
            }
        }
        lines.push(line);
    }
    let place = |record: Option<usize>| record.map_or(String::new(), |r| format!(" record={r}"));
    lines.extend(parsed.errors.iter().map(|e| format!("! {}{}", e.reason, place(e.record))));
    lines.extend(parsed.ignorable.iter().map(|i| format!("~ {} {}{}", i.what.as_str(), i.name, place(i.record))));
    lines.extend(parsed.suspected.map(|f| format!("? {f}")));
    lines.join("\n")
}

fn block<'t>(section: &'t str, kind: &str) -> &'t str {
    let start = section.find(&format!("```{kind}\n")).expect("a block") + kind.len() + 4;
    let end = section[start..].find("```").expect("a closed block") + start;
    section[start..end].trim()
}

#[test]
fn samples_of_every_family_say_what_the_cases_expect() {
    let cases = include_str!("../../tests/cases/event_samples.md");
    let mut n_cases = 0;
    for section in cases.split("\n## ").skip(1) {
        let name = section.lines().next().unwrap_or_default();
        let hint = section.lines().find_map(|l| l.strip_prefix("hint: ")).map(|f| f.parse().expect("a family"));
        let options = ParseOptions { family_hint: hint, ..ParseOptions::default() };
        let parsed = parse(block(section, "json").as_bytes(), &options);
        assert_eq!(told(&parsed), block(section, "expect"), "{name}: {:?}", parsed.errors);
        n_cases += 1;
    }
    assert!(n_cases >= 30, "{n_cases} cases read");
}

fn one(payload: &Value) -> ObjectEvent {
    let parsed = parse(payload.to_string().as_bytes(), &ParseOptions::default());
    assert_eq!(parsed.errors, vec![], "{payload}");
    let [event] = parsed.events.as_slice() else { panic!("one event expected from {payload}") };
    event.clone()
}

fn record(source: &str, name: &str, key: &str) -> Value {
    json!({"eventSource": source, "eventName": name, "s3": {"bucket": {"name": "b"}, "object": {"key": key, "size": 1, "eTag": "e", "sequencer": "01"}}})
}

/// Every family's notification of one key, written as that family writes it.
fn notices(key: &str) -> Vec<(&'static str, Value)> {
    let slashless = super::key::encode(key).replace('/', "%2F");
    let aws = json!({"Records": [record("aws:s3", "ObjectCreated:Put", &super::key::encode(key))]});
    vec![
        (
            "minio",
            json!({"EventName": "s3:ObjectCreated:Put", "Key": "b/k", "Records": [record("minio:s3", "s3:ObjectCreated:Put", &slashless)]}),
        ),
        (
            "rustfs",
            json!({"EventName": "s3:ObjectCreated:Put", "Key": "b/k", "Records": [record("rustfs:s3", "s3:ObjectCreated:Put", &slashless)]}),
        ),
        ("ceph", json!({"Records": [record("ceph:s3", "ObjectCreated:Put", key)]})),
        ("nautilus", record("aws:s3", "s3:ObjectCreated:Put", key)),
        ("versitygw", json!({"Records": [record("versitygw:s3", "s3:ObjectCreated:Put", key)]})),
        (
            "eventbridge",
            json!({"source": "aws.s3", "detail-type": "Object Created", "detail": {"bucket": {"name": "b"}, "object": {"key": key}}}),
        ),
        (
            "azure",
            json!([{"eventType": "Microsoft.Storage.BlobCreated", "subject": format!("/blobServices/default/containers/b/blobs/{key}"), "data": {"api": "PutBlob"}}]),
        ),
        (
            "gcs",
            json!({"message": {"attributes": {"eventType": "OBJECT_FINALIZE", "bucketId": "b", "objectId": key, "objectGeneration": "1"}}}),
        ),
        ("sqs", json!({"Records": [{"eventSource": "aws:sqs", "body": aws.to_string()}]})),
        ("sns", json!({"Type": "Notification", "Message": aws.to_string()})),
        ("cloudevents", json!({"specversion": "1.0", "type": "com.amazonaws.s3.ObjectCreated:Put", "data": aws["Records"][0]})),
        ("shipper", json!(aws.to_string())),
        ("aws", aws),
    ]
}

#[test]
fn the_hard_key_survives_every_family() {
    for (name, notice) in notices("in/a+b%2Bc d.csv") {
        assert_eq!(one(&notice).object.key.as_str(), "in/a+b%2Bc d.csv", "{name}");
    }
}

#[test]
fn one_pattern_shape_serves_every_family() {
    for (name, notice) in notices("in/x y.csv") {
        let envelope = envelope(&one(&notice));
        assert_eq!(envelope["source"], "aws.s3", "{name}");
        assert_eq!(envelope["detail-type"], "Object Created", "{name}");
        assert_eq!(envelope["detail"]["bucket"]["name"], "b", "{name}");
        assert_eq!(envelope["detail"]["object"]["key"], "in/x y.csv", "{name}");
    }
}

#[test]
fn an_eventbridge_event_is_its_own_envelope() {
    let facts = [
        ("Object Created", Some("PutObject"), None, "ObjectCreated:Put"),
        ("Object Created", Some("POST Object"), None, "ObjectCreated:Post"),
        ("Object Created", Some("PostObject"), None, "ObjectCreated:Post"),
        ("Object Created", Some("CopyObject"), None, "ObjectCreated:Copy"),
        ("Object Created", Some("CompleteMultipartUpload"), None, "ObjectCreated:CompleteMultipartUpload"),
        ("Object Created", Some("Teleport"), None, "ObjectCreated:Teleport"),
        ("Object Deleted", Some("DeleteObject"), Some("Permanently Deleted"), "ObjectRemoved:Delete"),
        ("Object Deleted", Some("DeleteObject"), Some("Delete Marker Created"), "ObjectRemoved:DeleteMarkerCreated"),
        ("Object Deleted", Some("Lifecycle Expiration"), Some("Permanently Deleted"), "LifecycleExpiration:Delete"),
        ("Object Restore Initiated", None, None, "ObjectRestore:Post"),
        ("Object Restore Completed", None, None, "ObjectRestore:Completed"),
        ("Object Restore Expired", None, None, "ObjectRestore:Delete"),
        ("Object Tags Added", None, None, "ObjectTagging:Put"),
        ("Object Tags Deleted", None, None, "ObjectTagging:Delete"),
        ("Object ACL Updated", None, None, "ObjectAcl:Put"),
        ("Object Storage Class Changed", None, None, "LifecycleTransition"),
        ("Object Access Tier Changed", None, None, "IntelligentTiering"),
        ("Async Copy Completion", None, None, "Async Copy Completion"),
    ];
    for (detail_type, reason, deletion, name) in facts {
        let mut notice = json!({
            "version": "0", "detail-type": detail_type, "source": "aws.s3", "account": "123456789012",
            "time": "2026-01-02T03:04:05Z", "region": "eu-west-1", "resources": ["arn:aws:s3:::b"],
            "detail": {"version": "0", "bucket": {"name": "b"}, "object": {"key": "k", "size": 5, "etag": "e", "version-id": "v", "sequencer": "00"}}
        });
        notice["detail"]["request-id"] = json!("r");
        notice["detail"]["requester"] = json!("123456789012");
        notice["detail"]["source-ip-address"] = json!("1.2.3.4");
        if let Some(reason) = reason {
            notice["detail"]["reason"] = json!(reason);
        }
        if let Some(deletion) = deletion {
            notice["detail"]["deletion-type"] = json!(deletion);
        }
        let event = one(&notice);
        assert_eq!(event.event_name, name);
        assert_eq!(envelope(&event), notice, "{name}");
    }
}

#[test]
fn wrappings_are_peeled_to_the_limit_and_no_deeper() {
    let mut payload = json!({"Records": [record("aws:s3", "ObjectCreated:Put", "k")]}).to_string();
    for _ in 0..4 {
        payload = json!({"Type": "Notification", "Message": payload}).to_string();
    }
    assert_eq!(parse(payload.as_bytes(), &ParseOptions::default()).events.len(), 1);
    payload = json!({"Type": "Notification", "Message": payload}).to_string();
    let parsed = parse(payload.as_bytes(), &ParseOptions::default());
    assert_eq!(told(&parsed), "! too_deep");
}

#[test]
fn binary_cloud_events_are_read_by_their_headers() {
    let headers = |pairs: &[(&'static str, &'static str)]| CloudEventHeaders::of(pairs.iter().copied());
    assert_eq!(headers(&[("content-type", "application/json")]), None);
    let read =
        |data: Value, cloud_event| told(&parse(data.to_string().as_bytes(), &ParseOptions { cloud_event, ..ParseOptions::default() }));
    let aws = headers(&[("Ce-Type", "com.amazonaws.s3.ObjectCreated:Put"), ("ce-id", "1")]);
    assert_eq!(read(record("aws:s3", "ObjectCreated:Put", "a+b"), aws), "created ObjectCreated:Put b/a b size=1 etag=e seq=01 family=aws");
    let azure = headers(&[
        ("ce_type", "Microsoft.Storage.BlobCreated"),
        ("ce_subject", "/blobServices/default/containers/c/blobs/a+b"),
        ("ce_time", "2026-01-02T03:04:05Z"),
    ]);
    assert_eq!(
        read(json!({"api": "PutBlob", "contentLength": 3}), azure),
        "created Microsoft.Storage.BlobCreated c/a+b size=3 time=2026-01-02T03:04:05.000Z family=azure"
    );
    let gcs = headers(&[("ce_type", "google.cloud.storage.object.v1.finalized")]);
    assert_eq!(
        read(json!({"bucket": "b", "name": "a+b", "generation": "7", "size": "3"}), gcs),
        "created OBJECT_FINALIZE b/a+b size=3 version=7 seq=7 family=gcs"
    );
}

#[test]
fn what_is_no_notification_is_named() {
    let deep = "[".repeat(4000);
    let long_key = json!({"Records": [record("aws:s3", "ObjectCreated:Put", &"k".repeat(1025))]}).to_string();
    let cases = [
        ("", "! not_json"),
        ("{", "! not_json"),
        ("\u{feff}{\"x\":1}", "! unsupported_envelope"),
        ("42", "! unsupported_envelope"),
        ("null", "! unsupported_envelope"),
        ("\"hello\"", "! not_json"),
        ("\"\\\"hello\\\"\"", "! unsupported_envelope"),
        ("{\"Records\":7}", "! unsupported_envelope"),
        (deep.as_str(), "! too_deep"),
        (long_key.as_str(), "! too_large record=0"),
    ];
    for (payload, expected) in cases {
        assert_eq!(told(&parse(payload.as_bytes(), &ParseOptions::default())), expected, "{payload:.40}");
    }
    let parsed = parse(b"{\"Records\":[]}", &ParseOptions { max_bytes: 5, ..ParseOptions::default() });
    assert_eq!(told(&parsed), "! too_large");
    let parsed = parse(b"{\"b\":1,\"a\":2}", &ParseOptions::default());
    assert!(parsed.errors[0].detail.contains("\"b\", \"a\""), "the top-level keys stand in the error: {}", parsed.errors[0].detail);
}

#[test]
fn a_logged_key_is_taken_only_where_the_key_is_missing() {
    let mut logged = record("aws:s3", "ObjectCreated:Put", "a%2Bb");
    logged["s3"]["object"]["urlDecodedKey"] = json!("wrong");
    assert_eq!(one(&json!({"Records": [logged.clone()]})).object.key.as_str(), "a+b");
    logged["s3"]["object"]["key"] = Value::Null;
    logged["s3"]["object"]["urlDecodedKey"] = json!("a%2Bb");
    assert_eq!(one(&json!({"Records": [logged]})).object.key.as_str(), "a%2Bb");
}

#[test]
fn sequencers_are_ordered_for_one_key_of_one_family() {
    let cases = [
        (Family::Aws, "k", "k", "0055AED6DCD90281E5", "0055AED6DCD90281E6", Some(Ordering::Less)),
        (Family::MinIo, "k", "k", "16F0", "16f0", Some(Ordering::Equal)),
        (Family::Aws, "k", "l", "01", "02", None),
        (Family::Ceph, "k", "k", "5F01000000000000", "6000000000000000", Some(Ordering::Greater)),
        (Family::Gcs, "k", "k", "9", "10", Some(Ordering::Less)),
        (Family::Azure, "k", "k", "000A", "000B", Some(Ordering::Less)),
        (Family::Versitygw, "k", "k", "1", "2", None),
        (Family::Listing, "k", "k", "1", "1", None),
    ];
    for (family, key_a, key_b, a, b, expected) in cases {
        assert_eq!(order(family, (key_a, a), (key_b, b)), expected, "{family} {a} {b}");
    }
}

#[test]
fn family_words_round_trip() {
    for family in Family::ALL {
        assert_eq!(family.as_str().parse(), Ok(family));
    }
    assert!("aws:s3".parse::<Family>().is_err());
}

/// JSON built of the words the readers look for, in places they do not expect.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "Records",
        "Messages",
        "Body",
        "body",
        "Sns",
        "Type",
        "Message",
        "s3",
        "bucket",
        "object",
        "name",
        "key",
        "size",
        "eventName",
        "eventSource",
        "detail",
        "detail-type",
        "source",
        "specversion",
        "data",
        "data_base64",
        "type",
        "eventType",
        "subject",
        "attributes",
        "message",
        "Event",
        "EventName",
        "Key",
        "sequencer",
        "eTag",
        "receivedMessages",
        "SubscribeURL",
        "objectId",
        "bucketId",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z%+:./{}\"]{0,8}".prop_map(Value::from),
        Just(json!("aws:s3")),
        Just(json!("aws.s3")),
        Just(json!("s3:ObjectCreated:Put")),
        Just(json!("Microsoft.Storage.BlobCreated")),
        Just(json!("{\"Records\":[{\"s3\":{}}]}")),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let parsed = parse(&bytes, &ParseOptions::default());
        prop_assert!(parsed.events.len() + parsed.errors.len() + parsed.ignorable.len() <= 256);
    }

    #[test]
    fn familiar_words_in_strange_places_never_panic(value in any_json()) {
        let parsed = parse(value.to_string().as_bytes(), &ParseOptions::default());
        for event in &parsed.events {
            prop_assert!(!event.object.key.as_str().is_empty());
            let _ = envelope(event);
        }
    }

    #[test]
    fn any_key_survives_every_family(key in "[^\u{0}]{1,40}") {
        for (name, notice) in notices(&key) {
            let event = one(&notice);
            prop_assert_eq!(event.object.key.as_str(), key.as_str(), "{}", name);
        }
    }
}
