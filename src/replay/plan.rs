//! The replay plan: per file what would happen. A dry run prints exactly this.

use std::collections::BTreeSet;
use std::fmt;

use crate::domain::names::{Generation, NameError, ReplayId, RunId, StageName};
use crate::replay::manifest::{ReplayFile, ReplayOptions};

/// What `status` knows of one version of an object; the newest generation of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub generation: Generation,
    pub state: KnownState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownState {
    Published,
    Registered,
    Quarantined,
    Superseded,
    InFlight(StageName),
}

/// What the replay does with one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Re-published into landing under a new generation.
    Replay { generation: Generation, run_id: RunId, why: Why },
    /// Nothing: it is published, or registered, at this generation.
    SkipPublished { generation: Generation },
    /// Left alone: a stage is at it.
    InFlight { stage: StageName, generation: Generation },
    /// The same file stands earlier in the request.
    Repeated,
}

impl Action {
    pub fn is_replay(&self) -> bool {
        matches!(self, Action::Replay { .. })
    }
}

/// Why a file is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It never landed; it lands as new.
    NeverLanded,
    /// It was quarantined or superseded and is tried again.
    Unfinished(KnownState),
    /// It is published or in flight, and replacing was forced.
    Forced(KnownState),
    /// It is published and not to be skipped: publish will answer DUPLICATE.
    NotSkipped(KnownState),
}

/// One row of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// Place in the request, from 0; part of the run id, so it never shifts.
    pub index: usize,
    pub file: ReplayFile,
    pub action: Action,
}

/// A replay, file by file, in the request's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayPlan {
    pub replay_id: ReplayId,
    pub options: ReplayOptions,
    pub files: Vec<PlannedFile>,
}

/// Counts for people and for progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlanCounts {
    pub replay: usize,
    pub skip_published: usize,
    pub in_flight: usize,
    pub repeated: usize,
}

/// Run id of file number `index` (product.md §2): `<replayId>-<index:04>`.
///
/// # Errors
/// Never for a checked replay id, which is short enough.
pub fn run_id(replay_id: &ReplayId, index: usize) -> Result<RunId, NameError> {
    format!("{replay_id}-{index:04}").parse()
}

/// Plans a replay against what is known of each file (decisions.md 4).
///
/// `known` answers for the version the file names, or for the newest one if it names none.
///
/// # Errors
/// As [`run_id`].
pub fn plan(
    replay_id: &ReplayId,
    files: &[ReplayFile],
    options: ReplayOptions,
    known: impl Fn(&ReplayFile) -> Option<Known>,
) -> Result<ReplayPlan, NameError> {
    let mut seen: BTreeSet<&ReplayFile> = BTreeSet::new();
    let mut planned = Vec::with_capacity(files.len());
    for (index, file) in files.iter().enumerate() {
        let action = if seen.insert(file) { act(known(file), options, run_id(replay_id, index)?) } else { Action::Repeated };
        planned.push(PlannedFile { index, file: file.clone(), action });
    }
    Ok(ReplayPlan { replay_id: replay_id.clone(), options, files: planned })
}

fn act(known: Option<Known>, options: ReplayOptions, run_id: RunId) -> Action {
    let Some(Known { generation, state }) = known else {
        return Action::Replay { generation: Generation::default(), run_id, why: Why::NeverLanded };
    };
    let why = match state {
        _ if options.force && !matches!(state, KnownState::Quarantined | KnownState::Superseded) => Why::Forced(state),
        KnownState::Published | KnownState::Registered if options.skip_if_published => return Action::SkipPublished { generation },
        KnownState::Published | KnownState::Registered => Why::NotSkipped(state),
        KnownState::Quarantined | KnownState::Superseded => Why::Unfinished(state),
        KnownState::InFlight(stage) => return Action::InFlight { stage, generation },
    };
    Action::Replay { generation: generation.next(), run_id, why }
}

impl ReplayPlan {
    pub fn counts(&self) -> PlanCounts {
        let mut counts = PlanCounts::default();
        for file in &self.files {
            match file.action {
                Action::Replay { .. } => counts.replay += 1,
                Action::SkipPublished { .. } => counts.skip_published += 1,
                Action::InFlight { .. } => counts.in_flight += 1,
                Action::Repeated => counts.repeated += 1,
            }
        }
        counts
    }
}

