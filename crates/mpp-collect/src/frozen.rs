//! The file `frozen` at the root of a frozen tree: what a copy of a procfs cannot say
//! about the machine it was taken from.
//!
//! One `key=value` on each line; a line that begins with `#` is for people:
//!
//! ```text
//! clock_ticks_per_second=100
//! page_size_bytes=4096
//! taken_at_unix_ns=1795435421520000000
//! taken_at_boot_ns=86400000000000
//! memory_total_bytes=8589934592
//! ```
//!
//! The last one may be missing where the tree holds a `meminfo`.

use std::path::Path;

use mpp_accounting::units::{BootTime, WallTime};
use rustix::fd::OwnedFd;

use crate::error::CollectError;
use crate::proc_fs::{FileError, Room};
use crate::scale::Scale;

/// Name of the file that makes a folder a frozen tree.
const FILE: &str = "frozen";

/// What a frozen tree says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frozen {
    /// What its ticks and pages are worth.
    pub(crate) scale: Scale,
    /// When it was taken, on the clock that its start times are on.
    pub(crate) taken_at: BootTime,
    /// The same moment in wall-clock time.
    pub(crate) wall_time: WallTime,
    /// The machine's memory, where the file says it.
    pub(crate) memory_total_bytes: Option<u64>,
}

/// Reads the file `frozen` of the folder `root`, which is at `path`.
///
/// # Errors
/// [`CollectError::NotProcfs`] where there is no such file, else what is wrong with it.
pub(crate) fn read(root: &OwnedFd, path: &Path, room: &mut Room) -> Result<Frozen, CollectError> {
    let problem = |problem| CollectError::Frozen { path: path.join(FILE), problem };
    match room.read(root, c"frozen") {
        Ok(text) => parse(text).map_err(problem),
        Err(FileError::System(rustix::io::Errno::NOENT)) => {
            Err(CollectError::NotProcfs { path: path.to_path_buf() })
        }
        Err(FileError::System(errno)) => Err(CollectError::system("read", path.join(FILE), errno)),
        Err(FileError::TooLarge) => Err(problem("expected a few lines, but found more".into())),
    }
}

fn parse(text: &[u8]) -> Result<Frozen, String> {
    let text = std::str::from_utf8(text).map_err(|_| "expected text".to_owned())?;
    let mut values = [None; KEYS.len()];
    for (line, number) in text.lines().zip(1..) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| format!("expected `key=value`, but found `{line}` in line {number}"))?;
        let position = KEYS.iter().position(|known| *known == key).ok_or_else(|| {
            format!("expected one of `{}`, but found `{key}` in line {number}", KEYS.join("`, `"))
        })?;
        let value: i64 = value.parse().ok().filter(|value| *value >= 0).ok_or_else(|| {
            format!("expected a number in `{key}`, but found `{value}` in line {number}")
        })?;
        values[position] = Some(value);
    }
    assemble(values)
}

const KEYS: [&str; 5] = [
    "clock_ticks_per_second",
    "page_size_bytes",
    "taken_at_unix_ns",
    "taken_at_boot_ns",
    "memory_total_bytes",
];

fn assemble(values: [Option<i64>; KEYS.len()]) -> Result<Frozen, String> {
    let required = |position: usize| {
        values[position].ok_or_else(|| format!("expected `{}`, but found none", KEYS[position]))
    };
    let scale = Scale::new(required(0)?.unsigned_abs(), required(1)?.unsigned_abs());
    Ok(Frozen {
        scale: scale.ok_or("expected ticks in a second and bytes in a page, but found none")?,
        taken_at: BootTime { ns: required(3)?.unsigned_abs() },
        wall_time: WallTime { unix_ns: required(2)? },
        memory_total_bytes: values[4].map(i64::unsigned_abs),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "# of a machine\nclock_ticks_per_second=100\npage_size_bytes=4096\n\
        taken_at_unix_ns=1795435421520000000\ntaken_at_boot_ns=86400000000000\n";

    #[test]
    fn says_what_a_copy_cannot_know() {
        let frozen = parse(WHOLE.as_bytes()).unwrap();
        assert_eq!(frozen.scale, Scale::new(100, 4096).unwrap());
        assert_eq!(frozen.taken_at.ns, 86_400_000_000_000);
        assert_eq!(frozen.wall_time.unix_ns, 1_795_435_421_520_000_000);
        assert_eq!(frozen.memory_total_bytes, None);
        let with_memory = format!("{WHOLE}memory_total_bytes=8192\n");
        assert_eq!(parse(with_memory.as_bytes()).unwrap().memory_total_bytes, Some(8192));
    }

    #[test]
    fn names_the_line_that_is_wrong() {
        fn check(text: &str, expected: &str) {
            assert_eq!(parse(text.as_bytes()).unwrap_err(), expected);
        }
        check("", "expected `clock_ticks_per_second`, but found none");
        check("ticks\n", "expected `key=value`, but found `ticks` in line 1");
        check(
            "page_size_bytes=4k\n",
            "expected a number in `page_size_bytes`, but found `4k` in line 1",
        );
        check(
            "page_size_bytes=-1\n",
            "expected a number in `page_size_bytes`, but found `-1` in line 1",
        );
        check(
            "\nhz=100\n",
            "expected one of `clock_ticks_per_second`, `page_size_bytes`, `taken_at_unix_ns`, \
             `taken_at_boot_ns`, `memory_total_bytes`, but found `hz` in line 2",
        );
        check(
            &WHOLE.replace("=100", "=0"),
            "expected ticks in a second and bytes in a page, but found none",
        );
    }
}
