//! What can be measured here, and what it would take to measure more.

use std::path::Path;

pub use mpp_collect::ProcfsKind;
pub use mpp_collect::capability::{Capabilities, Fact, FactId, Standing};

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
