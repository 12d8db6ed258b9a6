//! Histories written by hand: each is a way in which counting went wrong once, for us
//! or for others.

mod model_kernel;

use model_kernel::{INIT, Kernel};
use mpp_accounting::ledger::{Ledger, Movement};
use mpp_accounting::process::{ProcessKey, Reading};
use mpp_accounting::units::{Delta, IoCounter, IoDelta, IoTotals, UsageDelta};

/// A ledger beside a kernel, and what it has said so far.
struct Watch {
    kernel: Kernel,
    ledger: Ledger,
    credited: (IoDelta, UsageDelta),
    /// What was done before anyone looked, which nobody must be credited with.
    before: (IoDelta, UsageDelta),
    lost: usize,
}

impl Watch {
    /// Lets `prepare` happen, then takes the baseline.
    fn after(prepare: impl FnOnce(&mut Kernel)) -> Self {
        let mut kernel = Kernel::new();
        prepare(&mut kernel);
        kernel.pass(100);
        let mut ledger = Ledger::new();
        assert!(ledger.advance(&kernel.sweep()).is_baseline);
        let before = kernel.truth_of_all();
        Watch { kernel, ledger, credited: Default::default(), before, lost: 0 }
    }

    /// One interval: something happens, a second passes, a sweep is taken.
    fn interval(&mut self, happen: impl FnOnce(&mut Kernel)) -> Movement {
        self.interval_while(happen, &mut |_| {})
    }

    /// The same with something happening between the reads of the sweep.
    fn interval_while(
        &mut self,
        happen: impl FnOnce(&mut Kernel),
        between: &mut dyn FnMut(&mut Kernel),
    ) -> Movement {
        self.kernel.pass(1);
        happen(&mut self.kernel);
        self.kernel.pass(99);
        let snapshot = self.kernel.sweep_while(between);
        let movement = self.ledger.advance(&snapshot);
        for delta in &movement.processes {
            self.credit(delta.io, delta.usage);
        }
        for residual in &movement.residuals {
            self.credit(residual.io, residual.usage);
        }
        self.lost += movement.lost.len();
        movement
    }

    fn credit(&mut self, io: Option<IoDelta>, usage: UsageDelta) {
        self.credited.0 = self.credited.0.plus(io.unwrap_or_default());
        self.credited.1 = self.credited.1.plus(usage);
    }

    /// Everything that was done since the baseline was credited, once.
    fn assert_exact(&self) {
        let truth = self.kernel.truth_of_all();
        assert_eq!(self.credited.0, truth.0.less(self.before.0), "I/O");
        assert_eq!(self.credited.1, truth.1.less(self.before.1), "CPU time and faults");
    }
}

fn written(io: Option<IoDelta>) -> u64 {
    io.unwrap_or_default()[IoCounter::WriteBytes]
}

/// What one process was credited with in an interval.
fn own(movement: &Movement, key: ProcessKey) -> u64 {
    movement.processes.iter().find(|d| d.key == key).map_or(0, |delta| written(delta.io))
}

fn inherited(movement: &Movement) -> u64 {
    movement.residuals.iter().map(|residual| written(residual.io)).sum()
}

#[test]
fn a_child_that_was_seen_and_reaped_counts_once() {
    let (mut parent, mut child) = (0, 0);
    let mut watch = Watch::after(|kernel| {
        parent = kernel.fork(INIT, "parent");
        child = kernel.fork(parent, "child");
    });
    watch.interval(|kernel| kernel.write(child, 1000));
    let movement = watch.interval(|kernel| {
        kernel.write(child, 500);
        kernel.use_cpu(child, 7, 3);
        kernel.exit_and_wait(child);
    });
    assert_eq!(inherited(&movement), 500, "only its tail comes with the reap");
    assert_eq!(movement.residuals[0].taken_out[0].key.pid, child);
    watch.assert_exact();
}

