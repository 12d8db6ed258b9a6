//! For how long a process has run: its CPU clock, clock_gettime(2) and clock_getcpuclockid(3).
//!
//! One system call without a file tells it of any process, whoever asks: `posix_cpu_clock_get` of
//! `kernel/time/posix-cpu-timers.c`. It is the sum over all threads, ended ones included, of what
//! the scheduler measured in nanoseconds, so that it grows whenever one of them has been on a CPU:
//! an exec, a write, a fault, a child waited for, even an end. Children are not in it.
//!
//! The traps. It is brought up to date when a thread leaves the CPU and at each clock tick, so
//! that of one that is on a CPU it is behind by a tick, and where CPUs run without ticks by a
//! second. Before Linux 6.13 a run that is shorter than the time that was just stolen from a
//! virtual machine may add nothing. And it is asked for by a bare PID. The live test is
//! `whoever_has_run_has_another_run_time`.

use std::mem::MaybeUninit;

use rustix::io::Errno;

use crate::sys;

/// What the scheduler counts of a process, among the clocks that a clock ID can name:
/// `CPUCLOCK_SCHED` of `include/linux/posix-timers.h`.
const SCHEDULER: libc::clockid_t = 2;

/// On CPUs, all threads together, in nanoseconds; only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunTime {
    ns: u64,
}

impl RunTime {
    /// That of the process with this PID in our own PID namespace.
    ///
    /// # Errors
    /// EINVAL where there is no such process.
    pub(crate) fn of(pid: u32) -> Result<Self, Errno> {
        let pid = libc::pid_t::try_from(pid).map_err(|_| Errno::INVAL)?;
        let clock = (!pid << 3) | SCHEDULER;
        let mut time = MaybeUninit::<libc::timespec>::zeroed();
        sys::retrying(|| {
            // SAFETY: `time` is writable for the length of the call.
            match unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) } {
                0 => Ok(()),
                _ => Err(sys::last_errno()),
            }
        })?;
        // SAFETY: all zero bytes are a valid timespec, and the call wrote nothing else.
        let time = unsafe { time.assume_init() };
        let [seconds, ns] = [time.tv_sec, time.tv_nsec].map(i64::cast_unsigned);
        Ok(RunTime { ns: seconds.saturating_mul(1_000_000_000).saturating_add(ns) })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn whoever_has_run_has_another_run_time() {
        let mut child = Command::new("cat");
        let child = child.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let (mut to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut echo = || {
            to.write_all(b"x").unwrap();
            from.read_exact(&mut [0]).unwrap();
        };
        echo();
        let settled = || {
            let state = || std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
            while !state().contains("(cat) S") {
                std::thread::yield_now();
            }
            RunTime::of(child.id()).unwrap()
        };
        for _ in 0..1000 {
            let before = settled();
            assert_eq!(settled(), before, "it sleeps");
            echo();
            assert_ne!(settled(), before, "it has handed a byte on");
        }
        drop(to);
        child.wait().unwrap();
        assert_eq!(RunTime::of(child.id()), Err(Errno::INVAL));
        assert_eq!(RunTime::of(u32::MAX), Err(Errno::INVAL));
    }
}
