//! Groups: who owns which partition, and the hand-over between two owners.
//!
//! ```text
//! free ──assign──▶ owned ──(wanted by another)──▶ revoking ──release──▶ free
//!                                                    └──deadline──▶ member fenced, free
//! ```
//! Cooperative and sticky: a member keeps what it has unless balance wants it elsewhere.

use std::collections::BTreeMap;

use crate::domain::names::TopicName;
use crate::domain::position::Partition;
use crate::domain::time::{Span, Timestamp};

#[derive(Default)]
pub(super) struct Groups {
    by_name: BTreeMap<(String, TopicName), Group>,
    next_member: u64,
}

/// A member of one group; never reused.
pub(super) type MemberId = u64;

pub(super) struct Group {
    members: BTreeMap<MemberId, Member>,
    owners: Vec<Option<MemberId>>,
}

#[derive(Default)]
struct Member {
    /// Owned, and already reported as assigned.
    reported: Vec<Partition>,
    /// Asked back, with the time by which it must be released.
    revoking: BTreeMap<Partition, Timestamp>,
    /// Asked back and already reported.
    announced: Vec<Partition>,
}

/// What a member's next poll has to report.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Revoked(Vec<Partition>),
    Assigned(Vec<Partition>),
    Fenced,
}

impl Groups {
    pub(super) fn join(&mut self, group: &str, topic: &TopicName, partitions: u32, now: Timestamp, deadline: Span) -> MemberId {
        self.next_member += 1;
        let id = self.next_member;
        let group = self
            .by_name
            .entry((group.to_owned(), topic.clone()))
            .or_insert_with(|| Group { members: BTreeMap::new(), owners: vec![None; partitions as usize] });
        group.members.insert(id, Member::default());
        group.balance(now, deadline);
        id
    }

    pub(super) fn get(&self, group: &str, topic: &TopicName) -> Option<&Group> {
        self.by_name.get(&(group.to_owned(), topic.clone()))
    }

    pub(super) fn get_mut(&mut self, group: &str, topic: &TopicName) -> Option<&mut Group> {
        self.by_name.get_mut(&(group.to_owned(), topic.clone()))
    }

    /// Groups reading `topic`.
    pub(super) fn of(&self, topic: &TopicName) -> impl Iterator<Item = &str> {
        self.by_name.keys().filter(move |(_, t)| t == topic).map(|(g, _)| g.as_str())
    }
}

impl Group {
    pub(super) fn owns(&self, member: MemberId, partition: Partition) -> bool {
        self.owners.get(partition.0 as usize).copied().flatten() == Some(member)
    }

    pub(super) fn leave(&mut self, member: MemberId, now: Timestamp, deadline: Span) {
        self.members.remove(&member);
        self.owners.iter_mut().filter(|o| **o == Some(member)).for_each(|o| *o = None);
        self.balance(now, deadline);
    }

    pub(super) fn release(&mut self, member: MemberId, partitions: &[Partition], now: Timestamp, deadline: Span) {
        if let Some(m) = self.members.get_mut(&member) {
            for p in partitions {
                m.revoking.remove(p);
                m.announced.retain(|a| a != p);
                m.reported.retain(|r| r != p);
                if let Some(owner) = self.owners.get_mut(p.0 as usize).filter(|o| **o == Some(member)) {
                    *owner = None;
                }
            }
        }
        self.balance(now, deadline);
    }

    /// What `member` must hear next; marks it as heard.
    pub(super) fn next_change(&mut self, member: MemberId, now: Timestamp, deadline: Span) -> Change {
        self.fence_late(now, deadline);
        let owners = &self.owners;
        let Some(m) = self.members.get_mut(&member) else {
            return Change::Fenced;
        };
        let revoked: Vec<Partition> = m.revoking.keys().filter(|p| !m.announced.contains(p)).copied().collect();
        if !revoked.is_empty() {
            m.announced.extend(&revoked);
            return Change::Revoked(revoked);
        }
        let assigned: Vec<Partition> =
            numbered(owners).filter(|(p, o)| *o == Some(member) && !m.reported.contains(p)).map(|(p, _)| p).collect();
        if assigned.is_empty() {
            return Change::None;
        }
        m.reported.extend(&assigned);
        Change::Assigned(assigned)
    }

    /// Whether [`Group::next_change`] would report anything.
    pub(super) fn has_change(&self, member: MemberId) -> bool {
        let Some(m) = self.members.get(&member) else {
            return true;
        };
        m.revoking.keys().any(|p| !m.announced.contains(p))
            || numbered(&self.owners).any(|(p, o)| o == Some(member) && !m.reported.contains(&p))
    }

    fn fence_late(&mut self, now: Timestamp, deadline: Span) {
        let late: Vec<MemberId> =
            self.members.iter().filter(|(_, m)| m.revoking.values().any(|by| *by <= now)).map(|(id, _)| *id).collect();
        for member in late {
            self.leave(member, now, deadline);
        }
    }

