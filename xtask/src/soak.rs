//! `cargo xtask soak`: ten minutes in which everything comes and goes, and nothing of ours grows.
//!
//! `mpp-load churn` begins processes under ever new names, threads and connections; each tier
//! watches it five times a second, once the load alone and once everybody. What a watcher holds
//! after the first minute, or the first tenth of a shorter run, is compared with what it holds at
//! the end, and what it counted with what the load says it wrote.
//!
//! The trap: a watcher rightly grows with the number of processes on the machine, so nothing
//! else that forks by the hundred may run beside this.

mod verdict;
mod watcher;

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use self::verdict::{Growth, Truth, Verdict};
use self::watcher::{Scope, Setup, Watcher, number as of_line};
use crate::static_programs::StaticPrograms;
use crate::step::Program;
use crate::{USAGE, number, target_folder};

const SETUPS: &[Setup] = &[
    Setup { name: "A, the load", tier: "A", scope: Scope::Load },
    Setup { name: "A, everybody", tier: "A", scope: Scope::Everybody },
    Setup { name: "B, the load", tier: "B", scope: Scope::Load },
    Setup { name: "B, everybody", tier: "B", scope: Scope::Everybody },
    Setup { name: "C, the load", tier: "C", scope: Scope::Load },
    Setup { name: "C, everybody", tier: "C", scope: Scope::Everybody },
];

/// Where the results of a run of full length go.
const RESULTS: &str = "bench/results/long.md";
const FULL_SECONDS: u64 = 600;

/// How long a watcher may take to say its first line.
const FIRST_LINE_MAX: Duration = Duration::from_secs(30);
/// What is left to be told when the load has ended is told by then.
const REST: Duration = Duration::from_secs(3);

/// How long to run.
pub(crate) struct Plan {
    seconds: u64,
}

impl Plan {
    /// As long as it takes to see a leak of 1 KiB a second.
    pub(crate) const FULL: Plan = Plan { seconds: FULL_SECONDS };

    /// Reads the arguments behind `soak`.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut plan = Plan::FULL;
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--seconds" => plan.seconds = number(argument, &mut arguments)?.max(10),
                other => bail!("unknown option `{other}`\n\n{USAGE}"),
            }
        }
        Ok(plan)
    }
}

/// Runs the load under all watchers, prints what came of it, and fails where something grew or
/// was counted wrong.
pub(crate) fn run(root: &Path, plan: &Plan) -> Result<()> {
    let programs = StaticPrograms::build(root)?;
    let folder = target_folder(root)?.join("soak");
    fs::create_dir_all(&folder).context("cannot create the folder of the load")?;
    let mut load = Load::start(&programs.mpp_load(), &folder, plan.seconds)?;
    let mut watchers = Vec::new();
    for setup in SETUPS {
        watchers.push(Watcher::start(&programs.mpp(), setup, load.child.id())?);
    }
    wait_for_all(&watchers)?;
    load.begin()?;
    let mut others = Vec::new();
    let truth = watch(&load, &mut watchers, &mut others)?;
    std::thread::sleep(REST);
    fs::write(folder.join("looks.csv"), looks(&watchers, &others))
        .context("cannot keep the looks")?;
    let mut verdicts = Vec::new();
    for watcher in &mut watchers {
        let account = watcher.end()?;
        let growth = Growth::of(&watcher.holdings, plan.warm_up())?;
        verdicts.push(Verdict { setup: watcher.setup, growth, account });
    }
    let mut complaints: Vec<String> =
        verdicts.iter().flat_map(|verdict| verdict.complaints(&truth)).collect();
    complaints.extend(verdict::unrest(&others, plan.warm_up()));
    let mut report = report(root, plan, &truth, &verdicts)?;
    push_complaints(&mut report, &complaints);
    std::io::stdout().lock().write_all(report.as_bytes())?;
    if plan.seconds >= FULL_SECONDS {
        fs::write(root.join(RESULTS), &report)
            .with_context(|| format!("cannot write {RESULTS}"))?;
    }
    ensure!(complaints.is_empty(), "{} things are not as they must be", complaints.len());
    Ok(())
}

/// What is not as it must be, so that nobody takes the tables for more than they show.
fn push_complaints(report: &mut String, complaints: &[String]) {
    let words = match complaints.is_empty() {
        true => "\nNothing grew, and nothing was counted wrong.\n",
        false => "\nNot as it must be:\n\n",
    };
    report.push_str(words);
    for complaint in complaints {
        // Writing to a string does not fail.
        let _ = writeln!(report, "- {complaint}");
    }
}

impl Plan {
    /// What is held then is what may be held for ever: a minute, or a tenth of a shorter run.
    fn warm_up(&self) -> usize {
        usize::try_from(self.seconds / 10).unwrap_or(usize::MAX).min(60)
    }
}

/// The load. Dropping it ends it.
struct Load {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<Value>,
}

