//! `cargo xtask bench`: what one full sample costs, beside other tools and C programs.
//!
//! All samplers measure the same sleeping processes in the same run, since only the
//! ratios between them carry over to another machine.

pub(crate) mod growth;
mod look_ups;
mod picture;
pub(crate) mod ratios;

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::step::Program;
use crate::{USAGE, complain, number, static_programs, target_folder, value};

/// What to measure.
pub(crate) struct Plan {
    processes: Vec<u64>,
    /// Percent of the processes that do something each second.
    active: Vec<u64>,
    samples: u64,
}

impl Plan {
    /// Reads the arguments behind `bench`.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut plan =
            Plan { processes: vec![1000, 10_000], active: vec![0, 10, 100], samples: 10 };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--processes" => plan.processes = counts(argument, &mut arguments)?,
                "--active" => plan.active = counts(argument, &mut arguments)?,
                "--samples" => plan.samples = number(argument, &mut arguments)?.max(1),
                other => bail!("unknown option `{other}`\n\n{USAGE}"),
            }
        }
        Ok(plan)
    }
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
        name: "C limit, BPF iterator",
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
        name: "metrics-per-process, tier A, linked statically",
        what: "the same, as a program that needs no other file",
        program: Bench::own_static,
        arguments: &["--tier", "a", "--switches"],
        readings_max: u64::MAX,
        rights: Rights::OfTheKernel,
    },
    Sampler {
        name: "metrics-per-process, tier A, connections",
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
        name: "metrics-per-process",
        what: "full sample, ledger and groups",
        program: Bench::own,
        arguments: &[],
        readings_max: u64::MAX,
        rights: Rights::Nothing,
    },
    Sampler {
        name: "metrics-per-process, switches",
        what: "and context switches of all threads",
        program: Bench::own,
        arguments: &["--switches"],
        readings_max: u64::MAX,
        rights: Rights::Nothing,
    },
    Sampler {
        name: "metrics-per-process, connections",
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
        name: "psutil, connections",
        what: "and net_connections",
        program: Bench::psutil,
        arguments: &["--connections"],
        readings_max: 10_000,
        rights: Rights::Nothing,
    },
    Sampler {
        name: "process-exporter",
        what: "groups by name, with PSS and threads",
        program: Bench::peer,
        arguments: &["process-exporter"],
        readings_max: u64::MAX,
        rights: Rights::ToBeFetched,
    },
    Sampler {
        name: "Netdata apps.plugin",
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
        name: "top",
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

/// So many variables have the processes that are measured, beside those of this program.
const VARIABLES: u32 = 20;

/// So many TCP connections they have with themselves.
const CONNECTIONS: &str = "500";

/// Ours at its best.
const TIER_A: &str = "metrics-per-process, tier A";

/// Ours where programs in the kernel are not to be had.
const TIER_B: &str = "metrics-per-process, tier B";

/// One line of a result.
struct Measured {
    sampler: &'static Sampler,
    processes: u64,
    cpu_us: f64,
    peak_rss_kib: u64,
    /// Of its memory at the end, what is no part of a file.
    anonymous_kib: u64,
}

/// The programs, built.
struct Bench {
    root: PathBuf,
    folder: PathBuf,
    release: PathBuf,
    /// Ours without shared libraries.
    own_static: PathBuf,
    python: PathBuf,
}

/// Builds everything, measures, prints the table and writes it to `bench/results`.
pub(crate) fn run(root: &Path, plan: &Plan) -> Result<()> {
    let bench = Bench::build(root)?;
    static_programs::build_sample_cost(root)?;
    bench.fetch_peers()?;
    let mut report = heading(root)?;
    for &processes in &plan.processes {
        for &active in &plan.active {
            let count = processes.to_string();
            let active_percent = active.to_string();
            let sleepers = ["sleepers", "--count", &count, "--active", &active_percent];
            let sleepers = sleepers.into_iter().chain(["--connections", CONNECTIONS]);
            let sleepers: Vec<String> = sleepers.map(str::to_owned).collect();
            let load = Load::start(&bench, &sleepers)?;
            let rows = bench.measure_all(processes, plan.samples)?;
            drop(load);
            let table = table(processes, active, &rows);
            std::io::stdout().lock().write_all(table.as_bytes())?;
            report.push_str(&table);
        }
    }
    let path = bench.folder.join("results/sample-cost.md");
    fs::create_dir_all(bench.folder.join("results")).context("cannot create bench/results")?;
    fs::write(&path, report).context("cannot write bench/results/sample-cost.md")
}

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

    fn measure_all(&self, processes: u64, samples: u64) -> Result<Vec<Measured>> {
        let mut rows = Vec::new();
        for sampler in SAMPLERS {
            let samples = samples.min(sampler.readings_max / processes.max(1)).max(1);
            match self.measure(sampler, &["--samples", &samples.to_string()]) {
                Ok(row) => rows.push(row),
                Err(error) if sampler.rights != Rights::Nothing => {
                    complain(&format!("left out: {}: {error:#}", sampler.name));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(rows)
    }

    fn measure(&self, sampler: &'static Sampler, options: &[&str]) -> Result<Measured> {
        let reads_iterator = sampler.arguments.contains(&"--iterator");
        let _held = reads_iterator.then(|| Load::hold_programs(self)).transpose()?;
        let program = sampler.arguments.iter().fold((sampler.program)(self), Program::arg);
        let output = options.iter().fold(program, Program::arg).output()?;
        let figure = |key: &str| {
            figure(&output, key)
                .with_context(|| format!("{} did not say `{key}`, but: {output}", sampler.name))
        };
        Ok(Measured {
            sampler,
            processes: figure("processes")?.parse()?,
            cpu_us: figure("cpu_us_per_process")?.parse()?,
            peak_rss_kib: figure("peak_rss_kib")?.parse()?,
            anonymous_kib: figure("anonymous_kib")?.parse()?,
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
        let mut command = program.into_command();
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let command = command.envs((1..=VARIABLES).map(|n| (format!("VARIABLE_{n:02}"), "value")));
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

fn heading(root: &Path) -> Result<String> {
    Ok(format!(
        "# What a sample costs\n\n\
         Written by `cargo xtask bench`. CPU microseconds, user and system, per process of a full\n\
         sample, one second between samples, all samplers in one run. Ratios carry over to other\n\
         machines, absolute times do not. Memory of no file is `RssAnon` at the end; the rest is\n\
         pages of programs and libraries, which all that run them share.\n\n\
         Machine: {}.\n",
        machine(root)?
    ))
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

fn table(processes: u64, active: u64, rows: &[Measured]) -> String {
    let cost_of = |name: &str| rows.iter().find(|row| row.sampler.name == name).map(|r| r.cpu_us);
    let (psutil, best) = (cost_of(PSUTIL), cost_of(TIER_A));
    let mut text = format!(
        "\n## {processes} processes, {active} percent active\n\n\
         | sampler | reads | CPU us per process | against psutil | against tier A | processes | peak memory, KiB | of no file, KiB |\n\
         |---|---|---:|---:|---:|---:|---:|---:|\n"
    );
    for Measured { sampler, processes, cpu_us, peak_rss_kib, anonymous_kib } in rows {
        let faster = times(psutil.map(|cost| cost / cpu_us));
        let dearer = times(best.map(|cost| cpu_us / cost));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {cpu_us:.2} | {faster} | {dearer} | {processes} | {peak_rss_kib} | {anonymous_kib} |",
            sampler.name, sampler.what
        );
    }
    text
}

fn times(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.1}x"))
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
    fn psutil_is_the_measure_of_the_table() {
        let of = |name: &str| SAMPLERS.iter().find(|sampler| sampler.name == name).unwrap();
        let (peak_rss_kib, anonymous_kib) = (9, 4);
        let row = |name, cpu_us| Measured {
            sampler: of(name),
            processes: 7,
            cpu_us,
            peak_rss_kib,
            anonymous_kib,
        };
        let text = table(7, 10, &[row("C limit", 20.0), row(PSUTIL, 150.0)]);
        assert!(text.contains("| five files and nothing kept | 20.00 | 7.5x | - | 7 | 9 | 4 |"));
        assert!(text.contains("| 150.00 | 1.0x | - |"));
        assert!(table(7, 10, &[row("C limit", 20.0)]).contains("| 20.00 | - | - |"));
        let text = table(7, 10, &[row(TIER_A, 2.0), row("top", 30.0)]);
        assert!(text.contains("| 30.00 | - | 15.0x | 7 | 9 | 4 |"));
    }

    #[test]
    fn counts_of_processes_are_separated_by_commas() {
        let words = ["--processes", "10,20", "--active", "5"].map(str::to_owned);
        let plan = Plan::parse(&words).unwrap();
        assert_eq!((&plan.processes[..], &plan.active[..]), (&[10, 20][..], &[5][..]));
        assert!(Plan::parse(&["--processes".to_owned(), "ten".to_owned()]).is_err());
    }
}
