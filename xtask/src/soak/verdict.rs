//! What a long run showed of one watcher: whether it grew, and whether it counted right.

use anyhow::{Result, ensure};

use super::watcher::{Account, Holdings, Setup};

/// Memory may grow after the first minute by one part in so many; the kernel keeps what BPF maps
/// hold of living processes and frees it in batches.
const GROWTH_SHARE: u64 = 20;

/// Or by so much, where that is more: a heap of which as much is in use comes to lie on more pages.
/// A leak of 1 KiB a second, 540 KiB in the nine minutes that follow, is more than either of up to
/// 10 MiB.
const SPREAD_MAX: u64 = 400 << 10;

/// A record of tier B is cut to whole KiB.
const ROUNDED_BYTES: u64 = 1024;

/// So many times the processes of the first minute may the machine have later.
const PROCESSES_RATIO_MAX: f64 = 1.5;

/// What the load did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Truth {
    pub(super) written_bytes: u64,
    /// Processes that began after the load's first, and ended.
    pub(super) processes: u64,
    /// Threads besides the first of each process.
    pub(super) threads: u64,
    /// How often a PID was smaller than the one before.
    pub(super) pid_wraps: u64,
}

/// What a watcher held after the first minute, and at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Growth {
    then: Holdings,
    now: Holdings,
}

/// What a run showed of one watcher.
pub(super) struct Verdict {
    pub(super) setup: &'static Setup,
    pub(super) growth: Growth,
    pub(super) account: Account,
}

/// Why nothing can be said of growth: the machine had more to watch later than in the first
/// minute, and whoever watches it rightly holds more.
pub(super) fn unrest(processes: &[u64], warm_up: usize) -> Option<String> {
    let (first, later) = processes.split_at_checked(warm_up)?;
    let (then, most) = (*first.iter().max()?, *later.iter().max()?);
    (most as f64 > then as f64 * PROCESSES_RATIO_MAX).then(|| {
        format!("{then} processes became {most} on this machine: run it where nothing else does")
    })
}

impl Growth {
    /// Of one look a second, so many of which belong to the first minute.
    ///
    /// # Errors
    /// Where there were too few looks to compare anything.
    pub(super) fn of(looks: &[Holdings], warm_up: usize) -> Result<Self> {
        ensure!(warm_up > 0 && looks.len() > 2 * warm_up, "only {} looks", looks.len());
        let first = &looks[warm_up / 2..warm_up];
        let last = &looks[looks.len() - warm_up..];
        let middles = |of: fn(&Holdings) -> u64| (middle(first, of), middle(last, of));
        // What comes and goes between two sweeps grows where it never goes back.
        let least = |of: fn(&Holdings) -> u64| {
            let (then, now) = (looks[..warm_up].iter().map(of), last.iter().map(of));
            (then.max().unwrap_or(0), now.min().unwrap_or(0))
        };
        let memory = middles(|look| look.anonymous_bytes);
        let maps = middles(|look| look.map_bytes);
        let descriptors = least(|look| look.descriptors);
        let threads = least(|look| look.threads);
        let queue = least(|look| look.queued_bytes);
        let then = Holdings {
            anonymous_bytes: memory.0,
            map_bytes: maps.0,
            descriptors: descriptors.0,
            threads: threads.0,
            queued_bytes: queue.0,
        };
        let now = Holdings {
            anonymous_bytes: memory.1,
            map_bytes: maps.1,
            descriptors: descriptors.1,
            threads: threads.1,
            queued_bytes: queue.1,
        };
        Ok(Growth { then, now })
    }

