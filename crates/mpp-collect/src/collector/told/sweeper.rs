//! What the thread that sweeps has done itself, as the sweep tells it.
//!
//! Whoever measures the process that it lives in takes that off again. It is right to the
//! nanosecond and the page only if both were read at one moment: here it is a part of the very sum
//! that it is taken off.

use mpp_accounting::process::Reading;
use mpp_accounting::units::Totals;
use mpp_parse::bpf_record::TaskRecord;
use rustix::thread::gettid;

use crate::own_thread::ThreadDeeds;
use crate::scale::{cpu_split, io_totals};

/// See the top of this file.
#[derive(Debug, Default)]
pub(in crate::collector) struct Sweeper {
    tid: u32,
    /// User and system time as they were last told, which do not fall.
    cpu_ns: (u64, u64),
    deeds: Option<ThreadDeeds>,
}

impl Sweeper {
    /// A sweep of the calling thread begins, and has not told of it yet.
    pub(in crate::collector) fn begin(&mut self) {
        let tid = gettid().as_raw_nonzero().get().unsigned_abs();
        let cpu_ns = if self.tid == tid { self.cpu_ns } else { (0, 0) };
        *self = Sweeper { tid, cpu_ns, deeds: None };
    }

    /// Takes in what is told of it; of others nothing.
    pub(super) fn hear(&mut self, task: &TaskRecord<'_>) {
        if task.thread().id != self.tid {
            return;
        }
        let usage = task.usage();
        self.cpu_ns = cpu_split(&usage, self.cpu_ns);
        let (user_ns, system_ns) = self.cpu_ns;
        self.deeds = Some(ThreadDeeds {
            usage: Totals([user_ns, system_ns, usage.min_flt, usage.maj_flt]),
            switches: Totals([usage.nvcsw, usage.nivcsw]),
            io: Reading::Value(io_totals(&task.io())),
        });
    }

    /// What the last sweep told; `None` where nobody told it.
    pub(in crate::collector) fn deeds(&self) -> Option<ThreadDeeds> {
        self.deeds
    }
}
