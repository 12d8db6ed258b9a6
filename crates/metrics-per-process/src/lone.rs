//! Judges processes one by one, and reads no more of each than decides.
//!
//! A selector knows what it cannot tell yet: its verdict is asked for again with one more thing
//! read, the cheapest first, until it is yes or no.

use std::sync::Arc;

use mpp_accounting::process::{Absence, Identity, IdentityNeeds, Reading};
use mpp_accounting::selector::{Resolution, Selector, Verdict};
use mpp_collect::{Part, Question, Seen, Step};

/// Selectors that do not look beyond a process itself, and what they name looked up.
pub(crate) struct Lone {
    /// Who matches any of them matches.
    pub(crate) selectors: Vec<Selector>,
    pub(crate) resolution: Resolution,
    /// What is told of those that match.
    pub(crate) kept: Kept,
    /// Whose parents are told.
    pub(crate) parents: Parents,
}

/// What is told of a process that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Its PID.
    Pid,
    /// Who it is.
    Identity,
    /// The same with its command line, whether that decides or not.
    IdentityAndCmdline,
}

/// Whose parents are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parents {
    /// Everybody's, for finding descendants.
    OfAll,
    /// Of some, and those are not asked for.
    Unasked,
}

/// What the selectors ask of every process.
struct Asked {
    lone: Lone,
    /// In this order, the cheapest first.
    parts: Vec<Part>,
    environment_keys: Vec<Box<[u8]>>,
    /// Whether no process matches that has not such an environment.
    is_decided_by_environment: bool,
}

impl Lone {
    /// As the collector asks it of every process.
    pub(crate) fn into_question(self) -> Arc<Question> {
        let mut needs = IdentityNeeds::default();
        for selector in &self.selectors {
            needs.extend(&selector.identity_needs());
        }
        let looks_at_users = self.selectors.iter().any(Selector::looks_at_users);
        let name = if self.parents == Parents::OfAll { Part::Stat } else { Part::Comm };
        let parts = [
            (true, name),
            (looks_at_users, Part::Owner),
            (needs.executable, Part::Executable),
            (needs.cgroup, Part::Cgroup),
            (needs.cmdline, Part::Cmdline),
            (!needs.environment_keys.is_empty(), Part::Environ),
        ];
        let parts = parts.into_iter().filter_map(|(is_needed, part)| is_needed.then_some(part));
        let asked = Asked {
            is_decided_by_environment: self.parents == Parents::Unasked
                && self.selectors.iter().all(Selector::looks_at_environment),
            lone: self,
            parts: parts.collect(),
            environment_keys: needs.environment_keys,
        };
        Arc::new(move |seen: &Seen<'_>| asked.judge(seen))
    }
}

impl Kept {
    /// `stat` last, where it tells best whose all the others were.
    fn parts(self) -> &'static [Part] {
        match self {
            Kept::Pid => &[],
            Kept::Identity => &[Part::Owner, Part::Stat],
            Kept::IdentityAndCmdline => &[Part::Cmdline, Part::Owner, Part::Stat],
        }
    }
}

impl Asked {
    fn judge(&self, seen: &Seen<'_>) -> Step {
        if self.is_decided_by_environment && !seen.has(Part::Environ) {
            return Step::Read(Part::Environ);
        }
        let Some(is_lost) = seen.has_lost_environment() else { return Step::Read(Part::Stat) };
        let mut identity = seen.identity(&self.environment_keys);
        if is_lost {
            identity.environment = Reading::Absent(Absence::NotYetKnown);
        }
        if self.is_decided_by_environment && self.is_denied_by_environment(&identity) {
            return Step::No;
        }
        let mut unread = self.parts.iter().filter(|part| !seen.has(**part));
        // Name and user are no readings that may be absent.
        if let Some(part) = unread.clone().find(|part| is_whole(**part)) {
            return Step::Read(*part);
        }
        match (self.verdict(seen.pid, &identity), unread.next()) {
            (Verdict::Yes, _) => self.keep(seen, identity),
            (Verdict::No, _) => Step::No,
            (Verdict::Unknown(_), Some(part)) => Step::Read(*part),
            (Verdict::Unknown(_), None) if is_lost => Step::Undecided,
            (Verdict::Unknown(why), None) => Step::Unknown(why),
        }
    }

    /// What any of them says, the most favourable.
    fn verdict(&self, pid: u32, identity: &Identity) -> Verdict {
        let mut best = Verdict::No;
        for selector in &self.lone.selectors {
            match (selector.matches_identity(pid, identity, &self.lone.resolution), best) {
                (Verdict::Yes, _) => return Verdict::Yes,
                (unknown @ Verdict::Unknown(_), Verdict::No) => best = unknown,
                (Verdict::Unknown(_) | Verdict::No, _) => {}
            }
        }
        best
    }

    fn is_denied_by_environment(&self, identity: &Identity) -> bool {
        let verdicts = self.lone.selectors.iter();
        verdicts.map(|selector| selector.judge_environment(identity)).all(|v| v == Verdict::No)
    }

    fn keep(&self, seen: &Seen<'_>, identity: Identity) -> Step {
        match self.lone.kept.parts().iter().find(|part| !seen.has(**part)) {
            Some(part) => Step::Read(*part),
            None if self.lone.kept == Kept::Pid => Step::Yes,
            None => seen.key().map_or(Step::Undecided, |key| Step::Keep(key, Box::new(identity))),
        }
    }
}

/// Whether a judgement takes it for read.
fn is_whole(part: Part) -> bool {
    matches!(part, Part::Comm | Part::Owner | Part::Stat)
}
