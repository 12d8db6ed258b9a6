//! What can be measured here, and what it would take to measure more.
//!
//! Every fact is found out by trying, where it can be tried: a capability that is held helps
//! nothing where a security module refuses, and one that is not held is not missed where all
//! processes are ours. What is missing comes with what it needs and, where one command can cure
//! it, with that command.

use std::path::Path;

use mpp_accounting::process::Absence;
use mpp_accounting::report::Tier;
use mpp_accounting::snapshot::Visibility;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

use crate::cure::{Cure, NAMES};
use crate::error::CollectError;
use crate::origin::{Origin, ProcfsKind};
use crate::proc_fs::{FileError, Listing, Name, Room, status_at};
use crate::sockets::{SWEEP_BUDGET, SocketSource};
use crate::sys;
use crate::taskstats::DelayAccounting;

/// Processes whose I/O is tried at most: enough to meet other users' wherever there are some.
const TRIED_MAX: usize = 4096;
/// Descriptors that a collection uses at one time, with room for what its program has open.
const DESCRIPTORS_ENOUGH: u64 = 256;

/// What this process may measure.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The effective user.
    pub uid: u32,
    /// `uname -r`.
    pub kernel_release: Box<[u8]>,
    /// Which of the capabilities that matter here are effective, by their names in
    /// capabilities(7).
    pub held: Vec<&'static str>,
    /// How much of the machine's processes the procfs shows.
    pub visibility: Visibility,
    /// Whether the procfs is that of our own PID namespace, another one's, or a frozen tree.
    pub procfs: ProcfsKind,
    /// What was tried, in the order in which it should be read.
    pub facts: Vec<Fact>,
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fact {
    /// Which.
    pub id: FactId,
    /// What it is, as a noun: `I/O of other users' processes`.
    pub subject: &'static str,
    /// How it stands.
    pub standing: Standing,
    /// What was found, in a few words.
    pub found: String,
    /// What it takes: a capability, a kernel.
    pub needs: &'static str,
    /// What gives what it takes. `None` where nothing is missing, or nothing helps that could be
    /// given here.
    pub cure: Option<Cure>,
}

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can be had.
    Works,
    /// It can be had in part, or at a higher price.
    Limited,
    /// It cannot be had.
    Missing,
    /// There was nothing to try it on.
    Untried,
}

/// The things that are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FactId {
    /// Whether all processes are listed.
    Processes,
    /// Whether the kernel accounts I/O, and hands it out for all processes.
    Io,
    /// Whether descriptors are counted without listing them.
    DescriptorCount,
    /// Whether proportional memory can be read in one file.
    ProportionalMemory,
    /// Whether the kernel hands out its socket tables.
    Sockets,
    /// Whether sockets in other network namespaces can be seen.
    OtherNetworkNamespaces,
    /// Whether the kernel describes its own types, for BPF programs.
    KernelTypes,
    /// Whether the kernel counts what threads wait for, and tells us.
    Delays,
    /// Whether enough descriptors may be open.
    DescriptorLimit,
}

/// What opens other users' processes. The files belong to the users of their processes, and are
/// opened before the other is asked for.
const OTHERS: CapabilitySet = CapabilitySet::SYS_PTRACE.union(CapabilitySet::DAC_READ_SEARCH);
/// What has the kernel count what threads wait for besides a CPU.
const COUNT_DELAYS: &str = "sudo sysctl kernel.task_delayacct=1";
const NOT_TOLD: &str = "not told to whoever does not hear of ended threads";

impl Capabilities {
    /// Tries everything out on the procfs at `procfs`, usually `/proc`.
    ///
    /// Reads one file of each process, and none that could block on it.
    ///
    /// # Errors
    /// Where `procfs` cannot be opened, or is neither a procfs nor a frozen tree.
    ///
    /// ```
    /// use mpp_collect::capability::{Capabilities, FactId, Standing};
    ///
    /// let here = Capabilities::read("/proc".as_ref())?;
    /// let io = here.fact(FactId::Io).expect("I/O is always tried");
    /// if io.standing != Standing::Works {
    ///     println!("{}: {}; it needs {}", io.subject, io.found, io.needs);
    /// }
    /// # Ok::<(), mpp_collect::CollectError>(())
    /// ```
    pub fn read(procfs: &Path) -> Result<Self, CollectError> {
        let mut room = Room::default();
        let mut origin = Origin::open(procfs, &mut room)?;
        origin.find_visibility(procfs, &mut room);
        // Not knowing what we hold is not holding it.
        let effective =
            sys::call(|| capabilities(None)).map_or(CapabilitySet::empty(), |sets| sets.effective);
        let mut facts = vec![processes(&origin), io(&origin, procfs, effective, &mut room)?];
        if origin.kind == ProcfsKind::OwnNamespace {
            facts.extend([
                descriptor_count(&origin),
                proportional_memory(&origin),
                sockets(),
                other_network_namespaces(effective),
                kernel_types(),
                delays(effective, &mut room),
                descriptor_limit(),
            ]);
        }
        Ok(Capabilities {
            uid: rustix::process::geteuid().as_raw(),
            kernel_release: rustix::system::uname().release().to_bytes().into(),
            held: held(effective),
            visibility: origin.host.visibility,
            procfs: origin.kind,
            facts,
        })
    }

