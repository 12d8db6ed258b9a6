//! How a process ended, as wait(2) tells it.

use std::fmt;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WaitStatus {
    /// It exited with this number.
    Exited(u8),
    /// A signal ended it.
    Signaled {
        /// The signal's number.
        signal: u8,
        /// Whether the kernel took it as one that dumps core, core(5); there need not be a file.
        has_dumped_core: bool,
    },
}

impl WaitStatus {
    /// Reads the status word of the kernel: the number in the second byte, or the signal in the
    /// lowest seven bits, with the eighth for a core; wait(2).
    ///
    /// ```
    /// use mpp_accounting::ended::WaitStatus;
    ///
    /// assert_eq!(WaitStatus::of_kernel(0x0300), WaitStatus::Exited(3));
    /// let killed = WaitStatus::Signaled { signal: 9, has_dumped_core: false };
    /// assert_eq!(WaitStatus::of_kernel(9), killed);
    /// ```
    #[must_use]
    pub fn of_kernel(status: i32) -> Self {
        let [low, number, ..] = status.to_le_bytes();
        match low & 0x7f {
            0 => WaitStatus::Exited(number),
            signal => WaitStatus::Signaled { signal, has_dumped_core: low & 0x80 != 0 },
        }
    }
}

impl fmt::Display for WaitStatus {
    /// `0`, `KILL`, `SEGV core`, as kill(1) names signals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitStatus::Exited(number) => write!(f, "{number}"),
            WaitStatus::Signaled { signal, has_dumped_core } => {
                match signal_name(*signal) {
                    Some(name) => f.write_str(name)?,
                    None => write!(f, "signal {signal}")?,
                }
                f.write_str(if *has_dumped_core { " core" } else { "" })
            }
        }
    }
}

/// The name of a signal without its `SIG`, signal(7); `None` for real-time signals, and for
/// numbers that name none. As numbered on all architectures but alpha, mips, parisc and sparc.
#[must_use]
pub fn signal_name(signal: u8) -> Option<&'static str> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    NAMES.get(usize::from(signal).checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: i32, expected: &str) {
        assert_eq!(WaitStatus::of_kernel(status).to_string(), expected, "{status:#x}");
    }

    #[test]
    fn numbers_and_signals_are_told_apart() {
        check(0, "0");
        check(0xff00, "255");
        check(9, "KILL");
        check(15, "TERM");
        check(0x8b, "SEGV core");
        check(0x86, "ABRT core");
        check(64, "signal 64");
        check(127, "signal 127");
        check(-1, "signal 127 core");
    }

    #[test]
    fn no_signal_bears_the_number_0() {
        assert_eq!(signal_name(0), None);
        assert_eq!(signal_name(1), Some("HUP"));
        assert_eq!(signal_name(31), Some("SYS"));
        assert_eq!(signal_name(32), None);
    }
}
