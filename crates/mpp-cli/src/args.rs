//! What was typed: options and their help, and nothing about what they mean.
//!
//! [`plan`](crate::plan) decides that. Values which come from file names, process
//! names or environments stay [`OsString`]s, since none of these need be UTF-8.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// What these processes really use, all together, their ended children included.
#[derive(Debug, Parser)]
#[command(
    name = "mpp",
    version,
    max_term_width = 80,
    disable_help_subcommand = true,
    after_help = "Type `mpp show` for the groups of this machine, `mpp show NAME` for the programs of \
                  that name, `mpp COMMAND --help` for a command's options.\n\n\
                  Exit status: 0 ok, 1 nothing matched, 2 usage error, 3 cannot measure."
)]
pub(crate) struct Typed {
    /// When to colour; `auto` obeys `NO_COLOR`, `CLICOLOR_FORCE` and `TERM`.
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        global = true,
        help_heading = "Output",
        hide_possible_values = true
    )]
    pub(crate) color: When,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// On a terminal that can.
    Auto,
    /// Also into files and pipes.
    Always,
    /// Not at all.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure what matches, with all its descendants.
    #[command(visible_alias = "stat", after_help = SHOW_EXAMPLES)]
    Show(Box<Show>),

    /// Print the PIDs of what matches, as pgrep(1) does.
    #[command(after_help = FIND_EXAMPLES)]
    Find(Box<Find>),

    /// Print every process that ends, with its life, CPU time and bytes.
    #[command(after_help = EXITS_EXAMPLES)]
    Exits(Box<Exits>),

    /// Run a command and say what it and everything it started used.
    #[command(after_help = RUN_NOTES)]
    Run(Box<Run>),

    /// Stand in for sensu's `metrics-per-process.py`.
    #[command(infer_long_args = true, args_override_self = true, after_help = SENSU_NOTES)]
    Sensu(Sensu),

    /// List every metric: what it means and where it comes from.
    #[command(after_help = METRICS_NOTES)]
    Metrics(Metrics),

    /// Say what can be measured here, and what would cure the rest.
    Doctor(Doctor),

    /// Print a completion script for a shell.
    Completions(Completions),

    /// Print a manual page.
    Man(Man),
}

const SHOW_EXAMPLES: &str = "\
Without a selection every systemd unit is a row; where there is none, every
program. Kinds of conditions are ANDed, values of one kind are ORed.

Examples:
  mpp show nginx                      nginx and everything it started
  mpp show -u max --by name           one row per program of a user
  mpp show --port 8080 -m net         who listens there, and what it transfers
  mpp show -e TAG=batch -c 60 --json  a sample a second for a minute
  mpp show --by env:TAG -m io,fds     one row per value of a variable
  mpp show -i 0 -s memory.rss         one look, without rates

Marks: `~` an estimate, `>=` at least this much, `-` unknown.";

const FIND_EXAMPLES: &str = "\
Kinds of conditions are ANDed, values of one kind are ORed. Exits with 1 if
nothing matches.

Examples:
  mpp find nginx                  PIDs, one a line
  mpp find -f 'shard=[0-9]+' -a   with their command lines
  mpp find --port 80,8000-8010    who listens there
  mpp find -e '!TAG' -u max -c    how many";

const EXITS_EXAMPLES: &str = "\
Without a selection every process of this machine is meant. Each is printed
once; its figures are its own, of its whole life, without its children's.
Command lines are printed with -a only, since they may hold secrets.

Exit status: 0 ok, also after Ctrl-C; 1 nothing ended; 2 usage error; 3 cannot
measure.

Examples:
  mpp exits                            what ends, until Ctrl-C
  mpp exits -P make -a                 what a build runs, as it ends
  mpp exits -u max -c 60 --json        an object a second for a minute
  mpp exits --summary 30s              what short lives come to, by program
  mpp exits --summary 5m --by unit -s failed

Marks: `~` an estimate, `>=` at least this much, `-` unknown. CPU time is a
lower bound even at tier A: a record is written before a process has torn
itself down, and what that took only its parent is told, when it waits.";

const RUN_NOTES: &str = "\
Reports to stderr. Reads, writes, CPU time, faults and switches of the whole
tree are exact, ended and daemonised processes included, and need no privilege.
It waits until the last process has ended; Ctrl-C ends that waiting. A limit
on what could not be measured is named and breaks nothing.

Exit status: the command's; where a signal ended it, the same signal; 1 if it
succeeded and a limit is broken; 2 usage error; 125 nothing could be measured;
126 the command cannot be executed; 127 there is no such command.

