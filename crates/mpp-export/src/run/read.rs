//! What [`write_json`](super::write_json) wrote, read back to compare with.
//!
//! A file may come from a later version: fields that are not known are passed over, a later
//! schema is refused.

use std::fmt;

use mpp_accounting::report::{Mark, Tier};
use mpp_accounting::run::Cost;
use serde_json::Value;

/// Why a text is not what a run used.
#[derive(Debug)]
pub struct CostError {
    what: String,
    source: Option<serde_json::Error>,
}

impl fmt::Display for CostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for CostError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|error| error as _)
    }
}

impl CostError {
    fn expected(what: &str) -> Self {
        let what = format!("expected {what}, but found none");
        CostError { what, source: None }
    }
}

/// Reads what an earlier run used.
///
/// # Errors
/// It is no JSON, or not that of a run, or of a later schema.
pub fn read_cost(text: &[u8]) -> Result<Cost, CostError> {
    let value: Value = serde_json::from_slice(text)
        .map_err(|source| CostError { what: "expected JSON".to_owned(), source: Some(source) })?;
    if value["kind"] != "run" {
        return Err(CostError::expected("the report of a run (`\"kind\":\"run\"`)"));
    }
    if value["schema"] != 1 {
        let found = &value["schema"];
        let what = format!("expected schema 1, but found {found}");
        return Err(CostError { what, source: None });
    }
    let metrics =
        value["metrics"].as_object().ok_or_else(|| CostError::expected("an object `metrics`"))?;
    let mut cost = Cost {
        program: value["program"].as_str().unwrap_or_default().to_owned(),
        tier: tier(&value["tier"]),
        ..Cost::default()
    };
    for (name, number) in metrics {
        if let Some(number) = number.as_f64() {
            cost.metrics.insert(name.clone(), (number, mark(&value["accuracy"][name])));
        }
    }
    Ok(cost)
}

/// A tier of a later version is none that can be compared with.
fn tier(letter: &Value) -> Option<Tier> {
    let tiers = [Tier::A, Tier::B, Tier::C];
    tiers.into_iter().find(|tier| Some(tier.letter()) == letter.as_str())
}

/// A mark of a later version is taken for the weakest.
fn mark(word: &Value) -> Mark {
    let marks = [Mark::Exact, Mark::Bound, Mark::Estimate, Mark::LowerBound];
    marks.into_iter().find(|mark| mark.word() == word.as_str()).unwrap_or(Mark::LowerBound)
}
