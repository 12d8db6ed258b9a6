//! Fixed work for the parsers, the ledger, the groups or the encoders, to count instructions of.
//!
//! Usage: `instructions parsers|ledger|groups|encoders`
//!
//! `cargo xtask instructions` runs it under valgrind, which counts from where [`measured`] is
//! entered until it is left. Nothing here depends on the machine or the time.

#[path = "../tests/support/population.rs"]
mod population;

use anyhow::{Context as _, Result, bail};
use metrics_per_process::metric;
use metrics_per_process::report::Report;
use metrics_per_process::selector::{GroupKey, Resolution, Selector};
use metrics_per_process::snapshot::Snapshot;
use mpp_accounting::group::{GroupBook, Rows};
use mpp_accounting::ledger::{Ledger, Movement};
use mpp_export::{Encoder, Format, Options, Origin};
use mpp_parse::{bpf_record, proc_pid_io, proc_pid_stat, proc_pid_statm, proc_pid_status};

/// Processes of a sweep, of which one in ten does something between two.
const PROCESSES: u32 = 2000;
const ACTIVE: usize = 10;
const SWEEPS: usize = 5;

const STAT: &[u8] = b"4242 (some name) S 1 4242 4242 0 -1 4194560 1204 350 7 1 15 9 3 2 20 0 4 0 \
    120043 227536896 1711 18446744073709551615 94 95 140 0 0 0 0 4096 81923 0 0 0 17 1 0 0 0 0 0 \
    96 97 98 140 141 142 143 0\n";
const STATM: &[u8] = b"55551 1711 1203 174 0 5033 0\n";
const IO: &[u8] = b"rchar: 323934931\nwchar: 323929600\nsyscr: 632687\nsyscw: 632675\n\
    read_bytes: 4096\nwrite_bytes: 323932160\ncancelled_write_bytes: 12288\n";
const STATUS: &[u8] = b"Name:\tsome name\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t4242\n\
    Ngid:\t0\nPid:\t4242\nPPid:\t1\nTracerPid:\t0\nUid:\t1000\t1000\t1000\t1000\n\
    Gid:\t1000\t1000\t1000\t1000\nFDSize:\t64\nGroups:\t1000\nVmSwap:\t0 kB\nThreads:\t4\n\
    voluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t545\n";

fn main() -> Result<()> {
    let part = std::env::args().nth(1).context("expected the name of a part")?;
    match part.as_str() {
        "parsers" => parsers(),
        "ledger" => ledger(),
        "groups" => groups(),
        "encoders" => encoders(),
        other => bail!("`{other}`: expected parsers, ledger, groups or encoders"),
    }
}

/// What is counted, and nothing else.
#[inline(never)]
fn measured<T>(work: impl FnOnce() -> T) -> T {
    std::hint::black_box(work())
}

fn parsers() -> Result<()> {
    let records = task_records();
    let read = measured(|| {
        let mut read = 0;
        for _ in 0..PROCESSES {
            read += usize::from(proc_pid_stat::parse(std::hint::black_box(STAT)).is_ok());
            read += usize::from(proc_pid_statm::parse(std::hint::black_box(STATM)).is_ok());
            read += usize::from(proc_pid_io::parse(std::hint::black_box(IO)).is_ok());
            read += usize::from(proc_pid_status::parse(std::hint::black_box(STATUS)).is_ok());
        }
        let mut rest = &records[..];
        while let Ok(Some((record, behind))) = bpf_record::split_first(rest) {
            let bpf_record::Record::Task(task) = record else { break };
            let pool = task.process().map(|process| process.pool());
            std::hint::black_box((task.io(), task.usage(), task.memory(), pool));
            read += 1;
            rest = behind;
        }
        read
    });
    if read != PROCESSES as usize * 5 {
        bail!("only {read} of the texts and records were understood");
    }
    Ok(())
}

/// A main thread's record for each process: its kind and version, its length and parts, and
/// nothing but zeros else.
fn task_records() -> Vec<u8> {
    let mut record = vec![0; 152 + 240 + 72];
    record[0] = 1;
    record[2] = u8::try_from(bpf_record::VERSION).unwrap_or(0);
    record[4..6].copy_from_slice(&[208, 1]);
    record[36] = 3;
    record.repeat(PROCESSES as usize)
}

fn sweeps() -> Vec<Snapshot> {
    let mut snapshot = population::population(PROCESSES);
    let next = |_| {
        population::pass(&mut snapshot, ACTIVE);
        snapshot.clone()
    };
    (0..SWEEPS).map(next).collect()
}

fn ledger() -> Result<()> {
    let sweeps = sweeps();
    let mut ledger = Ledger::new();
    ledger.advance(sweeps.first().context("there are no sweeps")?);
    let moved = measured(|| {
        let movements = sweeps.iter().skip(1).map(|sweep| ledger.advance(sweep).processes.len());
        movements.sum::<usize>()
    });
    if moved == 0 {
        bail!("nothing moved");
    }
    Ok(())
}

fn book() -> Result<GroupBook> {
    let rows = Rows::Keyed {
        selector: Box::new(Selector::default()),
        key: GroupKey::Name,
        rows_max: 1000,
    };
    Ok(GroupBook::new(rows, metric::choose("all")?.into()))
}

fn movements(sweeps: &[Snapshot]) -> Vec<Movement> {
    let mut ledger = Ledger::new();
    sweeps.iter().map(|sweep| ledger.advance(sweep)).collect()
}

fn groups() -> Result<()> {
    let sweeps = sweeps();
    let movements = movements(&sweeps);
    let mut book = book()?;
    let mut intervals = sweeps.iter().zip(&movements);
    let (first, movement) = intervals.next().context("there are no sweeps")?;
    book.fold(first, movement, &Resolution::default());
    measured(|| {
        for (sweep, movement) in intervals {
            std::hint::black_box(book.fold(sweep, movement, &Resolution::default()));
        }
    });
    Ok(())
}

fn encoders() -> Result<()> {
    let sweeps = sweeps();
    let mut book = book()?;
    let fold = |(sweep, movement)| book.fold(sweep, movement, &Resolution::default());
    let reports: Vec<Report> = sweeps.iter().zip(&movements(&sweeps)).map(fold).collect();
    let report = reports.last().context("there are no sweeps")?;
    let mut bytes = Vec::new();
    measured(|| {
        for format in [Format::Json, Format::Prometheus, Format::Graphite, Format::Influx] {
            let origin = Origin::of_host(b"web-17");
            Encoder::new(format, origin, Options::default()).write(report, &mut bytes);
        }
    });
    if bytes.is_empty() {
        bail!("nothing was written");
    }
    Ok(())
}
