//! What the sweep itself does not find out of a process: it is asked for, inherited, and taken in
//! whenever it comes.

use std::mem;
use std::sync::Arc;

use std::time::Duration;

use mpp_accounting::process::{ProcessSample, Reading};
use mpp_accounting::snapshot::Snapshot;

use super::troubles::count;
use super::{Collector, Request};
use crate::identity::{Known, Risk};
use crate::memory_reader::{MemoryAnswer, Submitted};
use crate::needs::{IdentityWait, Needs};

/// Whether more may be known of a process than its sample says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Learned {
    Nothing,
    Something,
}

/// Who must be looked at again after a sweep: asked for more, completed, or counted as trouble.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attention {
    /// Those with these PIDs, in any order.
    Some(Vec<u32>),
    Everybody,
}

impl Attention {
    /// Nobody yet, with the room of the sweep before.
    pub(super) fn begin(&mut self) {
        match self {
            Attention::Some(pids) => pids.clear(),
            Attention::Everybody => *self = Attention::Some(Vec::new()),
        }
    }

    pub(super) fn turn_to(&mut self, pid: u32) {
        if let Attention::Some(pids) = self {
            pids.push(pid);
        }
    }

    /// Puts them in order, each once.
    pub(super) fn sort(&mut self) {
        if let Attention::Some(pids) = self {
            pids.sort_unstable();
            pids.dedup();
        }
    }

    pub(super) fn is_nobodys(&self) -> bool {
        matches!(self, Attention::Some(pids) if pids.is_empty())
    }

    /// Their samples, which stand ascending by PID.
    pub(super) fn all<'a>(
        &'a self,
        samples: &'a [ProcessSample],
    ) -> impl Iterator<Item = &'a ProcessSample> {
        let (everybody, pids) = match self {
            Attention::Everybody => (samples, &[][..]),
            Attention::Some(pids) => (&[][..], &pids[..]),
        };
        let those = pids.iter().filter_map(|pid| {
            let position = samples.binary_search_by_key(pid, |sample| sample.key.pid).ok()?;
            samples.get(position)
        });
        everybody.iter().chain(those)
    }

    /// The same, to be changed.
    pub(super) fn each_mut(
        &self,
        samples: &mut [ProcessSample],
        mut each: impl FnMut(&mut ProcessSample),
    ) {
        match self {
            Attention::Everybody => samples.iter_mut().for_each(each),
            Attention::Some(pids) => {
                for pid in pids {
                    let position = samples.binary_search_by_key(pid, |sample| sample.key.pid);
                    if let Some(sample) = position.ok().and_then(|at| samples.get_mut(at)) {
                        each(sample);
                    }
                }
            }
        }
    }
}

impl Collector {
    /// Takes in who they are, as far as that is known by now, and counts what could not be read.
    pub(super) fn learn_and_count(
        &mut self,
        needs: &Request<'_>,
        wait: IdentityWait,
        into: &mut Snapshot,
    ) {
        let mut attention = mem::replace(&mut self.attention, Attention::Everybody);
        attention.sort();
        let has_inherited = self.take_bequests(&attention, &into.processes);
        let has_learned =
            !attention.is_nobodys() && self.learn(&attention, wait) == Learned::Something;
        let has_learned = has_learned || has_inherited == Learned::Something;
        if has_learned {
            let complete = |sample: &mut ProcessSample| self.complete(sample, needs.needs);
            attention.each_mut(&mut into.processes, complete);
        }
        self.count_troubles(attention.all(&into.processes));
        if let Attention::Some(pids) = &mut attention {
            self.slacks.attention.give_back(pids);
        }
        self.attention = attention;
        if !needs.needs.measures.sockets
            && let Reading::Value(listening) = &into.network.listening
        {
            listening.unread.iter().for_each(|(_, why)| count(&mut self.trouble, *why));
        }
    }

    /// Finds out what else can be known of the processes that were read.
    pub(super) fn learn(&mut self, attention: &Attention, wait: IdentityWait) -> Learned {
        self.ask(attention);
        if let IdentityWait::UpTo(longest) = wait {
            self.take_answers(longest);
        }
        match (self.inherit_environments(attention), wait) {
            (Learned::Nothing, IdentityWait::No) => Learned::Nothing,
            _ => Learned::Something,
        }
    }

