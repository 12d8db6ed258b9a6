//! The scenarios, as a table: name, sentence, options, function.

mod accounting;
mod bomb;
mod burn;
mod churn;
mod connections;
mod descriptors;
mod double_fork;
mod ends;
mod exec;
mod forgery;
mod leaderless;
mod names;
mod nested;
mod parked_threads;
mod pid_reuse;
mod sleepers;
mod storm;
mod text_areas;
mod threads;
mod tree;
mod undumpable;
mod workers;
mod zombies;

use anyhow::Result;

use crate::options::{OptionRow, Options};
use crate::stage::Stage;

pub(crate) use exec::{AFTER_EXEC, REFUSE_BPF, execute_without_bpf, go_on_after_exec};

/// A load, and how to start it.
pub(crate) struct Scenario {
    /// The word that starts it, and unless told otherwise its command name.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) help: &'static str,
    /// What it takes besides the options of all scenarios.
    pub(crate) options: &'static [OptionRow],
    /// Does it.
    pub(crate) run: fn(&Stage, &Options) -> Result<()>,
}

/// All scenarios.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "massindexer",
        help: "batches of workers that write, sync, live 100 ms and are reaped only every 4 s",
        options: workers::MASSINDEXER,
        run: workers::run_massindexer,
    },
    Scenario {
        name: "parent-and-children",
        help: "a parent and its children all write; children are reaped as they end",
        options: workers::FAMILY,
        run: workers::run_family,
    },
    Scenario {
        name: "autoreap",
        help: "children write and end under a parent that ignores SIGCHLD",
        options: workers::FAMILY,
        run: workers::run_autoreap,
    },
    Scenario {
        name: "short-lived",
        help: "children that write and end within milliseconds, too short to be seen alive",
        options: workers::SHORT_LIVED,
        run: workers::run_short_lived,
    },
    Scenario {
        name: "double-fork",
        help: "a daemon whose parent ends at once writes, and is reaped by somebody else",
        options: double_fork::OPTIONS,
        run: double_fork::run,
    },
    Scenario {
        name: "tree",
        help: "large processes at once, many small writers, a daemon that outlives them all",
        options: tree::OPTIONS,
        run: tree::run,
    },
    Scenario {
        name: "nested-deaths",
        help: "grandchild reaped by child, child by parent, in one go, as under every `sh -c`",
        options: nested::OPTIONS,
        run: nested::run,
    },
    Scenario {
        name: "threads",
        help: "threads of one process begin, write and end all the time",
        options: threads::OPTIONS,
        run: threads::run,
    },
    Scenario {
        name: "exec-from-thread",
        help: "a thread that is not the leader executes another program; both write",
        options: exec::FROM_THREAD,
        run: exec::run_from_thread,
    },
    Scenario {
        name: "change-group",
        help: "a child writes, executes a program of another name, and writes again",
        options: exec::CHANGE_GROUP,
        run: exec::run_change_group,
    },
    Scenario {
        name: "short-execs",
        help: "children that execute a program of another name at once, write and end",
        options: exec::SHORT,
        run: exec::run_short,
    },
    Scenario {
        name: "zombie",
        help: "a child writes and ends, and is reaped a good while later",
        options: zombies::ONE,
        run: zombies::run_one,
    },
    Scenario {
        name: "zombies",
        help: "so many children that ended and are not reaped",
        options: zombies::MANY,
        run: zombies::run_many,
    },
    Scenario {
        name: "leaderless",
        help: "a process whose leader has exited while another thread lives, holds memory, writes",
        options: leaderless::OPTIONS,
        run: leaderless::run,
    },
    Scenario {
        name: "pid-reuse",
        help: "a child writes and ends, and another child gets its PID (needs root)",
        options: pid_reuse::OPTIONS,
        run: pid_reuse::run,
    },
    Scenario {
        name: "twins",
        help: "pairs of children with the same PID that start within a clock tick (needs root)",
        options: pid_reuse::TWINS,
        run: pid_reuse::run_twins,
    },
    Scenario {
        name: "vanish-storm",
        help: "so many children a second that end at once",
        options: storm::OPTIONS,
        run: storm::run,
    },
    Scenario {
        name: "fork-bomb",
        help: "whoever lives forks whom it can, as many as its user may have (not for root)",
        options: bomb::OPTIONS,
        run: bomb::run,
    },
    Scenario {
        name: "known-ends",
        help: "children that end by status or signal, each of which says what it wrote",
        options: ends::OPTIONS,
        run: ends::run,
    },
    Scenario {
        name: "churn",
        help: "processes of ever new names, threads and connections come and go for a long time",
        options: churn::OPTIONS,
        run: churn::run,
    },
    Scenario {
        name: "accounting",
        help: "process accounting, acct(2), of the whole machine while it goes on (needs root)",
        options: accounting::OPTIONS,
        run: accounting::run,
    },
    Scenario {
        name: "burn",
        help: "CPU time is used by the process itself and by children",
        options: burn::OPTIONS,
        run: burn::run,
    },
    Scenario {
        name: "work",
        help: "children that use so much CPU time and end, one after the other",
        options: burn::WORK,
        run: burn::run_work,
    },
    Scenario {
        name: "descriptors",
        help: "a process with so many open descriptors",
        options: descriptors::OPTIONS,
        run: descriptors::run,
    },
    Scenario {
        name: "connections",
        help: "a server and a client that know every byte they send each other over TCP",
        options: connections::OPTIONS,
        run: connections::run,
    },
    Scenario {
        name: "hostile-names",
        help: "children that sleep under given command names, as hex bytes",
        options: names::OPTIONS,
        run: names::run,
    },
    Scenario {
        name: "huge-text",
        help: "a process whose environment or command line is enormous, by PR_SET_MM_MAP",
        options: text_areas::HUGE,
        run: text_areas::run_huge,
    },
    Scenario {
        name: "long-environment",
        help: "a process executed with a long environment",
        options: exec::LONG_ENVIRONMENT,
        run: exec::run_long_environment,
    },
    Scenario {
        name: "retitle",
        help: "a process that writes a title over its arguments and environment, then forks workers",
        options: text_areas::RETITLE,
        run: text_areas::run_retitle,
    },
    Scenario {
        name: "undumpable",
        help: "a process that writes, and whose counters other users may not read for a while",
        options: undumpable::OPTIONS,
        run: undumpable::run,
    },
    Scenario {
        name: "forgery",
        help: "messages that look like the kernel's are sent to netlink sockets of others",
        options: forgery::OPTIONS,
        run: forgery::run,
    },
    Scenario {
        name: "sleepers",
        help: "so many sleeping processes of all kinds, for the benchmark",
        options: sleepers::OPTIONS,
        run: sleepers::run,
    },
    Scenario {
        name: "parked-threads",
        help: "one process with so many sleeping threads, for the benchmark",
        options: parked_threads::OPTIONS,
        run: parked_threads::run,
    },
];
