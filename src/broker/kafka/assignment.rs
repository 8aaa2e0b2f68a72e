//! Which partitions a member owns, and how they are given up. Pure.
//!
//! ```text
//! assigned ─▶ located (its position is known, the worker is told) ─▶ asked back ─▶ released
//!                                              └────────── lost ◀───────┘
//! ```
//! The broker takes back what it asked for as one set, so the client is told when the last of it is
//! released; a position is refused from its own partition's release on.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::position::Partition;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// Its committed position is not known yet; the worker has not heard of it.
    Unlocated,
    Located,
    AskedBack,
}

/// The partitions of one member.
#[derive(Debug, Default)]
pub(super) struct Assignment {
    held: BTreeMap<Partition, Held>,
    /// What the broker asked back and the client still holds, with or without the worker's release.
    asked: BTreeSet<Partition>,
}

/// What is to be done with a set that was asked back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Revocation {
    /// Nobody works on any of it.
    GiveUp,
    /// The worker must release these first.
    Ask(Vec<Partition>),
}

impl Assignment {
    pub(super) fn assign(&mut self, partitions: &[Partition]) {
        self.held.extend(partitions.iter().map(|p| (*p, Held::Unlocated)));
    }

    /// Partitions whose position must be asked for.
    pub(super) fn unlocated(&self) -> Vec<Partition> {
        self.held.iter().filter(|(_, held)| **held == Held::Unlocated).map(|(p, _)| *p).collect()
    }

    pub(super) fn locate(&mut self, partition: Partition) {
        if let Some(held) = self.held.get_mut(&partition).filter(|held| **held == Held::Unlocated) {
            *held = Held::Located;
        }
    }

    pub(super) fn revoke(&mut self, partitions: &[Partition]) -> Revocation {
        let mut ask = Vec::new();
        for p in partitions {
            match self.held.get_mut(p) {
                Some(held @ Held::Located) => {
                    *held = Held::AskedBack;
                    ask.push(*p);
                }
                Some(Held::AskedBack) => ask.push(*p),
                Some(Held::Unlocated) | None => {
                    self.held.remove(p);
                }
            }
        }
        if ask.is_empty() {
            return Revocation::GiveUp;
        }
        self.asked.extend(partitions);
        Revocation::Ask(ask)
    }

    /// Ends the ownership of `partitions`; answers the whole set asked back once none of it is owned any more.
    pub(super) fn release(&mut self, partitions: &[Partition]) -> Option<Vec<Partition>> {
        for p in partitions.iter().filter(|p| self.asked.contains(p)) {
            self.held.remove(p);
        }
        let open = self.asked.iter().any(|p| self.held.contains_key(p));
        (!open && !self.asked.is_empty()).then(|| std::mem::take(&mut self.asked).into_iter().collect())
    }

    /// Takes `partitions` away; answers those the worker knew of.
    pub(super) fn lose(&mut self, partitions: &[Partition]) -> Vec<Partition> {
        let known = |held: Option<Held>| held.is_some_and(|h| h != Held::Unlocated);
        for p in partitions {
            self.asked.remove(p);
        }
        partitions.iter().copied().filter(|p| known(self.held.remove(p))).collect()
    }

    /// What is asked back and not released.
    pub(super) fn overdue(&self) -> Vec<Partition> {
        self.asked.iter().copied().collect()
    }

    pub(super) fn owns(&self, partition: Partition) -> bool {
        self.held.contains_key(&partition)
    }

    /// Whether records of `partition` are to be handed out.
    pub(super) fn works_on(&self, partition: Partition) -> bool {
        self.held.get(&partition) == Some(&Held::Located)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: [Partition; 3] = [Partition(0), Partition(1), Partition(2)];

    fn located(partitions: &[Partition]) -> Assignment {
        let mut a = Assignment::default();
        a.assign(partitions);
        partitions.iter().for_each(|p| a.locate(*p));
        a
    }

    #[test]
    fn a_set_goes_back_with_the_last_release_and_each_partition_is_refused_from_its_own() {
        let mut a = located(&P);
        assert_eq!(a.revoke(&P[1..]), Revocation::Ask(P[1..].to_vec()));
        assert!(a.owns(P[1]) && !a.works_on(P[1]), "may still be committed, is not read on");
        assert_eq!(a.release(&P[1..2]), None);
        assert!(!a.owns(P[1]) && a.owns(P[2]));
        assert_eq!(a.release(&P[2..]), Some(P[1..].to_vec()));
        assert!(a.works_on(P[0]));
        assert_eq!(a.release(&P[..1]), None, "was never asked back");
        assert!(a.owns(P[0]));
    }

    #[test]
    fn what_nobody_works_on_goes_back_at_once() {
        let mut a = Assignment::default();
        a.assign(&P);
        assert_eq!(a.unlocated(), P);
        assert_eq!(a.revoke(&P[..1]), Revocation::GiveUp);
        a.locate(P[1]);
        assert_eq!(a.revoke(&P[1..]), Revocation::Ask(vec![P[1]]));
        assert_eq!(a.release(&P[1..2]), Some(P[1..].to_vec()), "with what was not located yet");
        assert!(P.iter().all(|p| !a.owns(*p)));
    }

    #[test]
    fn a_loss_ends_everything_also_what_was_asked_back() {
        let mut a = located(&P[..2]);
        a.assign(&P[2..]);
        a.revoke(&P[..1]);
        assert_eq!(a.lose(&P), P[..2], "the third was never announced");
        assert_eq!(a.overdue(), []);
        assert_eq!(a.release(&P[..1]), None);
    }
}
