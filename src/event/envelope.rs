//! Peels carriers and tells families apart, most specific first (events.md §1.3 "Detection order",
//! §1.4; decisions.md 51). Users mix wrappings up constantly: there is no flag, only detection.

use serde_json::Value;

use super::facts::{self, Fault, Reading};
use super::s3::{self, Around};
use super::{Family, Ignorable, IgnorableKind, ParseOptions, Parsed, RecordError, RecordReason};
use super::{azure, cloud_event, eventbridge, gcs};

pub(super) fn parse(bytes: &[u8], options: &ParseOptions) -> Parsed {
    let mut peeler = Peeler { options, parsed: Parsed::default() };
    let start = Place { record: None, among_many: false, depth: 0, data_of_cloud_event: false };
    if bytes.len() > options.max_bytes {
        let detail = format!("the notification has {} bytes, at most {} are read", bytes.len(), options.max_bytes);
        peeler.refuse(start, Fault::new(RecordReason::TooLarge, detail));
        return peeler.parsed;
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match (read_json(bytes), &options.cloud_event) {
        // A document that says specversion itself is in structured mode, whatever the headers say.
        (Ok(data), Some(headers)) if !cloud_event::is_one(&data) => peeler.walk(&cloud_event::structured(headers, data), start),
        (Ok(value), _) => peeler.walk(&value, start),
        (Err(fault), _) => peeler.refuse(start, fault),
    }
    peeler.parsed
}

/// Parses a document; one that is itself a JSON string (a log shipper encoded it twice) is parsed
/// once more.
fn read_json(bytes: &[u8]) -> Result<Value, Fault> {
    let parse = |bytes: &[u8]| {
        serde_json::from_slice::<Value>(bytes).map_err(|cause| {
            let detail = cause.to_string();
            let reason = if detail.starts_with("recursion limit") { RecordReason::TooDeep } else { RecordReason::NotJson };
            Fault::new(reason, detail)
        })
    };
    match parse(bytes)? {
        Value::String(text) => parse(text.as_bytes()),
        value => Ok(value),
    }
}

/// Where the walk is.
#[derive(Debug, Clone, Copy)]
struct Place {
    record: Option<usize>,
    /// `record` counts in an array of several and stays, whatever arrays lie inside.
    among_many: bool,
    /// Wrappings peeled so far.
    depth: usize,
    data_of_cloud_event: bool,
}

impl Place {
    fn element(self, idx: usize, n_elements: usize) -> Self {
        if self.among_many { self } else { Self { record: Some(idx), among_many: n_elements > 1, ..self } }
    }
}

struct Peeler<'o> {
    options: &'o ParseOptions,
    parsed: Parsed,
}