#[test]
fn children_never_seen_alive_come_with_their_reaper() {
    let mut parent = 0;
    let mut watch = Watch::after(|kernel| {
        parent = kernel.fork(INIT, "parent");
        // It has reaped before, so that its threads are read at the baseline.
        let first = kernel.fork(parent, "child");
        kernel.exit_and_wait(first);
    });
    let movement = watch.interval(|kernel| {
        for _ in 0..50 {
            let child = kernel.fork(parent, "child");
            kernel.write(child, 1000);
            kernel.exit_and_wait(child);
        }
        kernel.write(parent, 1);
    });
    assert_eq!(inherited(&movement), 50_000);
    assert!(movement.residuals[0].taken_out.is_empty());
    watch.assert_exact();
}

#[test]
fn the_first_children_ever_count_as_the_parents_own() {
    let mut parent = 0;
    let mut watch = Watch::after(|kernel| parent = kernel.fork(INIT, "parent"));
    let movement = watch.interval(|kernel| {
        let child = kernel.fork(parent, "child");
        kernel.write(child, 1000);
        kernel.exit_and_wait(child);
    });
    let key = watch.kernel.process(parent).key;
    assert_eq!(own(&movement, key), 1000, "without an earlier L all credit is its own");
    watch.assert_exact();
}

#[test]
fn nested_deaths_in_one_interval_count_once() {
    let (mut shell, mut child, mut grandchild) = (0, 0, 0);
    let mut watch = Watch::after(|kernel| {
        shell = kernel.fork(INIT, "shell");
        child = kernel.fork(shell, "child");
        grandchild = kernel.fork(child, "grandchild");
    });
    watch.interval(|kernel| {
        kernel.write(shell, 1);
        kernel.write(child, 20);
        kernel.write(grandchild, 300);
    });
    watch.interval(|kernel| {
        kernel.write(grandchild, 4000);
        kernel.exit_and_wait(grandchild);
        kernel.write(child, 50_000);
        kernel.exit_and_wait(child);
    });
    watch.assert_exact();
    assert_eq!(watch.lost, 0);
}

#[test]
fn a_child_reaped_while_its_reaper_was_already_read_counts_once() {
    let (mut parent, mut child) = (0, 0);
    let mut watch = Watch::after(|kernel| {
        parent = kernel.fork(INIT, "parent");
        kernel.pass(1);
        child = kernel.fork(parent, "child");
    });
    watch.interval(|kernel| kernel.write(child, 1000));
    // Init and the parent are read; then the child ends before it is read.
    let mut reads = 0;
    watch.interval_while(|kernel| kernel.write(child, 10), &mut |kernel| {
        reads += 1;
        if reads == 4 && kernel.processes.contains_key(&child) {
            kernel.exit_and_wait(child);
        }
    });
    watch.interval(|_| {});
    watch.assert_exact();
    assert_eq!(watch.lost, 0);
}

#[test]
fn pids_that_wrapped_do_not_let_a_child_be_read_before_its_reaper() {
    let (mut parent, mut child) = (0, 0);
    let mut watch = Watch::after(|kernel| {
        kernel.pid_max = 10;
        let others: Vec<u32> = (0..8).map(|_| kernel.fork(INIT, "other")).collect();
        parent = kernel.fork(INIT, "parent");
        kernel.exit_and_wait(others[0]);
        kernel.pass(1);
        child = kernel.fork(parent, "child");
        assert!(child < parent, "the PID wrapped");
    });
    watch.interval(|kernel| kernel.write(child, 1000));
    watch.interval_while(|_| {}, &mut |kernel| {
        // As soon as the child could have been read, it is gone, had it come first.
        let is_there = kernel.processes.contains_key(&child);
        if is_there && kernel.now_ticks % 100 == 1 {
            kernel.exit_and_wait(child);
        }
        kernel.now_ticks += 1;
    });
    watch.interval(|_| {});
    watch.interval(|_| {});
    watch.assert_exact();
}

#[test]
fn threads_that_ended_before_the_first_fork_are_not_children() {
    let mut parent = 0;
    let mut watch = Watch::after(|kernel| {
        parent = kernel.fork(INIT, "parent");
        let thread = kernel.start_thread(parent);
        kernel.write_in(parent, thread, 7000);
        kernel.end_thread(parent, thread);
    });
    let mut child = 0;
    let movement = watch.interval(|kernel| {
        child = kernel.fork(parent, "child");
        kernel.write(child, 10);
    });
    assert_eq!(inherited(&movement), 0);
    watch.interval(|kernel| kernel.exit_and_wait(child));
    watch.assert_exact();
}

