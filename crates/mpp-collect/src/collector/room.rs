//! Room that a storm took, and that the sweeps after it do not need.

use mpp_accounting::slack::{self, Slack};
use mpp_accounting::snapshot::Snapshot;

use super::Collector;
use crate::allocator;

/// How much of the room is needed that a snapshot and its collector keep.
#[derive(Debug, Default)]
pub(super) struct Slacks {
    pub(super) processes: Slack,
    pub(super) ended_processes: Slack,
    pub(super) ended_threads: Slack,
    pub(super) cpu_tails: Slack,
    pub(super) spills: Slack,
    pub(super) pids: Slack,
    pub(super) inodes: Slack,
    pub(super) order: Slack,
    pub(super) current: Slack,
    pub(super) parents: Slack,
    pub(super) former_parents: Slack,
    pub(super) threads_asked: Slack,
    pub(super) attention: Slack,
    /// After so many sweeps what is free is given on to the kernel.
    sweeps_to_trim: u32,
}

/// What lives long comes to lie among what lived short, and free memory is spread over ever more
/// pages; so those that are free as a whole are given on now and then.
const SWEEPS_BETWEEN_TRIMS: u32 = 300;

/// The first two sweeps find out who everybody is, and take more than those after them.
const SWEEPS_BEFORE_FIRST_TRIM: u32 = 2;

impl Slacks {
    pub(super) fn new() -> Self {
        Slacks { sweeps_to_trim: SWEEPS_BEFORE_FIRST_TRIM, ..Slacks::default() }
    }

    /// Gives on to the kernel what was given back, but later: whoever works with what was swept
    /// gives back, too, and not in the same sweep. `given_back` says of each list whether it has.
    fn trim(&mut self, given_back: &[bool]) {
        if given_back.contains(&true) {
            self.sweeps_to_trim = self.sweeps_to_trim.min(slack::INTERVALS);
        }
        self.sweeps_to_trim = if self.sweeps_to_trim == 0 {
            allocator::give_back_free_pages();
            SWEEPS_BETWEEN_TRIMS
        } else {
            self.sweeps_to_trim - 1
        };
    }
}

impl Collector {
    /// Gives back what a storm took and the sweeps after it did not need.
    pub(super) fn give_back_room(&mut self, into: &mut Snapshot) {
        let slacks = &mut self.slacks;
        let given_back = [
            slacks.processes.give_back(&mut into.processes),
            slacks.ended_processes.give_back(&mut into.exits.processes),
            slacks.ended_threads.give_back(&mut into.exits.threads),
            slacks.cpu_tails.give_back(&mut into.exits.cpu_tails),
            slacks.spills.give_back(&mut into.exits.spills),
            slacks.pids.give_back(&mut self.pids),
            slacks.inodes.give_back(&mut self.inodes),
            slacks.order.give_back(&mut self.order),
            slacks.current.give_back(&mut self.current),
            slacks.parents.give_back_set(&mut self.parents),
            slacks.former_parents.give_back_set(&mut self.former_parents),
            slacks.threads_asked.give_back_map(&mut self.threads_asked),
        ];
        self.identities.end_sweep();
        slacks.trim(&given_back);
    }
}