    /// What of it is more than it may be, in words.
    fn complaints(&self) -> Vec<String> {
        let (then, now) = (self.then, self.now);
        let memory_max = (then.anonymous_bytes / GROWTH_SHARE).max(SPREAD_MAX);
        let rows = [
            ("bytes of memory", then.anonymous_bytes, now.anonymous_bytes, memory_max),
            ("bytes of BPF maps", then.map_bytes, now.map_bytes, then.map_bytes / GROWTH_SHARE),
            ("descriptors", then.descriptors, now.descriptors, 0),
            ("threads", then.threads, now.threads, 0),
            ("queued bytes", then.queued_bytes, now.queued_bytes, 0),
        ];
        let grown = rows.iter().filter(|(_, then, now, most)| now.saturating_sub(*then) > *most);
        grown.map(|(what, then, now, _)| format!("{then} {what} became {now}")).collect()
    }
}

impl Verdict {
    /// Everything that is wrong, each in a line.
    pub(super) fn complaints(&self, truth: &Truth) -> Vec<String> {
        let mut all = self.growth.complaints();
        if self.setup.scope == super::Scope::Load {
            all.extend(account_complaints(self.setup.tier, &self.account, truth));
        }
        if self.account.lines == 0 {
            all.push("it said nothing".to_owned());
        }
        all.into_iter().map(|complaint| format!("{}: {complaint}", self.setup.name)).collect()
    }

    /// A row of the table of what it held.
    pub(super) fn row_of_growth(&self) -> String {
        let (then, now) = (self.growth.then, self.growth.now);
        format!(
            "| {} | {} | {} | {:.3} | {} | {} | {} to {} | {} to {} | {} | {} | {} |\n",
            self.setup.name,
            then.anonymous_bytes >> 10,
            now.anonymous_bytes >> 10,
            now.anonymous_bytes as f64 / then.anonymous_bytes as f64,
            then.map_bytes >> 10,
            now.map_bytes >> 10,
            then.descriptors,
            now.descriptors,
            then.threads,
            now.threads,
            then.queued_bytes >> 10,
            now.queued_bytes >> 10,
            self.account.lines,
        )
    }

    /// A row of the table of what it counted.
    pub(super) fn row_of_account(&self, truth: &Truth) -> String {
        let written = self.account.written_bytes;
        format!(
            "| {} | {} | {written} | {} | {} | {} | {} |\n",
            self.setup.name,
            self.account.tier,
            truth.written_bytes,
            i128::from(written) - i128::from(truth.written_bytes),
            self.account.lost_records,
            self.account.estimated_bytes,
        )
    }
}