#[test]
fn thread_churn_is_the_processs_own() {
    let mut parent = 0;
    let mut watch = Watch::after(|kernel| {
        parent = kernel.fork(INIT, "parent");
        kernel.fork(parent, "child");
    });
    let key = watch.kernel.process(parent).key;
    let mut kept = 0;
    watch.interval(|kernel| {
        kept = kernel.start_thread(parent);
        kernel.write_in(parent, kept, 100);
    });
    let movement = watch.interval(|kernel| {
        for _ in 0..20 {
            let thread = kernel.start_thread(parent);
            kernel.write_in(parent, thread, 1000);
            kernel.end_thread(parent, thread);
        }
        kernel.write_in(parent, kept, 5);
        kernel.end_thread(parent, kept);
    });
    assert_eq!(own(&movement, key), 20_005);
    watch.assert_exact();
}

#[test]
fn bytes_written_between_t_and_l_are_kept_for_the_next_interval() {
    let mut parent = 0;
    let mut watch = Watch::after(|kernel| {
        parent = kernel.fork(INIT, "parent");
        kernel.fork(parent, "child");
    });
    watch.interval_while(|_| {}, &mut |kernel| kernel.write(parent, 11));
    watch.interval(|_| {});
    watch.assert_exact();
}

#[test]
fn a_reaper_unreadable_for_three_sweeps_keeps_its_childrens_places() {
    let (mut parent, mut child) = (0, 0);
    let mut watch = Watch::after(|kernel| {
        parent = kernel.fork(INIT, "parent");
        child = kernel.fork(parent, "child");
    });
    watch.interval(|kernel| {
        kernel.write(child, 1000);
        kernel.process(parent).is_readable = false;
    });
    watch.interval(|kernel| {
        kernel.write(child, 10);
        kernel.exit_and_wait(child);
    });
    watch.interval(|kernel| kernel.write(parent, 5));
    watch.interval(|kernel| kernel.process(parent).is_readable = true);
    watch.assert_exact();
    assert_eq!(watch.lost, 0);
}

#[test]
fn an_orphan_reaped_by_init_while_its_parent_is_a_zombie_counts_once() {
    let (mut parent, mut child) = (0, 0);
    let mut watch = Watch::after(|kernel| {
        let grandparent = kernel.fork(INIT, "grandparent");
        parent = kernel.fork(grandparent, "parent");
        child = kernel.fork(parent, "child");
    });
    watch.interval(|kernel| kernel.write(child, 1000));
    watch.interval(|kernel| {
        kernel.exit(parent);
        kernel.write(child, 10);
        kernel.exit_and_wait(child);
    });
    watch.assert_exact();
    assert_eq!(watch.lost, 0);
}

/// A child that has written and ended, and that nobody may read.
fn unreadable_zombie(kernel: &mut Kernel, parent: u32) -> u32 {
    let zombie = kernel.fork(parent, "zombie");
    kernel.write(zombie, 9999);
    kernel.exit(zombie);
    kernel.process(zombie).is_readable = false;
    zombie
}

#[test]
fn an_unreadable_zombie_from_before_the_baseline_is_unattributed() {
    let (mut parent, mut zombie) = (0, 0);
    let mut watch = Watch::after(|kernel| {
        parent = kernel.fork(INIT, "parent");
        zombie = unreadable_zombie(kernel, parent);
    });
    let movement = watch.interval(|kernel| kernel.wait(parent, zombie));
    let residual = &movement.residuals[0];
    assert!(residual.io_is_unattributed, "its bytes from before the baseline cannot be told");
    let key = watch.kernel.process(parent).key;
    assert_eq!(own(&movement, key), 0);
}

