//! Every process that is remembered, ascending by key.
//!
//! A sweep is ascending too, so the two are walked side by side and nothing is looked up.

use std::sync::Arc;

use super::undecided::ProgramMark;
use super::{Decision, Place, RowNumber};
use crate::process::{Identity, ProcessKey, ProcessSample};
use crate::slack::{self, Slack};
use crate::units::{DelayTotals, NarrowTotals};
use crate::walk::Walk;

/// A process as the groups see it; also kept for those that ended, until the ledger has
/// settled them.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) key: ProcessKey,
    pub(super) place: Option<Place>,
    pub(super) identity: Arc<Identity>,
    /// Which conditions could be decided.
    pub(super) decision: Decision,
    /// Which of the programs that it executed it ran when it was last looked at.
    pub(super) program: ProgramMark,
    /// Whether it did something while it was undecided that is not remembered.
    pub(super) has_lost_deeds: bool,
    /// Its parent when it was last looked at.
    pub(super) parent_pid: u32,
    /// How often it gave the CPU up, and was taken off it; `None` until that was read once.
    pub(super) switches: Option<NarrowTotals<2>>,
    /// For how long it was known to have waited, at the most; `None` where nobody knows what it
    /// had waited when it was first seen. Boxed, since few ask.
    pub(super) delays: Option<Box<DelayTotals>>,
    /// The round in which this was first looked at.
    pub(super) first_round: u32,
    /// The round in which this was last looked at.
    pub(super) round: u32,
}

impl Member {
    /// One of which nothing is decided yet.
    pub(super) fn new(process: &ProcessSample, round: u32) -> Self {
        Member {
            key: process.key,
            place: None,
            identity: Arc::clone(&process.identity),
            decision: Decision::Doubtful(RowNumber::FIRST),
            program: ProgramMark::of(process),
            has_lost_deeds: false,
            parent_pid: process.parent_pid,
            switches: None,
            delays: None,
            first_round: round,
            round: 0,
        }
    }
}

/// See the top of this file.
#[derive(Debug, Default)]
pub(super) struct Members {
    rows: Vec<Member>,
    slack: Slack,
}

impl Members {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn get(&self, key: ProcessKey) -> Option<&Member> {
        let position = self.rows.binary_search_by_key(&key, |member| member.key).ok()?;
        self.rows.get(position)
    }

    pub(super) fn get_mut(&mut self, key: ProcessKey) -> Option<&mut Member> {
        let position = self.rows.binary_search_by_key(&key, |member| member.key).ok()?;
        self.rows.get_mut(position)
    }

    /// The next one on a walk.
    pub(super) fn next(&mut self, walk: &Walk, key: ProcessKey) -> Option<&mut Member> {
        let position = walk.find(&self.rows, key, |member| member.key)?;
        self.rows.get_mut(position)
    }

    /// The same, to be looked at.
    pub(super) fn find(&self, walk: &Walk, key: ProcessKey) -> Option<&Member> {
        let position = walk.find(&self.rows, key, |member| member.key)?;
        self.rows.get(position)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.rows.iter_mut()
    }

    /// Those that ever bore this PID and are remembered.
    pub(super) fn bearers_of(&self, pid: u32) -> &[Member] {
        let begin = self.rows.partition_point(|member| member.key.pid < pid);
        let end = self.rows.partition_point(|member| member.key.pid <= pid);
        self.rows.get(begin..end).unwrap_or_default()
    }

    /// Takes newcomers in, whom nobody knows yet.
    pub(super) fn enter(&mut self, newcomers: &mut Vec<Member>) {
        slack::merge(&mut self.rows, newcomers, |member| member.key);
        self.rows.dedup_by_key(|member| member.key);
        self.slack.give_back(&mut self.rows);
    }

    /// Hands out those whose keys are borne by others now, ascending.
    pub(super) fn take_former(&mut self, is_succeeded: impl Fn(ProcessKey) -> bool) -> Vec<Member> {
        self.rows.extract_if(.., |member| is_succeeded(member.key)).collect()
    }

    /// Forgets these.
    pub(super) fn forget(&mut self, mut keys: Vec<ProcessKey>) {
        if !keys.is_empty() {
            keys.sort_unstable();
            let walk = Walk::default();
            self.rows.retain(|member| walk.find(&keys, member.key, |key| *key).is_none());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever adds a field decides here that ten thousand processes are worth it.
    #[test]
    fn what_is_remembered_of_a_process_does_not_grow_unnoticed() {
        assert!(size_of::<Member>() <= 80, "{} bytes", size_of::<Member>());
    }
}
