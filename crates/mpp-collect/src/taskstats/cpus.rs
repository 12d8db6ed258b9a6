//! Which CPUs this machine may ever have: `/sys/devices/system/cpu/possible`.

use rustix::fs::CWD;
use rustix::io::Errno;

use mpp_parse::number::decimal_u32;

use crate::proc_fs::{FileError, Room};

/// More CPUs than any kernel is built for.
const CPUS_MAX: usize = 1 << 16;

/// All CPUs that may ever come online, so that nothing need be watched for one that does.
///
/// # Errors
/// sysfs is not mounted at `/sys`, or says something that is no list.
pub(super) fn possible() -> Result<Vec<u32>, Errno> {
    let mut room = Room::default();
    let text =
        room.read(CWD, c"/sys/devices/system/cpu/possible").map_err(|error| match error {
            FileError::System(errno) => errno,
            _ => Errno::FBIG,
        })?;
    parse(text).ok_or(Errno::BADMSG)
}

/// Reads a list such as `0-3,8`.
fn parse(text: &[u8]) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for range in text.trim_ascii().split(|byte| *byte == b',') {
        let mut ends = range.splitn(2, |byte| *byte == b'-').map(decimal_u32);
        let first = ends.next()??;
        let last = ends.next().unwrap_or(Some(first))?;
        let count = usize::try_from(last.checked_sub(first)?).ok()?;
        if cpus.len() + count >= CPUS_MAX {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&[u32]>) {
        assert_eq!(parse(text.as_bytes()).as_deref(), expected, "{text}");
    }

    #[test]
    fn a_list_has_single_numbers_and_ranges() {
        check("0\n", Some(&[0]));
        check("0-3\n", Some(&[0, 1, 2, 3]));
        check("0,2-4,7\n", Some(&[0, 2, 3, 4, 7]));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["", "\n", "a", "3-1", "0-", "-1", "0,,1", "0-4294967295", "0 1"] {
            check(text, None);
        }
    }

    #[test]
    fn this_machine_has_at_least_one() {
        assert!(possible().is_ok_and(|cpus| !cpus.is_empty()));
    }
}
