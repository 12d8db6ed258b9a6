//! The goals of what a sample may cost, and whether what was measured meets them.

use std::fmt::Write as _;

use super::record::Section;
use super::{
    ITERATOR, NETDATA, PROCESS_EXPORTER, PSUTIL, PSUTIL_CONNECTIONS, TIER_A, TIER_A_CONNECTIONS,
    TIER_A_STATIC, TIER_B, TIER_C, TIER_C_CONNECTIONS, TIER_C_SWITCHES, TOP,
};

/// One thing that is to be reached.
struct Goal {
    what: &'static str,
    figure: Figure,
    bound: Bound,
    processes: u64,
    /// Percent of the processes that are active where the goal is set.
    active: &'static [u64],
}

/// What is compared, of samplers by their names.
#[derive(Clone, Copy)]
enum Figure {
    /// Microseconds of CPU time per process.
    Cost(&'static str),
    /// How many times as much the first one takes as the second one.
    Times(&'static str, &'static str),
    /// The peak of its memory.
    PeakMib(&'static str),
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

use Bound::{AtLeast, AtMost};
use Figure::{Cost, PeakMib, Times};

/// At this size, but for the memory of few.
const SIZE: u64 = 10_000;
/// The columns of the table.
const ACTIVE: &[u64] = &[0, 10, 100];
const MOSTLY_IDLE: &[u64] = &[0, 10];
const TENTH: &[u64] = &[10];
const ALL: &[u64] = &[100];

/// A goal at [`SIZE`].
const fn goal(what: &'static str, figure: Figure, bound: Bound, active: &'static [u64]) -> Goal {
    Goal { what, figure, bound, processes: SIZE, active }
}

const GOALS: &[Goal] = &[
    goal("tier A, us a process", Cost(TIER_A), AtMost(1.5), ACTIVE),
    goal("psutil against tier A", Times(PSUTIL, TIER_A), AtLeast(100.0), ACTIVE),
    goal(
        "process-exporter against tier A",
        Times(PROCESS_EXPORTER, TIER_A),
        AtLeast(250.0),
        ACTIVE,
    ),
    goal("Netdata against tier A", Times(NETDATA, TIER_A), AtLeast(40.0), ACTIVE),
    goal("top against tier A", Times(TOP, TIER_A), AtLeast(15.0), ACTIVE),
    goal("tier A against the C limit, BPF iterator", Times(TIER_A, ITERATOR), AtMost(1.25), ACTIVE),
    goal("tier B, us a process", Cost(TIER_B), AtMost(21.0), ALL),
    goal("tier B, us a process", Cost(TIER_B), AtMost(6.5), TENTH),
    goal("psutil against tier B", Times(PSUTIL, TIER_B), AtLeast(7.0), ALL),
    goal("psutil against tier B", Times(PSUTIL, TIER_B), AtLeast(23.0), TENTH),
    goal("tier C, us a process", Cost(TIER_C), AtMost(30.0), ALL),
    goal("tier C, us a process", Cost(TIER_C), AtMost(8.0), MOSTLY_IDLE),
    goal("tier C with switches, us a process", Cost(TIER_C_SWITCHES), AtMost(30.0), ALL),
    goal("tier C with switches, us a process", Cost(TIER_C_SWITCHES), AtMost(8.0), MOSTLY_IDLE),
    goal("psutil against tier C", Times(PSUTIL, TIER_C), AtLeast(5.0), ALL),
    goal("psutil against tier C", Times(PSUTIL, TIER_C), AtLeast(19.0), MOSTLY_IDLE),
    goal("connections, tier A, us a process", Cost(TIER_A_CONNECTIONS), AtMost(4.0), ACTIVE),
    goal("connections, tier C, us a process", Cost(TIER_C_CONNECTIONS), AtMost(12.0), TENTH),
    goal(
        "connections, psutil against tier A",
        Times(PSUTIL_CONNECTIONS, TIER_A_CONNECTIONS),
        AtLeast(850.0),
        ACTIVE,
    ),
    goal(
        "connections, psutil against tier C",
        Times(PSUTIL_CONNECTIONS, TIER_C_CONNECTIONS),
        AtLeast(285.0),
        TENTH,
    ),
    goal("memory, tier A, MiB", PeakMib(TIER_A), AtMost(12.0), ACTIVE),
    goal("memory, tier A, linked statically, MiB", PeakMib(TIER_A_STATIC), AtMost(12.0), ACTIVE),
    Goal {
        what: "memory, tier A, MiB",
        figure: PeakMib(TIER_A),
        bound: AtMost(4.0),
        processes: super::FEW,
        active: TENTH,
    },
    Goal {
        what: "memory, tier A, linked statically, MiB",
        figure: PeakMib(TIER_A_STATIC),
        bound: AtMost(4.0),
        processes: super::FEW,
        active: TENTH,
    },
];

/// Goals that other programs measure.
const ELSEWHERE: &str = "\nThe Python functions are measured by `bench/python_speed.py` (python-speed.md: 4 us, and psutil 35\n\
    times as much), `mpp find` beside pgrep by the live tests of mpp-cli.\n";

/// The table of all goals. What no section tells stands as `-`, and where no goal is set, there is
/// nothing.
pub(super) fn table(sections: &[Section]) -> String {
    let mut text = "\n## Goals and what was found\n\n\
         From the tables below. `met` and `missed` judge what was found, at so many percent active.\n\n\
         | what | processes | goal | 0 percent | 10 percent | 100 percent |\n|---|---:|---|---|---|---|\n"
        .to_owned();
    for goal in GOALS {
        let cells: Vec<String> = ACTIVE.iter().map(|&active| goal.cell(sections, active)).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            goal.what,
            goal.processes,
            goal.bound.words(goal.figure),
            cells.join(" | ")
        );
    }
    text.push_str(ELSEWHERE);
    text
}

impl Goal {
    fn cell(&self, sections: &[Section], active: u64) -> String {
        if !self.active.contains(&active) {
            return String::new();
        }
        let is_ours =
            |section: &&Section| (section.processes, section.active) == (self.processes, active);
        let section = sections.iter().find(is_ours);
        let Some(found) = section.and_then(|section| self.figure.of(section)) else {
            return "-".to_owned();
        };
        let verdict = if self.bound.holds(found) { "met" } else { "**missed**" };
        format!("{found:.*}{}, {verdict}", self.figure.digits(found), self.figure.unit())
    }
}

impl Figure {
    fn of(self, section: &Section) -> Option<f64> {
        match self {
            Cost(sampler) => section.cpu_us(sampler),
            Times(dearer, cheaper) => Some(section.cpu_us(dearer)? / section.cpu_us(cheaper)?),
            PeakMib(sampler) => Some(section.row(sampler)?.peak_rss_kib as f64 / 1024.0),
        }
    }

    fn unit(self) -> &'static str {
        if matches!(self, Times(..)) { "x" } else { "" }
    }

    /// As many as tell what is met from what is missed.
    fn digits(self, found: f64) -> usize {
        match self {
            Times(..) if found >= 10.0 => 1,
            _ => 2,
        }
    }
}

impl Bound {
    fn holds(self, found: f64) -> bool {
        match self {
            AtMost(most) => found <= most,
            AtLeast(least) => found >= least,
        }
    }

