//! Random histories: whatever processes do, the ledger counts it once.
//!
//! The histories are random but the same in every run. Where a sweep is a moment the
//! sum must be exact, but for the rare history in which a child that nobody saw dies
//! beside one that everybody saw; where events fall into the sweep the error is bounded.

mod model_kernel;

use std::collections::BTreeMap;

use model_kernel::{INIT, Kernel, Overflow, Recorder};
use mpp_accounting::exit::{ExitSource, ROUNDED_TO_BYTES, ThreadExit};
use mpp_accounting::group::{GroupBook, Rows};
use mpp_accounting::ledger::{Ends, Ledger};
use mpp_accounting::metric;
use mpp_accounting::report::{Figure, Report, Value};
use mpp_accounting::selector::{Descendants, Resolution, Selector};
use mpp_accounting::snapshot::Snapshot;
use mpp_accounting::units::{IoCounter, IoDelta};

/// A small generator with a name: xorshift64*, Vigna 2016.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).expect("33 bits") % n
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { Some(from[self.below(from.len())]) }
    }

    fn bytes(&mut self) -> u64 {
        1 + self.below(1 << 20) as u64
    }
}

/// One random thing happens on a machine where anything may be unreadable for a while.
fn unreadable_event(kernel: &mut Kernel, dice: &mut Dice) {
    let living = kernel.living();
    if let Some(pid) = dice.pick(&living).filter(|_| dice.below(30) == 0) {
        kernel.process(pid).is_readable = false;
    }
    let hidden: Vec<u32> =
        kernel.processes.values().filter(|p| !p.is_readable).map(|p| p.key.pid).collect();
    if let Some(pid) = dice.pick(&hidden).filter(|_| dice.below(10) == 0) {
        kernel.process(pid).is_readable = true;
    }
    event(kernel, dice);
}

/// One random thing happens on a machine where some parents stop waiting for their children.
fn unwaited_event(kernel: &mut Kernel, dice: &mut Dice) {
    let living = kernel.living();
    if let Some(pid) = dice.pick(&living).filter(|_| dice.below(30) == 0) {
        kernel.process(pid).reaps_automatically = true;
    }
    event(kernel, dice);
}

/// One random thing happens on a machine where the files of processes close and open again.
fn closing_event(kernel: &mut Kernel, dice: &mut Dice) {
    let living = kernel.living();
    if let Some(pid) = dice.pick(&living).filter(|_| dice.below(10) == 0) {
        let process = kernel.process(pid);
        process.hides_total = !process.hides_total;
    }
    event(kernel, dice);
}

/// How many bytes of a counter rounding may hide, of those that are seen from outside.
fn hidden_bytes(snapshot: &Snapshot) -> u64 {
    let threads = snapshot.processes.iter().filter_map(|process| process.io.rounded_threads());
    threads.map(|threads| threads.len() as u64 * (ROUNDED_TO_BYTES - 1)).sum()
}

/// One random thing happens.
fn event(kernel: &mut Kernel, dice: &mut Dice) {
    let living = kernel.living();
    let Some(pid) = dice.pick(&living) else {
        kernel.fork(INIT, "first");
        return;
    };
    match dice.below(12) {
        0 | 1 if living.len() < 40 => {
            let child = kernel.fork(pid, "child");
            kernel.use_cpu(child, 0, dice.below(200) as u64);
        }
        2..=5 => {
            let bytes = dice.bytes();
            kernel.write(pid, bytes);
        }
        6 => kernel.use_cpu(pid, dice.below(20) as u64, dice.below(500) as u64),
        7 => {
            let thread = kernel.start_thread(pid);
            kernel.write_in(pid, thread, 1000 + dice.bytes());
            if dice.below(2) == 0 {
                kernel.end_thread(pid, thread);
            }
        }
        8 => kernel.process(pid).is_subreaper = true,
        9 | 10 => kernel.exit(pid),
        _ => {
            let zombies = kernel.zombies_of(pid);
            if let Some(zombie) = dice.pick(&zombies) {
                kernel.wait(pid, zombie);
            }
        }
    }
    if let Some(orphan) = kernel.zombies_of(INIT).first().copied() {
        kernel.wait(INIT, orphan);
    }
}

/// What a run of the ledger over one history came to.
#[derive(Default)]
struct Outcome {
    truth: u64,
    credited: u64,
    /// The most by which the credit was ever ahead of the truth.
    ahead_max: u64,
    /// How many records the kernel rounded.
    rounded_records: u64,
    /// Records that never arrived.
    lost_records: u64,
    /// How many bytes rounding may hide of threads that lived at the begin, and at the end.
    hidden_at_begin: u64,
    hidden_at_end: u64,
}

