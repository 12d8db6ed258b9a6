//! `cargo xtask ratios`: a sample beside the fewest system calls that it needs, held to bounds; and
//! a look-up beside pgrep(1), `look_ups.rs`.
//!
//! Both sides read the same processes by turns, all asleep and then all active, and only their
//! ratio is judged: it is the same on another machine, where no time is.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::{Bench, Load, SAMPLERS, Sampler, look_ups};
use crate::complain;

/// Ours, what it is held against, and how many times as much it may take.
struct Bound {
    ours: &'static str,
    limit: &'static str,
    /// Where all sleep, of whom we read hardly anything.
    asleep_max: f64,
    /// Where each has done something since the sample before.
    active_max: f64,
}

/// What was measured when a bound was set was a quarter to a half lower. The limits in C read
/// everybody each time, but for that of taskstats, which leaves out who has not run, as we do.
const BOUNDS: &[Bound] = &[
    Bound { ours: super::TIER_A, limit: super::ITERATOR, asleep_max: 1.5, active_max: 2.4 },
    Bound { ours: super::TIER_B, limit: "C limit, taskstats", asleep_max: 2.2, active_max: 2.6 },
    Bound { ours: super::TIER_C, limit: "C limit", asleep_max: 0.4, active_max: 1.8 },
    Bound {
        ours: super::TIER_C_SWITCHES,
        limit: "C limit, switches",
        asleep_max: 0.4,
        active_max: 1.8,
    },
];

/// What the processes do meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    Asleep,
    Active,
}

const PROCESSES: &str = "1000";
/// Each side is measured so often, by turns; the second lowest of the ratios is judged: who else
/// comes and goes on the machine takes us longer, since everybody new is read whole, and the limits
/// not at all.
const ROUNDS: usize = 5;
const SAMPLES: &str = "8";
/// Who sleeps is the same a tenth of a second later, and who is active acts twice in it: one
/// pause as long as the interval would end now before and now behind a sample.
const INTERVAL_MS: &str = "100";
const PAUSE_MS: &str = "50";

/// Measures every pair.
///
/// # Errors
/// A ratio is above its bound.
pub(crate) fn check(root: &Path) -> Result<()> {
    let bench = Bench::build(root)?;
    let mut broken = look_ups::check(&bench)?;
    for activity in [Activity::Asleep, Activity::Active] {
        broken += check_all(&bench, activity)?;
    }
    if broken > 0 {
        let count = 2 * BOUNDS.len() + look_ups::count();
        bail!("{broken} of {count} ratios are above their bounds");
    }
    Ok(())
}

/// Judges every pair beside the same processes; returns how many bounds were broken.
fn check_all(bench: &Bench, activity: Activity) -> Result<usize> {
    let percent = if activity == Activity::Active { "100" } else { "0" };
    let sleepers = ["sleepers", "--count", PROCESSES, "--active", percent, "--pause-ms", PAUSE_MS];
    let _load = Load::start(bench, &sleepers.map(str::to_owned))?;
    let mut broken = 0;
    for bound in BOUNDS {
        let &Bound { ours, limit, .. } = bound;
        match bound.measure(bench) {
            Ok(ratio) => {
                let ratio_max = bound.ratio_max(activity);
                let is_held = bound.holds(ratio, activity);
                let verdict = if is_held { "ok  " } else { "FAIL" };
                broken += usize::from(!is_held);
                writeln!(
                    std::io::stdout(),
                    "  {verdict} {activity:?}, {ours}: {ratio:.2} times {limit}, at most {ratio_max}"
                )?;
            }
            Err(error) if bound.may_be_refused() => {
                complain(&format!("  left out: {ours}: {error:#}"));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(broken)
}

impl Bound {
    fn ratio_max(&self, activity: Activity) -> f64 {
        match activity {
            Activity::Asleep => self.asleep_max,
            Activity::Active => self.active_max,
        }
    }

    /// Not where the ratio is no number: then nothing was measured.
    fn holds(&self, ratio: f64, activity: Activity) -> bool {
        ratio <= self.ratio_max(activity)
    }

    fn measure(&self, bench: &Bench) -> Result<f64> {
        let (ours, limit) = (sampler(self.ours)?, sampler(self.limit)?);
        let ratios = (0..ROUNDS).map(|_| {
            let (ours, limit) = (cost(bench, ours)?, cost(bench, limit)?);
            Ok(ours / limit)
        });
        Ok(second_lowest(ratios.collect::<Result<_>>()?))
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
    Ok(bench.measure(sampler, &options, None)?.cpu_us)
}

fn second_lowest(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(1).copied().unwrap_or(f64::NAN)
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
    fn rounds_that_somebody_disturbed_do_not_decide() {
        assert!((second_lowest(vec![1.3, 9.0, 0.1, 8.0, 1.2]) - 1.2).abs() < 1e-9);
    }

    #[test]
    fn a_ratio_that_is_unknown_is_above_every_bound() {
        let bound = &BOUNDS[0];
        assert!(!bound.holds(second_lowest(Vec::new()), Activity::Asleep));
        assert!(bound.holds(1.0, Activity::Asleep));
        assert!(!bound.holds(2.0, Activity::Asleep) && bound.holds(2.0, Activity::Active));
    }
}
