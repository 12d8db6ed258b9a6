//! `cargo xtask bench`: what one full sample costs, beside other tools and C programs.
//!
//! All samplers measure the same sleeping processes in the same run, since only the
//! ratios between them carry over to another machine.

mod cost_picture;
mod goals;
pub(crate) mod growth;
mod kernel_memory;
mod look_ups;
mod picture;
pub(crate) mod ratios;
mod record;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use self::kernel_memory::KernelAccount;
use self::record::{Row, Section};
use crate::step::Program;
use crate::{USAGE, complain, number, static_programs, target_folder, value};

/// What to measure.
pub(crate) struct Plan {
    /// `None` for all that the goals speak of.
    processes: Option<Vec<u64>>,
    /// Percent of the processes that do something each second.
    active: Vec<u64>,
    samples: u64,
}

impl Plan {
    /// Reads the arguments behind `bench`.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut plan = Plan { processes: None, active: vec![0, 10, 100], samples: 3 };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--processes" => plan.processes = Some(counts(argument, &mut arguments)?),
                "--active" => plan.active = counts(argument, &mut arguments)?,
                "--samples" => plan.samples = number(argument, &mut arguments)?.max(1),
                other => bail!("unknown option `{other}`\n\n{USAGE}"),
            }
        }
        Ok(plan)
    }

    /// One after the other. Of few processes only what the goal of their memory speaks of.
    fn rounds(&self) -> Vec<Round> {
        let sizes = self.processes.as_deref().unwrap_or(&[1000, 5000, 10_000]);
        let few = Round { processes: FEW, active: 10, samplers: OF_FEW };
        let few = self.processes.is_none().then_some(few);
        let round = |&processes: &u64| {
            let active = self.active.iter();
            active.map(move |&active| Round { processes, active, samplers: &[] })
        };
        few.into_iter().chain(sizes.iter().flat_map(round)).collect()
    }
}

/// One load, and who is measured beside it.
#[derive(Debug, PartialEq, Eq)]
struct Round {
    processes: u64,
    active: u64,
    /// By their names; none for all of them.
    samplers: &'static [&'static str],
}

fn counts(option: &str, arguments: &mut std::slice::Iter<'_, String>) -> Result<Vec<u64>> {
    let text = value(option, arguments)?;
    let counts = text.split(',').map(str::parse).collect::<Result<_, _>>();
    counts.with_context(|| format!("`{option} {text}`: expected whole numbers with commas"))
}

/// Who samples.
struct Sampler {
    name: &'static str,
    what: &'static str,
    program: fn(&Bench) -> Program,
    arguments: &'static [&'static str],
    /// So many processes are read in all samples together, in one at the least: more would take
    /// minutes.
    readings_max: u64,
    rights: Rights,
}

/// What a sampler needs of the machine. Where it does not find it, it is left out, and says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rights {
    Nothing,
    /// To load BPF programs, or to hear taskstats.
    OfTheKernel,
    /// A package from a registry.
    ToBeFetched,
}