    /// What was found out about one thing; `None` where it makes no sense for this procfs.
    #[must_use]
    pub fn fact(&self, id: FactId) -> Option<&Fact> {
        self.facts.iter().find(|fact| fact.id == id)
    }

    /// Takes in the tier that is to be had, where that has been tried: programs in the kernel
    /// show that it describes its types, though sysfs may not be there to say so; and where
    /// nobody tells anything, capabilities that are held do not reach the kernel, and delays are
    /// not told either.
    pub fn note_tier(&mut self, tier: Tier) {
        let types =
            |fact: &Fact| fact.id == FactId::KernelTypes && fact.standing != Standing::Works;
        let delays = |fact: &Fact| fact.id == FactId::Delays && fact.standing != Standing::Missing;
        for fact in &mut self.facts {
            if tier == Tier::A && types(fact) {
                fact.standing = Standing::Works;
                fact.found.push_str("; but the kernel has them, since it has taken our programs");
            }
            if tier == Tier::C && delays(fact) {
                fact.standing = Standing::Missing;
                fact.found = NOT_TOLD.to_owned();
                fact.needs = "tier A or B";
                fact.cure = None;
            }
        }
    }

    /// Takes in that the kernel's taskstats tell of ended threads, and so of living ones, too:
    /// what these read and write is known even of processes whose files may not be read.
    pub fn note_told_threads(&mut self) {
        let io = self.facts.iter_mut().find(|fact| fact.id == FactId::Io);
        let is_refused =
            |fact: &Fact| fact.needs.starts_with("CAP_") && fact.standing != Standing::Works;
        if let Some(io) = io.filter(|fact| is_refused(fact)) {
            io.standing = Standing::Limited;
            io.found.push_str("; others' I/O is told by thread, rounded down to KiB");
        }
    }
}

fn held(effective: CapabilitySet) -> Vec<&'static str> {
    NAMES.into_iter().filter(|(set, _)| effective.contains(*set)).map(|(_, name)| name).collect()
}

fn processes(origin: &Origin) -> Fact {
    let (standing, found) = match origin.host.visibility {
        Visibility::Whole => (Standing::Works, "all are shown"),
        Visibility::OthersUnreadable => {
            (Standing::Limited, "other users' are listed but closed (hidepid=1)")
        }
        Visibility::OthersHidden => (Standing::Missing, "other users' are hidden (hidepid=2 or 4)"),
    };
    Fact {
        id: FactId::Processes,
        subject: "processes of other users",
        standing,
        found: found.to_owned(),
        needs: "a procfs without hidepid, or CAP_SYS_PTRACE",
        cure: (standing != Standing::Works).then(|| Cure::granting(OTHERS)).flatten(),
    }
}

/// How many processes let their I/O be read, and how many did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tries {
    readable: usize,
    refused: usize,
}

fn io(
    origin: &Origin,
    procfs: &Path,
    effective: CapabilitySet,
    room: &mut Room,
) -> Result<Fact, CollectError> {
    let tries = origin.has_io.then(|| try_io(origin, room)).transpose();
    let tries = tries.map_err(|errno| CollectError::system("list", procfs, errno))?;
    let (standing, found) = io_standing(tries);
    let may_search = effective.contains(CapabilitySet::DAC_READ_SEARCH);
    let needs = match effective.contains(CapabilitySet::SYS_PTRACE) {
        _ if !origin.has_io => "a kernel with CONFIG_TASK_IO_ACCOUNTING",
        true => "CAP_DAC_READ_SEARCH",
        false if may_search => "CAP_SYS_PTRACE",
        false => "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH",
    };
    let is_refused = tries.is_some_and(|tries| tries.refused > 0);
    Ok(Fact {
        id: FactId::Io,
        // The kernel asks the same of whoever reads any of these: a ptrace(2) access check.
        subject: "I/O, environment, sockets, PSS of other users' processes",
        standing,
        found,
        needs,
        cure: is_refused.then(|| Cure::granting(OTHERS)).flatten(),
    })
}