impl Outcome {
    fn relative_error(&self) -> f64 {
        (self.credited as f64 - self.truth as f64).abs() / self.truth.max(1) as f64
    }
}

/// What makes a history hard.
#[derive(Clone, Copy, Debug)]
enum Disturbance {
    /// Nothing: a sweep is one moment, everything is readable, everyone is waited for.
    Never,
    /// Between two reads of a sweep something happens, one time in so many.
    OneIn(usize),
    /// A sweep is one moment, but processes become unreadable for a while, or are born so.
    Unreadable,
    /// A sweep is one moment, but some parents do not wait for their children.
    Unwaited,
    /// Between two reads of a sweep something happens, one time in so many, and the files of no
    /// process may be read.
    Outside(usize),
    /// A sweep is one moment, but the files of processes close and open again.
    Closing,
    /// Between two reads of a sweep something happens, one time in so many, and most records of
    /// one interval in three are lost.
    LossyOneIn(usize),
}

fn run(seed: u64, disturbance: Disturbance, recorder: Option<Recorder>) -> Outcome {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut kernel = Kernel::new();
    for _ in 0..30 {
        event(&mut kernel, &mut dice);
    }
    kernel.pass(100);
    if let Some(recorder) = recorder {
        kernel.record_ends(recorder);
    }
    if matches!(disturbance, Disturbance::Outside(_)) {
        kernel.hide_totals();
    }
    let mut ledger = Ledger::new();
    let first = kernel.sweep();
    ledger.advance(&first);
    let (hidden_at_begin, mut hidden_at_end) = (hidden_bytes(&first), 0);
    let before = kernel.truth_of_all().0;
    let mut credited = IoDelta::ZERO;
    let (mut ahead_max, mut rounded_records, mut lost_records) = (0, 0, 0);
    for sweep in 0..40 {
        if let (Disturbance::LossyOneIn(_), Some(recorder)) = (disturbance, recorder) {
            let room = if sweep % 3 == 0 { 2 } else { recorder.room };
            kernel.record_ends(Recorder { room, ..recorder });
        }
        kernel.pass(1);
        for _ in 0..if sweep < 34 { 25 } else { 0 } {
            match disturbance {
                Disturbance::Unreadable => unreadable_event(&mut kernel, &mut dice),
                Disturbance::Unwaited => unwaited_event(&mut kernel, &mut dice),
                Disturbance::Closing => closing_event(&mut kernel, &mut dice),
                _ => event(&mut kernel, &mut dice),
            }
        }
        kernel.pass(99);
        let snapshot = match disturbance {
            Disturbance::OneIn(n) | Disturbance::Outside(n) | Disturbance::LossyOneIn(n)
                if sweep < 34 =>
            {
                kernel.sweep_while(&mut |kernel| {
                    if dice.below(n) == 0 {
                        event(kernel, &mut dice);
                    }
                })
            }
            _ => kernel.sweep(),
        };
        let movement = ledger.advance(&snapshot);
        rounded_records += movement.processes.iter().map(|d| d.rounded_records).sum::<u64>();
        lost_records += movement.missing_records;
        hidden_at_end = hidden_bytes(&snapshot);
        let own = movement.processes.iter().filter_map(|delta| delta.io);
        let attributed = movement.residuals.iter().filter(|r| !r.io_is_unattributed);
        let inherited = attributed.filter_map(|residual| residual.io);
        credited = own.chain(inherited).fold(credited, IoDelta::plus);
        let truth = kernel.truth_of_all().0.less(before);
        ahead_max = ahead_max.max(credited.less(truth)[IoCounter::WriteBytes]);
    }
    let truth = kernel.truth_of_all().0.less(before)[IoCounter::WriteBytes];
    let credited = credited[IoCounter::WriteBytes];
    Outcome {
        truth,
        credited,
        ahead_max,
        rounded_records,
        lost_records,
        hidden_at_begin,
        hidden_at_end,
    }
}

/// How many histories each test runs.
const HISTORIES: u64 = 100;

/// What they came to.
struct Survey {
    exact: usize,
    mean_error: f64,
    /// In how many the credit was ever ahead of the truth.
    ahead: usize,
}

