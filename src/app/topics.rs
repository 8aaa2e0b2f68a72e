//! The topics of an installation on a cluster: looked at and made without a process, a lake or a state folder.

use crate::app::wiring::StartError;
use crate::broker::cluster::Cluster;
use crate::broker::topic_plan::TopicPlan;
use crate::pipeline::topics::Topics;

/// How a process named `instance` reaches a cluster.
#[cfg(feature = "kafka")]
pub(crate) fn options(cluster: &Cluster, instance: &str) -> crate::broker::kafka::Options {
    let mut options = crate::broker::kafka::Options::of(cluster, instance);
    options.group_prefix.clone_from(&cluster.prefix);
    options
}

/// What the cluster's topics need to be those of the design; changes nothing.
///
/// # Errors
/// What the cluster says; `NoKafka` in a build without it.
#[cfg(feature = "kafka")]
pub async fn survey(cluster: &Cluster, topics: &Topics) -> Result<TopicPlan, StartError> {
    Ok(crate::broker::kafka::survey(options(cluster, "topics"), &topics.specs()).await?)
}

/// Creates and alters what [`survey`] tells; nothing while anything differs dangerously. Answers with what was found.
///
/// # Errors
/// As [`survey`].
#[cfg(feature = "kafka")]
pub async fn carry_out(cluster: &Cluster, topics: &Topics) -> Result<TopicPlan, StartError> {
    Ok(crate::broker::kafka::carry_out(options(cluster, "topics"), &topics.specs()).await?)
}

#[cfg(not(feature = "kafka"))]
pub async fn survey(_: &Cluster, _: &Topics) -> Result<TopicPlan, StartError> {
    Err(StartError::NoKafka)
}

#[cfg(not(feature = "kafka"))]
pub async fn carry_out(_: &Cluster, _: &Topics) -> Result<TopicPlan, StartError> {
    Err(StartError::NoKafka)
}