/// `None` where the kernel does not account it.
fn io_standing(tries: Option<Tries>) -> (Standing, String) {
    let Some(Tries { readable, refused }) = tries else {
        return (Standing::Missing, "not accounted by this kernel".to_owned());
    };
    let tried = readable + refused;
    match (readable, refused) {
        (0, 0) => (Standing::Untried, "there was no process to try".to_owned()),
        (_, 0) => (Standing::Works, format!("all of {tried} processes could be read")),
        (0, _) => (Standing::Missing, format!("none of {tried} processes could be read")),
        _ => (Standing::Limited, format!("{readable} of {tried} processes could be read")),
    }
}

fn try_io(origin: &Origin, room: &mut Room) -> Result<Tries, Errno> {
    let mut pids = Vec::new();
    Listing::new().numbers(&origin.root, &mut pids)?;
    let mut tries = Tries::default();
    for pid in pids.into_iter().take(TRIED_MAX) {
        match room.read(&origin.root, Name::in_process(pid, "io").as_c_str()) {
            Ok(_) => tries.readable += 1,
            Err(FileError::System(Errno::ACCESS | Errno::PERM)) => tries.refused += 1,
            // It ended meanwhile.
            Err(_) => {}
        }
    }
    Ok(tries)
}

fn descriptor_count(origin: &Origin) -> Fact {
    let (standing, found) = if origin.counts_descriptors {
        (Standing::Works, "the kernel says how many are open")
    } else {
        (Standing::Limited, "they are counted one by one, which takes longer")
    };
    Fact {
        id: FactId::DescriptorCount,
        subject: "number of open descriptors",
        standing,
        found: found.to_owned(),
        needs: "Linux 6.2",
        cure: None,
    }
}

fn proportional_memory(origin: &Origin) -> Fact {
    let (standing, found) = match status_at(&origin.root, c"self/smaps_rollup") {
        Ok(_) => (Standing::Works, "smaps_rollup is there".to_owned()),
        Err(errno) => (Standing::Missing, format!("smaps_rollup: {errno}")),
    };
    Fact {
        id: FactId::ProportionalMemory,
        subject: "proportional memory (PSS)",
        standing,
        found,
        needs: "Linux 4.14",
        cure: None,
    }
}

fn sockets() -> Fact {
    let (standing, found) = match SocketSource::open(SWEEP_BUDGET).standing() {
        Ok(()) => (Standing::Works, "the kernel hands out its socket tables".to_owned()),
        Err(Absence::Unsupported) => {
            (Standing::Missing, "the kernel has not loaded what hands them out".to_owned())
        }
        Err(why) => (Standing::Missing, why.to_string()),
    };
    Fact {
        id: FactId::Sockets,
        subject: "connections",
        standing,
        found,
        needs: "the kernel's modules tcp_diag, udp_diag and unix_diag",
        cure: (standing == Standing::Missing)
            .then_some(Cure::Command("sudo modprobe -a tcp_diag udp_diag unix_diag")),
    }
}

fn other_network_namespaces(effective: CapabilitySet) -> Fact {
    let is_held = effective.contains(CapabilitySet::SYS_ADMIN);
    let (standing, found) = if is_held {
        (Standing::Works, "they may be entered")
    } else {
        (Standing::Missing, "they may not be entered")
    };
    Fact {
        id: FactId::OtherNetworkNamespaces,
        subject: "connections in other network namespaces",
        standing,
        found: found.to_owned(),
        needs: "CAP_SYS_ADMIN",
        cure: (!is_held).then(|| Cure::granting(CapabilitySet::SYS_ADMIN | OTHERS)).flatten(),
    }
}

fn kernel_types() -> Fact {
    let (standing, found) = match status_at(CWD, c"/sys/kernel/btf/vmlinux") {
        Ok(_) => (Standing::Works, "/sys/kernel/btf/vmlinux is there".to_owned()),
        Err(errno) => (Standing::Missing, format!("/sys/kernel/btf/vmlinux: {errno}")),
    };
    Fact {
        id: FactId::KernelTypes,
        subject: "types of the kernel (BTF)",
        standing,
        found,
        needs: "a kernel with CONFIG_DEBUG_INFO_BTF",
        cure: None,
    }
}

