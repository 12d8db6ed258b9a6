//! What went wrong in a sweep, counted over everybody.

use std::mem;

use mpp_accounting::process::{Absence, Identity, ProcessSample, Reading};
use mpp_accounting::snapshot::Trouble;

use super::Collector;
use crate::exits::Witness;
use crate::identity::Overwriting;
use crate::memory_reader::MemoryReader;
use crate::sockets::SocketSource;

/// What the readers beside the sweep count since they began, as of the last sweep.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tallies {
    given_up: u64,
    dropped: u64,
    cut: u64,
    unreached: u64,
    lost_reports: u64,
    forged: u64,
}

impl Collector {
    pub(super) fn count_troubles<'a>(&mut self, samples: impl Iterator<Item = &'a ProcessSample>) {
        for sample in samples {
            count_absences(sample, &mut self.trouble);
            if let Some(known) = self.known.get(sample.key.pid) {
                match known.overwriting {
                    Overwriting::NotSeen => {}
                    Overwriting::Lost => {
                        self.trouble.clobbered_environments += 1;
                        // It is said once what became of it.
                        let is_counted = is_malformed(&sample.identity.environment);
                        let malformed = &mut self.trouble.malformed;
                        *malformed = malformed.saturating_sub(u64::from(is_counted));
                    }
                    Overwriting::Remembered => self.trouble.remembered_environments += 1,
                }
                self.trouble.truncated += u64::from(known.is_cmdline_truncated);
            }
        }
        if let Some(memory) = &self.memory {
            self.trouble.blocked = memory.blocked_now() as u64;
            self.trouble.hanging_threads = memory.stuck_threads() as u64;
        }
        let now = Tallies::of(self.memory.as_ref(), self.sockets.as_ref(), &self.witness);
        let before = mem::replace(&mut self.tallied, now);
        self.trouble.given_up_readings = now.given_up - before.given_up;
        self.trouble.dropped_readings = now.dropped - before.dropped;
        self.trouble.cut_sockets = now.cut - before.cut;
        self.trouble.unreached_sockets = now.unreached - before.unreached;
        self.trouble.lost_connection_reports = now.lost_reports - before.lost_reports;
        // One who tells no more is not asked any more, either.
        self.trouble.forged_messages = now.forged.saturating_sub(before.forged);
    }
}

impl Tallies {
    fn of(
        memory: Option<&MemoryReader>,
        sockets: Option<&SocketSource>,
        witness: &Witness,
    ) -> Self {
        Tallies {
            given_up: memory.map_or(0, MemoryReader::blocked_total),
            dropped: memory.map_or(0, MemoryReader::dropped_total),
            cut: sockets.map_or(0, SocketSource::cut_total),
            unreached: sockets.map_or(0, SocketSource::unreached_total),
            lost_reports: sockets.map_or(0, SocketSource::lost_total),
            forged: witness.forged_total() + sockets.map_or(0, SocketSource::forged_total),
        }
    }
}

pub(super) fn count(trouble: &mut Trouble, why: Absence) {
    match why {
        Absence::Denied => trouble.denied += 1,
        Absence::Vanished => trouble.vanished += 1,
        Absence::TooLarge => trouble.truncated += 1,
        Absence::Malformed => trouble.malformed += 1,
        Absence::Failed(_) => trouble.failed += 1,
        // Blocked processes are counted once each, by the bounded reader; the rest is no
        // trouble but the way things are.
        _ => {}
    }
}

fn is_malformed<T>(reading: &Reading<T>) -> bool {
    reading.absence() == Some(Absence::Malformed)
}

fn count_absences(sample: &ProcessSample, trouble: &mut Trouble) {
    let Identity { executable, cmdline, environment, cgroup, .. } = &*sample.identity;
    let gauges = &sample.gauges;
    let absences = [
        executable.absence(),
        cmdline.absence(),
        environment.absence(),
        cgroup.absence(),
        sample.io.absence(),
        sample.io.threads.absence(),
        gauges.memory().absence(),
        gauges.seldom.proportional_memory.absence(),
        gauges.seldom.swap_bytes.absence(),
        gauges.fds.absence(),
        gauges.seldom.fd_limit.absence(),
        gauges.context_switches.absence(),
        gauges.seldom.sockets.absence(),
    ];
    absences.into_iter().flatten().for_each(|why| count(trouble, why));
}

/// Whether something could not be read of a process.
pub(super) fn has_trouble(sample: &ProcessSample) -> bool {
    let mut trouble = Trouble::default();
    count_absences(sample, &mut trouble);
    trouble != Trouble::default()
}
