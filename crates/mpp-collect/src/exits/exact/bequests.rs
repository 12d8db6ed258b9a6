//! What environments processes had that have ended, for those that they forked.
//!
//! A fork copies its parent's memory, environment included. Where that has been written over, the
//! copy tells nothing, and the parent's remembered one stands for it. But a daemon forks twice:
//! the one that forked it has ended when a sweep first meets it, and its parent is init. The end
//! of that one was told with this sweep, or with the one before, where the daemon was forked
//! behind its back; so what it had is kept that long.
//!
//! The trap is an exec. Whoever executed something after it forked had another environment then.

use std::collections::HashMap;
use std::sync::Arc;

use mpp_accounting::process::{Identity, ProcessKey};
use mpp_accounting::slack::Slack;
use mpp_accounting::units::BootTime;

use super::Ended;

/// No more than this are kept of one sweep.
const KEPT_MAX: usize = 16_384;

/// See the top of this file.
#[derive(Debug, Default)]
pub(super) struct Bequests {
    latest: HashMap<ProcessKey, Bequest>,
    former: HashMap<ProcessKey, Bequest>,
    slack: Slack,
    former_slack: Slack,
}

/// What one of the ended has left.
#[derive(Debug)]
struct Bequest {
    identity: Arc<Identity>,
    /// When it executed something last; `None` where it never has, or before anybody looked.
    executed_at: Option<BootTime>,
}

impl Bequests {
    /// Begins a sweep: what the one before the last has told is forgotten.
    pub(super) fn begin_round(&mut self) {
        std::mem::swap(&mut self.latest, &mut self.former);
        std::mem::swap(&mut self.slack, &mut self.former_slack);
        self.slack.give_back_map(&mut self.latest);
        self.latest.clear();
    }

    /// Keeps what an ended process has left, if that is its environment as a whole.
    pub(super) fn keep(&mut self, ended: &Ended, identity: &Arc<Identity>) {
        let has_environment =
            identity.environment.value().is_some() && !identity.is_environment_incomplete;
        if has_environment && self.latest.len() < KEPT_MAX {
            let executed_at = ended.executed_at().map(|ns| BootTime { ns });
            let bequest = Bequest { identity: Arc::clone(identity), executed_at };
            self.latest.insert(ended.key, bequest);
        }
    }

    /// Who had the environment that this ended process handed on to what it forked at a moment.
    pub(super) fn get(&self, forker: ProcessKey, forked_at: BootTime) -> Option<&Identity> {
        let bequest = self.latest.get(&forker).or_else(|| self.former.get(&forker))?;
        let is_of_then = bequest.executed_at.is_none_or(|executed_at| executed_at <= forked_at);
        is_of_then.then_some(&*bequest.identity)
    }
}

#[cfg(test)]
mod tests {
    use mpp_accounting::process::{Absence, EnvironmentEntry, Reading};
    use mpp_parse::bpf_record::TaskKey;

    use super::super::orphans::tests::ended;
    use super::*;
    use crate::identity::named;

    const KEY: ProcessKey = ProcessKey { pid: 7, start_time_ticks: 100 };
    const FORKED_AT: BootTime = BootTime { ns: 2_000_000_000 };

    /// Has one end that executed something last at this moment, as this process did it.
    fn bequests(executed: Option<(u32, u64)>, is_incomplete: bool) -> Bequests {
        let variable = EnvironmentEntry { key: b"TAG"[..].into(), value: [].into() };
        let identity = Arc::new(Identity {
            environment: Reading::Value(Box::from([variable])),
            is_environment_incomplete: is_incomplete,
            ..named(Box::from(*b"program"), 0, Absence::Vanished)
        });
        let exec = executed.map(|(id, ns)| (TaskKey { id, start_ns: 0 }, Some(ns)));
        let mut bequests = Bequests::default();
        bequests.keep(&Ended { exec, ..ended(KEY, KEY, 300) }, &identity);
        bequests
    }

    fn check(executed: Option<(u32, u64)>, is_incomplete: bool, expected: bool) {
        let bequests = bequests(executed, is_incomplete);
        assert_eq!(bequests.get(KEY, FORKED_AT).is_some(), expected, "{executed:?}");
    }

    #[test]
    fn an_environment_is_handed_on_unless_it_is_that_of_a_later_exec_or_not_whole() {
        check(None, false, true);
        check(Some((KEY.pid, FORKED_AT.ns)), false, true);
        check(Some((KEY.pid, FORKED_AT.ns + 1)), false, false);
        // The exec of whoever forked it.
        check(Some((1, 1_000_000_000)), false, true);
        check(None, true, false);
    }

    #[test]
    fn what_is_left_is_kept_until_the_sweep_after_next() {
        let mut bequests = bequests(None, false);
        let kept = [0; 3].map(|_| {
            let is_kept = bequests.get(KEY, FORKED_AT).is_some();
            bequests.begin_round();
            is_kept
        });
        assert_eq!(kept, [true, true, false]);
    }
}
