//! What can be measured here, and what it would take to measure more.

use std::path::Path;

use mpp_accounting::snapshot::Visibility;
pub use mpp_collect::ProcfsKind;
pub use mpp_collect::capability::{Capabilities, Fact, FactId, Standing};
use mpp_collect::{Collector, CollectorOptions};

use crate::error::Error;

/// Tries what can be measured on the processes of this procfs.
///
/// ```
/// use metrics_per_process::doctor;
///
/// let found = doctor::examine("/proc")?;
/// assert!(found.facts.iter().all(|fact| !fact.subject.is_empty()));
/// # Ok::<(), metrics_per_process::Error>(())
/// ```
///
/// # Errors
/// The procfs cannot be read at all.
pub fn examine(procfs: impl AsRef<Path>) -> Result<Capabilities, Error> {
    Ok(Capabilities::read(procfs.as_ref())?)
}

/// How much of the machine's processes this procfs shows us: where it is not the whole, every
/// number of processes and every sum over them is a lower bound.
///
/// # Errors
/// The procfs cannot be read at all.
pub fn visibility(procfs: impl AsRef<Path>) -> Result<Visibility, Error> {
    let procfs = procfs.as_ref().to_path_buf();
    let mut collector =
        Collector::open(CollectorOptions { procfs, ..CollectorOptions::default() })?;
    Ok(collector.visibility())
}
