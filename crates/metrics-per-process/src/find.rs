//! Looks for processes, once.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mpp_accounting::process::{Identity, ProcessKey, ProcessSample};
use mpp_accounting::selector::{Descendants, Selector, Verdict};
use mpp_accounting::snapshot::{Snapshot, Trouble, Visibility};
use mpp_collect::{Collector, CollectorOptions, IdentityWait, MemoryReaderKind, Needs};

use crate::error::Error;
use crate::lone::{Kept, Lone, Parents};
use crate::resolver::Resolver;

/// How long to wait for command lines and environments at most.
const WAIT: Duration = Duration::from_secs(5);

/// Where and how to look.
#[derive(Clone, Debug)]
pub struct FindOptions {
    /// The procfs to read, or a frozen tree.
    pub procfs: PathBuf,
    /// Who reads what can block on a process.
    pub memory_reader: MemoryReaderKind,
    /// Whether to also read the command line of every process, for showing it.
    pub shows_cmdline: bool,
}

impl Default for FindOptions {
    fn default() -> Self {
        let CollectorOptions { procfs, memory_reader, .. } = CollectorOptions::default();
        FindOptions { procfs, memory_reader, shows_cmdline: false }
    }
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The processes, ascending by PID.
    pub processes: Vec<FoundProcess>,
    /// How many could not be decided, because something of them could not be read.
    pub undecided: u64,
    /// How much of the machine's processes could be seen.
    pub visibility: Visibility,
    /// What went wrong while looking.
    pub trouble: Trouble,
}

/// One process that was found.
#[derive(Clone, Debug)]
pub struct FoundProcess {
    /// Which process.
    pub key: ProcessKey,
    /// Who it is.
    pub identity: Arc<Identity>,
    /// Why it was found.
    pub why: Why,
}

/// Why a process was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It matched itself.
    Matched,
    /// It descends from one that matched.
    Descends,
}

/// The processes that a selector matches now, and where it takes them along, their
/// descendants.
///
/// ```
/// use metrics_per_process::selector::Selector;
/// use metrics_per_process::{FindOptions, find};
///
/// let myself = Selector::parse(&format!("pid:{}", std::process::id()))?;
/// let found = find(&myself, &FindOptions::default())?;
/// assert_eq!(found.processes[0].key.pid, std::process::id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The processes cannot be listed, a named user does not exist, or a PID file holds no PID.
pub fn find(selector: &Selector, options: &FindOptions) -> Result<Found, Error> {
    let needs_tree =
        selector.descendants() == Descendants::Taken || selector.looks_beyond_identity();
    if !needs_tree && let Some(found) = find_alone(selector, options)? {
        return Ok(found);
    }
    find_among_all(selector, options)
}

/// Looks at each process alone, and reads no more of it than decides. `None` where some cannot
/// be decided so.
fn find_alone(selector: &Selector, options: &FindOptions) -> Result<Option<Found>, Error> {
    // Nobody is forked for one look: what hangs in a process's memory ends with this program.
    let memory_reader = MemoryReaderKind::HelperThreads;
    let procfs = options.procfs.clone();
    let options_of_collector =
        CollectorOptions { procfs, memory_reader, ..CollectorOptions::default() };
    let mut collector = Collector::open(options_of_collector)?;
    let mut resolver = Resolver::new(collector.procfs_kind());
    let references = selector.references();
    resolver.check(&references)?;
    resolver.refresh(&references, collector.own_pids());
    let kept = if options.shows_cmdline { Kept::IdentityAndCmdline } else { Kept::Identity };
    let lone = Lone {
        selectors: vec![selector.clone()],
        resolution: resolver.resolution,
        kept,
        parents: Parents::Unasked,
    };
    let scan = collector.scan(&lone.into_question(), WAIT)?;
    if !scan.undecided.is_empty() {
        return Ok(None);
    }
    let matched = scan.kept.into_iter();
    let matched = matched.map(|(key, identity)| FoundProcess {
        key,
        identity: Arc::new(*identity),
        why: Why::Matched,
    });
    Ok(Some(Found {
        processes: matched.collect(),
        undecided: scan.unknown.len() as u64,
        visibility: collector.visibility(),
        trouble: collector.trouble(),
    }))
}

/// Sweeps over all processes, since who belongs depends on others.
fn find_among_all(selector: &Selector, options: &FindOptions) -> Result<Found, Error> {
    let mut collector = Collector::open(CollectorOptions {
        procfs: options.procfs.clone(),
        memory_reader: options.memory_reader,
        ..CollectorOptions::default()
    })?;
    let mut resolver = Resolver::new(collector.procfs_kind());
    let references = selector.references();
    resolver.check(&references)?;
    let mut needs = Needs { identity: selector.identity_needs(), ..Needs::default() };
    needs.identity.cmdline |= options.shows_cmdline;
    let mut snapshot = Snapshot::default();
    collector.sweep(&needs, IdentityWait::UpTo(WAIT), &mut snapshot)?;
    resolver.refresh(&references, collector.own_pids());
    let verdicts: Vec<Verdict> = snapshot
        .processes
        .iter()
        .map(|process| selector.matches(process, &snapshot, &resolver.resolution))
        .collect();
    let is_undecided = |verdict: &&Verdict| matches!(verdict, Verdict::Unknown(_));
    let undecided = verdicts.iter().filter(is_undecided).count() + snapshot.unreadable_pids.len();
    let looked = Looked { selector, snapshot: &snapshot, resolver: &resolver, verdicts: &verdicts };
    let processes = snapshot.processes.iter().zip(&verdicts).filter_map(|(process, verdict)| {
        let why = looked.why(process, *verdict)?;
        Some(FoundProcess { key: process.key, identity: Arc::clone(&process.identity), why })
    });
    Ok(Found {
        processes: processes.collect(),
        undecided: undecided as u64,
        visibility: snapshot.host.visibility,
        trouble: snapshot.trouble,
    })
}

/// All processes, and what the selector says of each.
struct Looked<'a> {
    selector: &'a Selector,
    snapshot: &'a Snapshot,
    resolver: &'a Resolver,
    verdicts: &'a [Verdict],
}

impl Looked<'_> {
    /// Why a process is found; `None` if it is not.
    fn why(&self, process: &ProcessSample, verdict: Verdict) -> Option<Why> {
        let Looked { selector, snapshot, resolver, .. } = *self;
        if verdict == Verdict::Yes {
            return Some(Why::Matched);
        }
        let descends = selector.descendants() == Descendants::Taken
            && !resolver.resolution.own_pids.contains(&process.key.pid)
            && !selector.excludes(process, snapshot, &resolver.resolution)
            && self.descends_from_match(process);
        descends.then_some(Why::Descends)
    }

    fn descends_from_match(&self, process: &ProcessSample) -> bool {
        self.snapshot.ancestors(process).any(|ancestor| {
            let position = self.snapshot.processes.binary_search_by_key(&ancestor.key, |p| p.key);
            position.is_ok_and(|position| self.verdicts[position] == Verdict::Yes)
        })
    }
}