/// Whoever hears of ended threads is told for how long threads waited.
fn delays(effective: CapabilitySet, room: &mut Room) -> Fact {
    let is_told = effective.contains(CapabilitySet::NET_ADMIN)
        || effective.contains(CapabilitySet::BPF.union(CapabilitySet::PERFMON))
        || effective.contains(CapabilitySet::SYS_ADMIN);
    let counted = status_at(CWD, DelayAccounting::SWITCH).map(|_| DelayAccounting::read(room)).ok();
    let (standing, found) = delays_standing(is_told.then_some(counted));
    let (needs, cure) = match standing {
        Standing::Missing => {
            let programs = CapabilitySet::BPF | CapabilitySet::PERFMON;
            ("CAP_BPF and CAP_PERFMON, or CAP_NET_ADMIN", Cure::granting(programs))
        }
        Standing::Limited => ("kernel.task_delayacct=1", Some(Cure::Command(COUNT_DELAYS))),
        Standing::Works | Standing::Untried => ("kernel.task_delayacct=1", None),
    };
    Fact {
        id: FactId::Delays,
        subject: "time that processes wait (delays)",
        standing,
        found: found.to_owned(),
        needs,
        cure,
    }
}

/// The outer `None` where nobody tells us, the inner one where nothing says whether delays are
/// counted.
fn delays_standing(told: Option<Option<DelayAccounting>>) -> (Standing, &'static str) {
    match told {
        None => (Standing::Missing, NOT_TOLD),
        Some(Some(DelayAccounting::On)) => (
            Standing::Works,
            "for a CPU, block I/O, swap and memory, of what started since they are counted",
        ),
        Some(Some(DelayAccounting::Off | DelayAccounting::Unsupported)) => {
            (Standing::Limited, "for a CPU; others only of what starts once they are switched on")
        }
        Some(None) => (Standing::Untried, "for a CPU; this kernel says nothing of the others"),
    }
}

