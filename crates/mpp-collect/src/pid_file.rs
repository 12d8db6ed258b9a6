//! PID files: a number that a daemon wrote down, of which nothing is believed.
//!
//! Whoever may write the file chooses what it is. A FIFO would hang its reader, a link would lead
//! it elsewhere, a large file would fill its memory, and text means that it was not a PID file
//! after all. So it is opened without following a link and without waiting, must be a regular
//! file, and no more of it is read than a PID could need.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use crate::sys;

/// A PID and the white space around it: more is not a PID file.
pub const PID_FILE_BYTES_MAX: usize = 32;

/// The largest PID that a kernel can be told to hand out, `PID_MAX_LIMIT`, proc_sys_kernel(5).
pub const PID_MAX: u32 = 1 << 22;

/// Why a PID file names no process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PidFileError {
    /// It does not exist, or we may not read it, or reading failed.
    #[error("cannot read PID file {}\n\nhint: check the path, and that you may read it", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a symbolic link, a directory, a FIFO, a socket or a device.
    #[error(
        "expected a regular file, but found {found} at {}\n\n\
         hint: name the file that the daemon itself writes; links are not followed",
        path.display()
    )]
    NotRegular {
        /// The file.
        path: PathBuf,
        /// What it is, with its article.
        found: &'static str,
    },
    /// It holds more than a PID could need.
    #[error(
        "expected a PID in at most {PID_FILE_BYTES_MAX} bytes, but found more in {}\n\n\
         hint: a PID file holds one number; `-p` takes a PID itself",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It holds nothing but white space.
    #[error(
        "expected a PID, but found nothing in {}\n\n\
         hint: the daemon may just be starting, or has failed to",
        path.display()
    )]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It holds something that is not a digit.
    #[error(
        "expected a digit of a PID, but found `{}` at byte {offset} of {}\n\n\
         hint: a PID file holds one number; `-p` takes a PID itself",
        found.escape_ascii(), path.display()
    )]
    NotANumber {
        /// The file.
        path: PathBuf,
        /// The first byte that does not belong. Never more: the file may not be a PID file.
        found: u8,
        /// Where it stands.
        offset: usize,
    },
    /// It holds a number that is no PID.
    #[error(
        "expected a PID from 1 to {PID_MAX}, but found another number in {}\n\n\
         hint: a PID file holds one number; `-p` takes a PID itself",
        path.display()
    )]
    OutOfRange {
        /// The file.
        path: PathBuf,
    },
}

/// The PID that a PID file holds.
///
/// Never waits, and reads at most [`PID_FILE_BYTES_MAX`] bytes and one. Whether a process bears
/// the PID is not looked at.
///
/// # Errors
/// Whatever is wrong with the file; see [`PidFileError`].
///
/// ```
/// let path = std::env::temp_dir().join(format!("pid-file-{}", std::process::id()));
/// std::fs::write(&path, "4242\n")?;
/// assert_eq!(mpp_collect::pid_file::read_pid_file(&path)?, 4242);
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_pid_file(path: &Path) -> Result<u32, PidFileError> {
    let mut bytes = [0; PID_FILE_BYTES_MAX + 1];
    let length = read_regular(path, &mut bytes)?;
    if length > PID_FILE_BYTES_MAX {
        return Err(PidFileError::TooLarge { path: path.to_owned() });
    }
    parse(path, bytes.get(..length).unwrap_or_default())
}

fn read_regular(path: &Path, bytes: &mut [u8]) -> Result<usize, PidFileError> {
    let unreadable = |errno: Errno| PidFileError::Unreadable {
        path: path.to_owned(),
        source: io::Error::from(errno),
    };
    let not_regular = |found| PidFileError::NotRegular { path: path.to_owned(), found };
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match sys::retrying(|| openat(CWD, path, flags, Mode::empty())) {
        Ok(file) => file,
        Err(Errno::LOOP) => return Err(not_regular("a symbolic link")),
        // What opening a socket, or a device without a driver, answers.
        Err(Errno::NXIO | Errno::NODEV) => return Err(not_regular("a socket or a device")),
        Err(errno) => return Err(unreadable(errno)),
    };
    let status = sys::retrying(|| fstat(&file)).map_err(unreadable)?;
    if let Some(found) = other_than_regular(FileType::from_raw_mode(status.st_mode)) {
        return Err(not_regular(found));
    }
    let mut length = 0;
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match sys::retrying(|| rustix::io::read(&file, &mut *rest)).map_err(unreadable)? {
            0 => break,
            count => length += count,
        }
    }
    Ok(length)
}

