//! Where a moment lies in a topic.

use crate::broker::{LogError, PollLimit, Reader};
use crate::domain::position::{NextOffset, TopicPartition};
use crate::domain::time::Timestamp;

/// First offset of `at` whose record is not older than `moment`; the end if there is none.
///
/// Broker timestamps grow with offsets but for clock corrections; between two records that stand out of
/// order either may be found.
///
/// # Errors
/// When the log does not answer.
pub(crate) async fn offset_since(reader: &dyn Reader, at: &TopicPartition, moment: Timestamp) -> Result<NextOffset, LogError> {
    let one = PollLimit { records: 1, bytes: 1 };
    let bounds = reader.bounds(at).await?;
    let (mut low, mut high) = (bounds.start.0, bounds.end.0);
    while low < high {
        let middle = low + (high - low) / 2;
        let chunk = reader.read(at, NextOffset(middle), one).await?;
        match chunk.records.first() {
            // Compaction and markers leave gaps: the record found may stand after the middle.
            Some(record) if record.timestamp < moment => low = record.offset.next().0,
            _ => high = middle,
        }
    }
    Ok(NextOffset(low))
}
