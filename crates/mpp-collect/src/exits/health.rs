//! Whether a source that worked when it was opened still does.
//!
//! A call that fails once, for want of memory, costs the promise of one interval: what was not
//! handed out waits for the next call. A source that fails in round after round is gone, and
//! somebody else has to tell.

use rustix::io::Errno;

/// So many rounds in a row make a source that failed a source that is gone.
const ROUNDS_MAX: u32 = 2;

/// What could not be done with a source, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) action: &'static str,
    pub(crate) errno: Errno,
}

/// What has failed of late.
#[derive(Debug, Default)]
pub(crate) struct Health {
    now: Option<Failure>,
    rounds: u32,
    last: Option<Failure>,
}

impl Health {
    /// Takes in how a call ended; whether it failed, as a number.
    pub(crate) fn note(&mut self, action: &'static str, outcome: Result<(), Errno>) -> u64 {
        match outcome {
            Ok(()) => 0,
            Err(errno) => {
                self.now.get_or_insert(Failure { action, errno });
                1
            }
        }
    }

    /// Ends the round of one sweep.
    pub(crate) fn end_round(&mut self) {
        self.last = self.now.take();
        self.rounds = if self.last.is_some() { self.rounds.saturating_add(1) } else { 0 };
    }

    /// Why the source is gone, if it is.
    pub(crate) fn is_gone(&self) -> Option<Failure> {
        self.last.filter(|_| self.rounds >= ROUNDS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rounds: &[&[Errno]], expected: Option<Errno>) {
        let mut health = Health::default();
        for round in rounds {
            for errno in *round {
                assert_eq!(health.note("try", Err(*errno)), 1);
            }
            assert_eq!(health.note("try", Ok(())), 0);
            health.end_round();
        }
        assert_eq!(health.is_gone().map(|failure| failure.errno), expected, "{rounds:?}");
    }

    #[test]
    fn a_source_is_gone_that_fails_in_two_rounds_one_after_the_other() {
        check(&[], None);
        check(&[&[Errno::NOMEM]], None);
        check(&[&[Errno::NOMEM, Errno::IO]], None);
        check(&[&[Errno::NOMEM], &[], &[Errno::NOMEM]], None);
        check(&[&[Errno::NOMEM], &[Errno::BADF, Errno::IO]], Some(Errno::BADF));
        check(&[&[Errno::NOMEM], &[Errno::BADF], &[]], None);
    }
}
