//! Whose environment a process has that wrote over it and whose forker nobody saw.
//!
//! Who forks twice has init for a parent, and whoever was in between may have come and gone between
//! two sweeps. Where hooks in the kernel tell who forked whom, that is known. Elsewhere there is this:
//! fork copies the places of code and stack, and an exec chooses new ones at random. So a process
//! that has executed nothing since it was forked, and an older one with the same places, come from
//! one exec, and began with its environment.
//!
//! The trap is where nothing is chosen at random, for the whole machine or for those that were
//! started with `setarch --addr-no-randomize`: there all runs of a program can have the same places.
//! So who cannot be shown to have random ones inherits from nobody. And all of it needs an
//! older one that is still there, and the right to see the places, that of ptrace(2).

use std::collections::HashMap;
use std::sync::Arc;

use mpp_accounting::process::{Identity, ProcessKey};

use super::Collector;
use crate::identity::Places;
use crate::proc_fs::Name;

/// `ADDR_NO_RANDOMIZE` of personality(2).
const PERSONALITY_FIXED: u64 = 0x0004_0000;

impl Collector {
    /// Has processes whose environment is lost take that of an older process of the same exec.
    pub(super) fn inherit_from_kin(&mut self, heirs: impl Iterator<Item = u32>) {
        let orphan = |pid: u32| {
            let known = self.known.get(pid).filter(|known| known.has_lost_environment())?;
            Some((known.exec_places()?, known.key))
        };
        let mut orphans: HashMap<Places, Vec<ProcessKey>> = HashMap::new();
        for (places, key) in heirs.filter_map(orphan) {
            orphans.entry(places).or_default().push(key);
        }
        if orphans.is_empty() || !self.is_stack_random() {
            return;
        }
        for (heir, identity) in self.find_kin(&orphans) {
            if self.has_random_places(heir.pid)
                && let Some(heir) = self.known.get_mut(heir.pid)
            {
                heir.take_environment_of(&identity);
            }
        }
    }

    /// For each of these an older one with the same places whose environment is known, if there
    /// is one.
    fn find_kin(
        &self,
        orphans: &HashMap<Places, Vec<ProcessKey>>,
    ) -> HashMap<ProcessKey, Arc<Identity>> {
        let mut kin = HashMap::new();
        for known in self.known.iter().filter(|known| known.has_whole_environment()) {
            let heirs = known.exec_places().and_then(|places| orphans.get(&places));
            let is_older = |heir: &&ProcessKey| heir.start_time_ticks >= known.key.start_time_ticks;
            for heir in heirs.into_iter().flatten().filter(is_older) {
                kin.entry(*heir).or_insert_with(|| Arc::clone(&known.identity));
            }
        }
        kin
    }

    /// Whether this machine chooses places at random, proc_sys_kernel(5).
    fn is_stack_random(&mut self) -> bool {
        let text =
            self.buffers.room.read_lines(&self.origin.root, c"sys/kernel/randomize_va_space", 1);
        text.is_ok_and(|text| matches!(text.trim_ascii(), b"1" | b"2"))
    }

    /// Whether it does so for this process, as far as can be known: proc_pid_personality(5).
    fn has_random_places(&mut self, pid: u32) -> bool {
        let name = Name::in_process(pid, "personality");
        let text = self.buffers.room.read_lines(&self.origin.root, name.as_c_str(), 1);
        let text = text.ok().and_then(|text| std::str::from_utf8(text.trim_ascii()).ok());
        let personality = text.and_then(|text| u64::from_str_radix(text, 16).ok());
        personality.is_some_and(|flags| flags & PERSONALITY_FIXED == 0)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::collector::CollectorOptions;

    /// Whether the places of a program that is started so are taken for random.
    fn check(words: &[&str], expected: bool) {
        let mut collector = Collector::open(CollectorOptions::default()).unwrap();
        let mut child = Command::new(words[0]).args(&words[1..]).spawn().unwrap();
        let comm = format!("/proc/{}/comm", child.id());
        let awaited = Instant::now() + Duration::from_secs(20);
        while std::fs::read(&comm).unwrap() != b"sleep\n" && Instant::now() < awaited {
            std::thread::yield_now();
        }
        let found = collector.has_random_places(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found, expected, "{words:?}");
    }

    #[test]
    fn live_programs_without_random_places_have_no_kin() {
        check(&["sleep", "1000"], true);
        check(&["setarch", "--addr-no-randomize", "sleep", "1000"], false);
        let mut collector = Collector::open(CollectorOptions::default()).unwrap();
        assert!(!collector.has_random_places(u32::MAX), "nobody knows");
    }
}
