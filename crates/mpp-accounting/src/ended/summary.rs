//! What many short lives come to: ended processes added up by group.

use std::collections::HashMap;
use std::time::Duration;

use super::{ENDED_METRICS, Ended, EndedReport};
use crate::metric::MetricId;
use crate::process::Absence;
use crate::rate::{per_second, rounded};
use crate::report::{Column, Figure, Form, Mark, Tier, Value};
use crate::similar;
use crate::units::WallTime;

/// No more lifetimes than this are kept of a group; beyond it every second one is, then every
/// fourth, and so on, and what is told of their distribution is an estimate.
const LIVES_MAX: usize = 4096;

/// What a summary tells of each group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SummaryColumn {
    /// How many processes ended.
    Ended,
    /// The same by the second.
    EndedPerSecond,
    /// How many of them exited with a number other than 0, or by a signal.
    Failed,
    /// CPU time in both modes, over whole lives, in seconds.
    Cpu,
    /// Bytes fetched from storage, over whole lives.
    ReadBytes,
    /// Bytes to be sent to storage, over whole lives.
    WriteBytes,
    /// Seconds that half of them did not live longer than.
    LifeMedian,
    /// Seconds that 99 of 100 did not live longer than.
    LifeP99,
    /// Seconds that the longest-lived lived.
    LifeMax,
}

/// All columns, with the names that machines know them by.
pub const SUMMARY_COLUMNS: [(&str, SummaryColumn); 9] = [
    ("ended", SummaryColumn::Ended),
    ("ended_per_sec", SummaryColumn::EndedPerSecond),
    ("failed", SummaryColumn::Failed),
    ("cpu", SummaryColumn::Cpu),
    ("read_bytes", SummaryColumn::ReadBytes),
    ("write_bytes", SummaryColumn::WriteBytes),
    ("life_median", SummaryColumn::LifeMedian),
    ("life_p99", SummaryColumn::LifeP99),
    ("life_max", SummaryColumn::LifeMax),
];

impl SummaryColumn {
    /// The name that machines know it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        SUMMARY_COLUMNS.iter().find(|(_, column)| *column == self).map_or("", |(name, _)| name)
    }

    /// The head of its column on a screen.
    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            SummaryColumn::Ended => "ENDED",
            SummaryColumn::EndedPerSecond => "ENDED/s",
            SummaryColumn::Failed => "FAILED",
            SummaryColumn::Cpu => "CPU",
            SummaryColumn::ReadBytes => "READ",
            SummaryColumn::WriteBytes => "WRITE",
            SummaryColumn::LifeMedian => "MEDIAN",
            SummaryColumn::LifeP99 => "P99",
            SummaryColumn::LifeMax => "MAX",
        }
    }

    /// The column of a report whose unit it has.
    #[must_use]
    pub fn like(self) -> Column {
        let (id, form) = match self {
            SummaryColumn::Ended | SummaryColumn::Failed => (MetricId::ProcessesEnded, Form::Level),
            SummaryColumn::EndedPerSecond => (MetricId::ProcessesEnded, Form::PerSecond),
            SummaryColumn::Cpu => (MetricId::CpuUser, Form::Level),
            SummaryColumn::ReadBytes => (MetricId::IoReadBytes, Form::Level),
            SummaryColumn::WriteBytes => (MetricId::IoWriteBytes, Form::Level),
            SummaryColumn::LifeMedian | SummaryColumn::LifeP99 | SummaryColumn::LifeMax => {
                (MetricId::Uptime, Form::Level)
            }
        };
        Column { metric: id.metric(), form }
    }

    /// The column that bears this name.
    ///
    /// # Errors
    /// Any other word.
    pub fn parse(word: &str) -> Result<Self, UnknownColumn> {
        let found = SUMMARY_COLUMNS.iter().find(|(name, _)| *name == word);
        found.map(|(_, column)| *column).ok_or_else(|| UnknownColumn {
            found: word.to_owned(),
            closest: similar::closest(word, SUMMARY_COLUMNS.iter().map(|(name, _)| *name)),
        })
    }
}

/// A word that names no column of a summary.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected `name` or the name of a column, but found `{found}`")]
pub struct UnknownColumn {
    found: String,
    closest: Option<&'static str>,
}