impl Load {
    /// Starts it and waits until it is ready.
    fn start(program: &Path, folder: &Path, seconds: u64) -> Result<Self> {
        let program = Program::at(folder, program).arg("churn").arg("--seconds");
        let program = program.arg(seconds.to_string()).arg("--directory").arg(folder);
        let mut command = program.into_command();
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.context("cannot start the load")?;
        let stdin = child.stdin.take().context("its input is no pipe")?;
        let stdout = BufReader::new(child.stdout.take().context("its output is no pipe")?);
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // Nobody listens any more when the run is over.
                let _ = sender.send(serde_json::from_str(&line).unwrap_or(Value::Null));
            }
        });
        let load = Load { child, stdin, lines };
        load.lines.recv_timeout(FIRST_LINE_MAX).context("the load does not get ready")?;
        Ok(load)
    }

    fn begin(&mut self) -> Result<()> {
        self.stdin.write_all(b"begin\n").context("the load does not listen")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until every watcher has taken its baseline.
fn wait_for_all(watchers: &[Watcher]) -> Result<()> {
    let begin = Instant::now();
    while !watchers.iter().all(Watcher::has_begun) {
        if begin.elapsed() > FIRST_LINE_MAX {
            bail!("a watcher said nothing for {} seconds", FIRST_LINE_MAX.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Looks at all watchers once a second until the load says its last word, and counts all
/// processes of the machine.
fn watch(load: &Load, watchers: &mut [Watcher], all: &mut Vec<u64>) -> Result<Truth> {
    let mut next = Instant::now() + Duration::from_secs(1);
    loop {
        match load.lines.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(line) if line["event"] == "total" => return Truth::read(&line),
            Ok(_) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the load ended before its time"),
            Err(RecvTimeoutError::Timeout) => {
                next += Duration::from_secs(1);
                for watcher in &mut *watchers {
                    watcher.look()?;
                }
                all.push(processes()?);
            }
        }
    }
}

/// How many processes there are on the machine.
fn processes() -> Result<u64> {
    let names = fs::read_dir("/proc").context("cannot read /proc")?.filter_map(Result::ok);
    let is_pid = |name: &std::ffi::OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    Ok(names.filter(|entry| is_pid(&entry.file_name())).count() as u64)
}

/// Every look, for whoever wants to see when something grew.
fn looks(watchers: &[Watcher], processes: &[u64]) -> String {
    let mut text = "watcher,second,anonymous_bytes,map_bytes,descriptors,threads,queued_bytes,\
         processes\n"
        .to_owned();
    for watcher in watchers {
        for (second, (look, all)) in watcher.holdings.iter().zip(processes).enumerate() {
            let name = watcher.setup.name.replace(", ", " ");
            let numbers = [look.anonymous_bytes, look.map_bytes, look.descriptors, look.threads];
            let numbers = numbers.map(|number| number.to_string()).join(",");
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name},{second},{numbers},{},{all}", look.queued_bytes);
        }
    }
    text
}

/// The results, as they are kept.
fn report(root: &Path, plan: &Plan, truth: &Truth, verdicts: &[Verdict]) -> Result<String> {
    let kernel = Program::new(root, "uname -srm").output()?;
    let date = Program::new(root, "date -u +%F").output()?;
    let mut text = format!(
        "# {} seconds in which everything comes and goes\n\n\
         Written by `cargo xtask soak` on {}, {}: six `mpp show -i 0.2 -m all` beside\n\
         `mpp-load churn`, whose {} processes and {} threads ended, PIDs wrapping {} times.\n\n",
        plan.seconds,
        date.trim(),
        kernel.trim(),
        truth.processes,
        truth.threads,
        truth.pid_wraps,
    );
    let minute = plan.warm_up();
    writeln!(
        text,
        "\"Then\" is the median of the second half of the first {minute} seconds, \"now\" that of the \
         last {minute}; of\ndescriptors, threads and queues the largest then and the smallest now. \
         Memory is `Anonymous` of\nsmaps_rollup, maps the kernel memory of BPF objects.\n"
    )?;
    text.push_str(
        "| watcher | memory KiB then | now | ratio | maps KiB then | now | descriptors | threads | queued KiB then | now | samples |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    verdicts.iter().for_each(|verdict| text.push_str(&verdict.row_of_growth()));
    writeln!(
        text,
        "\n| watcher | tier at the end | written, bytes | truth | difference | lost records \
         | of it estimated |\n|---|---|---:|---:|---:|---:|---:|"
    )?;
    let of_load = verdicts.iter().filter(|verdict| verdict.setup.scope == Scope::Load);
    of_load.for_each(|verdict| text.push_str(&verdict.row_of_account(truth)));
    Ok(text)
}

impl Truth {
    fn read(line: &Value) -> Result<Self> {
        let written = of_line(line, "parent_write_bytes")? + of_line(line, "children_write_bytes")?;
        Ok(Truth {
            written_bytes: written,
            processes: of_line(line, "born")?,
            threads: of_line(line, "threads")?,
            pid_wraps: of_line(line, "pid_wraps")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Plan;

    #[test]
    fn the_first_minute_of_a_long_run_and_a_tenth_of_a_short_one_set_the_measure() {
        assert_eq!(Plan { seconds: 600 }.warm_up(), 60);
        assert_eq!(Plan { seconds: 6000 }.warm_up(), 60);
        assert_eq!(Plan { seconds: 60 }.warm_up(), 6);
    }
}