impl Peeler<'_> {
    /// Detects what `value` is and reads it; recursion is bounded by `max_depth`.
    fn walk(&mut self, value: &Value, at: Place) {
        if let Value::Array(events) = value {
            return self.event_grid(events, at);
        }
        if !value.is_object() {
            return self.refuse(at, Fault::unsupported(format!("{}, expected an object", facts::shape(value))));
        }
        let has = |field: &str| value.get(field).is_some();
        if has("detail-type") && has("source") {
            return self.take(at, Family::EventBridge, eventbridge::read(value));
        }
        if has("Type") && (has("Message") || has("SubscribeURL")) {
            return self.sns(value, at);
        }
        if facts::text(value, "Event").map(facts::bare_name) == Some("TestEvent") {
            let family = self.options.family_hint.filter(|f| f.is_s3_shaped()).unwrap_or(Family::Aws);
            return self.take(at, family, Ok(Reading::Ignorable(IgnorableKind::TestEvent, "s3:TestEvent".to_owned())));
        }
        if let Some(Value::Array(records)) = value.get("Records") {
            let around = if has("EventName") && has("Key") { Around::NamedRecords } else { Around::Records };
            return self.records(records, around, at);
        }
        if let Some(Value::Array(messages)) = value.get("Messages") {
            for (idx, message) in messages.iter().enumerate() {
                self.embedded(message, "Body", at.element(idx, messages.len()));
            }
            return;
        }
        if cloud_event::is_one(value) {
            return self.cloud_event(value, at);
        }
        if let (true, Some(_)) = (has("eventName"), value.pointer("/s3/bucket")) {
            let around = if at.data_of_cloud_event { Around::CloudEvent } else { Around::Bare };
            return self.s3_record(value, around, at);
        }
        if let Some(kind) = facts::text(value, "eventType").filter(|t| azure::speaks(t)) {
            return self.take(at, Family::Azure, azure::read(value, kind, "eventTime"));
        }
        self.pub_sub(value, at);
    }

    /// An array is Event Grid's if its elements have `eventType` or `specversion` (decisions.md 51).
    fn event_grid(&mut self, events: &[Value], at: Place) {
        let is_event = |e: &Value| e.get("eventType").is_some() || cloud_event::is_one(e);
        if !events.iter().any(is_event) {
            let first = events.first().map_or_else(|| "no element".to_owned(), facts::shape);
            return self.refuse(at, Fault::unsupported(format!("an array of {first}, expected Event Grid's eventType or specversion")));
        }
        for (idx, event) in events.iter().enumerate() {
            let place = at.element(idx, events.len());
            if cloud_event::is_one(event) {
                self.cloud_event(event, place);
            } else if let Some(kind) = facts::text(event, "eventType") {
                self.take(place, Family::Azure, azure::read(event, kind, "eventTime"));
            } else {
                self.refuse(place, Fault::unsupported(format!("{}, expected eventType or specversion", facts::shape(event))));
            }
        }
    }

    /// Elements may differ: one poison message must not lose its neighbours.
    fn records(&mut self, records: &[Value], around: Around, at: Place) {
        for (idx, record) in records.iter().enumerate() {
            let place = at.element(idx, records.len());
            if record.get("body").is_some() {
                self.embedded(record, "body", place);
            } else if let Some(sns) = record.get("Sns") {
                self.sns(sns, place);
            } else if record.get("s3").is_some() {
                self.s3_record(record, around, place);
            } else {
                let fault = if record.get("eventName").is_some() {
                    Fault::missing("s3")
                } else {
                    Fault::unsupported(format!("a record that is {}, expected s3, body or Sns", facts::shape(record)))
                };
                self.refuse(place, fault);
            }
        }
    }

    fn s3_record(&mut self, record: &Value, around: Around, at: Place) {
        let family = s3::family(record, around, self.options.family_hint);
        if family == Family::Aws && s3::looks_like_versitygw(record) {
            self.parsed.suspected = Some(Family::Versitygw);
        }
        self.take(at, family, s3::read(record, family));
    }

    /// SNS: the message is text of JSON, unless the subscription is only being confirmed.
    fn sns(&mut self, value: &Value, at: Place) {
        let kind = facts::text(value, "Type").unwrap_or_default();
        if kind.ends_with("Confirmation") {
            self.parsed.ignorable.push(Ignorable {
                record: at.record,
                what: IgnorableKind::SubscriptionConfirmation,
                name: kind.to_owned(),
            });
            return;
        }
        self.embedded(value, "Message", at);
    }

    /// Peels one wrapping: the document in `field`, as text (the rule) or as it is.
    fn embedded(&mut self, wrapper: &Value, field: &str, at: Place) {
        let Some(inner) = self.deeper(at) else { return };
        match wrapper.get(field) {
            Some(Value::String(text)) => self.walk_text(text, inner),
            Some(document @ (Value::Object(_) | Value::Array(_))) => self.walk(document, inner),
            _ => self.refuse(at, Fault::missing(field)),
        }
    }

    fn walk_text(&mut self, text: &str, at: Place) {
        match read_json(text.as_bytes()) {
            Ok(document) => self.walk(&document, at),
            Err(fault) => self.refuse(at, fault),
        }
    }

    fn cloud_event(&mut self, value: &Value, at: Place) {
        let kind = facts::text(value, "type").unwrap_or_default();
        if azure::speaks(kind) {
            return self.take(at, Family::Azure, azure::read(value, kind, "time"));
        }
        let Some(inner) = self.deeper(Place { data_of_cloud_event: true, ..at }) else { return };
        let data = match cloud_event::data(value) {
            Ok(data) => data,
            Err(fault) => return self.refuse(at, fault),
        };
        let parsed;
        let document = match data {
            cloud_event::Data::Value(document) => document,
            cloud_event::Data::Text(text) => match read_json(text.as_bytes()) {
                Ok(document) => {
                    parsed = document;
                    &parsed
                }
                Err(fault) => return self.refuse(at, fault),
            },
        };
        if kind.starts_with("google.cloud.storage.object.") {
            return self.take(at, Family::Gcs, gcs::read_resource(kind, document, facts::time(value, "time")));
        }
        self.walk(document, inner);
    }

    /// Pub/Sub's notifications of GCS; any other Pub/Sub push carries a document in base64.
    fn pub_sub(&mut self, value: &Value, at: Place) {
        if let Some(Value::Array(received)) = value.get("receivedMessages") {
            for (idx, message) in received.iter().enumerate() {
                self.pub_sub_message(message, at.element(idx, received.len()));
            }
            return;
        }
        self.pub_sub_message(value, at);
    }

    fn pub_sub_message(&mut self, value: &Value, at: Place) {
        if let Some(message) = gcs::message(value) {
            return self.take(at, Family::Gcs, gcs::read(message));
        }
        let detail = format!("{}; no family of events has this shape", facts::shape(value));
        self.refuse(at, Fault::unsupported(detail));
    }

    fn deeper(&mut self, at: Place) -> Option<Place> {
        if at.depth >= self.options.max_depth {
            let detail = format!("the event is wrapped more than {} times", self.options.max_depth);
            self.refuse(at, Fault::new(RecordReason::TooDeep, detail));
            return None;
        }
        Some(Place { depth: at.depth + 1, ..at })
    }

    fn take(&mut self, at: Place, family: Family, reading: Result<Reading, Fault>) {
        self.parsed.family.get_or_insert(family);
        match reading.map(|r| r.ignorable(at.record)) {
            Ok(Ok(ignorable)) => self.parsed.ignorable.push(ignorable),
            Ok(Err(mut event)) => {
                event.record = at.record;
                self.parsed.events.push(*event);
            }
            Err(fault) => self.refuse(at, fault),
        }
    }

    fn refuse(&mut self, at: Place, fault: Fault) {
        self.parsed.errors.push(RecordError { record: at.record, reason: fault.reason, detail: fault.detail });
    }
}
