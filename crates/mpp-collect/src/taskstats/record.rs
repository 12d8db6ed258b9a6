//! What the kernel tells of an ended thread, and of a process that lives or has ended.

use mpp_accounting::units::{IoTotals, Totals};
use mpp_parse::taskstats::{Account, FLAG_LAST_THREAD, Stats, Taskstats};

use super::DelayAccounting;

/// I/O is told rounded down to a multiple of this, for each thread and counter.
#[cfg(test)]
pub(crate) const IO_FLOOR_BYTES: u64 = 1024;

/// What a thread has done from its start to its end, by itself: what children did is not in it.
///
/// Its CPU times are not to be trusted for short lives: what the scheduler measured ends with
/// the last tick or switch before the end, so that most of a life of 100 microseconds is missing;
/// and a tick charges a whole one to whoever it meets. The growth of the reaper's `cutime` and
/// `cstime` is exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ThreadExitRecord {
    /// The thread, in the initial PID namespace.
    pub(crate) tid: u32,
    /// The process that it belonged to. `None` before version 12, which Linux 5.19 has.
    pub(crate) tgid: Option<u32>,
    /// Its process's parent, or whoever traced it.
    pub(crate) parent_pid: u32,
    /// The real user, as seen from the initial user namespace.
    pub(crate) uid: u32,
    /// The name of the thread as it is, then NULs.
    pub(crate) comm: [u8; 32],
    /// When the thread started, by the wall clock, rounded down. As the kernel counts it back
    /// from the end, it may be a second off after the clock was set.
    pub(crate) started_at_unix_seconds: u64,
    /// How long the thread lived, in microseconds.
    pub(crate) elapsed_us: u64,
    /// As wait(2) gives it. The process's own only in the record of its last thread, or where
    /// the whole process was ended.
    pub(crate) exit_status: u32,
    /// Whether it was the last thread of its process. `None` before version 12.
    pub(crate) is_last_thread: Option<bool>,
    /// What it read and wrote.
    pub(crate) io: ThreadIo,
    /// Page faults that needed no disk.
    pub(crate) minor_faults: u64,
    /// Page faults that waited for the disk.
    pub(crate) major_faults: u64,
    /// CPU time in user mode by ticks, in microseconds.
    pub(crate) cpu_user_us: u64,
    /// CPU time in the kernel by ticks, in microseconds.
    pub(crate) cpu_system_us: u64,
    /// CPU time as the scheduler measured it, in nanoseconds, never more than the truth: `None`
    /// where this kernel does not say.
    pub(crate) cpu_run_ns: Option<u64>,
    /// Context switches because it waited.
    pub(crate) voluntary_switches: u64,
    /// Context switches because its time was up.
    pub(crate) involuntary_switches: u64,
    /// What it waited for.
    pub(crate) delays: Delays,
    /// The largest resident memory that its process ever had, in KiB. `None` where it had no
    /// memory of its own, as kernel threads.
    pub(crate) peak_rss_kib: Option<u64>,
    /// What its process executed. `None` before version 12, and where it executed nothing.
    pub(crate) executable: Option<ExecutableId>,
    /// The whole process, where this was its last thread and it ever had several.
    pub(crate) process: Option<ProcessAccount>,
}

/// The I/O of a thread, each counter up to 1 KiB less than it was. How many system
/// calls read and wrote is not told: the kernel rounds these numbers, too, so that they say
/// nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadIo {
    /// Bytes handed out by `read(2)` and its like.
    pub(crate) read_char_bytes: u64,
    /// Bytes taken in by `write(2)` and its like.
    pub(crate) write_char_bytes: u64,
    /// Bytes fetched from the storage layer.
    pub(crate) read_bytes: u64,
    /// Bytes to be sent to the storage layer.
    pub(crate) write_bytes: u64,
    /// Bytes that were dirtied and then truncated away before they reached storage.
    pub(crate) cancelled_write_bytes: u64,
}