const SAMPLERS: &[Sampler] = &[
    Sampler {
        name: ITERATOR,
        what: "the records of tier A and nothing kept",
        program: Bench::limit,
        arguments: &["--iterator"],
        readings_max: u64::MAX,
        rights: Rights::OfTheKernel,
    },
    Sampler {
        name: TIER_A,
        what: "full sample, ledger and groups, switches of all threads",
        program: Bench::own,
        arguments: &["--tier", "a", "--switches"],
        readings_max: u64::MAX,
        rights: Rights::OfTheKernel,
    },
    Sampler {
        name: TIER_A_STATIC,
        what: "the same, as a program that needs no other file",
        program: Bench::own_static,
        arguments: &["--tier", "a", "--switches"],
        readings_max: u64::MAX,
        rights: Rights::OfTheKernel,
    },
    Sampler {
        name: TIER_A_CONNECTIONS,
        what: "and connections by state",
        program: Bench::own,
        arguments: &["--tier", "a", "--switches", "--sockets"],
        readings_max: u64::MAX,
        rights: Rights::OfTheKernel,
    },
    Sampler {
        name: "C limit, taskstats",
        what: "accounts and three calls for who has run, and a sixteenth of the others; nothing kept",
        program: Bench::limit,
        arguments: &["--taskstats"],
        readings_max: u64::MAX,
        rights: Rights::OfTheKernel,
    },
    Sampler {
        name: TIER_B,
        what: "full sample, ledger and groups",
        program: Bench::own,
        arguments: &["--tier", "b"],
        readings_max: u64::MAX,
        rights: Rights::OfTheKernel,
    },
    Sampler {
        name: TIER_C,
        what: "full sample, ledger and groups",
        program: Bench::own,
        arguments: &[],
        readings_max: u64::MAX,
        rights: Rights::Nothing,
    },
    Sampler {
        name: TIER_C_SWITCHES,
        what: "and context switches of all threads",
        program: Bench::own,
        arguments: &["--switches"],
        readings_max: u64::MAX,
        rights: Rights::Nothing,
    },
    Sampler {
        name: TIER_C_CONNECTIONS,
        what: "and connections by state",
        program: Bench::own,
        arguments: &["--sockets"],
        readings_max: u64::MAX,
        rights: Rights::Nothing,
    },
    Sampler {
        name: "C limit",
        what: "five files and nothing kept",
        program: Bench::limit,
        arguments: &[],
        readings_max: u64::MAX,
        rights: Rights::Nothing,
    },
    Sampler {
        name: "C limit, switches",
        what: "and the file status",
        program: Bench::limit,
        arguments: &["--status"],
        readings_max: u64::MAX,
        rights: Rights::Nothing,
    },
    Sampler {
        name: PSUTIL,
        what: "as_dict of the same figures, switches included",
        program: Bench::psutil,
        arguments: &[],
        readings_max: u64::MAX,
        rights: Rights::Nothing,
    },
    Sampler {
        name: PSUTIL_CONNECTIONS,
        what: "and net_connections of kind `all`",
        program: Bench::psutil,
        arguments: &["--connections", "each"],
        readings_max: 3000,
        rights: Rights::Nothing,
    },
    Sampler {
        name: "psutil, connections asked for once",
        what: "and net_connections of the whole machine",
        program: Bench::psutil,
        arguments: &["--connections", "once"],
        readings_max: u64::MAX,
        rights: Rights::Nothing,
    },
    Sampler {
        name: PROCESS_EXPORTER,
        what: "groups by name, with PSS and threads",
        program: Bench::peer,
        arguments: &["process-exporter"],
        readings_max: u64::MAX,
        rights: Rights::ToBeFetched,
    },
    Sampler {
        name: NETDATA,
        what: "groups by name, with files",
        program: Bench::peer,
        arguments: &["apps.plugin"],
        readings_max: u64::MAX,
        rights: Rights::ToBeFetched,
    },
    Sampler {
        name: "pidstat",
        what: "-u -r -d -w -v -p ALL",
        program: Bench::peer,
        arguments: &["pidstat"],
        readings_max: u64::MAX,
        rights: Rights::ToBeFetched,
    },
    Sampler {
        name: "atop",
        what: "-P PRC,PRM,PRD",
        program: Bench::peer,
        arguments: &["atop"],
        readings_max: u64::MAX,
        rights: Rights::ToBeFetched,
    },
    Sampler {
        name: TOP,
        what: "-b: no I/O, switches or descriptors",
        program: Bench::peer,
        arguments: &["top"],
        readings_max: u64::MAX,
        rights: Rights::ToBeFetched,
    },
    Sampler {
        name: "procfs crate",
        what: "stat, status, io and the count of descriptors",
        program: Bench::peer,
        arguments: &["procfs"],
        readings_max: u64::MAX,
        rights: Rights::ToBeFetched,
    },
    Sampler {
        name: "sysinfo crate",
        what: "CPU, memory, I/O and user: no switches or descriptors",
        program: Bench::peer,
        arguments: &["sysinfo"],
        readings_max: u64::MAX,
        rights: Rights::ToBeFetched,
    },
];

/// The sampler that all others are compared with.
const PSUTIL: &str = "psutil";
const PSUTIL_CONNECTIONS: &str = "psutil, connections";

/// Ours at its best.
const TIER_A: &str = "metrics-per-process, tier A";
const TIER_A_STATIC: &str = "metrics-per-process, tier A, linked statically";
const TIER_A_CONNECTIONS: &str = "metrics-per-process, tier A, connections";

/// Ours where programs in the kernel are not to be had.
const TIER_B: &str = "metrics-per-process, tier B";

