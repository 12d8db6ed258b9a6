//! One copy of each identity, however many processes have it.

use std::collections::HashSet;
use std::sync::Arc;

use mpp_accounting::process::Identity;
use mpp_accounting::slack;

/// With so few there is nothing to gain by looking for those that nobody has any more.
const KEPT_MIN: usize = 64;

/// All identities that somebody has, and some that nobody has any more: not more than twice as
/// many as there were when they were last looked over.
#[derive(Debug, Default)]
pub(crate) struct SharedIdentities {
    all: HashSet<Arc<Identity>>,
    look_over_at: usize,
    sweeps_until_look: u32,
}

impl SharedIdentities {
    /// Has this one stand for all that are equal to it, or one of them for it.
    pub(crate) fn share(&mut self, identity: &mut Arc<Identity>) {
        if let Some(equal) = self.all.get(identity) {
            identity.clone_from(equal);
            return;
        }
        if self.all.len() >= self.look_over_at.max(KEPT_MIN) {
            self.look_over();
        }
        self.all.insert(Arc::clone(identity));
    }

    /// Ends a sweep: now and then those are looked for that nobody has any more, whether others
    /// come or not.
    pub(crate) fn end_sweep(&mut self) {
        self.sweeps_until_look = match self.sweeps_until_look.checked_sub(1) {
            Some(sweeps) => sweeps,
            None => {
                self.look_over();
                slack::INTERVALS
            }
        };
    }

    fn look_over(&mut self) {
        self.all.retain(|identity| Arc::strong_count(identity) > 1);
        self.look_over_at = self.all.len() * 2;
        self.all.shrink_to(self.look_over_at.max(KEPT_MIN));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpp_accounting::process::Absence;

    use crate::identity::named;

    fn identity(number: usize) -> Arc<Identity> {
        Arc::new(named(Box::from(number.to_string().as_bytes()), 0, Absence::NotRequested))
    }

    #[test]
    fn equal_identities_become_one() {
        let mut shared = SharedIdentities::default();
        let (mut one, mut same, mut other) = (identity(1), identity(1), identity(2));
        for identity in [&mut one, &mut same, &mut other] {
            shared.share(identity);
        }
        assert!(Arc::ptr_eq(&one, &same));
        assert!(!Arc::ptr_eq(&one, &other));
    }

    #[test]
    fn those_that_nobody_has_any_more_are_forgotten() {
        let mut shared = SharedIdentities::default();
        let mut kept = identity(0);
        shared.share(&mut kept);
        for number in 1..KEPT_MIN * 10 {
            shared.share(&mut identity(number));
            assert!(shared.all.len() <= KEPT_MIN);
        }
        assert!(shared.all.contains(&kept));
    }

    #[test]
    fn those_of_a_storm_are_forgotten_with_the_sweeps_after_it() {
        let mut shared = SharedIdentities::default();
        let mut storm: Vec<_> = (0..KEPT_MIN * 100).map(identity).collect();
        storm.iter_mut().for_each(|identity| shared.share(identity));
        storm.truncate(1);
        for _ in 0..=slack::INTERVALS {
            shared.end_sweep();
        }
        assert_eq!(shared.all.len(), 1);
        assert!(shared.all.capacity() < KEPT_MIN * 4, "{}", shared.all.capacity());
    }
}
