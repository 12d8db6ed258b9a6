//! The kernel's texts and messages about processes, as records.
//!
//! One manual page, one file. Every parser takes bytes and returns a record that
//! borrows from them; the kernel's words and units stay (ticks, pages), except
//! that KiB become bytes, and then the field's name says so.
//!
//! Three promises hold for any bytes whatsoever: no parser allocates, none
//! panics, and none takes a number that was cut in the middle for a whole one.
//! What a later kernel appends is ignored.
//!
//! ```
//! let page = b"rchar: 6976\nwchar: 0\nsyscr: 10\nsyscw: 0\n\
//!     read_bytes: 4096\nwrite_bytes: 0\ncancelled_write_bytes: 0\n";
//! let io = mpp_parse::proc_pid_io::parse(page)?;
//! assert_eq!(io.rchar, 6976);
//!
//! let error = mpp_parse::proc_pid_io::parse(b"rchar: x\n").unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "proc_pid_io(5): expected a digit in field `rchar`, but found `x` at byte 7"
//! );
//! # Ok::<(), mpp_parse::error::ParseError>(())
//! ```

#![no_std]
#![forbid(unsafe_code)]
#![allow(clippy::doc_markdown, reason = "manual pages bear plain names, as in proc_pid_io(5)")]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used,
    )
)]

#[cfg(test)]
extern crate std;

mod cursor;
mod lines;

pub mod bpf_record;
pub mod bpf_socket_record;
pub mod error;
pub mod genetlink;
pub mod netlink;
pub mod number;
pub mod proc_meminfo;
pub mod proc_pid_cgroup;
pub mod proc_pid_cmdline;
pub mod proc_pid_environ;
pub mod proc_pid_fd;
pub mod proc_pid_io;
pub mod proc_pid_limits;
pub mod proc_pid_mountinfo;
pub mod proc_pid_smaps_rollup;
pub mod proc_pid_stat;
pub mod proc_pid_statm;
pub mod proc_pid_status;
pub mod proc_stat;
pub mod sock_diag;
pub mod taskstats;
pub mod tcp_info;
