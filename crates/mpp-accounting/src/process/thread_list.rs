//! The threads of one process.

use std::ops::Deref;
use std::sync::Arc;

use super::ThreadIo;

/// Threads of one process, ascending by key.
///
/// Nearly every process has one, which stands here itself, so that a sweep over thousands of
/// processes allocates nothing for them. Lists of several are shared.
#[derive(Clone, Debug)]
pub struct ThreadList(Form);

#[derive(Clone, Debug)]
enum Form {
    One(ThreadIo),
    /// None, or more than one.
    Several(Arc<[ThreadIo]>),
}

impl From<&[ThreadIo]> for ThreadList {
    fn from(threads: &[ThreadIo]) -> Self {
        debug_assert!(threads.is_sorted_by_key(|thread| thread.key), "threads out of order");
        match threads {
            [one] => ThreadList(Form::One(*one)),
            several => ThreadList(Form::Several(Arc::from(several))),
        }
    }
}

impl FromIterator<ThreadIo> for ThreadList {
    fn from_iter<I: IntoIterator<Item = ThreadIo>>(threads: I) -> Self {
        ThreadList::from(&threads.into_iter().collect::<Vec<_>>()[..])
    }
}

impl From<ThreadIo> for ThreadList {
    fn from(thread: ThreadIo) -> Self {
        ThreadList(Form::One(thread))
    }
}

impl Default for ThreadList {
    /// No threads at all.
    fn default() -> Self {
        ThreadList(Form::Several(Arc::default()))
    }
}

impl Deref for ThreadList {
    type Target = [ThreadIo];
    fn deref(&self) -> &[ThreadIo] {
        match &self.0 {
            Form::One(thread) => std::slice::from_ref(thread),
            Form::Several(threads) => threads,
        }
    }
}

impl PartialEq for ThreadList {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for ThreadList {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::ThreadKey;
    use crate::units::Totals;

    #[test]
    fn a_list_holds_the_threads_that_it_was_made_of() {
        fn check(tids: &[u32]) {
            let thread = |tid: &u32| ThreadIo {
                key: ThreadKey { tid: *tid, start_time_ticks: 7 },
                total: Totals([u64::from(*tid); 7]),
                has_exited: false,
            };
            let threads: Vec<ThreadIo> = tids.iter().map(thread).collect();
            assert_eq!(*ThreadList::from(&threads[..]), threads[..], "{tids:?}");
        }
        check(&[]);
        check(&[4]);
        check(&[4, 5, 9]);
        assert_eq!(ThreadList::default(), ThreadList::from(&[][..]));
    }
}
