//! What a full sample costs: every process read, the ledger advanced, groups by name reported.
//!
//! Usage: `sample_cost [--samples N] [--interval-ms N] [--tier a|b|c] [--switches] [--sockets]
//! [--traffic] [--selectors N] [--hold]`
//! Prints one line of KEY=VALUE words, like the programs that it is measured beside. With
//! `--hold` it measures nothing, but prints `ready` and holds what it opened, its BPF programs
//! for one, until its standard input ends.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use metrics_per_process::metric::{self, Need};
use metrics_per_process::report::Tier;
use metrics_per_process::selector::{GroupKey, Selector};
use metrics_per_process::{Monitor, MonitorBuilder};

/// Samples before the measured ones: the first finds out who everybody is.
const WARM_UPS: u64 = 2;

/// More names than any load here has.
const ROWS_MAX: usize = 4096;

fn main() -> Result<()> {
    let plan = Plan::parse(std::env::args().skip(1))?;
    let mut columns = metric::choose("all").context("cannot choose the metrics")?;
    columns.retain(|column| plan.needs.contains(&column.metric.need));
    let builder = plan.groups()?.columns(columns);
    let mut monitor = builder.tier_max(plan.tier).build()?;
    if monitor.tier() != plan.tier {
        let why = monitor.refusals().iter().map(|refusal| refusal.reason.as_str());
        let why = why.collect::<Vec<_>>().join("; ");
        bail!("tier {:?} is not to be had here: {why}", plan.tier);
    }
    if plan.holds {
        return hold();
    }
    for _ in 0..WARM_UPS {
        sample(&mut monitor)?;
        std::thread::sleep(plan.interval);
    }
    let (mut spent_us, mut processes) = (Vec::new(), 0);
    for _ in 0..plan.samples {
        let before = cpu_us();
        processes += sample(&mut monitor)?;
        std::thread::sleep(plan.interval);
        spent_us.push(cpu_us().saturating_sub(before));
    }
    let spent = Duration::from_micros(spent_us.iter().sum()).as_secs_f64() * 1e6;
    let cost = spent / f64::from(u32::try_from(processes.max(1))?);
    let each = processes / plan.samples.max(1);
    let (peak, anonymous) = (status_kib("VmHWM:")?, status_kib("RssAnon:")?);
    let mut out = std::io::stdout().lock();
    write!(out, "cpu_us_per_process={cost:.3} processes={each} peak_rss_kib={peak} ")?;
    write!(out, "anonymous_kib={anonymous} ")?;
    let per_sample = spent / f64::from(u32::try_from(plan.samples.max(1))?);
    spent_us.sort_unstable();
    let median = spent_us.get(spent_us.len() / 2).copied().unwrap_or(0);
    writeln!(out, "cpu_us_per_sample={per_sample:.0} cpu_us_median={median}")?;
    Ok(())
}

/// Takes a sample; returns how many processes it holds.
fn sample(monitor: &mut Monitor) -> Result<u64> {
    let report = monitor.sample()?;
    drop(std::hint::black_box(report));
    Ok(monitor.snapshot().processes.len() as u64)
}

/// Says that everything is there, and keeps it so until somebody closes the standard input.
fn hold() -> Result<()> {
    writeln!(std::io::stdout(), "ready")?;
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

struct Plan {
    samples: u64,
    interval: Duration,
    /// What is read of each process.
    needs: Vec<Need>,
    /// How ended processes are seen; no sample is taken where they can only be seen worse.
    tier: Tier,
    /// So many groups by a selector each; a group for each name where there are none.
    selectors: u64,
    holds: bool,
}

impl Plan {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let needs = vec![Need::Always, Need::Memory, Need::Io, Need::Fds];
        let interval = Duration::from_secs(1);
        let mut plan =
            Plan { samples: 10, interval, needs, tier: Tier::C, selectors: 0, holds: false };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--samples" => plan.samples = number(&argument, arguments.next())?,
                "--interval-ms" => {
                    plan.interval = Duration::from_millis(number(&argument, arguments.next())?);
                }
                "--tier" => plan.tier = tier(arguments.next().as_deref())?,
                "--selectors" => plan.selectors = number(&argument, arguments.next())?,
                "--hold" => plan.holds = true,
                "--switches" => plan.needs.push(Need::ContextSwitches),
                "--sockets" => plan.needs.push(Need::Sockets),
                "--traffic" => plan.needs.push(Need::TcpTraffic),
                other => bail!("unknown option `{other}`"),
            }
        }
        Ok(plan)
    }

    fn groups(&self) -> Result<MonitorBuilder> {
        if self.selectors == 0 {
            return Ok(Monitor::builder().by(GroupKey::Name).rows_max(ROWS_MAX));
        }
        (0..self.selectors).try_fold(Monitor::builder(), |builder, number| {
            let selector = format!("name:sleeper-{number:02}");
            Ok(builder.group(selector.as_str(), Selector::parse(&selector)?))
        })
    }
}

fn tier(word: Option<&str>) -> Result<Tier> {
    match word {
        Some("a") => Ok(Tier::A),
        Some("b") => Ok(Tier::B),
        Some("c") => Ok(Tier::C),
        other => bail!("`--tier {}`: expected a, b or c", other.unwrap_or_default()),
    }
}

fn number(option: &str, value: Option<String>) -> Result<u64> {
    let text = value.with_context(|| format!("option `{option}` needs a value"))?;
    text.parse().with_context(|| format!("`{option} {text}`: expected a whole number"))
}

/// CPU time of all threads of this program.
fn cpu_us() -> u64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is writable for the length of the call.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    // SAFETY: all zero bytes are a valid rusage, and the call wrote nothing else.
    let usage = unsafe { usage.assume_init() };
    let sum = |time: libc::timeval| time.tv_sec * 1_000_000 + time.tv_usec;
    (sum(usage.ru_utime) + sum(usage.ru_stime)).cast_unsigned()
}

/// A line of this program's proc_pid_status(5).
fn status_kib(key: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let digits = line.and_then(|line| line.split_whitespace().next());
    digits
        .with_context(|| format!("no `{key}` in /proc/self/status"))?
        .parse()
        .context(key.to_owned())
}
