//! What a run used, against what an earlier one used.

use std::collections::BTreeMap;

use super::{RunReport, TOTAL_METRICS, levels};
use crate::rate;
use crate::report::{Column, Figure, Mark, Tier};

/// What an earlier run used, as far as is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cost {
    /// The command of that run.
    pub program: String,
    /// How well its ended processes were known, where it says.
    pub tier: Option<Tier>,
    /// Its figures by the metrics' names; what is not there was unknown.
    pub metrics: BTreeMap<String, (f64, Mark)>,
}

/// One metric before and now.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// Which metric.
    pub column: Column,
    /// What it was, where that is known.
    pub before: Option<(f64, Mark)>,
    /// What it is.
    pub now: Figure,
}

impl Change {
    /// By how much it grew, below zero where it fell; `None` where either is unknown.
    #[must_use]
    pub fn difference(&self) -> Option<f64> {
        match self.doubt() {
            Some(_) => None,
            None => Some(rate::rounded(self.now_value()? - self.before?.0)),
        }
    }

    /// Why there is no difference; `None` where there is one.
    #[must_use]
    pub fn doubt(&self) -> Option<Doubt> {
        match (self.before, self.now) {
            (None, _) => Some(Doubt::UnknownBefore),
            (_, Figure::Absent(_)) => Some(Doubt::UnknownNow),
            (Some(_), Figure::Known { .. }) => None,
        }
    }

    /// The same as a share of what it was; `None` of nothing.
    #[must_use]
    pub fn percent(&self) -> Option<f64> {
        rate::percent(self.difference()?, self.before?.0)
    }

    /// How far the difference can be trusted. That to a lower bound, or of one, is an estimate: of
    /// two looks at the same, one sees more than the other.
    #[must_use]
    pub fn mark(&self) -> Mark {
        let now = match self.now {
            Figure::Known { mark, .. } => mark,
            Figure::Absent(_) => Mark::Exact,
        };
        match self.before.map_or(now, |(_, before)| now.and(before)) {
            Mark::LowerBound => Mark::Estimate,
            mark => mark,
        }
    }

    /// What it is, as a number.
    #[must_use]
    pub fn now_value(&self) -> Option<f64> {
        match self.now {
            Figure::Known { value, .. } => Some(value.as_float()),
            Figure::Absent(_) => None,
        }
    }
}

/// Why nothing is known of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// What it was is not known.
    UnknownBefore,
    /// What it is is not known.
    UnknownNow,
}

impl Doubt {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Doubt::UnknownBefore => "what it was is not known",
            Doubt::UnknownNow => "what it is is not known",
        }
    }
}

/// Every metric of a run before and now, in their order.
#[must_use]
pub fn compare(before: &Cost, now: &RunReport) -> Vec<Change> {
    let change = |column: Column| {
        let figure = now.figure(&column)?;
        Some(Change {
            column,
            before: before.metrics.get(column.metric.name).copied(),
            now: figure,
        })
    };
    levels(&TOTAL_METRICS).into_iter().filter_map(change).collect()
}
