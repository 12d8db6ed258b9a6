//! `cargo xtask growth`: whether a sample stays as cheap while there is more to measure.
//!
//! One thing grows at a time. What a process costs must not depend on how many there are, nor on
//! the groups and selectors; what a thread or a descriptor costs not on how many its process has.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::{Bench, Load, figure, machine, picture};
use crate::{USAGE, complain, number, value};

/// What to measure.
pub(crate) struct Plan {
    samples: u64,
    /// Points above are left out.
    point_max: u64,
    /// Where tables and picture go; `bench/results` unless told otherwise.
    results: Option<PathBuf>,
}

impl Plan {
    /// Reads the arguments behind `growth`.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut plan = Plan { samples: 5, point_max: u64::MAX, results: None };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--samples" => plan.samples = number(argument, &mut arguments)?.max(1),
                "--upto" => plan.point_max = number(argument, &mut arguments)?,
                "--results" => plan.results = Some(value(argument, &mut arguments)?.into()),
                other => bail!("unknown option `{other}`\n\n{USAGE}"),
            }
        }
        Ok(plan)
    }
}

/// One thing that grows.
struct Axis {
    /// What there is more of.
    what: &'static str,
    /// Everything else, which stays.
    beside: &'static str,
    points: &'static [u64],
    /// What is told of a sample.
    cost: Cost,
    load: fn(u64) -> Vec<String>,
    /// What the sampler is told besides its tier.
    sampler: fn(u64) -> Vec<String>,
}

/// What must cost the same all along.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cost {
    Process,
    /// What the sample takes beyond that of the first point, for each one more.
    OneMore,
    Sample,
}

impl Cost {
    fn words(self) -> &'static str {
        match self {
            Cost::Process => "CPU microseconds per process",
            Cost::OneMore => "CPU microseconds per thread beyond the first point's",
            Cost::Sample => "CPU microseconds per sample",
        }
    }
}

/// How many processes there are where something else grows.
const PROCESSES: &str = "4000";

const AXES: &[Axis] = &[
    Axis {
        what: "processes",
        beside: "50 groups by name",
        points: &[100, 300, 1000, 3000, 10_000, 30_000],
        cost: Cost::Process,
        load: |count| words(&["sleepers", "--count", &count.to_string()]),
        sampler: |_| Vec::new(),
    },
    Axis {
        what: "groups",
        beside: "4,000 processes, a group for each name",
        points: &[1, 10, 50, 200, 700, 2000],
        cost: Cost::Process,
        load: |count| words(&["sleepers", "--count", PROCESSES, "--names", &count.to_string()]),
        sampler: |_| Vec::new(),
    },
    Axis {
        what: "selectors",
        beside: "4,000 processes of 200 names, a selector for so many of the names",
        points: &[1, 10, 50, 200],
        cost: Cost::Process,
        load: |_| words(&["sleepers", "--count", PROCESSES, "--names", "200"]),
        sampler: |count| words(&["--selectors", &count.to_string()]),
    },
    Axis {
        what: "threads of one process",
        beside: "what else runs on the machine",
        points: &[1, 100, 1000, 3000, 10_000],
        cost: Cost::OneMore,
        load: |count| words(&["parked-threads", "--count", &count.to_string()]),
        sampler: |_| Vec::new(),
    },
    Axis {
        what: "descriptors of one process",
        beside: "what else runs on the machine",
        points: &[10, 100, 1000, 5000, 19_900],
        cost: Cost::Sample,
        load: |count| words(&["descriptors", "--count", &count.to_string()]),
        sampler: |_| Vec::new(),
    },
];

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// The tiers, as the sampler spells them.
pub(super) const TIERS: &[&str] = &["a", "b", "c"];

/// What a sample took.
#[derive(Clone, Copy)]
struct Spent {
    per_process_us: f64,
    per_sample_us: f64,
}

/// The costs along one axis: by tier, one for each point; `None` where it could not be measured.
pub(super) struct Curve {
    pub(super) title: String,
    /// Of the costs.
    pub(super) unit: &'static str,
    pub(super) points: Vec<u64>,
    pub(super) costs: Vec<Vec<Option<f64>>>,
}

/// Measures, prints the tables and writes them and their picture to `bench/results`.
pub(crate) fn run(root: &Path, plan: &Plan) -> Result<()> {
    let bench = Bench::build(root)?;
    let _room = PidRoom::make();
    let mut text = format!(
        "# What grows, and what that costs\n\n\
         Written by `cargo xtask growth`. CPU time, user and system, of a full sample with context\n\
         switches, one second between samples, the median of them: ledger, groups and report as in\n\
         sample-cost.md. What grows beside what else runs on the machine is the difference of two\n\
         measurements, which other programs disturb.\n\n\
         Machine: {}.\n",
        machine(root)?
    );
    let mut curves = Vec::new();
    for axis in AXES {
        let curve = axis.measure(&bench, plan)?;
        let table = curve.table(axis);
        std::io::stdout().lock().write_all(table.as_bytes())?;
        text.push_str(&table);
        curves.push(curve);
    }
    let results = plan.results.clone().unwrap_or_else(|| bench.folder.join("results"));
    fs::create_dir_all(&results).context("cannot create the folder of the results")?;
    fs::write(results.join("growth.md"), text).context("cannot write growth.md")?;
    fs::write(results.join("growth.svg"), picture::draw(&curves)).context("cannot write growth.svg")
}