/// Ours without any rights.
const TIER_C: &str = "metrics-per-process, tier C";
const TIER_C_SWITCHES: &str = "metrics-per-process, tier C, switches";
const TIER_C_CONNECTIONS: &str = "metrics-per-process, tier C, connections";

/// The least that tier A can take.
const ITERATOR: &str = "C limit, BPF iterator";

const PROCESS_EXPORTER: &str = "process-exporter";
const NETDATA: &str = "Netdata apps.plugin";
const TOP: &str = "top";

/// A size that a goal of memory alone speaks of, and who is measured there.
const FEW: u64 = 500;
const OF_FEW: &[&str] = &[TIER_A, TIER_A_STATIC, TIER_B, TIER_C];

/// So many variables have the processes that are measured, and no others.
const VARIABLES: u32 = 20;

/// So many TCP connections they have with themselves.
const CONNECTIONS: &str = "500";

/// The programs, built.
struct Bench {
    root: PathBuf,
    folder: PathBuf,
    release: PathBuf,
    /// Ours without shared libraries.
    own_static: PathBuf,
    python: PathBuf,
}

/// Builds everything, measures, prints the tables, and writes them and their picture to
/// `bench/results`, after each of them, beside those that were written before.
pub(crate) fn run(root: &Path, plan: &Plan) -> Result<()> {
    let bench = Bench::build(root)?;
    static_programs::build_sample_cost(root)?;
    bench.fetch_peers()?;
    let results = bench.folder.join("results");
    fs::create_dir_all(&results).context("cannot create bench/results")?;
    let machine = format!("Machine: {}.", machine(root)?);
    let path = results.join("sample-cost.md");
    // Where there are none yet, there is nothing to keep.
    let before = fs::read_to_string(&path).unwrap_or_default();
    let mut sections = record::parse(&before, &machine);
    for round in plan.rounds() {
        let section = bench.measure_round(&round, plan.samples)?;
        std::io::stdout().lock().write_all(section.text().as_bytes())?;
        record::put(&mut sections, section);
        fs::write(&path, report(&machine, &sections)).context("cannot write sample-cost.md")?;
        fs::write(results.join("sample-cost.svg"), cost_picture::draw(&sections))
            .context("cannot write sample-cost.svg")?;
    }
    Ok(())
}

/// All that is written.
fn report(machine: &str, sections: &[Section]) -> String {
    let mut text = format!(
        "# What a sample costs\n\n\
         Written by `cargo xtask bench`; the picture of it is sample-cost.svg.\n\n{machine}\n"
    );
    text.push_str(&goals::table(sections));
    text.push_str(HOW_TO_READ);
    text.extend(sections.iter().map(Section::text));
    text
}

const HOW_TO_READ: &str = "\n## How to read the tables\n\n\
    CPU microseconds, user and system, per process of a full sample, one second between samples,\n\
    all samplers of a table one after the other beside the same processes. Ratios carry over to\n\
    other machines, absolute times do not. Two samples go before those that count; none before a\n\
    single one of psutil with the connections of each process, which can take half a minute.\n\
    Memory of no file is `RssAnon` at the end; the rest is pages of programs and libraries, which all that run them share. Kernel memory is the most\n\
    that was charged to a memory cgroup with this program alone: BPF maps and programs, page tables,\n\
    buffers of sockets, and the files of its own `/proc` that it has looked up, some 4.5 KiB a\n\
    process, which the kernel drops when it needs room. `-`: not counted on that machine.\n";

impl Bench {
    fn build(root: &Path) -> Result<Self> {
        let folder = root.join("bench");
        let release = target_folder(root)?.join("release");
        let line = "cargo build --quiet --release --package mpp-load --package mpp-cli --bins \
                    --examples";
        Program::cargo(root, line).run()?;
        let compile = Program::new(&folder, "gcc -O2 -Wall -o").arg(release.join("limit"));
        compile.arg("limit.c").run()?;
        let python = folder.join(".venv/bin/python");
        let own_static = static_programs::sample_cost(root)?;
        Ok(Bench { root: root.to_path_buf(), folder, release, own_static, python })
    }

