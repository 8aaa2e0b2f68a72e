//! Gathering the inputs of a round: many at once, and on several cores when there are enough of them.

use std::sync::Arc;

use futures::StreamExt;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use crate::pipeline::runner::task::{Given, Task};
use crate::pipeline::runner::{Halt, Runner};
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
        // One where there is one thread, as in simulations: their order is their seed's.
        let threads = Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
        let lanes = threads.min(asked.len() / LANE_MIN).max(1);
        let stage = Arc::clone(&self.stage);
        let gather = move |asked: Asked<S>| {
            let stage = Arc::clone(&stage);
            async move {
                let (input, known) = asked?;
                Some(stage.gather(&input, known).await)
            }
        };
        Ok(in_lanes(asked, lanes, self.around.limits.inflight_objects.div_ceil(lanes), gather))
    }
}

/// Does `each` to all of `things`, `at_once` of them in each lane; the answers come in the order of the things. One lane
/// runs here, the others as tasks of their own, which end when this is dropped.
async fn in_lanes<T, F, R>(mut things: Vec<T>, lanes: usize, at_once: usize, each: F) -> Vec<R::Output>
where
    T: Send + 'static,
    F: Fn(T) -> R + Clone + Send + 'static,
    R: Future<Output: Send + 'static> + Send + 'static,
{
    let size = things.len().div_ceil(lanes).max(1);
    let mut others = Vec::with_capacity(lanes - 1);
    while things.len() > size {
        let rest = things.split_off(size);
        let lane = in_one_lane(std::mem::replace(&mut things, rest), at_once, each.clone());
        others.push(AbortOnDropHandle::new(tokio::spawn(lane)));
    }
    let last = in_one_lane(things, at_once, each).await;
    let mut answers = Vec::with_capacity(size * lanes);
    for lane in others {
        match lane.await {
            Ok(found) => answers.extend(found),
            // As if it had happened here.
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            // The runtime ends, and this with it.
            Err(_) => std::future::pending().await,
        }
    }
    answers.extend(last);
    answers
}

async fn in_one_lane<T, F: Fn(T) -> R, R: Future>(things: Vec<T>, at_once: usize, each: F) -> Vec<R::Output> {
    futures::stream::iter(things.into_iter().map(each)).buffered(at_once).collect().await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Barrier;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn the_answers_come_in_the_order_of_the_things() {
        for lanes in 1..5 {
            for n in [0, 1, 2, 3, 7, 64, 65] {
                let found = in_lanes((0..n).collect(), lanes, 2, |n: usize| async move {
                    if n.is_multiple_of(3) {
                        tokio::task::yield_now().await;
                    }
                    n * 2
                })
                .await;
                assert_eq!(found, (0..n).map(|n| n * 2).collect::<Vec<_>>(), "{lanes} lanes");
            }
        }
    }

    #[tokio::test]
    async fn lanes_run_at_the_same_time() {
        let all = Arc::new(Barrier::new(3));
        let waits = move |_: usize| {
            let all = Arc::clone(&all);
            async move { all.wait().await.is_leader() }
        };
        assert_eq!(in_lanes(vec![0, 1, 2], 3, 1, waits).await.len(), 3, "each waits for the others");
    }

    #[tokio::test]
    async fn a_panic_in_a_lane_is_one_here() {
        let gathered = tokio::spawn(in_lanes(vec![1, 2], 2, 1, |n| async move { assert!(n == 2, "the first lane's") }));
        assert!(gathered.await.unwrap_err().is_panic());
    }

    #[tokio::test]
    async fn what_is_dropped_goes_no_further() {
        let (begun, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (Arc::clone(&begun), Arc::clone(&ended));
        let never = move |_: usize| {
            let (begun, ended) = (Arc::clone(&counts.0), Guard(Arc::clone(&counts.1)));
            async move {
                begun.fetch_add(1, Ordering::SeqCst);
                let _ended = ended;
                std::future::pending::<()>().await;
            }
        };
        let gathered = tokio::spawn(in_lanes(vec![0; 4], 2, 1, never));
        while begun.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        gathered.abort();
        assert!(gathered.await.unwrap_err().is_cancelled());
        while ended.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    }

    struct Guard(Arc<AtomicUsize>);

    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}