    /// Has processes that wrote over their environment, or of which it was not read yet, take that
    /// of whoever forked them and has ended since.
    fn take_bequests(&mut self, attention: &Attention, samples: &[ProcessSample]) -> Learned {
        let Collector { known, witness, .. } = self;
        let mut learned = Learned::Nothing;
        for sample in attention.all(samples) {
            let Some((forker, forked_at)) =
                sample.lineage.forked_by().zip(sample.lineage.started_at())
            else {
                continue;
            };
            let heir = known.get_mut(sample.key.pid).filter(|heir| heir.key == sample.key);
            let Some(heir) = heir.filter(|heir| heir.lacks_environment()) else { continue };
            if let Some(forker) = witness.bequest(forker, forked_at) {
                heir.take_environment_of(forker);
                learned = Learned::Something;
            }
        }
        learned
    }

    /// Has processes that wrote over their environment, or of which it was not read yet, take that
    /// of whoever forked them, or of an older one that was.
    fn inherit_environments(&mut self, attention: &Attention) -> Learned {
        let heir = |known: &Known| {
            let is_heir = known.lacks_environment() && known.parent_pid != known.key.pid;
            is_heir.then_some((known.key.start_time_ticks, known.key.pid, known.parent_pid))
        };
        let mut heirs: Vec<_> = match attention {
            Attention::Everybody => self.known.iter().filter_map(heir).collect(),
            Attention::Some(pids) => {
                pids.iter().filter_map(|pid| heir(self.known.get(*pid)?)).collect()
            }
        };
        // A parent may have inherited its own.
        heirs.sort_unstable();
        for (_, pid, parent_pid) in &heirs {
            if let Some((heir, parent)) = self.known.pair_mut(*pid, *parent_pid) {
                heir.inherit_environment(parent);
            }
        }
        self.inherit_from_kin(heirs.iter().map(|(_, pid, _)| *pid));
        if heirs.is_empty() { Learned::Nothing } else { Learned::Something }
    }

    /// Asks the bounded reader for what is missing, last of those in whom it may hang. Nobody
    /// waits here.
    fn ask(&mut self, attention: &Attention) {
        let Collector { memory, known, wants, round, .. } = self;
        let Some(memory) = memory else { return };
        let question = |known: &mut Known| {
            let is_asked = known.swept == *round && known.has_requests(wants);
            is_asked.then(|| match memory.has_blocked(known.reader_key()) {
                true => (Risk::HasBlocked, known.key.pid),
                false => (known.risk(), known.key.pid),
            })
        };
        let mut asked: Vec<_> = match attention {
            Attention::Everybody => known.iter_mut().filter_map(question).collect(),
            Attention::Some(pids) => {
                pids.iter().filter_map(|pid| question(known.get_mut(*pid)?)).collect()
            }
        };
        asked.sort_unstable();
        for (_, pid) in asked {
            if let Some(known) = known.get_mut(pid) {
                known.requests(|request| memory.submit(request) != Submitted::Dropped);
            }
        }
    }

    /// Takes what the bounded reader has found, waiting for the rest no longer than this.
    pub(super) fn take_answers(&mut self, longest: Duration) {
        let Collector { memory, known, identities, threads_asked, wants, .. } = self;
        let Some(memory) = memory else { return };
        memory.collect_each(longest, |answer: MemoryAnswer| {
            let key = answer.request.key;
            let pid = threads_asked.get(&key).copied().unwrap_or(key.pid);
            if let Some(known) = known.get_mut(pid) {
                known.accept(&answer, wants);
                identities.share(&mut known.identity);
            }
        });
    }

    /// Brings a sample up to what has become known since it was read.
    pub(super) fn complete(&self, sample: &mut ProcessSample, needs: &Needs) {
        let Some(known) = self.known.get(sample.key.pid).filter(|known| known.key == sample.key)
        else {
            return;
        };
        if !Arc::ptr_eq(&sample.identity, &known.identity) {
            sample.identity = Arc::clone(&known.identity);
        }
        if needs.measures.proportional_memory {
            sample.gauges.seldom.proportional_memory = known.proportional_memory();
        }
    }
}
