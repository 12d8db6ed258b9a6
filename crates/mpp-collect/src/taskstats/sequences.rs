//! How many records were lost, by the numbers that the kernel gives them on each CPU.
//!
//! A number is given out when a record is begun and the record is sent a moment later; between
//! the two its thread may be interrupted, or wake up on another CPU. So a number may come late,
//! or to the socket of another CPU, and a missing one is called lost only after a whole further
//! drain has not brought it. What was called lost stays lost: the count never falls.

use std::mem;
use std::ops::Range;

use mpp_accounting::slack::Slack;

/// A record overtakes no more than so many others. A number further ahead belongs to another
/// CPU unless the next number follows it.
const OVERTAKEN_MAX: u32 = 64;
/// Gaps and strangers remembered at most; of more, the oldest gaps count as lost at once.
const REMEMBERED_MAX: usize = 1024;

/// The numbers of all CPUs.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    cpus: Vec<Cpu>,
    /// Numbers that have not come.
    gaps: Vec<Gap>,
    /// Numbers that came to another CPU's socket.
    strangers: Vec<Stranger>,
    drains: u64,
    lost: u64,
    /// All that came.
    #[cfg(test)]
    taken: Vec<u32>,
    slack_of_gaps: Slack,
    slack_of_strangers: Slack,
}

/// The numbers that come to one CPU's socket.
#[derive(Clone, Copy, Debug, Default)]
struct Cpu {
    /// The number that should come next; `None` before the first.
    next: Option<u32>,
    /// The last number, where it was neither the next nor near it.
    suspect: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Gap {
    first: u32,
    /// At least 1.
    count: u32,
    seen_in: u64,
}

#[derive(Clone, Copy, Debug)]
struct Stranger {
    number: u32,
    seen_in: u64,
}

impl Sequences {
    /// Nothing has come yet to the sockets of so many CPUs.
    pub(super) fn of_cpus(count: usize) -> Self {
        Sequences { cpus: vec![Cpu::default(); count], ..Sequences::default() }
    }

    /// How many records have been lost; only grows.
    #[cfg(test)]
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// How many numbers have not come, and may still come.
    pub(super) fn missing(&self) -> u64 {
        self.gaps.iter().map(|gap| u64::from(gap.count)).sum()
    }

    /// Whether it is known of every number that came whose it is.
    #[cfg(test)]
    pub(super) fn is_certain(&self) -> bool {
        self.cpus.iter().all(|cpu| cpu.suspect.is_none())
    }

    /// The numbers that came, to whichever socket, in ascending order.
    #[cfg(test)]
    pub(super) fn taken(&self) -> Vec<u32> {
        let mut taken = self.taken.clone();
        taken.sort_unstable();
        taken
    }

    /// A record with this number has come to a CPU's socket.
    pub(super) fn take(&mut self, cpu: usize, number: u32) {
        #[cfg(test)]
        self.taken.push(number);
        let is_of_another = || self.is_near_another(cpu, number);
        let Some(&Cpu { next, suspect }) = self.cpus.get(cpu) else { return };
        let after = Some(number.wrapping_add(1));
        let near = next.is_none_or(|next| number.wrapping_sub(next) <= OVERTAKEN_MAX);
        let confirmed = suspect.filter(|suspect| follows(*suspect, number) && !is_of_another());
        if near || confirmed.is_some() {
            self.cpus[cpu] = Cpu { next: after, suspect: None };
            let next = next.unwrap_or(number);
            let Some(suspect) = confirmed.filter(|_| !near) else {
                suspect.into_iter().for_each(|suspect| self.meet(suspect));
                return self.miss(next..number);
            };
            // Numbers that jump back were jumped over by a stranger that came first.
            if is_ahead(suspect.wrapping_sub(next)) {
                self.miss(next..suspect);
            }
            return self.miss(suspect.wrapping_add(1)..number);
        }
        let is_placed = self.fill(number);
        self.cpus[cpu].suspect = Some(number).filter(|_| !is_placed);
        suspect.into_iter().for_each(|suspect| self.meet(suspect));
    }

