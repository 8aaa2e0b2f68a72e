//! Replays as the desk sees them: which there are, how far each is, and orders to them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::app::desk::{Answer, Desk, DeskError, refused};
use crate::app::query::QueryError;
use crate::app::since::offset_since;
use crate::app::view::{Page, time};
use crate::domain::names::{ReplayId, StageName};
use crate::domain::position::{NextOffset, Partition};
use crate::domain::time::Timestamp;
use crate::pipeline::outlet::Placed;
use crate::pipeline::topics::Topic;
use crate::replay::progress::Control;
use crate::stage::replay::{Kept, PREFIX};
use crate::wire::records::{FORMAT_VERSION, ReplayControl};

/// One replay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayView {
    pub replay_id: String,
    /// running, paused, cancelling, cancelled or completed.
    pub state: String,
    pub dataset: Option<String>,
    pub reason: String,
    pub requested_by: String,
    pub requested_at: String,
    pub force: bool,
    pub items: u64,
    /// Items landed again so far.
    pub landed: u64,
    /// Landed items at their end.
    pub ended: u64,
    /// Items a cancel left out.
    pub left_out: u64,
    /// Items a second, at most; null: as fast as validate takes them.
    pub objects_per_second: Option<u32>,
    pub outcomes: std::collections::BTreeMap<String, u64>,
    /// When something last moved.
    pub moved_at: String,
}

impl ReplayView {
    fn of(id: &str, kept: Kept) -> Self {
        let p = kept.progress;
        Self {
            replay_id: id.to_owned(),
            state: p.word().to_owned(),
            dataset: kept.dataset,
            reason: kept.reason,
            requested_by: kept.requested_by,
            requested_at: time(kept.requested_at.millis()),
            force: kept.force,
            items: p.items,
            landed: p.landed,
            ended: p.ended(),
            left_out: p.left_out(),
            objects_per_second: p.rate.map(std::num::NonZeroU32::get),
            moved_at: time(p.moved_at.millis()),
            outcomes: p.outcomes,
        }
    }
}

/// An order to a replay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlOrder {
    pub replay_id: String,
    /// pause, resume or cancel.
    pub action: String,
    pub reason: Option<String>,
    pub requested_by: String,
}

impl Desk {
    /// The newest replays.
    pub(crate) async fn replays(&self, limit: usize) -> Result<Page<ReplayView>, DeskError> {
        let mut found: Vec<(Timestamp, ReplayView)> = Vec::new();
        let mut unreadable = 0;
        for p in 0..self.query.outlet.topics.partitions() {
            let mut last: std::collections::BTreeMap<Bytes, Bytes> = std::collections::BTreeMap::new();
            let topic = Topic::Changelog(StageName::Replay);
            self.query
                .records(topic, Partition(p), NextOffset(0), None, |record| {
                    if let Some(value) = record.value.filter(|_| record.key.starts_with(PREFIX)) {
                        last.insert(record.key, value);
                    }
                })
                .await?;
            for (key, value) in last {
                match Kept::decode(&value) {
                    Ok(kept) => {
                        let id = String::from_utf8_lossy(&key[PREFIX.len()..]).into_owned();
                        found.push((kept.requested_at, ReplayView::of(&id, kept)));
                    }
                    Err(_) => unreadable += 1,
                }
            }
        }
        found.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.replay_id.cmp(&y.replay_id)));
        let more = found.len().saturating_sub(limit) as u64;
        Ok(Page { items: found.into_iter().take(limit).map(|(_, view)| view).collect(), more, unreadable })
    }

    /// One replay, as its own answer.
    pub(crate) async fn replay_shown(&self, id: &str) -> Result<Answer, DeskError> {
        let all = self.replays(usize::MAX).await?;
        let items = all.items.into_iter().filter(|r| r.replay_id == id).filter_map(|r| serde_json::to_value(r).ok()).collect();
        Ok(Answer { items, ..Answer::default() })
    }

    /// Writes an order to a replay that is there and not over.
    pub(crate) async fn order_replay(&self, order: ControlOrder) -> Result<Answer, DeskError> {
        let id: ReplayId = order.replay_id.parse().map_err(|e| refused(format!("{e}")))?;
        let control: Control = order.action.parse().map_err(|e| refused(format!("{e}")))?;
        let known = self.replays(usize::MAX).await?.items.into_iter().find(|r| r.replay_id == id.as_str());
        let Some(known) = known else {
            return Err(refused(format!("there is no replay {id}; `lakegate replay list` shows those that began")));
        };
        let idle = match control {
            _ if matches!(known.state.as_str(), "completed" | "cancelled") => true,
            Control::Pause => known.state != "running",
            Control::Resume => known.state != "paused",
            Control::Cancel => known.state == "cancelling",
        };
        if idle {
            return Err(refused(format!("replay {id} is {}: there is nothing to {control}", known.state)));
        }
        let record = ReplayControl {
            format_version: FORMAT_VERSION,
            replay_id: id.to_string(),
            action: control.as_str().to_owned(),
            requested_at: self.clock.now().millis(),
            requested_by: order.requested_by,
            reason: order.reason.unwrap_or_default(),
        };
        let headers = vec![("replay_id".to_owned(), id.to_string().into())];
        let record = self.query.outlet.record(Topic::Replay, id.as_str(), Placed::By(id.as_str()), &record, headers)?;
        self.broker.append(vec![record]).await?;
        let item = serde_json::to_value(known).unwrap_or_default();
        Ok(Answer { items: vec![item], about: serde_json::json!({ "ordered": control.as_str() }), ..Answer::default() })
    }

    /// First offset of a partition of `landing` whose record is not older than `at`; the end if there is none.
    pub(crate) async fn landing_offset(&self, partition: Partition, at: Timestamp) -> Result<NextOffset, DeskError> {
        let topic = self.query.outlet.topics.at(Topic::Landing, partition);
        Ok(offset_since(self.query.reader.as_ref(), &topic, at).await.map_err(QueryError::from)?)
    }
}