fn descriptor_limit() -> Fact {
    let limit = getrlimit(Resource::Nofile).current;
    let is_enough = limit.is_none_or(|limit| limit >= DESCRIPTORS_ENOUGH);
    Fact {
        id: FactId::DescriptorLimit,
        subject: "descriptors for measuring",
        standing: if is_enough { Standing::Works } else { Standing::Limited },
        found: match limit {
            Some(limit) => format!("{limit} may be open"),
            None => "any number may be open".to_owned(),
        },
        needs: "a limit of 256",
        cure: (!is_enough).then_some(Cure::Command("ulimit -n 1024")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_here_agrees_with_what_the_kernel_says_elsewhere() {
        let here = Capabilities::read("/proc".as_ref()).unwrap();
        assert_eq!(here.uid, rustix::process::geteuid().as_raw());
        let release = std::fs::read("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(&*here.kernel_release, release.trim_ascii());
        let btf = here.fact(FactId::KernelTypes).unwrap();
        let has_btf = Path::new("/sys/kernel/btf/vmlinux").exists();
        assert_eq!(btf.standing == Standing::Works, has_btf);
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
        let bits = u64::from_str_radix(line.trim(), 16).unwrap();
        assert_eq!(here.held.contains(&"CAP_SYS_PTRACE"), bits & (1 << 19) != 0);
        assert_eq!(here.held.contains(&"CAP_SYS_ADMIN"), bits & (1 << 21) != 0);
    }

    #[test]
    fn whatever_is_not_whole_says_what_it_needs() {
        let here = Capabilities::read("/proc".as_ref()).unwrap();
        for fact in &here.facts {
            assert!(!fact.needs.is_empty() && !fact.found.is_empty(), "{fact:?}");
            assert!(fact.cure.is_none() || fact.standing != Standing::Works, "{fact:?}");
        }
        let mut ids: Vec<_> = here.facts.iter().map(|fact| fact.id).collect();
        ids.dedup();
        assert_eq!(ids.len(), 9);
    }

    #[test]
    fn delays_stand_as_privilege_and_switch_say() {
        let check = |told, expected| assert_eq!(delays_standing(told).0, expected, "{told:?}");
        check(None, Standing::Missing);
        check(Some(Some(DelayAccounting::On)), Standing::Works);
        check(Some(Some(DelayAccounting::Off)), Standing::Limited);
        check(Some(None), Standing::Untried);
    }

    #[test]
    fn delays_that_are_switched_off_come_with_the_command_that_counts_them() {
        let here = Capabilities::read("/proc".as_ref()).unwrap();
        let delays = here.fact(FactId::Delays).unwrap();
        let switch = std::fs::read("/proc/sys/kernel/task_delayacct");
        let is_off = switch.is_ok_and(|switch| switch.trim_ascii() == b"0");
        if delays.standing != Standing::Missing {
            assert_eq!(delays.cure == Some(Cure::Command(COUNT_DELAYS)), is_off, "{delays:?}");
        }
    }

    #[test]
    fn where_nobody_tells_of_ends_nobody_tells_of_delays() {
        let mut here = Capabilities::read("/proc".as_ref()).unwrap();
        here.note_tier(Tier::C);
        let delays = here.fact(FactId::Delays).unwrap();
        assert_eq!((delays.standing, delays.found.as_str()), (Standing::Missing, NOT_TOLD));
        assert_ne!(delays.cure, Some(Cure::Command(COUNT_DELAYS)));
    }

    #[test]
    fn reading_some_processes_is_not_reading_all_and_none_is_not_untried() {
        fn check(tries: Option<(usize, usize)>, expected: (Standing, &str)) {
            let tries = tries.map(|(readable, refused)| Tries { readable, refused });
            let (standing, found) = io_standing(tries);
            assert_eq!((standing, found.as_str()), expected);
        }
        check(Some((5, 0)), (Standing::Works, "all of 5 processes could be read"));
        check(Some((5, 2)), (Standing::Limited, "5 of 7 processes could be read"));
        check(Some((0, 2)), (Standing::Missing, "none of 2 processes could be read"));
        check(Some((0, 0)), (Standing::Untried, "there was no process to try"));
        check(None, (Standing::Missing, "not accounted by this kernel"));
    }

    #[test]
    fn io_that_is_told_by_thread_is_limited_and_not_missing() {
        let here = Capabilities::read("/proc".as_ref()).unwrap();
        let check = |tries, expected: (Standing, &str)| {
            let mut here = here.clone();
            let (standing, found) = io_standing(Some(tries));
            let io = here.facts.iter_mut().find(|fact| fact.id == FactId::Io).unwrap();
            (io.standing, io.found) = (standing, found);
            here.note_told_threads();
            let io = here.fact(FactId::Io).unwrap();
            assert_eq!((io.standing, io.found.as_str()), expected);
        };
        let told = "none of 2 processes could be read; others' I/O is told by thread, rounded down \
            to KiB";
        check(Tries { readable: 0, refused: 2 }, (Standing::Limited, told));
        let whole = "all of 5 processes could be read";
        check(Tries { readable: 5, refused: 0 }, (Standing::Works, whole));
    }

    #[test]
    fn a_frozen_tree_is_asked_only_for_what_it_can_hold() {
        let folder = tempfile::tempdir().unwrap();
        let frozen = "clock_ticks_per_second=100\npage_size_bytes=4096\n\
            taken_at_unix_ns=5\ntaken_at_boot_ns=7\nmemory_total_bytes=8192\n";
        std::fs::write(folder.path().join("frozen"), frozen).unwrap();
        for pid in ["1", "2"] {
            std::fs::create_dir(folder.path().join(pid)).unwrap();
        }
        std::fs::write(folder.path().join("1/io"), "rchar: 1\n").unwrap();
        let tree = Capabilities::read(folder.path()).unwrap();
        assert_eq!(tree.procfs, ProcfsKind::Frozen);
        assert_eq!(tree.fact(FactId::Io).unwrap().found, "all of 1 processes could be read");
        assert_eq!(tree.fact(FactId::Sockets), None);
    }

    #[test]
    fn no_failing_call_makes_more_of_us_than_we_are() {
        let read = || Capabilities::read("/proc".as_ref());
        let (whole, calls) = sys::fault::with_failure(u64::MAX, Errno::NOMEM, read);
        let whole = whole.unwrap();
        // The last calls are the same for each process that is listed.
        for n in (0..calls).take(40) {
            let (outcome, _) = sys::fault::with_failure(n, Errno::NOMEM, read);
            let Ok(found) = outcome else { continue };
            assert!(found.held.iter().all(|name| whole.held.contains(name)), "call {n}");
        }
    }
}