/// The one in the middle.
fn middle(looks: &[Holdings], of: fn(&Holdings) -> u64) -> u64 {
    let mut values: Vec<u64> = looks.iter().map(of).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// What is wrong with what was counted: tier A is exact; B misses at most the rounding of each
/// ended thread, but where a record was missing it estimates; C never counts twice.
fn account_complaints(tier: &str, account: &Account, truth: &Truth) -> Vec<String> {
    let mut all = Vec::new();
    let rounding = ROUNDED_BYTES.saturating_mul(truth.processes + truth.threads);
    let (missing_max, excess_max) = match tier {
        "A" => (0, 0),
        "B" => (rounding + account.estimated_bytes, account.estimated_bytes),
        _ => (truth.written_bytes, 0),
    };
    if account.tier != tier {
        all.push(format!("it ended at tier {}", account.tier));
    }
    if account.has_fallen {
        all.push("a total fell".to_owned());
    }
    let (written, true_bytes) = (account.written_bytes, truth.written_bytes);
    let is_too_little = true_bytes.saturating_sub(written) > missing_max;
    if is_too_little || written.saturating_sub(true_bytes) > excess_max {
        all.push(format!("{written} bytes were counted, {true_bytes} written"));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: Holdings = Holdings {
        anonymous_bytes: 8 << 20,
        descriptors: 20,
        threads: 2,
        map_bytes: 24 << 20,
        queued_bytes: 100,
    };

    /// Ten minutes of looks, each made from the one a second before.
    fn check(next: fn(&mut Holdings), expected: &[&str]) {
        check_from(HELD, next, expected);
    }

    #[track_caller]
    fn check_from(mut held: Holdings, next: fn(&mut Holdings), expected: &[&str]) {
        let mut looks = Vec::new();
        for _ in 0..600 {
            looks.push(held);
            next(&mut held);
        }
        assert_eq!(Growth::of(&looks, 60).unwrap().complaints(), expected);
    }

    #[test]
    fn what_leaks_a_kibibyte_a_second_is_found() {
        check(|_| {}, &[]);
        check(|held| held.anonymous_bytes += 1024, &["8434688 bytes of memory became 8972288"]);
        let small = Holdings { anonymous_bytes: 2 << 20, ..HELD };
        let words = "2143232 bytes of memory became 2680832";
        check_from(small, |held| held.anonymous_bytes += 1024, &[words]);
        check_from(small, |held| held.anonymous_bytes += 512, &[]);
        check(|held| held.map_bytes += 4096, &["25350144 bytes of BPF maps became 27500544"]);
    }

    #[test]
    fn one_descriptor_thread_or_record_that_stays_is_found() {
        check(|held| held.descriptors += 1, &["79 descriptors became 560"]);
        check(|held| held.threads += 1, &["61 threads became 542"]);
        check(|held| held.queued_bytes += 1, &["159 queued bytes became 640"]);
        // A queue that is full at times and empty at others does not grow.
        check(|held| held.queued_bytes = 9000 - held.queued_bytes, &[]);
    }

    #[test]
    fn a_machine_that_gets_more_to_watch_is_named() {
        assert_eq!(unrest(&[100, 110, 165, 90], 2), None);
        let words = "110 processes became 166 on this machine: run it where nothing else does";
        assert_eq!(unrest(&[100, 110, 166, 90], 2).as_deref(), Some(words));
    }

    #[test]
    fn too_few_looks_are_no_verdict() {
        assert!(Growth::of(&[HELD; 12], 6).is_err());
        assert!(Growth::of(&[], 0).is_err());
    }

    fn check_account(tier: &str, written_bytes: u64, expected: &[&str]) {
        let account = Account { written_bytes, tier: tier.to_owned(), ..Account::default() };
        let truth = Truth { written_bytes: 100_000, processes: 2, threads: 1, pid_wraps: 0 };
        assert_eq!(account_complaints(tier, &account, &truth), expected);
    }

    #[test]
    fn each_tier_is_held_to_its_promise() {
        check_account("A", 100_000, &[]);
        check_account("A", 99_999, &["99999 bytes were counted, 100000 written"]);
        check_account("B", 96_928, &[]);
        check_account("B", 96_927, &["96927 bytes were counted, 100000 written"]);
        check_account("C", 7, &[]);
        for tier in ["A", "B", "C"] {
            check_account(tier, 100_001, &["100001 bytes were counted, 100000 written"]);
        }
    }

    #[test]
    fn tier_b_may_be_wrong_by_what_it_had_to_estimate() {
        let truth = Truth { written_bytes: 100_000, ..Truth::default() };
        let complaints = |tier: &str, written_bytes| {
            let tier = tier.to_owned();
            let account =
                Account { written_bytes, estimated_bytes: 500, tier, ..Account::default() };
            account_complaints(&account.tier, &account, &truth).len()
        };
        assert_eq!([99_499, 99_500, 100_500, 100_501].map(|b| complaints("B", b)), [1, 0, 0, 1]);
        assert_eq!([99_999, 100_001].map(|b| complaints("A", b)), [1, 1]);
    }

    #[test]
    fn a_tier_that_was_lost_and_a_total_that_fell_are_named() {
        let account = Account {
            written_bytes: 5,
            tier: "C".to_owned(),
            has_fallen: true,
            ..Account::default()
        };
        let truth = Truth { written_bytes: 5, ..Truth::default() };
        let expected = ["it ended at tier C", "a total fell"];
        assert_eq!(account_complaints("A", &account, &truth), expected);
    }
}
