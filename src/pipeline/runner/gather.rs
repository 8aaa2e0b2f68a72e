//! Gathering the inputs of a round: many at once, and on several cores when there are enough of them.

use std::sync::Arc;

use futures::StreamExt;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use crate::pipeline::runner::{Given, Halt, Runner, Task};
use crate::stage::{Stage, StageError};
use crate::state::{Overlay, View};

/// Facts of one task; `None` when it is not gathered.
pub(super) type Gathered<S> = Option<Result<<S as Stage>::Facts, StageError>>;

/// An input and what was known of it; `None` for a task that is not gathered.
type Asked<S> = Option<(Arc<<S as Stage>::Input>, <S as Stage>::Known)>;

/// Inputs that are worth a core of their own: a small file costs some tenths of a millisecond.
const LANE_MIN: usize = 16;

impl<S: Stage> Runner<S> {
    /// Looks at the state for every task, then gathers all of them, a bounded number at once; the facts come in the order
    /// of the tasks. Dropped, it gathers no more.
    pub(super) fn gather(&self, tasks: &[Task<S::Input>]) -> Result<impl Future<Output = Vec<Gathered<S>>> + use<S>, Halt> {
        let overlay = Overlay::default();
        let mut asked: Vec<Asked<S>> = Vec::with_capacity(tasks.len());
        for task in tasks {
            asked.push(match &task.given {
                Given::Input(input, _) => {
                    let view = View::new(self.store.as_ref(), &overlay, task.partition);
                    Some((Arc::clone(input), self.stage.look(view, input).map_err(|e| self.halt(e))?))
                }
                Given::Unreadable(_) | Given::Condemned(..) => None,
            });
        }
        // One on a runtime of one thread, as simulations are: their order is their seed's.
        let threads = Handle::current().metrics().num_workers();
        let lanes = threads.min(asked.len() / LANE_MIN).max(1);
        Ok(gather_all(Arc::clone(&self.stage), asked, lanes, self.around.limits.inflight_objects.div_ceil(lanes)))
    }
}

/// One lane runs here, the others as tasks of their own.
async fn gather_all<S: Stage>(stage: Arc<S>, mut asked: Vec<Asked<S>>, lanes: usize, at_once: usize) -> Vec<Gathered<S>> {
    let size = asked.len().div_ceil(lanes).max(1);
    let mut others = Vec::with_capacity(lanes - 1);
    while asked.len() > size {
        let rest = asked.split_off(size);
        let lane = std::mem::replace(&mut asked, rest);
        others.push(AbortOnDropHandle::new(tokio::spawn(gather_lane(Arc::clone(&stage), lane, at_once))));
    }
    let last = gather_lane(stage, asked, at_once).await;
    let mut facts = Vec::with_capacity(size * lanes);
    for lane in others {
        match lane.await {
            Ok(found) => facts.extend(found),
            // As if it had been gathered here.
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            // The runtime ends, and this with it.
            Err(_) => std::future::pending().await,
        }
    }
    facts.extend(last);
    facts
}

async fn gather_lane<S: Stage>(stage: Arc<S>, asked: Vec<Asked<S>>, at_once: usize) -> Vec<Gathered<S>> {
    let each = asked.into_iter().map(|asked| {
        let stage = Arc::clone(&stage);
        async move {
            let (input, known) = asked?;
            Some(stage.gather(&input, known).await)
        }
    });
    futures::stream::iter(each).buffered(at_once).collect().await
}
