//! Whether the kernel accounts what threads wait for: `/proc/sys/kernel/task_delayacct`.

use std::ffi::CStr;

use rustix::fs::CWD;
use rustix::io::Errno;

use crate::proc_fs::{FileError, Room};

/// Whether delays are accounted. They are 0 where they are not, which says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DelayAccounting {
    /// They are, for whoever started since this is so.
    On,
    /// Only the run queue's are. `sysctl kernel.task_delayacct=1` accounts the others, too.
    Off,
    /// The kernel was built without `CONFIG_TASK_DELAY_ACCT`.
    Unsupported,
}

impl DelayAccounting {
    /// What says it, since Linux 5.14.
    pub(crate) const SWITCH: &'static CStr = c"/proc/sys/kernel/task_delayacct";

    /// How it is now, with a kernel that was built for it; anybody may change it at any time.
    ///
    /// Off as well where that cannot be found out.
    pub(crate) fn read(room: &mut Room) -> Self {
        match room.read(CWD, Self::SWITCH) {
            Ok(text) => Self::of_switch(text),
            // Before Linux 5.14 it was on unless the kernel was started otherwise.
            Err(FileError::System(Errno::NOENT)) => {
                room.read(CWD, c"/proc/cmdline").map_or(DelayAccounting::Off, Self::of_command_line)
            }
            Err(_) => DelayAccounting::Off,
        }
    }

    fn of_switch(text: &[u8]) -> Self {
        match text.trim_ascii() {
            b"0" | b"" => DelayAccounting::Off,
            _ => DelayAccounting::On,
        }
    }

    fn of_command_line(text: &[u8]) -> Self {
        match text.split(u8::is_ascii_whitespace).any(|word| word == b"nodelayacct") {
            true => DelayAccounting::Off,
            false => DelayAccounting::On,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_says_it_and_before_there_was_one_the_command_line() {
        assert_eq!(DelayAccounting::of_switch(b"1\n"), DelayAccounting::On);
        assert_eq!(DelayAccounting::of_switch(b"0\n"), DelayAccounting::Off);
        let line = b"root=/dev/vda nodelayacct quiet\n";
        assert_eq!(DelayAccounting::of_command_line(line), DelayAccounting::Off);
        assert_eq!(DelayAccounting::of_command_line(b"root=/dev/vda\n"), DelayAccounting::On);
    }
}
