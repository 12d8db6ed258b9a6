//! What can be measured here, and what it would take to measure more.

use std::path::Path;
use std::process::{Command, Stdio};

use mpp_accounting::metric::{METRICS, Metric, MetricId};
use mpp_accounting::report::{Column, Figure, Form, Report, Tier, Value};
use mpp_accounting::selector::Selector;
use mpp_accounting::snapshot::Visibility;
pub use mpp_collect::ProcfsKind;
pub use mpp_collect::capability::{Capabilities, Fact, FactId, Standing};
pub use mpp_collect::cure::{Cure, Grant};
pub use mpp_collect::exits::Refusal;
use mpp_collect::{Collector, CollectorOptions};

use crate::error::Error;
use crate::monitor::Monitor;

/// Children of a self test.
const CHILDREN: u64 = 50;

/// Tries what can be measured on the processes of this procfs.
///
/// ```
/// use metrics_per_process::doctor::{self, FactId};
///
/// let found = doctor::examine("/proc")?;
/// assert!(found.facts.iter().any(|fact| fact.id == FactId::Processes));
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

/// How well ended processes can be seen here, and why not better.
///
/// # Errors
/// The procfs cannot be read at all.
pub fn ends(procfs: impl AsRef<Path>) -> Result<(Tier, Vec<Refusal>), Error> {
    let monitor = Monitor::builder().procfs(procfs.as_ref()).build()?;
    Ok((monitor.tier(), monitor.refusals().to_vec()))
}

/// What a test with children that know what they wrote came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfTest {
    /// The tier in the interval in which they lived.
    pub tier: Tier,
    /// How many children there were.
    pub children: u64,
    /// What they wrote.
    pub written_bytes: u64,
    /// What was counted.
    pub counted_bytes: u64,
    /// By how much that may be too low.
    pub bound_bytes: u64,
}

/// Starts children that write a known number of bytes and end, one after the other, and
/// looks what is counted of them between two samples.
///
/// They run `head` from `PATH`; nothing is written to a disk.
///
/// # Errors
/// The processes cannot be listed, or the children cannot be started.
pub fn self_test(procfs: impl AsRef<Path>) -> Result<SelfTest, Error> {
    let own = Selector::parse(&format!("pid:{}", std::process::id()));
    let written = |metric: &&Metric| metric.id == MetricId::IoWriteChars;
    let columns = METRICS.iter().filter(written);
    let columns = columns.map(|metric| Column { metric, form: Form::Level });
    let mut monitor = Monitor::builder()
        .group("self-test", own.map_err(|source| Error::SelfTestSelector { source })?)
        .columns(columns.collect())
        .procfs(procfs.as_ref())
        .build()?;
    let counted = |report: &Report| match report.groups[0].figures[0] {
        Figure::Known { value: Value::Integer(bytes), .. } => bytes,
        Figure::Known { .. } | Figure::Absent(_) => 0,
    };
    let before = counted(&monitor.sample()?);
    let mut written_bytes = 0;
    for child in 0..CHILDREN {
        let bytes = 1000 + child * 7;
        let status = Command::new("head")
            .args(["-c", &bytes.to_string(), "/dev/zero"])
            .stdout(Stdio::null())
            .status();
        match status {
            Ok(status) if status.success() => written_bytes += bytes,
            Ok(status) => return Err(Error::SelfTestChild { status }),
            Err(source) => return Err(Error::SelfTestStart { source }),
        }
    }
    let report = monitor.sample()?;
    Ok(SelfTest {
        tier: report.accuracy.tier,
        children: CHILDREN,
        written_bytes,
        counted_bytes: counted(&report).saturating_sub(before),
        bound_bytes: report.accuracy.io_bound_bytes,
    })
}