/// What a thread that can still be found has done by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadAccount {
    /// The process that it belongs to. `None` before version 12, which Linux 5.19 has.
    pub(crate) tgid: Option<u32>,
    /// How long ago it started, in microseconds, without the time that the machine slept.
    pub(crate) elapsed_us: u64,
    /// What it read and wrote.
    pub(crate) io: ThreadIo,
}

/// An executable, by the file system that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExecutableId {
    /// As `st_dev` of stat(2).
    pub(crate) device: u64,
    /// As `st_ino`.
    pub(crate) inode: u64,
}

/// What all threads of a process have done, ended ones included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessAccount {
    /// The process.
    pub(crate) tgid: u32,
    /// CPU time in user mode, in microseconds.
    pub(crate) cpu_user_us: u64,
    /// CPU time in the kernel, in microseconds.
    pub(crate) cpu_system_us: u64,
    /// CPU time as the scheduler measured it, in nanoseconds.
    pub(crate) cpu_run_ns: u64,
    /// How long its threads lived, one after the other, in microseconds.
    pub(crate) elapsed_us: u64,
    /// Context switches because a thread waited.
    pub(crate) voluntary_switches: u64,
    /// Context switches because a thread's time was up.
    pub(crate) involuntary_switches: u64,
    /// What its threads waited for.
    pub(crate) delays: Delays,
}

/// How long something waited, in nanoseconds: `None` where this kernel does not say.
///
/// Whoever started while the kernel did not account delays has none but the run queue's, and
/// shows 0 although it may have waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delays {
    /// For a CPU, being ready to run. Also counted where delay accounting is off.
    pub(crate) run_queue_ns: Option<u64>,
    /// For block I/O.
    pub(crate) block_io_ns: Option<u64>,
    /// For pages to be swapped in.
    pub(crate) swap_ns: Option<u64>,
    /// For memory to be reclaimed.
    pub(crate) reclaim_ns: Option<u64>,
    /// For pages that had just been evicted. Since version 9.
    pub(crate) thrashing_ns: Option<u64>,
    /// For memory to be compacted. Since version 11.
    pub(crate) compaction_ns: Option<u64>,
    /// For a page to be copied that is shared until written. Since version 13.
    pub(crate) copy_ns: Option<u64>,
    /// For interrupts to be handled. Since version 14.
    pub(crate) interrupt_ns: Option<u64>,
}

impl ThreadExitRecord {
    /// What the kernel's record says. `None` where it is not about a thread.
    pub(super) fn of(record: &Taskstats<'_>, accounting: DelayAccounting) -> Option<Self> {
        let Account { id, stats } = record.thread?;
        let process = record.process.map(|account| ProcessAccount::of(&account, accounting));
        let mut comm = [0; 32];
        comm.iter_mut().zip(stats.comm()).for_each(|(to, from)| *to = *from);
        let executable = stats.executable_device().zip(stats.executable_inode());
        Some(ThreadExitRecord {
            tid: id,
            tgid: stats.tgid(),
            parent_pid: stats.parent_pid(),
            uid: stats.uid(),
            comm,
            started_at_unix_seconds: stats.start_unix_seconds(),
            elapsed_us: stats.elapsed_us(),
            exit_status: stats.exit_code(),
            // The flag is as old as the field.
            is_last_thread: stats.tgid().map(|_| stats.flags() & FLAG_LAST_THREAD != 0),
            io: ThreadIo::of(&stats),
            minor_faults: stats.minor_faults(),
            major_faults: stats.major_faults(),
            cpu_user_us: stats.cpu_user_us(),
            cpu_system_us: stats.cpu_system_us(),
            // Nobody ends without having run.
            cpu_run_ns: Some(stats.cpu_run_virtual_ns()).filter(|ns| *ns > 0),
            voluntary_switches: stats.voluntary_switches(),
            involuntary_switches: stats.involuntary_switches(),
            delays: Delays::of(&stats, accounting),
            peak_rss_kib: Some(stats.peak_rss_kib()).filter(|peak| *peak > 0),
            executable: executable
                .filter(|(_, inode)| *inode != 0)
                .map(|(device, inode)| ExecutableId { device, inode }),
            process,
        })
    }