    /// Gives free partitions to whoever has fewest and asks surplus back from whoever has most.
    fn balance(&mut self, now: Timestamp, deadline: Span) {
        if self.members.is_empty() {
            return;
        }
        let mut load: BTreeMap<MemberId, usize> = self.members.keys().map(|id| (*id, 0)).collect();
        for owner in self.owners.iter().flatten() {
            *load.entry(*owner).or_default() += 1;
        }
        for (id, m) in &self.members {
            *load.entry(*id).or_default() -= m.revoking.len();
        }
        // Partitions being revoked will be free soon: their next owner is decided then.
        for owner in self.owners.iter_mut().filter(|o| o.is_none()) {
            let (poorest, n) = load.iter_mut().min_by_key(|(_, n)| **n).expect("there is a member");
            *owner = Some(*poorest);
            *n += 1;
        }
        let pending: usize = self.members.values().map(|m| m.revoking.len()).sum();
        let fair = self.owners.len() / self.members.len();
        let mut wanted: usize = load.values().map(|n| fair.saturating_sub(*n)).sum::<usize>().saturating_sub(pending);
        while wanted > 0 {
            let (richest, n) = load.iter_mut().max_by_key(|(_, n)| **n).expect("there is a member");
            if *n <= fair {
                break;
            }
            let member = *richest;
            let m = self.members.get_mut(&member).expect("load counts members");
            let Some(p) = numbered(&self.owners).filter(|(p, o)| *o == Some(member) && !m.revoking.contains_key(p)).map(|(p, _)| p).last()
            else {
                break;
            };
            m.revoking.insert(p, now.plus(deadline));
            *n -= 1;
            wanted -= 1;
        }
    }
}

fn numbered(owners: &[Option<MemberId>]) -> impl Iterator<Item = (Partition, Option<MemberId>)> + '_ {
    owners.iter().enumerate().map(|(p, o)| (Partition(u32::try_from(p).expect("made from a u32")), *o))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Span = Span::from_secs(30);

    fn topic() -> TopicName {
        "landing".parse().unwrap()
    }

    #[test]
    fn partitions_move_only_after_their_release() {
        let mut groups = Groups::default();
        let t0 = Timestamp::EPOCH;
        let a = groups.join("validate", &topic(), 4, t0, DEADLINE);
        let group = groups.get_mut("validate", &topic()).unwrap();
        assert!(matches!(group.next_change(a, t0, DEADLINE), Change::Assigned(p) if p.len() == 4));
        let b = groups.join("validate", &topic(), 4, t0, DEADLINE);
        let group = groups.get_mut("validate", &topic()).unwrap();
        assert_eq!(group.next_change(b, t0, DEADLINE), Change::None, "nothing is free yet");
        let Change::Revoked(asked) = group.next_change(a, t0, DEADLINE) else { panic!("a must give up two") };
        assert_eq!(asked.len(), 2);
        assert!(group.owns(a, asked[0]), "still the owner until the release");
        group.release(a, &asked, t0, DEADLINE);
        let Change::Assigned(got) = group.next_change(b, t0, DEADLINE) else { panic!("b gets them") };
        assert_eq!(got, asked);
        assert_eq!(group.next_change(a, t0, DEADLINE), Change::None);
    }

    #[test]
    fn a_member_that_never_releases_is_fenced() {
        let mut groups = Groups::default();
        let t0 = Timestamp::EPOCH;
        let a = groups.join("g", &topic(), 2, t0, DEADLINE);
        let b = groups.join("g", &topic(), 2, t0, DEADLINE);
        let group = groups.get_mut("g", &topic()).unwrap();
        let later = t0.plus(DEADLINE);
        assert!(matches!(group.next_change(b, later, DEADLINE), Change::Assigned(p) if p.len() == 2));
        assert_eq!(group.next_change(a, later, DEADLINE), Change::Fenced);
    }

    #[test]
    fn every_partition_has_one_owner_whatever_joins_and_leaves() {
        let mut groups = Groups::default();
        let mut jitter = crate::clock::Jitter::new(3);
        let mut members = Vec::new();
        for _ in 0..200 {
            if members.is_empty() || jitter.below(2) == 0 {
                members.push(groups.join("g", &topic(), 5, Timestamp::EPOCH, DEADLINE));
            } else {
                let gone = members.swap_remove(usize::try_from(jitter.below(members.len() as u64)).unwrap());
                groups.get_mut("g", &topic()).unwrap().leave(gone, Timestamp::EPOCH, DEADLINE);
            }
            let group = groups.get_mut("g", &topic()).unwrap();
            for _ in 0..3 {
                for m in &members {
                    if let Change::Revoked(p) = group.next_change(*m, Timestamp::EPOCH, DEADLINE) {
                        group.release(*m, &p, Timestamp::EPOCH, DEADLINE);
                    }
                }
            }
            if !members.is_empty() {
                assert!(group.owners.iter().all(|o| o.is_some_and(|o| members.contains(&o))));
                let counts: Vec<usize> = members.iter().map(|m| group.owners.iter().filter(|o| **o == Some(*m)).count()).collect();
                let (min, max) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                assert!(max - min <= 5_usize.div_ceil(members.len()), "{counts:?}");
            }
        }
    }
}
