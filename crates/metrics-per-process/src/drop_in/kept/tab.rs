//! What calls have read by files of late: whoever calls again and again has paid for the programs
//! in the kernel by then, and they are loaded.
//!
//! That is the rule of whoever rents until it has cost as much as buying: however often is called,
//! it never costs more than twice what it would have cost to know that beforehand.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Whoever calls less often than this is not found with the programs loaded either.
const FORGOTTEN_AFTER: Duration = super::LINGER;

static TAB: Mutex<Tab> = Mutex::new(Tab::EMPTY);

/// Processes that were read by files, by calls with no longer between them than programs are kept.
#[derive(Debug)]
struct Tab {
    last_at: Option<Instant>,
    by_name: u64,
    by_environment: u64,
    /// The variables that `by_environment` is of.
    keys: Vec<Box<[u8]>>,
}

/// Another call is about to look through so many processes by name or user; through how many
/// calls have looked by then.
pub(in super::super) fn add_by_name(processes: u64) -> u64 {
    let mut tab = TAB.lock().unwrap_or_else(PoisonError::into_inner);
    tab.add_by_name(processes, Instant::now())
}

/// The same by these variables of their environment.
pub(in super::super) fn add_by_environment(processes: u64, keys: &[Box<[u8]>]) -> u64 {
    let mut tab = TAB.lock().unwrap_or_else(PoisonError::into_inner);
    tab.add_by_environment(processes, keys, Instant::now())
}

impl Tab {
    const EMPTY: Self = Tab { last_at: None, by_name: 0, by_environment: 0, keys: Vec::new() };

    fn add_by_name(&mut self, processes: u64, now: Instant) -> u64 {
        self.forget(now);
        self.by_name = self.by_name.saturating_add(processes);
        self.by_name
    }

    fn add_by_environment(&mut self, processes: u64, keys: &[Box<[u8]>], now: Instant) -> u64 {
        self.forget(now);
        if *keys != *self.keys {
            (self.keys, self.by_environment) = (keys.to_vec(), 0);
        }
        self.by_environment = self.by_environment.saturating_add(processes);
        self.by_environment
    }

    fn forget(&mut self, now: Instant) {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < FORGOTTEN_AFTER;
        if !self.last_at.is_some_and(is_recent) {
            *self = Tab::EMPTY;
        }
        self.last_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> Vec<Box<[u8]>> {
        names.iter().map(|name| name.as_bytes().into()).collect()
    }

    #[test]
    fn calls_add_up_as_long_as_no_pause_is_longer_than_programs_are_kept() {
        let (mut tab, now) = (Tab::EMPTY, Instant::now());
        let just_before = now + FORGOTTEN_AFTER - Duration::from_millis(1);
        assert_eq!(tab.add_by_name(700, now), 700);
        assert_eq!(tab.add_by_name(700, just_before), 1400);
        assert_eq!(tab.add_by_name(700, just_before + FORGOTTEN_AFTER), 700);
    }

    #[test]
    fn only_calls_for_the_same_variables_add_up() {
        let (mut tab, now) = (Tab::EMPTY, Instant::now());
        assert_eq!(tab.add_by_environment(10, &keys(&["A"]), now), 10);
        assert_eq!(tab.add_by_environment(10, &keys(&["A"]), now), 20);
        assert_eq!(tab.add_by_environment(10, &keys(&["A", "B"]), now), 10);
        assert_eq!(tab.add_by_name(5, now), 5, "names are another account");
    }
}