/// What a file that is not regular is. Returns `None` for a regular one.
fn other_than_regular(file_type: FileType) -> Option<&'static str> {
    match file_type {
        FileType::RegularFile => None,
        FileType::Directory => Some("a directory"),
        FileType::Fifo => Some("a FIFO"),
        FileType::Socket => Some("a socket"),
        FileType::Symlink => Some("a symbolic link"),
        FileType::CharacterDevice | FileType::BlockDevice => Some("a device"),
        FileType::Unknown => Some("something else"),
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<u32, PidFileError> {
    let digits = bytes.trim_ascii();
    if digits.is_empty() {
        return Err(PidFileError::Empty { path: path.to_owned() });
    }
    let blanks = bytes.len() - bytes.trim_ascii_start().len();
    let mut pid: u32 = 0;
    for (byte, offset) in digits.iter().zip(blanks..) {
        if !byte.is_ascii_digit() {
            return Err(PidFileError::NotANumber { path: path.to_owned(), found: *byte, offset });
        }
        pid = pid.saturating_mul(10).saturating_add(u32::from(byte - b'0'));
    }
    if !(1..=PID_MAX).contains(&pid) {
        return Err(PidFileError::OutOfRange { path: path.to_owned() });
    }
    Ok(pid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// What a PID file with these bytes gives: the PID, or the first line of the error with the
    /// file's path as `PATH`.
    fn check(bytes: &[u8], expected: Result<u32, &str>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("daemon.pid");
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(outcome(&path), expected.map_err(str::to_owned), "{}", bytes.escape_ascii());
    }

    fn outcome(path: &Path) -> Result<u32, String> {
        read_pid_file(path).map_err(|error| {
            let text = error.to_string().replace(&path.display().to_string(), "PATH");
            assert!(text.contains("\n\nhint: "), "{text}");
            text.lines().next().unwrap().to_owned()
        })
    }

    #[test]
    fn a_number_with_white_space_around_it_is_a_pid() {
        check(b"1", Ok(1));
        check(b"4194304\n", Ok(4_194_304));
        check(b" \t 4242 \r\n\n", Ok(4242));
        check(b"00000000000000000000000000000042", Ok(42));
    }

    #[test]
    fn anything_else_is_an_error_that_says_what_was_found() {
        check(b"", Err("expected a PID, but found nothing in PATH"));
        check(b" \n\n", Err("expected a PID, but found nothing in PATH"));
        check(b"x", Err("expected a digit of a PID, but found `x` at byte 0 of PATH"));
        check(b" 12 34", Err("expected a digit of a PID, but found ` ` at byte 3 of PATH"));
        check(b"-5", Err("expected a digit of a PID, but found `-` at byte 0 of PATH"));
        check(b"1\x1b[2J", Err("expected a digit of a PID, but found `\\x1b` at byte 1 of PATH"));
        check(b"12\0", Err("expected a digit of a PID, but found `\\x00` at byte 2 of PATH"));
        let out_of_range = "expected a PID from 1 to 4194304, but found another number in PATH";
        check(b"0", Err(out_of_range));
        check(b"4194305", Err(out_of_range));
        check(b"18446744073709551617", Err(out_of_range));
        let too_large = "expected a PID in at most 32 bytes, but found more in PATH";
        check(&[b' '; 33], Err(too_large));
        check(&vec![b'1'; 1 << 20], Err(too_large));
    }

    #[test]
    fn what_is_not_a_regular_file_is_refused_without_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(path("fifo")).status().unwrap();
        assert!(made.success());
        std::fs::create_dir(path("directory")).unwrap();
        std::fs::write(path("real"), "1").unwrap();
        std::os::unix::fs::symlink(path("real"), path("link")).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        for (name, found) in [
            ("fifo", "a FIFO"),
            ("directory", "a directory"),
            ("link", "a symbolic link"),
            ("socket", "a socket or a device"),
        ] {
            let expected = format!("expected a regular file, but found {found} at PATH");
            assert_eq!(outcome(&path(name)), Err(expected));
        }
        let device = outcome(Path::new("/dev/zero"));
        assert_eq!(device, Err("expected a regular file, but found a device at PATH".to_owned()));
        assert_eq!(outcome(&path("none")), Err("cannot read PID file PATH".to_owned()));
    }

    #[test]
    fn every_failing_call_is_an_error_and_never_a_pid() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("daemon.pid");
        std::fs::write(&path, "4242").unwrap();
        let (pid, calls) = sys::fault::with_failure(u64::MAX, Errno::IO, || read_pid_file(&path));
        assert_eq!(pid.unwrap(), 4242);
        for n in 0..calls {
            let (failed, _) = sys::fault::with_failure(n, Errno::IO, || read_pid_file(&path));
            assert!(matches!(failed, Err(PidFileError::Unreadable { .. })), "call {n}");
            let (again, _) = sys::fault::with_failure(n, Errno::INTR, || read_pid_file(&path));
            assert!(again.is_ok_and(|pid| pid == 4242), "call {n}");
        }
    }
}