Examples:
  mpp run -- make -j8                              what a build takes
  mpp run --fail-if 'memory.peak > 4GiB' -- make   status 1 if it takes more
  mpp run -o cost.json -- make                     to compare the next one with
  mpp run --compare cost.json -- make              what changed";

const METRICS_NOTES: &str = "\
`--json` also has each metric's names in Prometheus, OpenTelemetry and the
drop-in functions, its type, and how it sums.

Examples:
  mpp metrics                        what there is
  mpp show nginx -m memory.rss,fds   some of it
  mpp show nginx -m 'io_counters.*'  all of a kind";

const SENSU_NOTES: &str = "\
Prints the script's lines, `SCHEME.METRIC VALUE EPOCH`, of what matched alone.
Any unique prefix of a long option will do.";

/// `mpp show`.
#[derive(Args, Debug)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(crate) selection: Selection,

    /// Measure only what matched; the default takes all descendants along.
    #[arg(long, help_heading = "Selection")]
    pub(crate) no_children: bool,

    /// One row per name, user, unit, cgroup, pid, `env:KEY`, or named capture of -f.
    #[arg(long, value_name = "KEY", help_heading = "Selection")]
    pub(crate) by: Option<OsString>,

    /// Time between samples: `1s`, `500ms`, `1.5`; `0` for one sweep without rates.
    #[arg(
        short,
        long,
        value_name = "TIME",
        default_value = "1s",
        help_heading = "Measuring",
        allow_hyphen_values = true
    )]
    pub(crate) interval: OsString,

    /// How many samples to print [default: 1].
    #[arg(
        short,
        long,
        value_name = "N",
        help_heading = "Measuring",
        allow_negative_numbers = true
    )]
    pub(crate) count: Option<OsString>,

    /// Names or globs (`mpp metrics` lists them), or the presets default, all, io, mem, cpu,
    /// net, delays.
    #[arg(short, long, value_name = "GLOB,...", help_heading = "Measuring")]
    pub(crate) metrics: Option<OsString>,

    /// Add proportional memory; it stalls each process while the kernel walks its memory,
    /// about 9 ms per GB.
    #[arg(long, help_heading = "Measuring")]
    pub(crate) pss: bool,

    /// At most this accuracy: A exact, B bounded, C estimate.
    #[arg(long, value_name = "A|B|C", help_heading = "Measuring")]
    pub(crate) tier: Option<OsString>,

    #[command(flatten)]
    pub(crate) procfs: Procfs,

    /// From the agent's history, which does not exist yet.
    #[arg(long, value_name = "TIME", hide = true)]
    pub(crate) since: Option<OsString>,

    /// Sort rows by a column, largest first; or by `name`.
    #[arg(short, long, value_name = "COLUMN", help_heading = "Output")]
    pub(crate) sort: Option<OsString>,

    /// table, json, jsonl, csv, graphite, prometheus or influx.
    #[arg(long, value_name = "FORMAT", help_heading = "Output")]
    pub(crate) format: Option<OsString>,

    /// Short for `--format json`.
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    /// One column per metric; with `--format csv`.
    #[arg(long, help_heading = "Output")]
    pub(crate) wide: bool,

    /// iec (KiB), si (kB) or raw; with `--format table`.
    #[arg(long, value_name = "UNITS", help_heading = "Output")]
    pub(crate) units: Option<OsString>,

    /// What series names begin with; with `--format graphite`.
    #[arg(long, value_name = "PREFIX", help_heading = "Output")]
    pub(crate) prefix: Option<OsString>,
}

/// `mpp find`.
#[derive(Args, Debug)]
pub(crate) struct Find {
    #[command(flatten)]
    pub(crate) selection: Selection,

    /// Take descendants of what matched along.
    #[arg(long, help_heading = "Selection")]
    pub(crate) children: bool,

    #[command(flatten)]
    pub(crate) procfs: Procfs,

    /// Print the name beside each PID.
    #[arg(short = 'l', long, conflicts_with_all = ["list_cmdline", "count"], help_heading = "Output")]
    pub(crate) list_name: bool,

    /// Print the command line beside each PID.
    #[arg(short = 'a', long, conflicts_with = "count", help_heading = "Output")]
    pub(crate) list_cmdline: bool,

    /// Print how many there are.
    #[arg(short, long, help_heading = "Output")]
    pub(crate) count: bool,

    /// What stands between PIDs, instead of a newline.
    #[arg(
        short,
        long,
        value_name = "TEXT",
        conflicts_with = "count",
        allow_hyphen_values = true,
        help_heading = "Output"
    )]
    pub(crate) delimiter: Option<OsString>,
}