    /// The name of the thread, any bytes but NUL.
    pub(crate) fn comm(&self) -> &[u8] {
        self.comm.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

impl ThreadAccount {
    /// What the kernel says of a thread.
    pub(super) fn of(account: &Account<'_>) -> Self {
        let Account { stats, .. } = account;
        ThreadAccount {
            tgid: stats.tgid(),
            elapsed_us: stats.elapsed_us(),
            io: ThreadIo::of(stats),
        }
    }
}

impl ThreadIo {
    /// As accounting counts it. How often system calls read and wrote is 0: that is not told.
    pub(crate) fn totals(&self) -> IoTotals {
        let ThreadIo { read_char_bytes, write_char_bytes, .. } = *self;
        let ThreadIo { read_bytes, write_bytes, cancelled_write_bytes, .. } = *self;
        Totals([
            read_char_bytes,
            write_char_bytes,
            0,
            0,
            read_bytes,
            write_bytes,
            cancelled_write_bytes,
        ])
    }

    fn of(stats: &Stats<'_>) -> Self {
        ThreadIo {
            read_char_bytes: stats.read_char_bytes(),
            write_char_bytes: stats.write_char_bytes(),
            read_bytes: stats.read_bytes(),
            write_bytes: stats.write_bytes(),
            cancelled_write_bytes: stats.cancelled_write_bytes(),
        }
    }
}

impl ProcessAccount {
    /// What the kernel says of a process.
    pub(super) fn of(account: &Account<'_>, accounting: DelayAccounting) -> Self {
        let Account { id, stats } = account;
        ProcessAccount {
            tgid: *id,
            cpu_user_us: stats.cpu_user_us(),
            cpu_system_us: stats.cpu_system_us(),
            cpu_run_ns: stats.cpu_run_virtual_ns(),
            elapsed_us: stats.elapsed_us(),
            voluntary_switches: stats.voluntary_switches(),
            involuntary_switches: stats.involuntary_switches(),
            delays: Delays::of(stats, accounting),
        }
    }

    /// Whether nobody has told anything: a process that has ended and never had a second thread
    /// is asked for in vain, and the kernel answers with zeros.
    pub(super) fn is_empty(&self) -> bool {
        let switches = self.voluntary_switches | self.involuntary_switches;
        self.elapsed_us | self.cpu_run_ns | self.cpu_user_us | self.cpu_system_us | switches == 0
    }
}

impl Delays {
    /// Whether anything but the run queue's was counted: then whoever waited began while the
    /// kernel accounted delays.
    pub(crate) fn has_others(&self) -> bool {
        let others = [
            self.block_io_ns,
            self.swap_ns,
            self.reclaim_ns,
            self.thrashing_ns,
            self.compaction_ns,
            self.copy_ns,
            self.interrupt_ns,
        ];
        others.into_iter().flatten().any(|ns| ns > 0)
    }

    fn of(stats: &Stats<'_>, accounting: DelayAccounting) -> Self {
        if accounting == DelayAccounting::Unsupported {
            return Delays::default();
        }
        let run_queue_ns = Some(stats.run_queue_delay_ns());
        if accounting == DelayAccounting::Off {
            return Delays { run_queue_ns, ..Delays::default() };
        }
        Delays {
            run_queue_ns,
            block_io_ns: Some(stats.block_io_delay_ns()),
            swap_ns: Some(stats.swap_delay_ns()),
            reclaim_ns: Some(stats.reclaim_delay_ns()),
            thrashing_ns: stats.thrashing_delay_ns(),
            compaction_ns: stats.compaction_delay_ns(),
            copy_ns: stats.copy_delay_ns(),
            interrupt_ns: stats.interrupt_delay_ns(),
        }
    }
}
