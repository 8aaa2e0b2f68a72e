//! Reading ahead: one thread makes pieces of a large file while another uses them.

use std::sync::mpsc::sync_channel;

/// Pieces that wait to be used.
const AHEAD: usize = 8;

/// Hands every piece `make` answers to `take`, in order, until it answers `None`. The first two are made
/// on this thread, so a small file costs no thread; of a larger one the rest is made beside.
///
/// # Errors
/// The first of either; nothing is made or taken after it.
pub fn ahead<T: Send, E: Send>(
    mut make: impl FnMut() -> Result<Option<T>, E> + Send,
    mut take: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    for _ in 0..2 {
        match make()? {
            Some(piece) => take(piece)?,
            None => return Ok(()),
        }
    }
    std::thread::scope(|scope| {
        let (made, pieces) = sync_channel(AHEAD);
        let making = scope.spawn(move || {
            while let Some(piece) = make()? {
                if made.send(piece).is_err() {
                    // The taker gave up and says why.
                    break;
                }
            }
            Ok(())
        });
        let mut taken = Ok(());
        while taken.is_ok()
            && let Ok(piece) = pieces.recv()
        {
            taken = take(piece);
        }
        drop(pieces);
        let made = making.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        taken.and(made)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes 0, 1, … up to `n`, then ends or fails.
    fn numbers(n: u32, end: Result<(), String>) -> impl FnMut() -> Result<Option<u32>, String> + Send {
        let mut next = 0;
        move || {
            next += 1;
            if next <= n { Ok(Some(next - 1)) } else { end.clone().map(|()| None) }
        }
    }

    #[test]
    fn every_piece_is_taken_in_order_however_many_there_are() {
        for n in [0, 1, 2, 3, 100] {
            let mut taken = Vec::new();
            ahead(numbers(n, Ok(())), |piece| {
                taken.push(piece);
                Ok(())
            })
            .unwrap();
            assert_eq!(taken, (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_failure_of_either_side_ends_both() {
        for n in [0, 1, 2, 3, 100] {
            let mut taken = 0;
            let failed = ahead(numbers(n, Err("torn".to_owned())), |_| {
                taken += 1;
                Ok(())
            });
            assert_eq!((failed, taken), (Err("torn".to_owned()), n), "what came before the failure was taken");
            let refused = ahead(numbers(1000, Ok(())), |piece| if piece < n { Ok(()) } else { Err(format!("no {piece}")) });
            assert_eq!(refused, Err(format!("no {n}")));
        }
    }

    #[test]
    #[should_panic(expected = "piece 5")]
    fn a_panic_beside_is_a_panic_here() {
        let mut next = 0;
        let make = move || {
            next += 1;
            assert!(next < 5, "piece {next}");
            Ok::<_, String>(Some(next))
        };
        ahead(make, |_| Ok(())).unwrap();
    }
}
