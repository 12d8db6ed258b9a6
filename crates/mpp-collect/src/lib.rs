//! Reads processes from the kernel: the only crate with system calls.
//!
//! A [`Collector`] sweeps over every process of a procfs and assembles a
//! [`Snapshot`](mpp_accounting::snapshot::Snapshot): every field a value, or the reason
//! why there is none. What could block on a measured process is read beside the sweep,
//! by somebody who may hang; see [`memory_reader`].
//!
//! The crate knows processes, not groups and not metrics: it is told what to read by
//! [`Needs`] and reads nothing else.

mod allocator;
mod bpf;
pub mod capability;
pub mod child;
pub mod collector;
pub mod cure;
pub mod error;
pub mod exits;
pub mod memory_reader;
pub mod needs;
pub mod own_thread;
pub mod pid_file;
pub mod sockets;
pub mod users;

mod delays;
mod frozen;
mod identity;
mod measure;
mod origin;
mod proc_fs;
mod run_time;
mod scale;
mod sys;

mod taskstats;
mod visibility;

#[cfg(test)]
#[expect(dead_code, reason = "only its way to the examples is needed here")]
#[path = "../tests/support/hostile.rs"]
mod hostile;

pub use bpf::Refusal;
pub use collector::candidate::Candidate;
pub use collector::{Collector, CollectorOptions};
pub use error::CollectError;
pub use memory_reader::MemoryReaderKind;
pub use memory_reader::scan::{Part, Question, Scan, Seen, Step};
pub use needs::{ContextSwitchNeeds, IdentityWait, Measures, Needs};
pub use origin::ProcfsKind;