#[test]
fn an_unreadable_zombie_that_began_while_somebody_looked_is_its_groups() {
    let (mut parent, mut zombie) = (0, 0);
    let mut watch = Watch::after(|kernel| parent = kernel.fork(INIT, "parent"));
    watch.interval(|kernel| {
        zombie = unreadable_zombie(kernel, parent);
    });
    let movement = watch.interval(|kernel| kernel.wait(parent, zombie));
    let residual = &movement.residuals[0];
    assert!(!residual.io_is_unattributed, "all of it was done since");
    assert!(!residual.taken_out[0].was_zombie, "nobody has seen what it had done");
    watch.assert_exact();
}

#[test]
fn a_double_fork_to_a_subreaper_counts_once() {
    let (mut subreaper, mut middle, mut daemon) = (0, 0, 0);
    let mut watch = Watch::after(|kernel| {
        subreaper = kernel.fork(INIT, "subreaper");
        kernel.process(subreaper).is_subreaper = true;
        let parent = kernel.fork(subreaper, "parent");
        middle = kernel.fork(parent, "middle");
        daemon = kernel.fork(middle, "daemon");
    });
    watch.interval(|kernel| kernel.write(daemon, 1000));
    watch.interval(|kernel| {
        kernel.write(daemon, 200);
        kernel.exit_and_wait(middle);
        kernel.write(daemon, 30);
        kernel.exit(daemon);
        kernel.wait(subreaper, daemon);
    });
    watch.assert_exact();
    assert_eq!(watch.lost, 0);
}

#[test]
fn a_zombie_held_for_five_sweeps_counts_once() {
    let (mut parent, mut child) = (0, 0);
    let mut watch = Watch::after(|kernel| {
        parent = kernel.fork(INIT, "parent");
        child = kernel.fork(parent, "child");
    });
    watch.interval(|kernel| {
        kernel.write(child, 1000);
        kernel.exit(child);
    });
    for _ in 0..5 {
        let movement = watch.interval(|_| {});
        assert_eq!(inherited(&movement), 0);
    }
    watch.interval(|kernel| kernel.wait(parent, child));
    watch.assert_exact();
}

#[test]
fn an_automatically_reaped_child_loses_its_tail_and_says_so() {
    let (mut parent, mut child) = (0, 0);
    let mut watch = Watch::after(|kernel| {
        parent = kernel.fork(INIT, "parent");
        kernel.process(parent).reaps_automatically = true;
        child = kernel.fork(parent, "child");
    });
    watch.interval(|kernel| kernel.write(child, 1000));
    watch.interval(|kernel| {
        kernel.write(child, 77);
        kernel.exit(child);
    });
    for _ in 0..3 {
        watch.interval(|_| {});
    }
    assert_eq!(watch.lost, 1);
    let truth = watch.kernel.truth_of_all().0.less(watch.before.0);
    assert_eq!(truth.less(watch.credited.0), Delta([0, 77, 0, 1, 0, 77, 0]));
}

#[test]
fn a_reused_pid_is_another_process() {
    let (mut parent, mut child) = (0, 0);
    let mut watch = Watch::after(|kernel| {
        kernel.pid_max = 4;
        parent = kernel.fork(INIT, "parent");
        child = kernel.fork(parent, "child");
    });
    watch.interval(|kernel| kernel.write(child, 1000));
    let mut second = 0;
    let movement = watch.interval(|kernel| {
        kernel.exit_and_wait(child);
        let filler = kernel.fork(parent, "filler");
        second = kernel.fork(parent, "child");
        kernel.write(second, 5);
        kernel.exit_and_wait(filler);
    });
    assert_eq!(second, child, "the PID came round");
    assert_eq!(own(&movement, watch.kernel.process(second).key), 5);
    watch.assert_exact();
}

#[test]
fn a_counter_that_fell_is_another_process_in_the_same_tick() {
    let (mut parent, mut child) = (0, 0);
    let mut watch = Watch::after(|kernel| {
        kernel.pid_max = 3;
        parent = kernel.fork(INIT, "parent");
        child = kernel.fork(parent, "child");
        kernel.write(child, 1000);
        kernel.use_cpu(child, 0, 100);
    });
    let start = watch.kernel.process(child).key.start_time_ticks;
    let movement = watch.interval(|kernel| {
        kernel.exit_and_wait(child);
        let now = std::mem::replace(&mut kernel.now_ticks, start);
        let twin = kernel.fork(parent, "child");
        kernel.now_ticks = now;
        assert_eq!(kernel.process(twin).key.pid, child);
        kernel.write(twin, 5);
    });
    assert_eq!(movement.replaced, 1);
    watch.assert_exact();
}

