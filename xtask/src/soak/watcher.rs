//! One `mpp show` that watches for the whole run: what it says, and what it costs.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

use crate::step::Program;

/// How a watcher looks.
pub(super) struct Setup {
    /// How it is called in the results.
    pub(super) name: &'static str,
    /// `A`, `B` or `C`.
    pub(super) tier: &'static str,
    pub(super) scope: Scope,
}

/// Whom a watcher looks at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The load, as one group whose truth is known.
    Load,
    /// Everybody by name, without a variable that nobody has: each environment is read.
    Everybody,
}

/// What a process of ours holds at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holdings {
    /// Memory of its own, `Anonymous` of its smaps_rollup: pages of files come and go.
    pub(super) anonymous_bytes: u64,
    /// Open descriptors.
    pub(super) descriptors: u64,
    pub(super) threads: u64,
    /// Kernel memory of its BPF maps and programs, as their fdinfo says.
    pub(super) map_bytes: u64,
    /// What waits in its netlink sockets.
    pub(super) queued_bytes: u64,
}

/// What a watcher said of the load, from its first line to its last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) lines: u64,
    /// By how much the written bytes grew.
    pub(super) written_bytes: u64,
    /// By how much of that in intervals of a lower tier, because a record was missing, and in
    /// those before and after them.
    pub(super) estimated_bytes: u64,
    /// Exit records that never reached it.
    pub(super) lost_records: u64,
    /// The tier of the last line.
    pub(super) tier: String,
    /// Whether a total fell.
    pub(super) has_fallen: bool,
}

/// A running watcher. Dropping it ends it.
pub(super) struct Watcher {
    pub(super) setup: &'static Setup,
    /// Once a second, from the beginning of the load on.
    pub(super) holdings: Vec<Holdings>,
    child: Child,
    lines: Arc<AtomicU64>,
    reader: Option<JoinHandle<Result<Account>>>,
}

impl Watcher {
    /// Starts it on a load.
    pub(super) fn start(mpp: &Path, setup: &'static Setup, load: u32) -> Result<Self> {
        let program = Program::at(Path::new("/"), mpp).arg("show").arg("--tier").arg(setup.tier);
        let program = match setup.scope {
            Scope::Load => program.arg("--pid").arg(load.to_string()),
            Scope::Everybody => {
                program.arg("--by").arg("name").arg("--env").arg("!MPP_NOBODY_HAS_THIS")
            }
        };
        let program = program.arg("--interval").arg("0.2").arg("--count").arg("1000000");
        let mut command =
            program.arg("--metrics").arg("all").arg("--format").arg("jsonl").into_command();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start the watcher `{}`", setup.name))?;
        let stdout = child.stdout.take().context("its output is no pipe")?;
        let lines = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lines);
        let reader = std::thread::spawn(move || read(stdout, setup, &counter));
        Ok(Watcher { setup, holdings: Vec::new(), child, lines, reader: Some(reader) })
    }

    /// Whether it has said something.
    pub(super) fn has_begun(&self) -> bool {
        self.lines.load(Ordering::Relaxed) > 0
    }

    /// Looks at what it holds now.
    pub(super) fn look(&mut self) -> Result<()> {
        let failed = || format!("the watcher `{}` is not to be seen", self.setup.name);
        let holdings = Holdings::of(self.child.id()).with_context(failed)?;
        self.holdings.push(holdings);
        Ok(())
    }

    /// Ends it as Ctrl-C does, and returns what it said.
    pub(super) fn end(&mut self) -> Result<Account> {
        let line = format!("kill -INT {}", self.child.id());
        Program::new(Path::new("/"), &line).run()?;
        self.child.wait()?;
        let reader = self.reader.take().context("it was ended before")?;
        reader.join().map_err(|_| anyhow!("its reader panicked"))?
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads all it says.
fn read(stdout: ChildStdout, setup: &Setup, lines: &AtomicU64) -> Result<Account> {
    let mut account = Account::default();
    let mut first_and_last = None;
    let mut grown_before = 0;
    let mut is_after_estimate = false;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        account.lines = lines.fetch_add(1, Ordering::Relaxed) + 1;
        if setup.scope == Scope::Everybody {
            continue;
        }
        let line: Value = serde_json::from_str(&line)?;
        let number =
            |key: &str| line[key].as_u64().with_context(|| format!("no `{key}` in {line}"));
        let total = number("io_counters.write_bytes")?;
        let (first, last) = first_and_last.unwrap_or((total, total));
        account.has_fallen |= total < last;
        first_and_last = Some((first, total));
        account.written_bytes = total.saturating_sub(first);
        account.lost_records += number("lost_records")?;
        let is_estimate = line["tier"] != setup.tier;
        let grown = total.saturating_sub(last);
        account.estimated_bytes += match (is_estimate, is_after_estimate) {
            (true, _) => grown_before + grown,
            (false, true) => grown,
            (false, false) => 0,
        };
        grown_before = if is_estimate || is_after_estimate { 0 } else { grown };
        is_after_estimate = is_estimate;
        line["tier"].as_str().unwrap_or_default().clone_into(&mut account.tier);
    }
    Ok(account)
}