    /// Brings psutil here, and builds the programs on other crates where their crates can be had.
    fn fetch_peers(&self) -> Result<()> {
        if !self.python.exists() {
            Program::new(&self.folder, "python3 -m venv .venv").run()?;
        }
        let install = "-m pip install --quiet --disable-pip-version-check -r requirements.txt";
        let python = Program::at(&self.folder, &self.python);
        install.split(' ').fold(python, Program::arg).run()?;
        let line = "cargo build --quiet --release --manifest-path crates/Cargo.toml --target-dir";
        if let Err(error) = Program::cargo(&self.folder, line).arg(self.crates()).run() {
            complain(&format!("without other crates: {error:#}"));
        }
        Ok(())
    }

    fn own(&self) -> Program {
        Program::at(&self.folder, self.release.join("examples/sample_cost"))
    }

    fn own_static(&self) -> Program {
        Program::at(&self.folder, &self.own_static)
    }

    fn limit(&self) -> Program {
        Program::at(&self.folder, self.release.join("limit"))
    }

    fn psutil(&self) -> Program {
        Program::at(&self.folder, &self.python).arg("psutil_cost.py")
    }

    fn peer(&self) -> Program {
        let measure = Program::new(&self.folder, "python3 -B peer_cost.py --folder");
        let measure = measure.arg(self.release.with_file_name("same-load"));
        measure.arg("--crates").arg(self.crates().join("release"))
    }

    /// Where the programs on other crates are built.
    fn crates(&self) -> PathBuf {
        self.release.with_file_name("bench-crates")
    }

    /// Measures everybody of a round beside the same load.
    fn measure_round(&self, round: &Round, samples: u64) -> Result<Section> {
        let &Round { processes, active, samplers } = round;
        let (count, percent) = (processes.to_string(), active.to_string());
        let sleepers = ["sleepers", "--count", &count, "--active", &percent];
        let sleepers = sleepers.into_iter().chain(["--connections", CONNECTIONS]);
        let _load = Load::start(self, &sleepers.map(str::to_owned).collect::<Vec<_>>())?;
        let is_asked = |sampler: &&Sampler| samplers.is_empty() || samplers.contains(&sampler.name);
        let mut rows = Vec::new();
        for sampler in SAMPLERS.iter().filter(is_asked) {
            let samples = samples.min(sampler.readings_max / processes.max(1)).max(1);
            let account = self.account()?;
            match self.measure(sampler, &["--samples", &samples.to_string()], account.as_ref()) {
                Ok(row) => rows.push(Row { samples, ..row }),
                Err(error) if sampler.rights != Rights::Nothing => {
                    complain(&format!("left out: {}: {error:#}", sampler.name));
                }
                Err(error) => return Err(error),
            }
        }
        let day = Program::new(&self.folder, "date +%F").output()?.trim().to_owned();
        Ok(Section { processes, active, day, rows })
    }

    /// Where the kernel memory of a sampler is counted, `None` where it cannot be.
    fn account(&self) -> Result<Option<KernelAccount>> {
        match KernelAccount::open(&self.folder) {
            Ok(account) => Ok(Some(account)),
            Err(error) => {
                complain(&format!("without kernel memory: {error:#}"));
                Ok(None)
            }
        }
    }

    /// What a sampler says it took, and the most that the kernel kept for it, where that is asked
    /// for.
    fn measure(
        &self,
        sampler: &'static Sampler,
        options: &[&str],
        account: Option<&KernelAccount>,
    ) -> Result<Row> {
        let reads_iterator = sampler.arguments.contains(&"--iterator");
        let _held = reads_iterator.then(|| Load::hold_programs(self)).transpose()?;
        let program = sampler.arguments.iter().fold((sampler.program)(self), Program::arg);
        let program = options.iter().fold(program, Program::arg);
        let program = match account {
            // The tool alone shall be in there, not the program that watches it.
            Some(account) if sampler.rights == Rights::ToBeFetched => {
                program.arg("--cgroup").arg(account.folder())
            }
            Some(account) => program.under(account.script()),
            None => program,
        };
        let mut kernel_bytes = None;
        let output = program.output_beside(|| {
            kernel_bytes = kernel_bytes.max(account.and_then(KernelAccount::bytes));
        })?;
        let figure = |key: &str| {
            figure(&output, key)
                .with_context(|| format!("{} did not say `{key}`, but: {output}", sampler.name))
        };
        Ok(Row {
            sampler: sampler.name.to_owned(),
            reads: sampler.what.to_owned(),
            samples: 0,
            processes: figure("processes")?.parse()?,
            cpu_us: figure("cpu_us_per_process")?.parse()?,
            peak_rss_kib: figure("peak_rss_kib")?.parse()?,
            anonymous_kib: figure("anonymous_kib")?.parse()?,
            kernel_kib: kernel_bytes.map(|bytes| bytes >> 10),
        })
    }
}

