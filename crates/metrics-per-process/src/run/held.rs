//! What the processes of a tree hold together, as it is seen at glances between two sweeps.

use std::collections::HashMap;

use mpp_collect::collector::Glimpse;

/// No more programs than this are told apart.
const PROGRAMS_MAX: usize = 4096;

/// What all held at one glance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    /// How many there were.
    pub(super) processes: u64,
    /// Resident memory in bytes; pages that are shared count for each.
    pub(super) rss_bytes: u64,
    /// Open descriptors.
    pub(super) fds: u64,
    /// Whether somebody's descriptors could not be counted.
    pub(super) is_partial: bool,
}

/// Sums of one glance, and the largest of each program.
#[derive(Debug, Default)]
pub(super) struct Held {
    now: Sum,
    programs: HashMap<Box<[u8]>, Program>,
}

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Program {
    now: u64,
    peak: u64,
}

impl Held {
    /// Begins a glance.
    pub(super) fn begin(&mut self) {
        self.now = Sum::default();
        self.programs.values_mut().for_each(|program| program.now = 0);
    }

    /// Adds one process.
    pub(super) fn add(&mut self, glimpse: &Glimpse<'_>) {
        let Sum { processes, rss_bytes, fds, is_partial } = &mut self.now;
        *processes += 1;
        *rss_bytes = rss_bytes.saturating_add(glimpse.rss_bytes);
        *fds = fds.saturating_add(glimpse.fds.unwrap_or(0));
        *is_partial |= glimpse.fds.is_none();
        let Some(name) = glimpse.program else { return };
        if !self.programs.contains_key(name) && self.programs.len() < PROGRAMS_MAX {
            self.programs.insert(Box::from(name), Program::default());
        }
        if let Some(program) = self.programs.get_mut(name) {
            program.now = program.now.saturating_add(glimpse.rss_bytes);
        }
    }

    /// Ends a glance at which everybody was seen; `None` where nobody was.
    pub(super) fn end(&mut self) -> Option<Sum> {
        for program in self.programs.values_mut() {
            program.peak = program.peak.max(program.now);
        }
        (self.now.processes > 0).then_some(self.now)
    }

    /// The most that processes of one program held together; 0 where none was seen.
    pub(super) fn peak_of(&self, program: &[u8]) -> u64 {
        self.programs.get(program).map_or(0, |program| program.peak)
    }
}

#[cfg(test)]
mod tests {
    use mpp_accounting::process::ProcessKey;

    use super::*;

    fn glance(held: &mut Held, seen: &[(&str, u64, Option<u64>)]) -> Option<Sum> {
        held.begin();
        for (name, rss_bytes, fds) in seen {
            let key = ProcessKey { pid: 1, start_time_ticks: 1 };
            let program = Some(name.as_bytes()).filter(|name| !name.is_empty());
            held.add(&Glimpse { key, program, rss_bytes: *rss_bytes, fds: *fds });
        }
        held.end()
    }

    #[test]
    fn what_all_hold_is_of_one_glance_and_the_peaks_are_of_all() {
        let mut held = Held::default();
        let sum = |processes, rss_bytes, fds, is_partial| {
            Some(Sum { processes, rss_bytes, fds, is_partial })
        };
        let first = glance(&mut held, &[("cc1", 30, Some(3)), ("cc1", 20, Some(4)), ("", 1, None)]);
        assert_eq!(first, sum(3, 51, 7, true));
        assert_eq!(
            glance(&mut held, &[("cc1", 40, Some(3)), ("as", 5, Some(1))]),
            sum(2, 45, 4, false)
        );
        assert_eq!(glance(&mut held, &[]), None);
        assert_eq!([b"cc1".as_slice(), b"as", b"ld"].map(|name| held.peak_of(name)), [50, 5, 0]);
    }
}
