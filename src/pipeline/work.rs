//! Where CPU goes: the blocking pool, or inline where order must be deterministic.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The computation panicked; whatever it was computing is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a computation panicked: {message}")]
pub struct Panicked {
    pub message: String,
}

/// A seam for CPU over about a millisecond (Parquet, scans).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Work {
    /// On the caller's thread: what is small, and the simulation, where one seed must give one history.
    Inline,
    /// On the runtime's blocking pool.
    #[default]
    Pool,
}

/// Input up to this size is worked on in less time than another thread takes to wake.
const SMALL_BYTES: u64 = 32 << 10;

impl Work {
    /// Where work on so many stored bytes goes.
    pub fn on(self, bytes: u64) -> Self {
        if bytes <= SMALL_BYTES { Work::Inline } else { self }
    }

    /// Runs `f`; a panic in it is an error here, not the end of the worker.
    pub async fn run<T: Send + 'static>(self, f: impl FnOnce() -> T + Send + 'static) -> Result<T, Panicked> {
        let guarded = move || catch_unwind(AssertUnwindSafe(f)).map_err(|cause| Panicked { message: message(cause.as_ref()) });
        match self {
            Work::Inline => guarded(),
            Work::Pool => match tokio::task::spawn_blocking(guarded).await {
                Ok(result) => result,
                Err(join) => Err(Panicked { message: join.to_string() }),
            },
        }
    }
}

fn message(cause: &(dyn std::any::Any + Send)) -> String {
    let text = cause.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| cause.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_of_the_computation() {
        let done = futures::executor::block_on(Work::Inline.run(|| 7));
        assert_eq!(done, Ok(7));
        let failed = futures::executor::block_on(Work::Inline.run(|| -> i32 { panic!("row {}", 3) }));
        assert_eq!(failed, Err(Panicked { message: "row 3".to_owned() }));
    }
}