/// `mpp exits`.
#[derive(Args, Debug)]
pub(crate) struct Exits {
    #[command(flatten)]
    pub(crate) selection: Selection,

    /// Tell only of what matched; the default takes all descendants along.
    #[arg(long, help_heading = "Selection")]
    pub(crate) no_children: bool,

    /// Groups by name, user, unit, cgroup, pid, `env:KEY`, or named capture of -f.
    #[arg(long, value_name = "KEY", help_heading = "Selection")]
    pub(crate) by: Option<OsString>,

    /// How often to look for what has ended.
    #[arg(
        short,
        long,
        value_name = "TIME",
        default_value = "1s",
        help_heading = "Measuring",
        allow_hyphen_values = true
    )]
    pub(crate) interval: OsString,

    /// Stop after so many intervals; the default goes on until Ctrl-C.
    #[arg(
        short,
        long,
        value_name = "N",
        help_heading = "Measuring",
        conflicts_with = "summary",
        allow_negative_numbers = true
    )]
    pub(crate) count: Option<OsString>,

    /// Watch for so long, and print what the ended come to, by program or as --by says.
    #[arg(long, value_name = "TIME", help_heading = "Measuring", allow_hyphen_values = true)]
    pub(crate) summary: Option<OsString>,

    /// At most this accuracy: A exact, B bounded, C estimate.
    #[arg(long, value_name = "A|B|C", help_heading = "Measuring")]
    pub(crate) tier: Option<OsString>,

    #[command(flatten)]
    pub(crate) procfs: Procfs,

    /// Print the command line of each process.
    #[arg(short = 'a', long, conflicts_with = "summary", help_heading = "Output")]
    pub(crate) list_cmdline: bool,

    /// Sort a summary by a column, largest first [default: ended]; or by `name`.
    #[arg(short, long, value_name = "COLUMN", help_heading = "Output")]
    pub(crate) sort: Option<OsString>,

    /// table, json, jsonl or csv.
    #[arg(long, value_name = "FORMAT", help_heading = "Output")]
    pub(crate) format: Option<OsString>,

    /// Short for `--format json`.
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    /// iec (KiB), si (kB) or raw; with `--format table`.
    #[arg(long, value_name = "UNITS", help_heading = "Output")]
    pub(crate) units: Option<OsString>,
}

/// Which processes: of each kind of condition any value, of all kinds one.
#[derive(Args, Clone, Debug)]
pub(crate) struct Selection {
    /// Programs of these names, or globs (`*?[`) for them.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<OsString>,

    /// Effective user, by name or number.
    #[arg(short, long, value_name = "USER", help_heading = "Selection")]
    pub(crate) user: Vec<OsString>,

    /// Anywhere in the whole command line.
    #[arg(
        short = 'f',
        long,
        value_name = "REGEX",
        allow_hyphen_values = true,
        help_heading = "Selection"
    )]
    pub(crate) cmdline: Vec<OsString>,

    /// Has the variable (`KEY`), has this value (`KEY=GLOB`), has it not (`!KEY`).
    #[arg(short, long, value_name = "VARIABLE", help_heading = "Selection")]
    pub(crate) env: Vec<OsString>,

    /// Exactly these PIDs.
    #[arg(
        short,
        long,
        value_name = "PID,...",
        allow_negative_numbers = true,
        help_heading = "Selection"
    )]
    pub(crate) pid: Vec<OsString>,

    /// The PID that this file holds.
    #[arg(short = 'F', long, value_name = "PATH", help_heading = "Selection")]
    pub(crate) pidfile: Vec<OsString>,

    /// Descendants of a PID or of programs of a name, at any depth, without the root.
    #[arg(
        short = 'P',
        long,
        value_name = "PID|NAME",
        allow_negative_numbers = true,
        help_heading = "Selection"
    )]
    pub(crate) children_of: Vec<OsString>,

    /// Listens on the port, or one in the range: TCP, or UDP that is not connected.
    #[arg(
        long,
        value_name = "PORT,...",
        allow_negative_numbers = true,
        help_heading = "Selection"
    )]
    pub(crate) port: Vec<OsString>,

    /// systemd unit.
    #[arg(long, value_name = "UNIT", help_heading = "Selection")]
    pub(crate) unit: Vec<OsString>,

    /// Path of the control group, or a glob for it.
    #[arg(long, value_name = "GLOB", help_heading = "Selection")]
    pub(crate) cgroup: Vec<OsString>,

    /// Leave out what this selects: `name:curl`, `user:max`, `env:TAG=x`.
    #[arg(short = 'x', long, value_name = "SELECTOR", help_heading = "Selection")]
    pub(crate) exclude: Vec<OsString>,
}

