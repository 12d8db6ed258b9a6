//! `cargo xtask ratios`: a sample beside the fewest system calls that it needs, held to bounds; and
//! a look-up beside pgrep(1), `look_ups.rs`.
//!
//! Both sides read the same sleeping processes by turns, and only their ratio is judged: it is
//! the same on another machine, where no time is.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::{Bench, Load, SAMPLERS, Sampler, look_ups};
use crate::complain;

/// Ours, what it is held against, and how many times as much it may take.
struct Bound {
    ours: &'static str,
    limit: &'static str,
    ratio_max: f64,
}

/// What was measured when a bound was set was a quarter to a half lower. The limit in C reads all
/// files of those that sleep, of which we read none.
const BOUNDS: &[Bound] = &[
    Bound { ours: super::TIER_A, limit: "C limit, BPF iterator", ratio_max: 2.5 },
    Bound { ours: super::TIER_B, limit: "C limit, taskstats", ratio_max: 2.2 },
    Bound { ours: "metrics-per-process", limit: "C limit", ratio_max: 0.4 },
    Bound { ours: "metrics-per-process, switches", limit: "C limit, switches", ratio_max: 0.4 },
];

const PROCESSES: &str = "1000";
/// Each side is measured so often, by turns; the median of the ratios is judged.
const ROUNDS: usize = 5;
const SAMPLES: &str = "8";
/// Sleeping processes are the same a tenth of a second later.
const INTERVAL_MS: &str = "100";

/// Measures every pair.
///
/// # Errors
/// A ratio is above its bound.
pub(crate) fn check(root: &Path) -> Result<()> {
    let bench = Bench::build(root)?;
    let sleepers = ["sleepers", "--count", PROCESSES].map(str::to_owned);
    let load = Load::start(&bench, &sleepers)?;
    let mut broken = 0;
    for bound in BOUNDS {
        match bound.measure(&bench) {
            Ok(ratio) => {
                let verdict = if ratio <= bound.ratio_max { "ok  " } else { "FAIL" };
                broken += usize::from(ratio > bound.ratio_max);
                let Bound { ours, limit, ratio_max } = bound;
                writeln!(
                    std::io::stdout(),
                    "  {verdict} {ours}: {ratio:.2} times {limit}, at most {ratio_max}"
                )?;
            }
            Err(error) if bound.may_be_refused() => {
                complain(&format!("  left out: {}: {error:#}", bound.ours));
            }
            Err(error) => return Err(error),
        }
    }
    drop(load);
    broken += look_ups::check(&bench)?;
    if broken > 0 {
        let count = BOUNDS.len() + look_ups::count();
        bail!("{broken} of {count} ratios are above their bounds");
    }
    Ok(())
}

impl Bound {
    fn measure(&self, bench: &Bench) -> Result<f64> {
        let (ours, limit) = (sampler(self.ours)?, sampler(self.limit)?);
        let ratios = (0..ROUNDS).map(|_| {
            let (ours, limit) = (cost(bench, ours)?, cost(bench, limit)?);
            Ok(ours / limit)
        });
        Ok(median(ratios.collect::<Result<_>>()?))
    }

    fn may_be_refused(&self) -> bool {
        sampler(self.ours).is_ok_and(|sampler| sampler.rights != super::Rights::Nothing)
    }
}

fn sampler(name: &str) -> Result<&'static Sampler> {
    let sampler = SAMPLERS.iter().find(|sampler| sampler.name == name);
    sampler.with_context(|| format!("there is no sampler `{name}`"))
}

fn cost(bench: &Bench, sampler: &'static Sampler) -> Result<f64> {
    let options = ["--samples", SAMPLES, "--interval-ms", INTERVAL_MS];
    Ok(bench.measure(sampler, &options)?.cpu_us)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_names_two_samplers() {
        for bound in BOUNDS {
            assert!(sampler(bound.ours).is_ok(), "{}", bound.ours);
            assert!(sampler(bound.limit).is_ok(), "{}", bound.limit);
        }
    }

    #[test]
    fn one_bad_round_does_not_decide() {
        assert!((median(vec![1.2, 9.0, 1.1, 1.3, 1.2]) - 1.2).abs() < 1e-9);
    }
}