impl UnknownColumn {
    /// The name that was probably meant.
    #[must_use]
    pub fn closest(&self) -> Option<&'static str> {
        self.closest
    }
}

/// Adds reports of ended processes up.
#[derive(Debug, Default)]
pub struct EndedSummary {
    groups: HashMap<Box<[u8]>, Sums>,
    wall_time: WallTime,
    elapsed: Duration,
    tier: Option<Tier>,
    shed: u64,
    lost_records: u64,
    spilled_records: u64,
}

/// What the processes of each group came to that ended.
#[derive(Clone, Debug)]
pub struct SummaryReport {
    /// When the last sweep began.
    pub wall_time: WallTime,
    /// The time that all intervals took together.
    pub elapsed: Duration,
    /// The worst tier of all intervals.
    pub tier: Tier,
    /// Ended processes that are left out, for want of room.
    pub shed: u64,
    /// As in [`EndedReport::lost_records`], over all intervals.
    pub lost_records: u64,
    /// As in [`EndedReport::spilled_records`], over all intervals.
    pub spilled_records: u64,
    /// The groups, by name.
    pub rows: Vec<SummaryRow>,
}

/// One group of a summary.
#[derive(Clone, Debug, PartialEq)]
pub struct SummaryRow {
    /// The group's name, any bytes.
    pub name: Box<[u8]>,
    /// One figure for each of [`SUMMARY_COLUMNS`].
    pub figures: [Figure; SUMMARY_COLUMNS.len()],
}

impl SummaryReport {
    /// The same with the rows in the order of a column: largest first, unknown last, equal ones
    /// by name.
    #[must_use]
    pub fn sorted_by(mut self, column: SummaryColumn) -> Self {
        let number = |row: &SummaryRow| match row.figure(column) {
            Figure::Known { value, .. } => value.as_float(),
            Figure::Absent(_) => f64::NEG_INFINITY,
        };
        self.rows.sort_by(|a, b| number(b).total_cmp(&number(a)).then_with(|| a.name.cmp(&b.name)));
        self
    }
}

impl SummaryRow {
    /// The figure of a column.
    #[must_use]
    pub fn figure(&self, column: SummaryColumn) -> Figure {
        let position = SUMMARY_COLUMNS.iter().position(|(_, other)| *other == column);
        let figure = position.and_then(|position| self.figures.get(position)).copied();
        figure.unwrap_or(Figure::Absent(Absence::NotRequested))
    }
}

/// What is kept of one group.
#[derive(Debug, Default)]
struct Sums {
    ended: u64,
    failed: u64,
    /// Those of whom nobody told how they ended.
    untold: u64,
    cpu: Sum,
    read_bytes: Sum,
    write_bytes: Sum,
    lives: Lives,
}

/// A sum of figures, and what can be promised of it.
#[derive(Debug, Default)]
struct Sum {
    bytes: u64,
    seconds: f64,
    mark: Option<Mark>,
    missing: Option<Absence>,
}

/// How long processes lived, in nanoseconds.
#[derive(Debug, Default)]
struct Lives {
    kept: Vec<u64>,
    /// Of so many processes, as a power of two, one is kept.
    halvings: u32,
    met: u64,
    longest: u64,
    mark: Option<Mark>,
}

impl EndedSummary {
    /// A summary of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        EndedSummary::default()
    }

    /// Adds one interval.
    pub fn add(&mut self, report: &EndedReport) {
        self.wall_time = report.wall_time;
        self.elapsed = self.elapsed.saturating_add(report.interval.unwrap_or_default());
        self.tier = self.tier.max(Some(report.tier));
        self.shed = self.shed.saturating_add(report.shed);
        self.lost_records = self.lost_records.saturating_add(report.lost_records);
        self.spilled_records = self.spilled_records.saturating_add(report.spilled_records);
        for ended in &report.processes {
            match self.groups.get_mut(&ended.group) {
                Some(sums) => sums.add(ended),
                None => self.groups.entry(ended.group.clone()).or_default().add(ended),
            }
        }
    }

    /// What it all comes to so far.
    #[must_use]
    pub fn report(&self) -> SummaryReport {
        let is_partial = self.tier == Some(Tier::C) || self.shed > 0 || self.spilled_records > 0;
        let mark = if is_partial { Mark::LowerBound } else { Mark::Exact };
        let rows = self.groups.iter().map(|(name, sums)| SummaryRow {
            name: name.clone(),
            figures: SUMMARY_COLUMNS.map(|(_, column)| sums.figure(column, self.elapsed, mark)),
        });
        let mut rows: Vec<SummaryRow> = rows.collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        SummaryReport {
            wall_time: self.wall_time,
            elapsed: self.elapsed,
            tier: self.tier.unwrap_or(Tier::C),
            shed: self.shed,
            lost_records: self.lost_records,
            spilled_records: self.spilled_records,
            rows,
        }
    }
}