    /// Ends a drain; returns how many records are lost that were not known to be before.
    pub(super) fn settle(&mut self) -> u64 {
        let before = self.lost;
        let drain = self.drains;
        self.slack_of_gaps.give_back(&mut self.gaps);
        self.slack_of_strangers.give_back(&mut self.strangers);
        let lost = self.gaps.extract_if(.., |gap| gap.seen_in < drain);
        self.lost += lost.map(|gap| u64::from(gap.count)).sum::<u64>();
        self.strangers.retain(|stranger| stranger.seen_in >= drain);
        self.drains += 1;
        self.lost - before
    }

    /// Remembers numbers that have not come, but for those that have come elsewhere.
    fn miss(&mut self, Range { start: first, end }: Range<u32>) {
        let count = end.wrapping_sub(first);
        if count == 0 {
            return;
        }
        if self.gaps.len() >= REMEMBERED_MAX {
            self.lost += u64::from(self.gaps.remove(0).count);
        }
        self.gaps.push(Gap { first, count, seen_in: self.drains });
        let mut strangers = mem::take(&mut self.strangers);
        strangers.retain(|stranger| !self.fill(stranger.number));
        self.strangers = strangers;
    }

    /// Takes a number that came to another CPU's socket than its own.
    fn meet(&mut self, number: u32) {
        if !self.fill(number) && self.strangers.len() < REMEMBERED_MAX {
            self.strangers.push(Stranger { number, seen_in: self.drains });
        }
    }

    /// Whether a number is about to come to the socket of another CPU.
    fn is_near_another(&self, cpu: usize, number: u32) -> bool {
        let others = self.cpus.iter().enumerate().filter(|(other, _)| *other != cpu);
        others
            .filter_map(|(_, other)| other.next)
            .any(|next| number.wrapping_sub(next.wrapping_sub(OVERTAKEN_MAX)) <= 2 * OVERTAKEN_MAX)
    }