fn survey(disturbance: Disturbance) -> Survey {
    let outcomes: Vec<Outcome> = (1..=HISTORIES).map(|seed| run(seed, disturbance, None)).collect();
    let exact = outcomes.iter().filter(|o| o.truth == o.credited).count();
    let ahead = outcomes.iter().filter(|o| o.ahead_max > 0).count();
    let mean_error = outcomes.iter().map(Outcome::relative_error).sum::<f64>() / HISTORIES as f64;
    Survey { exact, mean_error, ahead }
}

#[test]
fn sweeps_that_are_one_moment_count_everything_once() {
    let survey = survey(Disturbance::Never);
    assert!(survey.exact >= 97, "{} of 100", survey.exact);
    assert!(survey.mean_error <= 0.001, "{}", survey.mean_error);
}

#[test]
fn events_inside_a_sweep_cost_less_than_a_percent() {
    let survey = survey(Disturbance::OneIn(5));
    assert!(survey.mean_error <= 0.01, "{}", survey.mean_error);
}

#[test]
fn processes_that_cannot_be_read_leave_gaps_but_are_hardly_ever_doubled() {
    let survey = survey(Disturbance::Unreadable);
    assert!(survey.mean_error <= 0.05, "{}", survey.mean_error);
    assert!(survey.ahead <= 5, "{} of 100", survey.ahead);
}

/// The one thing that polling cannot cure: a child that nobody waited for may fit, by
/// chance, where another's counters went.
#[test]
fn parents_that_do_not_wait_make_an_estimate() {
    let survey = survey(Disturbance::Unwaited);
    assert!(survey.mean_error <= 0.05, "{}", survey.mean_error);
}

fn recorded(source: ExitSource, disturbance: Disturbance) -> impl Iterator<Item = Outcome> {
    let recorder = Recorder { source, room: usize::MAX, on_overflow: Overflow::Lost };
    (1..=HISTORIES).map(move |seed| run(seed, disturbance, Some(recorder)))
}

#[test]
fn with_exact_records_every_history_is_exact() {
    for disturbance in [Disturbance::Never, Disturbance::Unwaited, Disturbance::OneIn(5)] {
        for (seed, outcome) in recorded(ExitSource::Exact, disturbance).enumerate() {
            assert_eq!(outcome.lost_records, 0, "history {seed}, {disturbance:?}");
            assert_eq!(outcome.credited, outcome.truth, "history {seed}, {disturbance:?}");
        }
    }
}

#[test]
fn rounded_records_miss_less_than_they_were_rounded_by() {
    for disturbance in [Disturbance::Never, Disturbance::Unwaited, Disturbance::OneIn(5)] {
        for (seed, outcome) in recorded(ExitSource::Rounded, disturbance).enumerate() {
            let missing = outcome.truth - outcome.credited;
            let bound = outcome.rounded_records * (ROUNDED_TO_BYTES - 1);
            assert!(missing <= bound, "history {seed}: {missing} of at most {bound} bytes");
            assert_eq!(outcome.ahead_max, 0, "history {seed}");
        }
    }
}

/// Nobody's total is known: threads and records say what was done.
#[test]
fn threads_told_of_by_themselves_miss_less_than_they_are_rounded_by() {
    for disturbance in [Disturbance::Outside(usize::MAX), Disturbance::Outside(5)] {
        for (seed, outcome) in recorded(ExitSource::Rounded, disturbance).enumerate() {
            let records = outcome.rounded_records * (ROUNDED_TO_BYTES - 1);
            let below = outcome.truth.saturating_sub(outcome.credited);
            let bound = records + outcome.hidden_at_end;
            assert!(below <= bound, "history {seed}: {below} of at most {bound} bytes");
            let (ahead, bound) = (outcome.ahead_max, outcome.hidden_at_begin);
            assert!(ahead <= bound, "history {seed}: {ahead} of at most {bound} bytes too many");
        }
    }
}

/// A total that closes and opens again is no other process's, and nothing counts twice.
#[test]
fn totals_that_close_and_open_again_cost_no_more_than_rounding() {
    for (seed, outcome) in recorded(ExitSource::Rounded, Disturbance::Closing).enumerate() {
        let bound = outcome.rounded_records * (ROUNDED_TO_BYTES - 1) + outcome.hidden_at_end;
        let missing = outcome.truth - outcome.credited;
        assert!(missing <= bound, "history {seed}: {missing} of at most {bound} bytes");
        assert_eq!(outcome.ahead_max, 0, "history {seed}");
    }
}

