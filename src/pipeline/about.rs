//! What an input's record says of itself in its headers: for log lines about it, and for the trace it belongs to.
//!
//! A trace begins where an object lands, or comes with the notification, and goes on to everything that is written about
//! that landing until it joins a batch. A batch begins a trace of its own, as it has many objects; the objects' last
//! status rows carry it.

use bytes::Bytes;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::broker::{Headers, OutRecord};
use crate::domain::trace::TraceParent;
use crate::wire::records::LandedObject;

/// Headers of an input; none of what is due by time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About(Headers);

fn find<'h>(headers: &'h Headers, name: &str) -> Option<&'h Bytes> {
    headers.iter().find(|(n, _)| n == name).map(|(_, value)| value)
}

impl About {
    pub fn new(headers: Headers) -> Self {
        Self(headers)
    }

    /// Text of a header, for a field of a log line.
    pub fn text(&self, name: &str) -> Option<&str> {
        find(&self.0, name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Gives the trace to what is written about the same thing. A record about another run, or about a batch that this
    /// run merely sealed, has or begins its own.
    pub fn hand_on(&self, sends: &mut [OutRecord]) {
        let Some(trace) = find(&self.0, TraceParent::HEADER) else { return };
        let run = find(&self.0, "run_id");
        for send in sends {
            let is_about_it = run.is_none() || run == find(&send.headers, "run_id");
            if is_about_it && find(&send.headers, TraceParent::HEADER).is_none() {
                send.headers.push((TraceParent::HEADER.to_owned(), trace.clone()));
            }
        }
    }
}

/// A header of a trace.
pub fn header(trace: &TraceParent) -> (String, Bytes) {
    (TraceParent::HEADER.to_owned(), Bytes::copy_from_slice(trace.as_str().as_bytes()))
}

fn begin(seed: &str) -> TraceParent {
    TraceParent::begin(xxh3_128(seed.as_bytes()), xxh3_64(seed.as_bytes()))
}

/// The trace of a landing that came with none: the same, when the same landing is written again.
pub fn of_landing(object: &LandedObject) -> TraceParent {
    let replay = object.replay.as_ref().map(|r| (r.replay_id.as_str(), r.index));
    let version = (&object.version_id, &object.etag, object.size, object.landed_at);
    begin(&format!("landing/{}/{}/{}/{version:?}/{replay:?}", object.source, object.bucket, object.key))
}

/// The trace of a batch.
pub fn of_batch(batch_id: &str) -> TraceParent {
    begin(&format!("batch/{batch_id}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::position::{Partition, TopicPartition};

    fn send(headers: &[(&str, &str)]) -> OutRecord {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), Bytes::copy_from_slice(v.as_bytes()))).collect();
        let to = TopicPartition { topic: "t".parse().unwrap(), partition: Partition(0) };
        OutRecord { to, key: Bytes::new(), value: None, headers }
    }

    fn traces(input: &[(&str, &str)], mut sends: Vec<OutRecord>) -> Vec<Option<String>> {
        About::new(send(input).headers).hand_on(&mut sends);
        sends.into_iter().map(|s| About::new(s.headers).text(TraceParent::HEADER).map(str::to_owned)).collect()
    }

    #[test]
    fn a_trace_goes_on_to_what_is_about_the_same_run() {
        let sends =
            || vec![send(&[("run_id", "a")]), send(&[("run_id", "b")]), send(&[]), send(&[("run_id", "a"), ("traceparent", "own")])];
        let told = |texts: [Option<&str>; 4]| texts.map(|t| t.map(str::to_owned)).to_vec();
        assert_eq!(traces(&[("traceparent", "x"), ("run_id", "a")], sends()), told([Some("x"), None, None, Some("own")]));
        assert_eq!(traces(&[("traceparent", "x")], sends()), told([Some("x"), Some("x"), Some("x"), Some("own")]), "before it has a run");
        assert_eq!(traces(&[("run_id", "a")], sends()), told([None, None, None, Some("own")]));
    }
}