impl fmt::Display for KnownState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KnownState::Published => f.write_str("published"),
            KnownState::Registered => f.write_str("registered"),
            KnownState::Quarantined => f.write_str("quarantined"),
            KnownState::Superseded => f.write_str("superseded"),
            KnownState::InFlight(stage) => write!(f, "in flight in {stage}"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Replay { generation, run_id, why } => {
                write!(f, "replay as generation {}, run {run_id}: ", generation.0)?;
                match why {
                    Why::NeverLanded => f.write_str("it never landed"),
                    Why::Unfinished(state) => write!(f, "it is {state}"),
                    Why::Forced(state) => write!(f, "it is {state}, replacing is forced"),
                    Why::NotSkipped(state) => write!(f, "it is {state}; without force it will end as DUPLICATE"),
                }
            }
            Action::SkipPublished { generation } => write!(f, "skip: generation {} is published", generation.0),
            Action::InFlight { stage, generation } => write!(f, "leave alone: generation {} is in flight in {stage}", generation.0),
            Action::Repeated => f.write_str("skip: the same file stands earlier in the request"),
        }
    }
}

impl fmt::Display for PlannedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.file.version_id.as_deref().map(|v| format!(" version {v}")).unwrap_or_default();
        write!(f, "{:04} {}{version}: {}", self.index, self.file.object, self.action)
    }
}

impl fmt::Display for ReplayPlan {
    /// One line per file and a last one with the counts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.files {
            writeln!(f, "{file}")?;
        }
        let PlanCounts { replay, skip_published, in_flight, repeated } = self.counts();
        write!(f, "replay {}: {replay} to replay, {skip_published} published, {in_flight} in flight, {repeated} repeated", self.replay_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::object::ObjectRef;

    fn file(key: &str) -> ReplayFile {
        ReplayFile { object: ObjectRef { bucket: "raw".parse().expect("valid"), key: key.parse().expect("valid") }, version_id: None }
    }

    fn options(force: bool, skip_if_published: bool) -> ReplayOptions {
        ReplayOptions { force, skip_if_published, ..ReplayOptions::default() }
    }

    fn told(known: Option<KnownState>, options: ReplayOptions) -> String {
        let id: ReplayId = "fix".parse().expect("valid");
        let known = known.map(|state| Known { generation: Generation(2), state });
        let plan = plan(&id, &[file("a")], options, |_| known.clone()).expect("short ids");
        plan.files[0].action.to_string()
    }

    #[test]
    fn each_known_state_has_one_answer() {
        use KnownState::{InFlight, Published, Quarantined, Registered, Superseded};
        let flight = InFlight(StageName::Transform);
        let cases = [
            (None, false, true, "replay as generation 0, run fix-0000: it never landed"),
            (Some(Published), false, true, "skip: generation 2 is published"),
            (Some(Registered), false, true, "skip: generation 2 is published"),
            (
                Some(Published),
                false,
                false,
                "replay as generation 3, run fix-0000: it is published; without force it will end as DUPLICATE",
            ),
            (Some(Published), true, true, "replay as generation 3, run fix-0000: it is published, replacing is forced"),
            (Some(Quarantined), false, true, "replay as generation 3, run fix-0000: it is quarantined"),
            (Some(Superseded), true, true, "replay as generation 3, run fix-0000: it is superseded"),
            (Some(flight), false, true, "leave alone: generation 2 is in flight in transform"),
            (Some(flight), true, true, "replay as generation 3, run fix-0000: it is in flight in transform, replacing is forced"),
        ];
        for (known, force, skip, expected) in cases {
            assert_eq!(told(known, options(force, skip)), expected);
        }
    }

    #[test]
    fn a_plan_prints_every_file_and_keeps_their_numbers() {
        let id: ReplayId = "fix-7".parse().expect("valid");
        let named = ReplayFile { version_id: Some("v9".to_owned()), ..file("b") };
        let files = [file("a"), file("a"), named, file("c")];
        let published = Some(Known { generation: Generation(0), state: KnownState::Published });
        let plan =
            plan(&id, &files, ReplayOptions::default(), |f| if f.version_id.is_some() { published.clone() } else { None }).expect("short");
        assert_eq!(
            plan.to_string(),
            "0000 raw/a: replay as generation 0, run fix-7-0000: it never landed\n\
             0001 raw/a: skip: the same file stands earlier in the request\n\
             0002 raw/b version v9: skip: generation 0 is published\n\
             0003 raw/c: replay as generation 0, run fix-7-0003: it never landed\n\
             replay fix-7: 2 to replay, 1 published, 0 in flight, 1 repeated"
        );
    }

    #[test]
    fn the_longest_replay_id_still_makes_run_ids() {
        let id: ReplayId = "r".repeat(128).parse().expect("valid");
        assert!(run_id(&id, usize::MAX).is_ok());
    }
}