impl Sums {
    fn add(&mut self, ended: &Ended) {
        self.ended = self.ended.saturating_add(1);
        match ended.has_failed() {
            Some(true) => self.failed = self.failed.saturating_add(1),
            Some(false) => {}
            None => self.untold = self.untold.saturating_add(1),
        }
        for (id, figure) in ENDED_METRICS.into_iter().zip(ended.figures) {
            match id {
                MetricId::CpuUser | MetricId::CpuSystem => self.cpu.add(figure),
                MetricId::IoReadBytes => self.read_bytes.add(figure),
                MetricId::IoWriteBytes => self.write_bytes.add(figure),
                MetricId::Uptime => self.lives.add(figure),
                _ => {}
            }
        }
    }

    /// `mark` is what can be promised of the number of processes.
    fn figure(&self, column: SummaryColumn, elapsed: Duration, mark: Mark) -> Figure {
        let failed_mark = if self.untold > 0 { Mark::LowerBound } else { mark };
        match column {
            SummaryColumn::Ended => known(Value::Integer(self.ended), mark),
            SummaryColumn::EndedPerSecond => match per_second(self.ended as f64, elapsed) {
                Some(rate) => known(Value::Float(rate), mark),
                None => Figure::Absent(Absence::NotYetKnown),
            },
            SummaryColumn::Failed if self.untold == self.ended => {
                Figure::Absent(Absence::Unsupported)
            }
            SummaryColumn::Failed => known(Value::Integer(self.failed), failed_mark),
            SummaryColumn::Cpu => self.cpu.figure(|sum| Value::Float(rounded(sum.seconds)), mark),
            SummaryColumn::ReadBytes => {
                self.read_bytes.figure(|sum| Value::Integer(sum.bytes), mark)
            }
            SummaryColumn::WriteBytes => {
                self.write_bytes.figure(|sum| Value::Integer(sum.bytes), mark)
            }
            SummaryColumn::LifeMedian => self.lives.quantile(1, 2),
            SummaryColumn::LifeP99 => self.lives.quantile(99, 100),
            SummaryColumn::LifeMax => self.lives.max(),
        }
    }
}

impl Sum {
    fn add(&mut self, figure: Figure) {
        match figure {
            Figure::Known { value, mark } => {
                match value {
                    Value::Integer(bytes) => self.bytes = self.bytes.saturating_add(bytes),
                    Value::Float(seconds) => self.seconds += seconds,
                }
                self.mark = self.mark.max(Some(mark));
            }
            Figure::Absent(why) => self.missing = self.missing.or(Some(why)),
        }
    }

    fn figure(&self, value: impl Fn(&Sum) -> Value, least: Mark) -> Figure {
        match (self.mark, self.missing) {
            (Some(mark), None) => known(value(self), mark.and(least)),
            (Some(_), Some(_)) => known(value(self), Mark::LowerBound),
            (None, Some(why)) => Figure::Absent(why),
            (None, None) => known(value(self), least),
        }
    }
}

impl Lives {
    fn add(&mut self, figure: Figure) {
        let Figure::Known { value, mark } = figure else { return };
        let life = Duration::try_from_secs_f64(value.as_float()).unwrap_or_default();
        let life_ns = u64::try_from(life.as_nanos()).unwrap_or(u64::MAX);
        self.mark = self.mark.max(Some(mark));
        self.longest = self.longest.max(life_ns);
        if self.met.is_multiple_of(1 << self.halvings) {
            self.kept.push(life_ns);
        }
        self.met += 1;
        if self.kept.len() >= LIVES_MAX {
            let mut is_kept = false;
            self.kept.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
            self.halvings = (self.halvings + 1).min(u64::BITS - 1);
        }
    }

