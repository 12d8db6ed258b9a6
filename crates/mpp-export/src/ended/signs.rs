//! What the signs mean that stand in a table, each once.

use std::collections::BTreeSet;

use mpp_accounting::process::Absence;
use mpp_accounting::report::{Figure, Mark, Tier};

/// The marks and reasons that have been printed.
#[derive(Clone, Debug, Default)]
pub(super) struct Signs {
    marks: BTreeSet<Mark>,
    reasons: BTreeSet<Absence>,
    has_cpu_bound: bool,
}

impl Signs {
    pub(super) fn note(&mut self, figure: Figure) {
        match figure {
            Figure::Known { mark, .. } => {
                self.marks.insert(mark);
            }
            Figure::Absent(why) => {
                self.reasons.insert(why);
            }
        }
    }

    /// The same of CPU time, whose lower bounds have a reason of their own.
    pub(super) fn note_cpu(&mut self, figure: Figure) {
        self.note(figure);
        self.has_cpu_bound |= matches!(figure, Figure::Known { mark: Mark::LowerBound, .. });
    }

    pub(super) fn note_estimate(&mut self) {
        self.marks.insert(Mark::Estimate);
    }

    /// One clause for each sign. `tier` is how ends were seen, where anybody looked.
    pub(super) fn clauses(&self, tier: Option<Tier>) -> Vec<String> {
        let estimate =
            match (self.marks.contains(&Mark::Bound), self.marks.contains(&Mark::Estimate)) {
                (true, true) => Some("~ estimate, or within 1 KiB a thread"),
                (true, false) => Some("~ within 1 KiB a thread"),
                (false, true) => Some("~ estimate"),
                (false, false) => None,
            };
        let meaning = match tier {
            Some(Tier::C) => ">= at least: what was done when it was last seen",
            Some(Tier::A | Tier::B) if self.has_cpu_bound => {
                ">= at least: CPU time is told before a process has torn itself down, the rest only \
                 to its parent"
            }
            _ => ">= at least",
        };
        let at_least = self.marks.contains(&Mark::LowerBound).then_some(meaning);
        let signs = estimate.into_iter().chain(at_least).map(str::to_owned);
        signs.chain(self.reasons.iter().map(|why| format!("- unknown: {why}"))).collect()
    }
}
