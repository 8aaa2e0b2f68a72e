//! Encodes and decodes framed records. A record written by an older build is resolved from its
//! writer's schema, which the registry knows by the id in the frame.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use apache_avro::{Schema, from_avro_datum, from_value};
use bytes::Bytes;

use crate::domain::names::SchemaId;
use crate::wire::datum::{self, Node};
use crate::wire::frame::{self, FrameError};
use crate::wire::records::{ALL, Record};

/// Room for most records: an object's are a few hundred bytes.
const ENCODED_BYTES: usize = 512;

/// Ids without a schema that are remembered; beyond it the memory begins anew. Anybody who may write can name any id.
const GIVEN_UP_MAX: usize = 10_000;

/// A record could not be encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("no schema with id {} is known here", id.0)]
    UnknownSchema { id: SchemaId },
    #[error("the schema with id {} does not parse: {detail}", id.0)]
    Foreign { id: SchemaId, detail: String },
    #[error("{record} has no id: its schema was not registered at start")]
    Unregistered { record: &'static str },
    #[error("{record} does not fit its schema: {detail}")]
    Misfit { record: &'static str, detail: String },
}

struct Known {
    id: SchemaId,
    schema: Arc<Schema>,
    node: Node,
}

/// Schemas of this build by record, and of every writer by id.
pub struct Codec {
    own: HashMap<&'static str, Known>,
    /// `None`: there is no such schema.
    writers: RwLock<HashMap<SchemaId, Option<Arc<Schema>>>>,
}

impl Codec {
    /// `ids` names the registered id of every record in [`ALL`].
    ///
    /// # Errors
    /// `Unregistered` when one is missing; `Misfit` when a committed schema does not parse.
    pub fn new(ids: &HashMap<String, SchemaId>) -> Result<Self, CodecError> {
        let mut own = HashMap::new();
        let mut writers = HashMap::new();
        for (name, text) in ALL {
            let id = *ids.get(*name).ok_or(CodecError::Unregistered { record: name })?;
            let schema = Arc::new(Schema::parse_str(text).map_err(|e| CodecError::Misfit { record: name, detail: e.to_string() })?);
            let unknown = || CodecError::Misfit { record: name, detail: "its schema uses a type the codec does not know".to_owned() };
            let node = Node::of(&schema).ok_or_else(unknown)?;
            writers.insert(id, Some(Arc::clone(&schema)));
            own.insert(*name, Known { id, schema, node });
        }
        Ok(Self { own, writers: RwLock::new(writers) })
    }

    /// Ids counted from 1: for tests and the simulation, where no registry is asked.
    pub fn numbered() -> Self {
        let ids = ALL.iter().zip(1..).map(|((name, _), id)| ((*name).to_owned(), SchemaId(id))).collect();
        Self::new(&ids).expect("the committed schemas parse: tested")
    }

    /// Makes the schema of an older (or newer) writer known.
    ///
    /// # Errors
    /// `Foreign` when the text is no Avro schema.
    pub fn learn(&self, id: SchemaId, text: &str) -> Result<(), CodecError> {
        let schema = Schema::parse_str(text).map_err(|e| CodecError::Foreign { id, detail: e.to_string() })?;
        self.writers.write().unwrap_or_else(PoisonError::into_inner).insert(id, Some(Arc::new(schema)));
        Ok(())
    }

    /// The registry has no schema of this id: records that name it cannot be read.
    pub fn give_up(&self, id: SchemaId) {
        let mut writers = self.writers.write().unwrap_or_else(PoisonError::into_inner);
        if writers.len() > GIVEN_UP_MAX {
            writers.retain(|_, schema| schema.is_some());
        }
        writers.entry(id).or_insert(None);
    }

    /// The writer's schema, if it is one to be asked for first.
    pub fn unknown(&self, bytes: &[u8]) -> Option<SchemaId> {
        let (id, _) = frame::split(bytes).ok()?;
        let is_known = self.writers.read().unwrap_or_else(PoisonError::into_inner).contains_key(&id);
        (!is_known).then_some(id)
    }

    /// Frame and datum.
    pub fn encode<R: Record>(&self, record: &R) -> Result<Bytes, CodecError> {
        let known = self.own.get(R::NAME).ok_or(CodecError::Unregistered { record: R::NAME })?;
        let mut out = Vec::with_capacity(ENCODED_BYTES);
        out.extend_from_slice(&frame::header(known.id));
        datum::encode(&known.node, record, &mut out).map_err(|e| CodecError::Misfit { record: R::NAME, detail: e.to_string() })?;
        Ok(out.into())
    }

    /// Whether the bytes are a record of this kind, whoever's version of it; of a topic that carries several kinds.
    ///
    /// # Errors
    /// `Frame` and `UnknownSchema`, as for decoding.
    pub fn is<R: Record>(&self, bytes: &[u8]) -> Result<bool, CodecError> {
        let (id, _) = frame::split(bytes)?;
        let writers = self.writers.read().unwrap_or_else(PoisonError::into_inner);
        let writer = writers.get(&id).and_then(Option::as_ref).ok_or(CodecError::UnknownSchema { id })?;
        Ok(matches!(writer.as_ref(), Schema::Record(record) if record.name.name == R::NAME))
    }

    pub fn decode<R: Record>(&self, bytes: &[u8]) -> Result<R, CodecError> {
        let (id, mut datum) = frame::split(bytes)?;
        let known = self.own.get(R::NAME).ok_or(CodecError::Unregistered { record: R::NAME })?;
        if id == known.id {
            return datum::decode(&known.node, datum).map_err(|e| CodecError::Misfit { record: R::NAME, detail: e.to_string() });
        }
        let writers = self.writers.read().unwrap_or_else(PoisonError::into_inner);
        let writer = Arc::clone(writers.get(&id).and_then(Option::as_ref).ok_or(CodecError::UnknownSchema { id })?);
        drop(writers);
        let misfit = |e: apache_avro::Error| CodecError::Misfit { record: R::NAME, detail: e.to_string() };
        from_value(&from_avro_datum(&writer, &mut datum, Some(&known.schema)).map_err(misfit)?).map_err(misfit)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::wire::records::{
        Admitted, FORMAT_VERSION, LandedObject, QuarantineLetter, ReplayControl, ReplayMark, ReplayRequest, ValidatedObject,
    };

    pub(crate) fn admitted() -> Admitted {
        Admitted {
            landing_partition: 1,
            landing_offset: 7,
            bucket: "raw".into(),
            key: "landing/orders/a b+c.csv".into(),
            version_id: None,
            etag: Some("abc".into()),
            size: 12,
            token: "e:abc:12".into(),
            generation: 0,
            run_id: "r".into(),
            replay_id: None,
            forced: false,
            overwrites: false,
            source: "landing".into(),
            first_landed: 1,
            event_time: Some(-1),
            ingest_date: "2026-01-02".into(),
            partition_values: BTreeMap::from([("dt".to_owned(), "x".to_owned())]),
            late: false,
        }
    }

    #[test]
    fn records_round_trip_through_their_schema() {
        let codec = Codec::numbered();
        let record = ValidatedObject {
            format_version: FORMAT_VERSION,
            dataset: "orders".into(),
            contract_hash: "h".into(),
            format: "csv".into(),
            admitted: admitted(),
        };
        let bytes = codec.encode(&record).unwrap();
        assert_eq!(codec.decode::<ValidatedObject>(&bytes).unwrap(), record);
        let landed = LandedObject {
            format_version: FORMAT_VERSION,
            dataset: None,
            bucket: "b".into(),
            key: "k".into(),
            version_id: None,
            etag: None,
            size: None,
            sequencer: Some("0A".into()),
            sequencer_family: Some("hex".into()),
            last_modified: None,
            event_time: None,
            event_name: "ObjectCreated:Put".into(),
            removed: false,
            source: "s".into(),
            origin: "replay".into(),
            landed_at: 5,
            replay: Some(ReplayMark { replay_id: "r1".into(), index: 3, force: true, reason: "fix".into(), first_landed: Some(2) }),
        };
        assert_eq!(codec.decode::<LandedObject>(&codec.encode(&landed).unwrap()).unwrap(), landed);
    }

    #[test]
    fn raw_bytes_survive() {
        let codec = Codec::numbered();
        let letter = QuarantineLetter {
            format_version: FORMAT_VERSION,
            dataset: None,
            bucket: String::new(),
            key: String::new(),
            version_id: None,
            token: String::new(),
            generation: 0,
            run_id: "r".into(),
            replay_id: None,
            landing_partition: -1,
            landing_offset: -1,
            stage: "bridge".into(),
            reason: "event_unreadable".into(),
            detail: String::new(),
            evidence: "{}".into(),
            remedy: String::new(),
            whole_object: true,
            rows_quarantined: 0,
            reasons: BTreeMap::new(),
            row_letters: None,
            samples: vec![],
            contract_hash: None,
            raw: Some(vec![0, 255, 1]),
            at: 1,
        };
        assert_eq!(codec.decode::<QuarantineLetter>(&codec.encode(&letter).unwrap()).unwrap(), letter);
    }

    #[test]
    fn a_record_of_an_older_build_is_resolved_from_its_writers_schema() {
        let older = r#"{"type":"record","name":"ReplayControl","namespace":"lakegate","fields":[{"name":"format_version","type":"int"},
            {"name":"replay_id","type":"string"},{"name":"action","type":"string"},{"name":"requested_at","type":"long"},
            {"name":"requested_by","type":"string"}]}"#;
        let codec = Codec::numbered();
        let mut bytes = frame::header(SchemaId(900)).to_vec();
        bytes.extend([2, 2, b'r', 10]);
        bytes.extend(b"pause");
        bytes.extend([4, 2, b'm']);
        assert!(matches!(codec.decode::<ReplayControl>(&bytes), Err(CodecError::UnknownSchema { .. })));
        codec.learn(SchemaId(900), older).unwrap();
        assert!(codec.is::<ReplayControl>(&bytes).unwrap() && !codec.is::<ReplayRequest>(&bytes).unwrap());
        let order = codec.decode::<ReplayControl>(&bytes).unwrap();
        assert_eq!((order.action.as_str(), order.requested_at, order.reason.as_str()), ("pause", 2, ""));
        assert!(matches!(codec.learn(SchemaId(901), "{"), Err(CodecError::Foreign { .. })));
    }

    #[test]
    fn unknown_ids_and_foreign_bytes_are_refused_by_name() {
        let codec = Codec::numbered();
        assert!(matches!(codec.decode::<ValidatedObject>(b"x"), Err(CodecError::Frame(_))));
        assert!(matches!(codec.decode::<ValidatedObject>(&[0, 0, 0, 9, 9, 1]), Err(CodecError::UnknownSchema { id: SchemaId(2313) })));
        let id = frame::split(
            &codec
                .encode(&ValidatedObject {
                    format_version: 1,
                    dataset: "o".into(),
                    contract_hash: "h".into(),
                    format: "csv".into(),
                    admitted: admitted(),
                })
                .unwrap(),
        )
        .unwrap()
        .0;
        let cut = frame::header(id).to_vec();
        assert!(matches!(codec.decode::<ValidatedObject>(&cut), Err(CodecError::Misfit { .. })));
    }
}
