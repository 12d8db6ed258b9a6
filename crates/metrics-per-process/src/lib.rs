//! What processes really use, all together, with all their children, the dead ones too.
//!
//! When a child ends the kernel adds its I/O to its parent's, so whoever adds up
//! processes counts the same bytes twice or more. This library does not: a ledger
//! takes inherited counters out again, and every number says how far it can be trusted.
//!
//! A [`Monitor`] samples groups of processes again and again:
//!
//! ```
//! use metrics_per_process::selector::Selector;
//! use metrics_per_process::{Monitor, metric};
//!
//! let myself = Selector::default().pids(std::process::id().to_string())?;
//! let mut monitor = Monitor::builder()
//!     .group("myself", myself)
//!     .columns(metric::choose("memory.rss,io_counters.write_bytes")?)
//!     .build()?;
//! let report = monitor.sample()?;
//! assert_eq!(&*report.groups[0].name, b"myself");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Monitor::ended`] tells of the processes that ended, one by one. [`find`] only looks for
//! processes. The five functions of [`drop_in`] have the names and
//! keys of a Python library that people know.

#![forbid(unsafe_code)]

mod budget;
pub mod doctor;
pub mod drop_in;
mod error;
mod find;
mod lone;
pub mod measure;
mod monitor;
mod resolver;
pub mod run;

pub use drop_in::{
    find_pids, find_pids_from_name, get_processes_stats_ex, multi_pid_process_stats, stats_per_pid,
};
pub use error::Error;
pub use find::{FindOptions, Found, FoundProcess, Why, find};
pub use monitor::{EndedOptions, Monitor, MonitorBuilder};
pub use mpp_accounting::{
    ended, exit, metric, process, rate, report, selector, similar, slack, snapshot, units,
};
pub use mpp_collect::MemoryReaderKind;
pub use mpp_collect::exits::ExitRoom;

/// The programs of the two README files, which must compile and run.
#[cfg(doctest)]
mod readme {
    #[doc = include_str!("../../../README.md")]
    #[doc = include_str!("../../../README.ru.md")]
    struct Programs;
}