    fn words(self, figure: Figure) -> String {
        match self {
            AtMost(most) => format!("at most {most}{}", figure.unit()),
            AtLeast(least) => format!("at least {least}{}", figure.unit()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::SAMPLERS;
    use super::super::record::tests::{row, section};
    use super::*;

    fn check(sections: &[Section], expected: &str) {
        let text = table(sections);
        assert!(text.lines().any(|line| line == expected), "no `{expected}` in:\n{text}");
    }

    #[test]
    fn every_goal_is_set_of_samplers_that_are_measured() {
        for goal in GOALS {
            let (Cost(one) | Times(one, _) | PeakMib(one)) = goal.figure;
            let other = if let Times(_, other) = goal.figure { other } else { one };
            for name in [one, other] {
                assert!(SAMPLERS.iter().any(|sampler| sampler.name == name), "{name}");
            }
            assert!(!goal.active.is_empty() && goal.active.iter().all(|a| ACTIVE.contains(a)));
        }
    }

    #[test]
    fn what_was_found_is_judged_where_a_goal_is_set() {
        let rows = |a: f64| vec![row(TIER_A, a), row(PSUTIL, 150.0), row(TIER_B, 6.0)];
        let sections = [section(SIZE, 0, rows(1.5)), section(SIZE, 100, rows(2.0))];
        check(
            &sections,
            "| tier A, us a process | 10000 | at most 1.5 | 1.50, met | - | 2.00, **missed** |",
        );
        check(
            &sections,
            "| psutil against tier A | 10000 | at least 100x | 100.0x, met | - | 75.0x, **missed** |",
        );
        check(&sections, "| tier B, us a process | 10000 | at most 21 |  |  | 6.00, met |");
    }

    #[test]
    fn memory_is_judged_at_its_own_size() {
        let sections = [section(super::super::FEW, 10, vec![row(TIER_A, 2.0)])];
        check(&sections, "| memory, tier A, MiB | 500 | at most 4 |  | 9.00, **missed** |  |");
        check(&sections, "| memory, tier A, MiB | 10000 | at most 12 | - | - | - |");
    }
}