    /// Takes a number out of the gap that it is in; whether there is one.
    fn fill(&mut self, number: u32) -> bool {
        let is_in = |gap: &Gap| number.wrapping_sub(gap.first) < gap.count;
        let Some(position) = self.gaps.iter().position(is_in) else { return false };
        let gap = self.gaps.remove(position);
        let before = number.wrapping_sub(gap.first);
        let after = gap.count - before - 1;
        let halves = [
            Gap { count: before, ..gap },
            Gap { first: number.wrapping_add(1), count: after, ..gap },
        ];
        let halves = halves.into_iter().filter(|half| half.count > 0);
        self.gaps.splice(position..position, halves);
        true
    }
}

/// Whether a distance is one forward: the numbers wrap at 32 bits.
fn is_ahead(distance: u32) -> bool {
    distance <= u32::MAX / 2
}

/// Whether a number comes soon after another.
fn follows(earlier: u32, later: u32) -> bool {
    (1..=OVERTAKEN_MAX).contains(&later.wrapping_sub(earlier))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is lost and what is missing after drains of records, each a CPU and a number.
    fn check(drains: &[&[(usize, u32)]], expected: (u64, u64)) {
        let mut sequences = Sequences::of_cpus(2);
        for drain in drains {
            for (cpu, number) in *drain {
                sequences.take(*cpu, *number);
            }
            sequences.settle();
        }
        assert_eq!((sequences.lost(), sequences.missing()), expected, "{drains:?}");
    }

    #[test]
    fn numbers_in_order_lose_nothing_over_the_wrap_of_32_bits() {
        check(&[&[(0, u32::MAX - 1), (0, u32::MAX), (1, 7)], &[(0, 0), (0, 1), (1, 8)]], (0, 0));
    }

    #[test]
    fn a_missing_number_is_lost_after_one_further_drain() {
        check(&[&[(0, 5), (0, 8)]], (0, 2));
        check(&[&[(0, 5), (0, 8)], &[]], (2, 0));
        check(&[&[(0, u32::MAX), (0, 3)], &[], &[]], (3, 0));
    }

    #[test]
    fn a_number_that_comes_late_is_not_lost() {
        check(&[&[(0, 5), (0, 7), (0, 6), (0, 8)], &[], &[]], (0, 0));
        check(&[&[(0, 5), (0, 9)], &[(0, 7), (0, 10)], &[]], (2, 0));
        // It was overtaken over the end of a drain.
        check(&[&[(0, 5), (0, 7)], &[(0, 6)], &[]], (0, 0));
    }

    #[test]
    fn a_number_that_comes_to_another_cpu_is_not_lost() {
        let far = 100_000;
        // Before its own CPU goes on, after that, and as the last of a drain.
        check(&[&[(0, 5), (1, far), (0, far + 1), (1, far + 2), (0, 6)], &[], &[]], (0, 0));
        check(&[&[(0, 5), (1, far), (1, far + 2), (0, far + 1), (0, 6)], &[], &[]], (0, 0));
        check(&[&[(0, 5), (1, far), (0, far + 1)], &[(1, far + 2), (0, 6)], &[], &[]], (0, 0));
        check(&[&[(0, far), (1, 5), (0, 6), (1, 7), (0, far + 1)], &[], &[]], (0, 0));
    }

    #[test]
    fn a_stranger_that_comes_first_does_not_bend_the_numbers() {
        check(&[&[(0, 100_000), (0, 5), (0, 6), (0, 8)], &[], &[]], (1, 0));
        check(&[&[(0, 5), (0, 100_000), (0, 100_001)], &[], &[]], (99_994, 0));
    }

    #[test]
    fn a_jump_that_others_follow_is_a_loss_however_far_it_goes() {
        check(&[&[(0, 5), (0, 100_006), (0, 100_007)], &[], &[]], (100_000, 0));
        // It is told apart from a stranger only by what follows.
        check(&[&[(0, 5), (0, 1000)], &[(0, 2000)], &[(0, 2001)], &[], &[]], (1993, 0));
    }

    #[test]
    fn gaps_beyond_what_is_remembered_are_lost_at_once() {
        let mut sequences = Sequences::of_cpus(1);
        for number in 0..2000 {
            sequences.take(0, number * 2);
        }
        assert_eq!(sequences.lost() + sequences.missing(), 1999);
        assert!(sequences.gaps.len() <= REMEMBERED_MAX);
        sequences.settle();
        sequences.settle();
        assert_eq!(sequences.lost(), 1999);
    }

    #[test]
    fn numbers_lost_at_random_in_any_order_are_counted_exactly() {
        let mut random = 1_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % below
        };
        let mut sequences = Sequences::of_cpus(2);
        let (mut numbers, mut held, mut lost) = ([0_u32, 500_000], None, 0);
        for step in 0..100_000 {
            let cpu = usize::try_from(next(2)).unwrap();
            let number = numbers[cpu];
            numbers[cpu] += 1;
            let is_settled = !(10..99_900).contains(&step);
            match next(50) {
                0 if !is_settled => lost += 1,
                // It is overtaken, or comes to the other CPU's socket.
                1 if !is_settled && held.is_none() => held = Some((cpu, number)),
                2 if !is_settled => sequences.take(1 - cpu, number),
                _ => sequences.take(cpu, number),
            }
            if step % 7 == 0
                && let Some((cpu, number)) = held.take()
            {
                sequences.take(cpu, number);
            }
            if step % 1000 == 0 {
                sequences.settle();
            }
        }
        sequences.settle();
        sequences.settle();
        assert_eq!((sequences.lost(), sequences.missing()), (lost, 0));
    }
}
