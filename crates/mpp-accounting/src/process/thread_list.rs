//! The threads of one process.
//!
//! Nearly every process has one thread, which did all that its process did: nothing of that is
//! kept a second time.

use std::ops::Deref;
use std::sync::Arc;

use super::{ProcessKey, ThreadIo};
use crate::units::IoTotals;

/// Threads of one process, ascending by key, as they are kept beside its key and its T: with these
/// they are a [`ThreadView`].
///
/// A sweep over thousands of processes allocates nothing for those with one thread. Other lists
/// are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadList(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// The main thread, and T is all its own.
    MainAlone { has_exited: bool },
    /// Behind a thin pointer, since few have one, and room for a wide one is taken of all.
    Listed(Arc<Box<[ThreadIo]>>),
}

/// Threads of one process, ascending by key.
#[derive(Clone, Copy, Debug)]
pub struct ThreadView<'a>(View<'a>);

#[derive(Clone, Copy, Debug)]
enum View<'a> {
    One(ThreadIo),
    Listed(&'a [ThreadIo]),
}

impl ThreadList {
    /// The threads of this process, ascending by key, with its T.
    #[must_use]
    pub fn new(process: ProcessKey, total: IoTotals, threads: &[ThreadIo]) -> Self {
        match threads {
            [main] if main.key == process.main_thread() && main.total == total => {
                ThreadList(Form::MainAlone { has_exited: main.has_exited })
            }
            others => ThreadList::listed(others),
        }
    }

    /// These threads, ascending by key, whatever T becomes.
    #[must_use]
    pub fn listed(threads: &[ThreadIo]) -> Self {
        debug_assert!(threads.is_sorted_by_key(|thread| thread.key), "threads out of order");
        ThreadList(Form::Listed(Arc::new(Box::from(threads))))
    }

    /// The threads, of the process whose list and T these are.
    #[must_use]
    pub fn of(&self, process: ProcessKey, total: IoTotals) -> ThreadView<'_> {
        ThreadView(match &self.0 {
            Form::MainAlone { has_exited } => {
                let (key, has_exited) = (process.main_thread(), *has_exited);
                View::One(ThreadIo { key, total, has_exited })
            }
            Form::Listed(threads) => View::Listed(threads),
        })
    }

    /// The threads, where they do not depend on T; `None` of a main thread that did all that its
    /// process did.
    #[must_use]
    pub fn written_out(&self) -> Option<&[ThreadIo]> {
        match &self.0 {
            Form::MainAlone { .. } => None,
            Form::Listed(threads) => Some(threads),
        }
    }

    /// Whether the main thread has exited, if that did all that its process did; `None` of other
    /// lists.
    #[must_use]
    pub fn lone_main_has_exited(&self) -> Option<bool> {
        match self.0 {
            Form::MainAlone { has_exited } => Some(has_exited),
            Form::Listed(_) => None,
        }
    }
}

impl Deref for ThreadView<'_> {
    type Target = [ThreadIo];
    fn deref(&self) -> &[ThreadIo] {
        match &self.0 {
            View::One(thread) => std::slice::from_ref(thread),
            View::Listed(threads) => threads,
        }
    }
}

impl Default for ThreadView<'_> {
    /// No threads at all.
    fn default() -> Self {
        ThreadView(View::Listed(&[]))
    }
}

impl PartialEq for ThreadView<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for ThreadView<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{Absence, Reading, ThreadKey};
    use crate::units::Totals;

    const PROCESS: ProcessKey = ProcessKey { pid: 4, start_time_ticks: 7 };

    fn thread(tid: u32, read: u64) -> ThreadIo {
        let key = ThreadKey { tid, start_time_ticks: 7 };
        ThreadIo { key, total: Totals([read; 7]), has_exited: tid == 5 }
    }

    #[test]
    fn a_list_holds_the_threads_that_it_was_made_of() {
        fn check(total: u64, threads: &[ThreadIo]) {
            let total = Totals([total; 7]);
            let list = ThreadList::new(PROCESS, total, threads);
            assert_eq!(*list.of(PROCESS, total), *threads, "{threads:?}");
        }
        check(1, &[]);
        check(1, &[thread(4, 1)]);
        check(9, &[thread(4, 1)]);
        check(1, &[thread(5, 1)]);
        check(3, &[thread(4, 1), thread(5, 1), thread(9, 0)]);
    }

    #[test]
    fn only_a_main_thread_that_did_all_is_not_written_out() {
        fn check(total: u64, threads: &[ThreadIo], expected: Option<bool>) {
            let list = ThreadList::new(PROCESS, Totals([total; 7]), threads);
            assert_eq!(list.lone_main_has_exited(), expected, "{total} {threads:?}");
        }
        let main = thread(4, 1);
        check(1, &[main], Some(false));
        check(1, &[ThreadIo { has_exited: true, ..main }], Some(true));
        check(2, &[main], None);
        check(1, &[thread(6, 1)], None);
        check(1, &[], None);
        assert_eq!(ThreadList::listed(&[main]).lone_main_has_exited(), None);
    }

    /// Whoever adds a field decides here that ten thousand processes are worth it.
    #[test]
    fn a_list_takes_no_more_room_than_why_there_is_none() {
        assert_eq!(size_of::<Reading<ThreadList>>(), size_of::<Absence>() + 8);
    }
}
