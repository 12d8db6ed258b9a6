//! Judges processes one by one, and reads no more of each than decides.
//!
//! A selector knows what it cannot tell yet: its verdict is asked for again with one more thing
//! read, the cheapest first, until it is yes or no.

use std::sync::Arc;

use mpp_accounting::process::IdentityNeeds;
use mpp_accounting::selector::{Resolution, Selector, Verdict};
use mpp_collect::{Part, Question, Seen, Step};

/// Selectors that do not look beyond a process itself, and what they name looked up.
pub(crate) struct Lone {
    /// Who matches any of them matches.
    pub(crate) selectors: Vec<Selector>,
    pub(crate) resolution: Resolution,
    /// What is read of those that match, whether it decides or not.
    pub(crate) shown: Option<Part>,
}

impl Lone {
    /// As the collector asks it of every process.
    pub(crate) fn into_question(self) -> Arc<Question> {
        let mut needs = IdentityNeeds::default();
        for selector in &self.selectors {
            needs.extend(&selector.identity_needs());
        }
        let parts = [
            (needs.executable, Part::Executable),
            (needs.cgroup, Part::Cgroup),
            (needs.cmdline, Part::Cmdline),
            (!needs.environment_keys.is_empty(), Part::Environ),
        ];
        let parts: Vec<Part> =
            parts.into_iter().filter_map(|(is_needed, part)| is_needed.then_some(part)).collect();
        Arc::new(move |seen: &Seen<'_>| self.judge(seen, &parts, &needs.environment_keys))
    }

    fn judge(&self, seen: &Seen<'_>, parts: &[Part], keys: &[Box<[u8]>]) -> Step {
        if seen.has_lost_environment() {
            return Step::Undecided;
        }
        let identity = seen.identity(keys);
        let mut doubt = None;
        for selector in &self.selectors {
            match selector.matches_identity(seen.key.pid, &identity, &self.resolution) {
                Verdict::Yes => {
                    let unread = self.shown.filter(|part| seen.text(*part).is_none());
                    return unread.map_or_else(|| Step::Yes(Box::new(identity)), Step::Read);
                }
                Verdict::Unknown(why) => doubt = doubt.or(Some(why)),
                Verdict::No => {}
            }
        }
        let unread = parts.iter().find(|part| seen.text(**part).is_none());
        match (doubt, unread) {
            (None, _) => Step::No,
            (Some(_), Some(part)) => Step::Read(*part),
            (Some(why), None) => Step::Unknown(why),
        }
    }
}
