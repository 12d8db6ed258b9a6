//! Which processes block their readers, and when each is tried again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use mpp_accounting::process::ProcessKey;

/// How long a process is left alone after the first read that it blocked.
pub(super) const DELAY_FIRST: Duration = Duration::from_secs(1);
/// The longest time it is left alone.
const DELAY_MAX: Duration = Duration::from_secs(60);
/// Processes remembered at most; of more, those that are due soonest are forgotten.
const REMEMBERED_MAX: usize = 4096;

/// Remembers blocked processes, so that each costs a deadline now and then and not per sweep.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    entries: HashMap<ProcessKey, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    retry_at: Instant,
    delay: Duration,
}

impl Backoff {
    /// Whether this process blocked its last reader and is not to be tried yet.
    pub(super) fn is_waiting(&self, key: ProcessKey, now: Instant) -> bool {
        self.entries.get(&key).is_some_and(|entry| now < entry.retry_at)
    }

    /// Whether this process blocked its last reader.
    pub(super) fn remembers(&self, key: ProcessKey) -> bool {
        self.entries.contains_key(&key)
    }

    /// Leaves a process alone: for a second at first, then for twice as long each time.
    pub(super) fn record_blocked(&mut self, key: ProcessKey, now: Instant) {
        let delay = self.entries.get(&key).map_or(DELAY_FIRST, |entry| {
            // Two files of one process that block together are one event.
            if now < entry.retry_at { entry.delay } else { (entry.delay * 2).min(DELAY_MAX) }
        });
        self.entries.insert(key, Entry { retry_at: now + delay, delay });
        if self.entries.len() > REMEMBERED_MAX {
            let soonest = self.entries.iter().min_by_key(|(_, entry)| entry.retry_at);
            if let Some(key) = soonest.map(|(key, _)| *key) {
                self.entries.remove(&key);
            }
        }
    }

    /// Takes note that a process let itself be read.
    pub(super) fn forget(&mut self, key: ProcessKey) {
        self.entries.remove(&key);
    }

    /// Keeps only what `is_living` says.
    pub(super) fn retain(&mut self, mut is_living: impl FnMut(ProcessKey) -> bool) {
        self.entries.retain(|key, _| is_living(*key));
    }

    /// How many processes are remembered.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pid: u32) -> ProcessKey {
        ProcessKey { pid, start_time_ticks: 1 }
    }

    #[test]
    fn waits_twice_as_long_each_time_but_never_above_a_minute() {
        let mut backoff = Backoff::default();
        let mut now = Instant::now();
        let mut delays = Vec::new();
        for _ in 0..8 {
            backoff.record_blocked(key(1), now);
            let retry_at = backoff.entries[&key(1)].retry_at;
            delays.push(retry_at.duration_since(now).as_secs());
            assert!(backoff.is_waiting(key(1), now));
            assert!(!backoff.is_waiting(key(1), retry_at));
            now = retry_at;
        }
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn two_files_that_block_together_count_as_one() {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        backoff.record_blocked(key(1), now);
        backoff.record_blocked(key(1), now);
        assert!(!backoff.is_waiting(key(1), now + DELAY_FIRST));
    }

    #[test]
    fn an_answer_clears_the_memory_of_a_process() {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        backoff.record_blocked(key(1), now);
        backoff.record_blocked(key(2), now);
        backoff.forget(key(1));
        assert!(!backoff.is_waiting(key(1), now));
        backoff.retain(|other| other != key(2));
        assert_eq!(backoff.len(), 0);
    }

    #[test]
    fn remembers_a_bounded_number_of_processes() {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        for pid in 0..u32::try_from(REMEMBERED_MAX).unwrap() + 10 {
            backoff.record_blocked(key(pid), now + Duration::from_micros(u64::from(pid)));
        }
        assert_eq!(backoff.len(), REMEMBERED_MAX);
        assert!(!backoff.is_waiting(key(9), now), "the oldest are forgotten first");
        assert!(backoff.is_waiting(key(10), now));
    }
}
