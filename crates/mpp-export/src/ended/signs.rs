//! What the signs mean that stand in a table, each once.

use std::collections::BTreeSet;

use mpp_accounting::process::Absence;
use mpp_accounting::report::{Figure, Mark};

/// The marks and reasons that have been printed.
#[derive(Clone, Debug, Default)]
pub(super) struct Signs {
    marks: BTreeSet<Mark>,
    reasons: BTreeSet<Absence>,
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

    pub(super) fn note_estimate(&mut self) {
        self.marks.insert(Mark::Estimate);
    }

    /// One clause for each sign.
    pub(super) fn clauses(&self) -> Vec<String> {
        let estimate =
            match (self.marks.contains(&Mark::Bound), self.marks.contains(&Mark::Estimate)) {
                (true, true) => Some("~ estimate, or within 1 KiB a thread"),
                (true, false) => Some("~ within 1 KiB a thread"),
                (false, true) => Some("~ estimate"),
                (false, false) => None,
            };
        let at_least = self.marks.contains(&Mark::LowerBound).then_some(">= at least");
        let signs = estimate.into_iter().chain(at_least).map(str::to_owned);
        signs.chain(self.reasons.iter().map(|why| format!("- unknown: {why}"))).collect()
    }
}