/// Where nobody's total is known nothing takes the place of a lost record: what it held is missing,
/// and nothing else.
#[test]
fn lost_records_of_threads_told_of_by_themselves_add_nothing() {
    let recorder = Recorder { source: ExitSource::Rounded, room: 2, on_overflow: Overflow::Lost };
    for seed in 1..=HISTORIES {
        let outcome = run(seed, Disturbance::Outside(usize::MAX), Some(recorder));
        assert!(outcome.lost_records > 0 && outcome.credited > outcome.truth / 3, "history {seed}");
        let (ahead, bound) = (outcome.ahead_max, outcome.hidden_at_begin);
        assert!(ahead <= bound, "history {seed}: {ahead} of at most {bound} bytes too many");
    }
}

#[test]
fn records_without_room_are_summed_and_nothing_is_lost() {
    let recorder = Recorder { source: ExitSource::Exact, room: 2, on_overflow: Overflow::Spilled };
    for seed in 1..=HISTORIES {
        let outcome = run(seed, Disturbance::Never, Some(recorder));
        assert_eq!(outcome.credited, outcome.truth, "history {seed}");
    }
}

/// A record that is lost makes an interval as good as polling, and no worse.
#[test]
fn lost_records_are_counted_and_polling_takes_their_place() {
    let recorder = Recorder { source: ExitSource::Exact, room: 2, on_overflow: Overflow::Lost };
    let outcomes: Vec<Outcome> =
        (1..=HISTORIES).map(|seed| run(seed, Disturbance::Never, Some(recorder))).collect();
    let mean = outcomes.iter().map(Outcome::relative_error).sum::<f64>() / HISTORIES as f64;
    assert!(mean <= 0.005, "{mean}");
    assert!(outcomes.iter().all(|outcome| outcome.lost_records > 0));
}

/// What was lost behind the look at somebody is found in the interval after, whose own records are
/// whole. Who was waited for is still only guessed by what fits: three histories in four are exact.
#[test]
fn what_was_lost_while_a_sweep_went_past_is_found_by_the_next_one() {
    for (source, mean_max) in [(ExitSource::Exact, 0.003), (ExitSource::Rounded, 0.006)] {
        let outcomes: Vec<Outcome> = recorded(source, Disturbance::LossyOneIn(20)).collect();
        assert!(outcomes.iter().all(|outcome| outcome.lost_records > 0));
        let mean = outcomes.iter().map(Outcome::relative_error).sum::<f64>() / HISTORIES as f64;
        assert!(mean <= mean_max, "{source:?}: {mean}");
        let exact = outcomes.iter().filter(|outcome| outcome.truth == outcome.credited).count();
        assert!(source == ExitSource::Rounded || exact >= 70, "{exact} of 100");
    }
}

/// The roots of three families on a machine: all their descendants bear their name.
const FAMILIES: [&str; 3] = ["unlucky", "quiet", "busy"];

/// One random thing happens in a family.
fn family_event(kernel: &mut Kernel, dice: &mut Dice) {
    let living = kernel.living();
    let comm = FAMILIES[dice.below(FAMILIES.len())];
    let is_of_family = |pid: &u32| kernel.processes[pid].comm == comm;
    let members: Vec<u32> = living.into_iter().filter(is_of_family).collect();
    let Some(pid) = dice.pick(&members) else {
        kernel.fork(INIT, comm);
        return;
    };
    match dice.below(12) {
        0..=2 if members.len() < 12 => {
            let child = kernel.fork(pid, comm);
            kernel.use_cpu(child, 0, dice.below(200) as u64);
        }
        3..=5 => kernel.write(pid, dice.bytes()),
        6 => kernel.use_cpu(pid, dice.below(20) as u64, dice.below(500) as u64),
        7 => {
            let thread = kernel.start_thread(pid);
            kernel.write_in(pid, thread, dice.bytes());
        }
        8 => {
            let threads = kernel.process(pid).living_tids();
            if let Some(thread) = dice.pick(&threads).filter(|thread| *thread != pid) {
                kernel.write_in(pid, thread, dice.bytes());
                kernel.end_thread(pid, thread);
            }
        }
        9 => kernel.exit(pid),
        _ => {
            if let Some(zombie) = dice.pick(&kernel.zombies_of(pid)) {
                kernel.wait(pid, zombie);
            }
        }
    }
    if let Some(orphan) = kernel.zombies_of(INIT).first().copied() {
        kernel.wait(INIT, orphan);
    }
}

