//! `bench/results/sample-cost.md`: what was measured, as people read it, and read back from there, so
//! that a run of some sizes leaves the others as they were.

use std::fmt::Write as _;

/// One number of processes, and how many of them were active: all samplers side by side.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Section {
    pub(super) processes: u64,
    /// Percent of them.
    pub(super) active: u64,
    /// The day, as in 2026-11-24.
    pub(super) day: String,
    pub(super) rows: Vec<Row>,
}

/// What one sampler took.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) sampler: String,
    pub(super) reads: String,
    pub(super) samples: u64,
    /// Microseconds of CPU time, user and system, per process and sample.
    pub(super) cpu_us: f64,
    /// All on the machine, those that are no part of the load too.
    pub(super) processes: u64,
    pub(super) peak_rss_kib: u64,
    /// Of its memory at the end, what is no part of a file.
    pub(super) anonymous_kib: u64,
    /// The most that the kernel kept for it; `None` where that is not counted.
    pub(super) kernel_kib: Option<u64>,
}

const COLUMNS: &str = "| sampler | reads | samples | CPU us per process | against psutil | against tier A | processes | peak memory, KiB | of no file, KiB | kernel memory, KiB |\n\
    |---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n";

impl Section {
    pub(super) fn cpu_us(&self, sampler: &str) -> Option<f64> {
        Some(self.row(sampler)?.cpu_us)
    }

    pub(super) fn row(&self, sampler: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.sampler == sampler)
    }

    /// The heading and the table.
    pub(super) fn text(&self) -> String {
        let (psutil, best) = (self.cpu_us(super::PSUTIL), self.cpu_us(super::TIER_A));
        let mut text = format!(
            "\n## {} processes, {} percent active\n\nMeasured on {}.\n\n{COLUMNS}",
            self.processes, self.active, self.day
        );
        for row in &self.rows {
            let Row { sampler, reads, samples, cpu_us, processes, .. } = row;
            let faster = times(psutil.map(|cost| cost / cpu_us));
            let dearer = times(best.map(|cost| cpu_us / cost));
            let (peak, anonymous) = (row.peak_rss_kib, row.anonymous_kib);
            let kernel = row.kernel_kib.map_or_else(|| "-".to_owned(), |kib| kib.to_string());
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| {sampler} | {reads} | {samples} | {cpu_us:.2} | {faster} | {dearer} | \
                 {processes} | {peak} | {anonymous} | {kernel} |"
            );
        }
        text
    }

    /// Reads back what [`Section::text`] wrote behind `## `; `None` where it is anything else.
    fn parse(text: &str) -> Option<Self> {
        let (heading, rest) = text.split_once("\n\nMeasured on ")?;
        let (processes, active) = heading.split_once(" processes, ")?;
        let (day, table) = rest.split_once(".\n\n")?;
        let rows = table.strip_prefix(COLUMNS)?.lines().filter(|line| line.starts_with('|'));
        Some(Section {
            processes: processes.parse().ok()?,
            active: active.strip_suffix(" percent active")?.parse().ok()?,
            day: day.to_owned(),
            rows: rows.map(Row::parse).collect::<Option<_>>()?,
        })
    }
}

impl Row {
    fn parse(line: &str) -> Option<Self> {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let &[sampler, reads, samples, cost, _, _, processes, peak, anonymous, kernel] = &cells[..]
        else {
            return None;
        };
        Some(Row {
            sampler: sampler.to_owned(),
            reads: reads.to_owned(),
            samples: samples.parse().ok()?,
            cpu_us: cost.parse().ok()?,
            processes: processes.parse().ok()?,
            peak_rss_kib: peak.parse().ok()?,
            anonymous_kib: anonymous.parse().ok()?,
            kernel_kib: match kernel {
                "-" => None,
                digits => Some(digits.parse().ok()?),
            },
        })
    }
}

fn times(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.1}x"))
}

/// The sections of results that were written before on the same machine; none of an older form or
/// of another machine, since nothing could be compared with them.
pub(super) fn parse(text: &str, machine: &str) -> Vec<Section> {
    let mut parts = text.split("\n## ");
    let is_ours = parts.next().is_some_and(|front| front.contains(machine));
    parts.filter(|_| is_ours).filter_map(Section::parse).collect()
}

/// Puts a section in the place of the one of the same size and activity, small ones first.
pub(super) fn put(sections: &mut Vec<Section>, new: Section) {
    sections.retain(|old| (old.processes, old.active) != (new.processes, new.active));
    sections.push(new);
    sections.sort_by_key(|section| (section.processes, section.active));
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn row(sampler: &str, cpu_us: f64) -> Row {
        let sampler = sampler.to_owned();
        let reads = "all".to_owned();
        let (peak_rss_kib, anonymous_kib, kernel_kib) = (9216, 4, None);
        Row {
            sampler,
            reads,
            samples: 3,
            cpu_us,
            processes: 7,
            peak_rss_kib,
            anonymous_kib,
            kernel_kib,
        }
    }

    pub(in super::super) fn section(processes: u64, active: u64, rows: Vec<Row>) -> Section {
        Section { processes, active, day: "2026-11-24".to_owned(), rows }
    }

    #[test]
    fn psutil_and_tier_a_are_the_measures_of_the_table() {
        let psutil = super::super::PSUTIL;
        let text = section(7, 10, vec![row("C limit", 20.0), row(psutil, 150.0)]).text();
        assert!(text.contains("| C limit | all | 3 | 20.00 | 7.5x | - | 7 | 9216 | 4 | - |"));
        assert!(text.contains("| 150.00 | 1.0x | - |"));
        let text = section(7, 10, vec![row("C limit", 20.0)]).text();
        assert!(text.contains("| 20.00 | - | - |"));
        let text = section(7, 10, vec![row(super::super::TIER_A, 2.0), row("top", 30.0)]).text();
        assert!(text.contains("| 30.00 | - | 15.0x | 7 | 9216 | 4 | - |"));
    }

    #[test]
    fn what_was_written_is_read_back_as_it_was() {
        let mut with_kernel = row("C limit", 20.25);
        with_kernel.kernel_kib = Some(29_000);
        let sections = [
            section(1000, 0, vec![with_kernel, row("top", 3.5)]),
            section(1000, 100, vec![row("top", 4.0)]),
        ];
        let text: String = sections.iter().map(Section::text).collect();
        let text = format!("# What\n\nMachine: fast.\n\n## Goals and what was found\n\n{text}");
        assert_eq!(parse(&text, "Machine: fast."), sections);
        assert_eq!(parse(&text, "Machine: slow."), []);
        let older = text.replace(" | samples", "");
        assert_eq!(parse(&older, "Machine: fast."), []);
    }

    #[test]
    fn a_section_replaces_the_one_of_its_size_and_leaves_the_others() {
        let mut sections = vec![section(1000, 0, Vec::new()), section(5000, 0, Vec::new())];
        put(&mut sections, section(5000, 0, vec![row("top", 4.0)]));
        put(&mut sections, section(1000, 10, Vec::new()));
        let sizes: Vec<_> =
            sections.iter().map(|s| (s.processes, s.active, s.rows.len())).collect();
        assert_eq!(sizes, [(1000, 0, 0), (1000, 10, 0), (5000, 0, 1)]);
    }
}