impl Axis {
    fn measure(&self, bench: &Bench, plan: &Plan) -> Result<Curve> {
        let mut spent: Vec<Vec<Option<Spent>>> = vec![Vec::new(); TIERS.len()];
        let points = self.points.iter().copied().filter(|&point| point <= plan.point_max);
        let points: Vec<u64> = points.collect();
        for &point in &points {
            let load = (self.load)(point);
            let load = Load::start(bench, &load);
            if let Err(error) = &load {
                complain(&format!("left out: {point} {}: {error:#}", self.what));
            }
            for (tier, row) in TIERS.iter().zip(&mut spent) {
                let sampler = (self.sampler)(point);
                row.push(
                    load.is_ok()
                        .then(|| sample(bench, tier, &sampler, plan.samples))
                        .transpose()?,
                );
            }
        }
        let costs = spent.iter().map(|row| self.costs(row)).collect();
        Ok(Curve { title: format!("More {}", self.what), unit: self.cost.words(), points, costs })
    }

    fn costs(&self, spent: &[Option<Spent>]) -> Vec<Option<f64>> {
        let first = spent.first().copied().flatten();
        let one = |(&spent, &point): (&Option<Spent>, &u64)| {
            let spent = spent?;
            Some(match self.cost {
                Cost::Process => spent.per_process_us,
                Cost::Sample => spent.per_sample_us,
                Cost::OneMore => {
                    let more = point.checked_sub(self.points[0]).filter(|&more| more > 0)?;
                    (spent.per_sample_us - first?.per_sample_us) / more as f64
                }
            })
        };
        spent.iter().zip(self.points).map(one).collect()
    }
}

/// What one tier takes for a sample of all that there is now.
fn sample(bench: &Bench, tier: &str, arguments: &[String], samples: u64) -> Result<Spent> {
    let program = bench.own().arg("--tier").arg(tier).arg("--switches");
    let program = arguments.iter().fold(program, super::Program::arg);
    let output = program.arg("--samples").arg(samples.to_string()).output()?;
    let value = |key: &str| -> Result<f64> {
        let word = figure(&output, key);
        word.with_context(|| format!("no `{key}` in {output}"))?.parse().context("no number")
    };
    // One sample in which somebody else's storm had to be told of does not decide.
    let per_sample_us = value("cpu_us_median")?;
    Ok(Spent { per_process_us: per_sample_us / value("processes")?.max(1.0), per_sample_us })
}

impl Curve {
    fn table(&self, axis: &Axis) -> String {
        let mut text = format!(
            "\n## More {}\n\nBeside {}. {}.\n\n| {} |",
            axis.what,
            axis.beside,
            axis.cost.words(),
            axis.what
        );
        // Writing to a String cannot fail.
        for tier in TIERS {
            let _ = write!(text, " tier {} |", tier.to_uppercase());
        }
        let _ = writeln!(text, "\n|---:|{}", "---:|".repeat(TIERS.len()));
        for (row, point) in self.points.iter().enumerate() {
            let _ = write!(text, "| {point} |");
            for costs in &self.costs {
                let cost = costs.get(row).copied().flatten();
                let cost = cost.map_or_else(|| "-".to_owned(), |cost| format!("{cost:.2}"));
                let _ = write!(text, " {cost} |");
            }
            text.push('\n');
        }
        text
    }
}

/// Room for more PIDs than the kernel hands out by default, for as long as this lives.
struct PidRoom(Option<String>);

/// Where the kernel keeps the largest PID: `pid_max` of proc(5).
const PID_MAX: &str = "/proc/sys/kernel/pid_max";

/// 30,000 processes, a tenth of them with four threads, and everybody else.
const PIDS_NEEDED: u64 = 65_536;

impl PidRoom {
    fn make() -> Self {
        let before = fs::read_to_string(PathBuf::from(PID_MAX)).ok();
        let before = before.filter(|b| b.trim().parse().is_ok_and(|max: u64| max < PIDS_NEEDED));
        if before.is_some()
            && let Err(error) = fs::write(PID_MAX, PIDS_NEEDED.to_string())
        {
            complain(&format!("cannot make room for 30,000 processes: {error}"));
            return PidRoom(None);
        }
        PidRoom(before)
    }
}

impl Drop for PidRoom {
    fn drop(&mut self) {
        if let Some(before) = &self.0
            && let Err(error) = fs::write(PID_MAX, before)
        {
            complain(&format!("cannot set {PID_MAX} back to {}: {error}", before.trim()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(per_sample_us: f64) -> Option<Spent> {
        Some(Spent { per_process_us: 2.0, per_sample_us })
    }

    #[test]
    fn what_one_more_thread_costs_is_told_beyond_the_first_point() {
        let threads = &AXES[3];
        let costs = threads.costs(&[spent(500.0), spent(599.0), None, spent(3499.0)]);
        assert_eq!(costs, [None, Some(1.0), None, Some(2999.0 / 2999.0)]);
    }

    #[test]
    fn what_could_not_be_measured_is_a_dash_in_the_table() {
        let axis = &AXES[0];
        let costs = vec![vec![Some(1.5), None]; TIERS.len()];
        let curve = Curve { title: String::new(), unit: "", points: vec![100, 300], costs };
        let table = curve.table(axis);
        assert!(table.contains("| 100 | 1.50 | 1.50 | 1.50 |\n| 300 | - | - | - |\n"), "{table}");
    }
}