/// The value behind `key=` in a line of words.
fn figure<'a>(output: &'a str, key: &str) -> Option<&'a str> {
    output.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

/// Something that is there for as long as this lives.
struct Load {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Load {
    /// A load that has begun once it has said that it is ready.
    fn start(bench: &Bench, words: &[String]) -> Result<Self> {
        let program = Program::at(&bench.root, bench.release.join("mpp-load"));
        let program = words.iter().fold(program, Program::arg);
        let program = program.arg("--directory").arg(&bench.release);
        let (load, line) = Load::begin(program)?;
        if !line.contains("\"ready\"") {
            bail!("the load did not get ready: {line}");
        }
        Ok(load)
    }

    /// The BPF programs whose iterator the C limit reads. Where they cannot be had, that one
    /// says so.
    fn hold_programs(bench: &Bench) -> Result<Self> {
        let program = Program::at(&bench.root, bench.release.join("examples/sample_cost"));
        Ok(Load::begin(program.arg("--tier").arg("a").arg("--hold"))?.0)
    }

    /// Starts a program, and waits for its first line.
    fn begin(program: Program) -> Result<(Self, String)> {
        let mut command = with_variables(program);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start a load")?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let load = Load { child, stdin };
        let mut line = String::new();
        BufReader::new(stdout.context("the load has no standard output")?).read_line(&mut line)?;
        Ok((load, line))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It ends by itself once its standard input is closed.
        let _ = self.child.wait();
    }
}

/// The program with [`VARIABLES`] and nothing else in its environment.
fn with_variables(program: Program) -> Command {
    let mut command = program.into_command();
    command.env_clear();
    command.envs((1..=VARIABLES).map(|n| (format!("VARIABLE_{n:02}"), "value")));
    command
}

fn machine(root: &Path) -> Result<String> {
    let kernel = Program::new(root, "uname -srm").output()?;
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name"));
    let model =
        model.and_then(|line| line.split_once(':')).map_or("unknown CPU", |(_, m)| m.trim());
    Ok(format!("{}, {cpus} CPUs, {model}", kernel.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_their_whole_key() {
        let output = "cpu_us_per_process=19.605 processes=1090 peak_rss_kib=1396\n";
        assert_eq!(figure(output, "processes"), Some("1090"));
        assert_eq!(figure(output, "cpu_us_per_process"), Some("19.605"));
        assert_eq!(figure(output, "us_per_process"), None);
    }

    #[test]
    fn a_load_has_so_many_variables_and_no_others() {
        let mut command = with_variables(Program::new(Path::new("/"), "env"));
        let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
        assert_eq!(output.lines().count(), VARIABLES as usize, "{output}");
        assert!(output.contains("VARIABLE_20=value\n"), "{output}");
    }

    #[test]
    fn goals_come_before_what_they_are_judged_by() {
        let section = record::tests::section(1000, 0, vec![record::tests::row(TIER_A, 1.0)]);
        let text = report("Machine: fast.", std::slice::from_ref(&section));
        let (goals, table) = (text.find("## Goals").unwrap(), text.find("## 1000").unwrap());
        assert!(goals < table);
        assert_eq!(record::parse(&text, "Machine: fast."), [section]);
    }

    #[test]
    fn few_processes_are_measured_for_the_goal_of_memory_unless_sizes_are_asked_for() {
        let rounds = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            Plan::parse(&words).unwrap().rounds()
        };
        let all = rounds(&[]);
        assert_eq!(all.len(), 10);
        assert_eq!(all[0], Round { processes: FEW, active: 10, samplers: OF_FEW });
        let asked = rounds(&["--processes", "500", "--active", "0"]);
        assert_eq!(asked, [Round { processes: 500, active: 0, samplers: &[] }]);
    }

    #[test]
    fn counts_of_processes_are_separated_by_commas() {
        let words = ["--processes", "10,20", "--active", "5"].map(str::to_owned);
        let plan = Plan::parse(&words).unwrap();
        assert_eq!(plan.processes.as_deref(), Some(&[10, 20][..]));
        assert_eq!(plan.active, [5]);
        assert!(Plan::parse(&["--processes".to_owned(), "ten".to_owned()]).is_err());
    }
}