/// Where the kernel's process files are.
#[derive(Args, Debug)]
pub(crate) struct Procfs {
    /// Another procfs, or a copy of one [default: `$HOST_PROC` or /proc].
    #[arg(long, value_name = "PATH", help_heading = "Measuring")]
    pub(crate) procfs: Option<PathBuf>,
}

/// `mpp run`.
#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The command and its arguments, best behind `--`.
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true)]
    pub(crate) command: Vec<OsString>,

    /// Exit with 1 if this holds: `memory.peak > 4GiB`, `uptime >= 90s`; may be given often.
    #[arg(long, value_name = "LIMIT", help_heading = "Limits")]
    pub(crate) fail_if: Vec<OsString>,

    /// Set against what an earlier run wrote with -o.
    #[arg(long, value_name = "FILE", help_heading = "Limits")]
    pub(crate) compare: Option<PathBuf>,

    /// Do not wait for what the command leaves running; count it up to then.
    #[arg(long, conflicts_with = "wait", help_heading = "Measuring")]
    pub(crate) no_wait: bool,

    /// Wait no longer than this for what the command leaves running.
    #[arg(long, value_name = "TIME", help_heading = "Measuring")]
    pub(crate) wait: Option<OsString>,

    /// How often to look at memory and programs; less often if that took over half a percent of a core.
    #[arg(
        short,
        long,
        value_name = "TIME",
        default_value = "50ms",
        help_heading = "Measuring",
        allow_hyphen_values = true
    )]
    pub(crate) interval: OsString,

    /// At most this accuracy: A exact, B bounded, C estimate.
    #[arg(long, value_name = "A|B|C", help_heading = "Measuring")]
    pub(crate) tier: Option<OsString>,

    /// Write the report to a file, as JSON, instead of to stderr.
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub(crate) output: Option<PathBuf>,

    /// Write every look to a file, as JSON lines.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) series: Option<PathBuf>,

    /// markdown: on stderr; github: appended to the summary of the job.
    #[arg(long, value_name = "KIND", help_heading = "Output")]
    pub(crate) summary: Option<OsString>,

    /// The report on stderr as JSON.
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    /// iec (KiB), si (kB) or raw.
    #[arg(long, value_name = "UNITS", help_heading = "Output")]
    pub(crate) units: Option<OsString>,

    /// Say nothing but what went wrong.
    #[arg(short, long, conflicts_with = "json", help_heading = "Output")]
    pub(crate) quiet: bool,
}

/// `mpp sensu`: the options of the script, under its names.
///
/// No other option may begin like one of these, or a prefix that was unique in the
/// script would not be unique here.
#[derive(Args, Debug)]
pub(crate) struct Sensu {
    /// Sum over the processes of exactly this name.
    #[arg(short = 'n', long, value_name = "NAME", allow_hyphen_values = true)]
    pub(crate) process_name: Option<OsString>,

    /// The process whose PID this file holds.
    #[arg(short = 'p', long, value_name = "PATH", allow_hyphen_values = true)]
    pub(crate) pid_file: Option<OsString>,

    /// Sum over the processes of this user.
    #[arg(short, long, value_name = "USER", allow_hyphen_values = true)]
    pub(crate) user: Option<OsString>,

    /// What each line begins with.
    #[arg(
        short = 's',
        long = "graphite_scheme",
        value_name = "SCHEME",
        default_value = "per_process_stats",
        allow_hyphen_values = true
    )]
    pub(crate) graphite_scheme: OsString,

    /// Comma-separated regexes, anchored at the start, for the metrics to print.
    #[arg(
        short = 'm',
        long,
        value_name = "REGEXES",
        default_value = ".*",
        allow_hyphen_values = true
    )]
    pub(crate) metrics_regexes: OsString,

    /// The script takes further words and ignores them.
    #[arg(hide = true)]
    pub(crate) ignored: Vec<OsString>,
}

/// `mpp metrics`.
#[derive(Args, Debug)]
pub(crate) struct Metrics {
    /// table or json.
    #[arg(long, value_name = "FORMAT", help_heading = "Output")]
    pub(crate) format: Option<OsString>,

    /// Short for `--format json`.
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

/// `mpp doctor`.
#[derive(Args, Debug)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) procfs: Procfs,
}

/// `mpp completions`.
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// bash, zsh, fish, elvish or powershell.
    #[arg(value_name = "SHELL", hide_possible_values = true)]
    pub(crate) shell: clap_complete::Shell,
}

/// `mpp man`.
#[derive(Args, Debug)]
pub(crate) struct Man {
    /// The command whose page to print; without it, the page of mpp itself.
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Option<String>,
}