    /// What so many of so many did not live longer than.
    fn quantile(&self, part: usize, whole: usize) -> Figure {
        let mut kept = self.kept.clone();
        kept.sort_unstable();
        let rank = (kept.len() * part).div_ceil(whole).max(1) - 1;
        let sampled = if self.halvings > 0 { Mark::Estimate } else { Mark::Exact };
        match (kept.get(rank), self.mark) {
            (Some(life_ns), Some(mark)) => life_figure(*life_ns, mark.and(sampled)),
            _ => Figure::Absent(Absence::Unsupported),
        }
    }

    fn max(&self) -> Figure {
        match self.mark {
            Some(mark) => life_figure(self.longest, mark),
            None => Figure::Absent(Absence::Unsupported),
        }
    }
}

fn life_figure(life_ns: u64, mark: Mark) -> Figure {
    known(Value::Float(crate::rate::seconds(life_ns)), mark)
}

fn known(value: Value, mark: Mark) -> Figure {
    Figure::Known { value, mark }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lives(count: u64) -> Lives {
        let mut lives = Lives::default();
        for number in 1..=count {
            lives.add(known(Value::Float(number as f64), Mark::Exact));
        }
        lives
    }

    fn check(figure: Figure, expected: f64, slack: f64, expected_mark: Mark) {
        let Figure::Known { value, mark } = figure else { panic!("a number, not {figure:?}") };
        assert_eq!(mark, expected_mark);
        assert!((value.as_float() - expected).abs() <= slack, "{value:?} is not {expected}");
    }

    #[test]
    fn few_lives_are_told_exactly() {
        check(lives(1).quantile(1, 2), 1.0, 0.0, Mark::Exact);
        check(lives(100).quantile(1, 2), 50.0, 0.0, Mark::Exact);
        check(lives(100).quantile(99, 100), 99.0, 0.0, Mark::Exact);
        check(lives(100).max(), 100.0, 0.0, Mark::Exact);
        assert_eq!(lives(0).max(), Figure::Absent(Absence::Unsupported));
        assert_eq!(lives(0).quantile(1, 2), Figure::Absent(Absence::Unsupported));
    }

    #[test]
    fn of_many_lives_a_part_is_kept_and_the_longest() {
        let many = lives(1_000_000);
        assert!(many.kept.len() < LIVES_MAX);
        check(many.quantile(1, 2), 500_000.0, 5000.0, Mark::Estimate);
        check(many.quantile(99, 100), 990_000.0, 5000.0, Mark::Estimate);
        check(many.max(), 1_000_000.0, 0.0, Mark::Exact);
    }

    #[test]
    fn a_sum_promises_what_its_weakest_part_does() {
        let mut sum = Sum::default();
        sum.add(known(Value::Integer(3), Mark::Exact));
        sum.add(known(Value::Integer(4), Mark::Bound));
        let bytes = |sum: &Sum| Value::Integer(sum.bytes);
        assert_eq!(sum.figure(bytes, Mark::Exact), known(Value::Integer(7), Mark::Bound));
        sum.add(Figure::Absent(Absence::Denied));
        assert_eq!(sum.figure(bytes, Mark::Exact), known(Value::Integer(7), Mark::LowerBound));
        let mut nothing = Sum::default();
        nothing.add(Figure::Absent(Absence::Denied));
        assert_eq!(nothing.figure(bytes, Mark::Exact), Figure::Absent(Absence::Denied));
    }

    #[test]
    fn a_column_is_found_by_its_name_and_a_misspelt_one_is_asked_about() {
        for (name, column) in SUMMARY_COLUMNS {
            assert_eq!(SummaryColumn::parse(name), Ok(column));
            assert_eq!(column.name(), name);
        }
        let error = SummaryColumn::parse("faild").expect_err("unknown");
        assert_eq!(error.closest(), Some("failed"));
    }
}
