//! Who lives of the descendants of this process, as births and ends tell it.
//!
//! A child cannot run, and so cannot end, before its birth is told; and both stand in one ring.
//! The trap is a record that found no room: a birth that was not told leaves somebody out, and an
//! end that was not told leaves a PID that may become a stranger's. After either nothing is said of
//! the living any more.

use std::collections::HashMap;

use mpp_parse::bpf_record::{BirthRecord, TaskKey};

/// The living descendants.
#[derive(Debug, Default)]
pub(super) struct Living {
    by_pid: HashMap<u32, BirthRecord>,
    is_doubtful: bool,
}

impl Living {
    pub(super) fn is_born(&mut self, birth: BirthRecord) {
        if !self.is_doubtful {
            self.by_pid.insert(birth.process.id, birth);
        }
    }

    pub(super) fn has_ended(&mut self, process: TaskKey) {
        self.by_pid.remove(&process.id);
    }

    /// Something was not told.
    pub(super) fn doubt(&mut self) {
        *self = Living { by_pid: HashMap::new(), is_doubtful: true };
    }

    /// Each with its birth; `None` where not everything was told.
    pub(super) fn all(&self) -> Option<impl Iterator<Item = &BirthRecord>> {
        (!self.is_doubtful).then(|| self.by_pid.values())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u32) -> TaskKey {
        TaskKey { id, start_ns: u64::from(id) }
    }

    fn birth(id: u32) -> BirthRecord {
        BirthRecord { process: key(id), exec: key(1), exec_time_ns: None }
    }

    #[track_caller]
    fn check(living: &Living, expected: Option<&[u32]>) {
        let found = living.all().map(|all| {
            let mut pids: Vec<u32> = all.map(|birth| birth.process.id).collect();
            pids.sort_unstable();
            pids
        });
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn who_was_born_and_has_not_ended_lives() {
        let mut living = Living::default();
        check(&living, Some(&[]));
        [2, 3, 4].into_iter().for_each(|id| living.is_born(birth(id)));
        living.has_ended(key(3));
        living.has_ended(key(9));
        check(&living, Some(&[2, 4]));
    }

    #[test]
    fn nothing_is_said_once_something_was_not_told() {
        let mut living = Living::default();
        living.is_born(birth(2));
        living.doubt();
        living.is_born(birth(3));
        check(&living, None);
    }
}