/// Loses records of threads of the unlucky family that the sweep before saw, and nobody tells.
fn lose_some(snapshot: &mut Snapshot, before: &Snapshot, dice: &mut Dice) {
    let lost = |exit: &ThreadExit, dice: &mut Dice| {
        let seen = before.by_key(exit.process).filter(|seen| *seen.identity.comm == *b"unlucky");
        let threads = seen.and_then(|seen| seen.threads().value().copied()).unwrap_or_default();
        threads.iter().any(|thread| thread.key == exit.thread && !thread.has_exited)
            && dice.below(3) == 0
    };
    let exits = &mut snapshot.exits;
    let gone: Vec<ThreadExit> = exits.threads.extract_if(.., |exit| lost(exit, dice)).collect();
    let is_last = |exit: &ThreadExit| exit.thread.tid == exit.process.pid;
    let ends: Vec<_> = gone.iter().filter(|exit| is_last(exit)).map(|exit| exit.process).collect();
    exits.processes.retain(|exit| !ends.contains(&exit.key()));
}

/// What came of a history in which records of one family were lost.
#[derive(Debug, Default)]
struct Loss {
    missing: u64,
    /// By how much more or less than it did the family was credited with, and it did so much.
    off: u64,
    truth: u64,
}

/// Families whose records all came are credited with what they did, to the byte where the
/// records are exact. What the unlucky one did is an estimate.
fn run_with_loss(seed: u64, source: ExitSource, disturbance: Disturbance) -> Loss {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut kernel = Kernel::new();
    let recorder = Recorder { source, room: usize::MAX, on_overflow: Overflow::Lost };
    kernel.record_ends(recorder);
    kernel.pass(100);
    let (mut ledger, mut before) = (Ledger::new(), kernel.sweep());
    ledger.advance(&before);
    let mut comm_of = BTreeMap::from([(kernel.processes[&INIT].key, "init")]);
    let mut credited: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let (mut loss, mut inherited) = (Loss::default(), 0);
    for round in 0..30 {
        kernel.pass(1);
        for _ in 0..if round < 25 { 25 } else { 0 } {
            family_event(&mut kernel, &mut dice);
            comm_of.extend(kernel.processes.values().map(|process| (process.key, process.comm)));
        }
        kernel.pass(99);
        let mut snapshot = match disturbance {
            Disturbance::OneIn(n) if round < 25 => kernel.sweep_while(&mut |kernel| {
                if dice.below(n) == 0 {
                    family_event(kernel, &mut dice);
                    comm_of.extend(kernel.processes.values().map(|p| (p.key, p.comm)));
                }
            }),
            _ => kernel.sweep(),
        };
        lose_some(&mut snapshot, &before, &mut dice);
        let movement = ledger.advance(&snapshot);
        before = snapshot;
        loss.missing += movement.missing_records;
        assert!(movement.ends != Ends::Inferred || round == 0, "history {seed}, round {round}");
        for delta in &movement.processes {
            let (bytes, rounded) = credited.entry(comm_of[&delta.key]).or_default();
            *bytes += delta.io.unwrap_or_default()[IoCounter::WriteBytes];
            *rounded += delta.rounded_records;
        }
        for residual in &movement.residuals {
            assert!(
                residual.io.is_none_or(IoDelta::is_zero) || movement.is_inferred(residual.reaper)
            );
            inherited += residual.io.unwrap_or_default()[IoCounter::WriteBytes];
        }
    }
    let truth = |comm: &str| kernel.truth.get(comm).map_or(0, |did| did.0[IoCounter::WriteBytes]);
    let mut bound = 0;
    for comm in &FAMILIES[1..] {
        let (bytes, rounded) = credited.get(comm).copied().unwrap_or_default();
        let missing = truth(comm).checked_sub(bytes).expect("not more than it did");
        assert!(missing <= rounded * (ROUNDED_TO_BYTES - 1), "history {seed}: {missing} of {comm}");
        bound += missing;
    }
    let unlucky = credited.get(FAMILIES[0]).map_or(0, |credit| credit.0) + inherited;
    loss.truth = truth(FAMILIES[0]);
    loss.off = (unlucky.abs_diff(loss.truth)).saturating_sub(bound);
    loss
}