#[test]
fn exec_from_another_thread_keeps_the_process() {
    let mut parent = 0;
    let mut watch = Watch::after(|kernel| {
        parent = kernel.fork(INIT, "parent");
        kernel.fork(parent, "child");
    });
    let key = watch.kernel.process(parent).key;
    let movement = watch.interval(|kernel| {
        let thread = kernel.start_thread(parent);
        kernel.write(parent, 10);
        kernel.write_in(parent, thread, 200);
        kernel.exec(parent, thread, "parent");
        kernel.write(parent, 3000);
    });
    assert_eq!(own(&movement, key), 3210);
    watch.assert_exact();
}

#[test]
fn a_process_unseen_until_now_though_older_is_a_baseline() {
    let mut hidden = 0;
    let mut watch = Watch::after(|kernel| {
        hidden = kernel.fork(INIT, "hidden");
        kernel.write(hidden, 1000);
    });
    let process = watch.kernel.processes.remove(&hidden).expect("just forked");
    watch.interval(|_| {});
    watch.kernel.processes.insert(hidden, process);
    let movement = watch.interval(|kernel| kernel.write(hidden, 10));
    let key = watch.kernel.process(hidden).key;
    assert_eq!(own(&movement, key), 0);
    let movement = watch.interval(|kernel| kernel.write(hidden, 20));
    assert_eq!(own(&movement, key), 20);
}

#[test]
fn a_process_whose_fork_was_slow_counts_whole_though_it_began_before_the_sweep() {
    let mut watch = Watch::after(|_| {});
    watch.kernel.pass(100);
    let child = watch.kernel.fork(INIT, "child");
    let process = watch.kernel.processes.remove(&child).expect("just forked");
    watch.kernel.pass(20);
    let snapshot = watch.kernel.sweep();
    watch.ledger.advance(&snapshot);
    watch.kernel.processes.insert(child, process);
    let movement = watch.interval(|kernel| kernel.write(child, 1000));
    assert_eq!(own(&movement, watch.kernel.process(child).key), 1000);
    watch.assert_exact();
}

#[test]
fn a_process_that_a_sweep_missed_counts_no_second_time() {
    let mut watch = Watch::after(|_| {});
    watch.kernel.pass(10);
    let child = watch.kernel.fork(INIT, "child");
    watch.kernel.write(child, 1000);
    let key = watch.kernel.process(child).key;
    let mut sweep = |kernel: &mut Kernel| {
        kernel.pass(10);
        own(&watch.ledger.advance(&kernel.sweep()), key)
    };
    assert_eq!(sweep(&mut watch.kernel), 1000);
    let process = watch.kernel.processes.remove(&child).expect("just forked");
    assert_eq!(sweep(&mut watch.kernel), 0);
    watch.kernel.processes.insert(child, process);
    assert_eq!(sweep(&mut watch.kernel), 0);
}

#[test]
fn io_that_falls_while_faults_do_not_is_unknown_until_it_is_back() {
    let mut process = 0;
    let mut watch = Watch::after(|kernel| {
        process = kernel.fork(INIT, "process");
        kernel.write(process, 1000);
    });
    watch.kernel.pass(100);
    let mut snapshot = watch.kernel.sweep();
    let key = watch.kernel.process(process).key;
    let sample = snapshot.processes.iter_mut().find(|sample| sample.key == key);
    let sample = sample.expect("the process was swept");
    sample.io = sample.io.clone().with_total(Reading::Value(IoTotals::ZERO));
    let movement = watch.ledger.advance(&snapshot);
    assert_eq!((own(&movement, key), movement.replaced), (0, 0));
    let movement = watch.interval(|kernel| kernel.write(process, 5));
    assert_eq!(own(&movement, key), 5);
    watch.assert_exact();
}