impl Holdings {
    /// Those of a process and its children.
    fn of(pid: u32) -> Result<Self> {
        let mut all = Self::of_one(pid)?;
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        for child in children.split_whitespace() {
            // A helper of its own may just have ended.
            let Ok(more) = Self::of_one(child.parse()?) else { continue };
            all.anonymous_bytes += more.anonymous_bytes;
            all.descriptors += more.descriptors;
            all.threads += more.threads;
        }
        Ok(all)
    }

    fn of_one(pid: u32) -> Result<Self> {
        let folder = format!("/proc/{pid}");
        let memory = fs::read_to_string(format!("{folder}/smaps_rollup"))?;
        let status = fs::read_to_string(format!("{folder}/status"))?;
        let mut holdings = Holdings {
            anonymous_bytes: 1024 * field(&memory, "Anonymous:").context("no anonymous memory")?,
            threads: field(&status, "Threads:").context("no number of threads")?,
            ..Holdings::default()
        };
        let queues = fs::read_to_string(format!("{folder}/net/netlink"))?;
        for descriptor in fs::read_dir(format!("{folder}/fd"))? {
            let name = descriptor?.file_name();
            let name = name.to_string_lossy();
            holdings.descriptors += 1;
            // It may have been closed since the folder was read.
            let words = fs::read_to_string(format!("{folder}/fdinfo/{name}")).unwrap_or_default();
            holdings.map_bytes += field(&words, "memlock:").unwrap_or(0);
            let target = fs::read_link(format!("{folder}/fd/{name}")).unwrap_or_default();
            holdings.queued_bytes += queued(&queues, &target.to_string_lossy());
        }
        Ok(holdings)
    }
}

/// The number behind a word at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What waits in a socket, by the kernel's table of netlink sockets: `Rmem`, the fifth column,
/// and the inode, the last.
fn queued(table: &str, target: &str) -> u64 {
    let Some(inode) = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'))
    else {
        return 0;
    };
    let row = table.lines().find(|row| row.split_whitespace().next_back() == Some(inode));
    row.and_then(|row| row.split_whitespace().nth(4)?.parse().ok()).unwrap_or(0)
}

/// The line that an ended load left, or why there is none.
pub(super) fn number(line: &Value, key: &str) -> Result<u64> {
    match line[key].as_u64() {
        Some(number) => Ok(number),
        None => bail!("the load said no `{key}`: {line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_in_a_netlink_socket_is_found_by_its_inode() {
        let table = "sk  Eth Pid Groups Rmem Wmem Dump Locks Drops Inode\n\
            0000000000000000 16  77 00000000 4352 0 0 2 0 1234\n\
            0000000000000000 16  78 00000000 9 0 0 2 0 34\n";
        assert_eq!(queued(table, "socket:[1234]"), 4352);
        assert_eq!(queued(table, "socket:[34]"), 9);
        assert_eq!(queued(table, "pipe:[34]"), 0);
        assert_eq!(queued(table, "socket:[1]"), 0);
    }

    #[test]
    fn this_process_holds_memory_descriptors_and_threads() {
        let own = Holdings::of(std::process::id()).unwrap();
        assert!(own.anonymous_bytes > 0 && own.descriptors > 2 && own.threads > 0, "{own:?}");
    }
}