/// A record that is lost concerns its process and those who may have waited for it, and nobody
/// else, where nobody tells of more losses.
#[test]
fn lost_records_of_one_family_leave_the_others_exact() {
    for source in [ExitSource::Exact, ExitSource::Rounded] {
        for disturbance in [Disturbance::Never, Disturbance::OneIn(5)] {
            let losses: Vec<Loss> =
                (1..=HISTORIES / 2).map(|seed| run_with_loss(seed, source, disturbance)).collect();
            let missing: u64 = losses.iter().map(|loss| loss.missing).sum();
            let [off, truth] = [|loss: &Loss| loss.off, |loss: &Loss| loss.truth]
                .map(|part| losses.iter().map(part).sum::<u64>());
            assert!(missing > 250, "{missing}");
            assert!(off * 50 <= truth, "{source:?}, {disturbance:?}: {off} of {truth}");
        }
    }
}

/// From now on somebody else writes the records, or nobody, or not all of them arrive.
fn change_source(kernel: &mut Kernel, dice: &mut Dice) {
    let (room, on_overflow) = match dice.below(3) {
        0 => (2, Overflow::Lost),
        _ => (usize::MAX, Overflow::Lost),
    };
    match dice.below(3) {
        0 => kernel.stop_recording(),
        1 => kernel.record_ends(Recorder { source: ExitSource::Exact, room, on_overflow }),
        _ => kernel.record_ends(Recorder { source: ExitSource::Rounded, room, on_overflow }),
    }
}

/// The bytes that a report says the programs wrote, all together.
fn written(report: &Report) -> u64 {
    let integer = |figure: Figure| match figure {
        Figure::Known { value: Value::Integer(bytes), .. } => bytes,
        other => panic!("expected a total, but found {other:?}"),
    };
    report.groups.iter().map(|group| integer(group.figures[0])).sum()
}

/// A history in which the source of records changes every few sweeps, in the midst of an
/// interval. What is credited is the growth of a group's total, which must not fall.
fn run_changing(seed: u64) -> Outcome {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut kernel = Kernel::new();
    for _ in 0..30 {
        event(&mut kernel, &mut dice);
    }
    kernel.pass(100);
    let selector = Selector::parse("name:*").expect("a selector");
    let rows = vec![(b"all".as_slice().into(), selector.with_descendants(Descendants::Left))];
    let columns = metric::choose("io_counters.write_bytes").expect("a metric");
    let (mut ledger, mut book) = (Ledger::new(), GroupBook::new(Rows::Named(rows), columns.into()));
    let mut sweep = |kernel: &mut Kernel| {
        let snapshot = kernel.sweep();
        let movement = ledger.advance(&snapshot);
        let rounded: u64 = movement.processes.iter().map(|delta| delta.rounded_records).sum();
        let report = book.fold(&snapshot, &movement, &Resolution::default());
        (written(&report), rounded, movement.missing_records)
    };
    let (start, ..) = sweep(&mut kernel);
    let before = kernel.truth_of_all().0[IoCounter::WriteBytes];
    let mut outcome = Outcome::default();
    for round in 0..40 {
        kernel.pass(1);
        let change_at = if dice.below(4) == 0 { dice.below(25) } else { 25 };
        for step in 0..if round < 34 { 25 } else { 0 } {
            if step == change_at {
                change_source(&mut kernel, &mut dice);
            }
            event(&mut kernel, &mut dice);
        }
        kernel.pass(99);
        let (total, rounded, lost) = sweep(&mut kernel);
        assert!(total - start >= outcome.credited, "history {seed}: a total fell");
        outcome.truth = kernel.truth_of_all().0[IoCounter::WriteBytes] - before;
        outcome.credited = total - start;
        outcome.ahead_max = outcome.ahead_max.max(outcome.credited.saturating_sub(outcome.truth));
        outcome.rounded_records += rounded;
        outcome.lost_records += lost;
    }
    outcome
}

#[test]
fn sources_that_come_and_go_cost_less_than_a_percent_and_totals_never_fall() {
    let outcomes: Vec<Outcome> = (1..=HISTORIES).map(run_changing).collect();
    let mean = outcomes.iter().map(Outcome::relative_error).sum::<f64>() / HISTORIES as f64;
    let worst = outcomes.iter().map(Outcome::relative_error).fold(0.0, f64::max);
    let ahead = outcomes.iter().filter(|outcome| outcome.ahead_max > 0).count();
    assert!(outcomes.iter().any(|o| o.lost_records > 0 && o.rounded_records > 0));
    assert!(mean <= 0.001, "{mean}");
    assert!(worst <= 0.02, "{worst}");
    assert!(ahead <= 2, "{ahead} of 100");
}
