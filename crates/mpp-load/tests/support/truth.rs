//! What a load has done by now, read from the memory in which its processes count.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use super::Load;

/// The counters of a running load: the cells of `crates/mpp-load/src/truth.rs`, in the order of
/// its `Count`.
pub(crate) struct Truth(File);

/// How the counters stand. Each deed is counted right after it was done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deeds {
    /// Bytes written to disk by all processes of the load.
    pub(crate) written: u64,
    /// Of these: those written after an exec.
    pub(crate) after_exec: u64,
    /// Children begun.
    pub(crate) born: u64,
    /// Children that came to their end.
    pub(crate) ended: u64,
}

impl Truth {
    /// The counters of a load: the only memory of its first process that has this name.
    pub(crate) fn of(load: &Load) -> Self {
        let folder = format!("/proc/{}/fd", load.pid());
        let descriptors = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let is_truth = |path: &std::path::PathBuf| {
            fs::read_link(path).is_ok_and(|link| link.as_os_str() == "/memfd:truth (deleted)")
        };
        Truth(File::open(descriptors.into_iter().find(is_truth).expect("its counters")).unwrap())
    }

    /// How they stand now.
    pub(crate) fn now(&self) -> Deeds {
        let mut cells = [0; 6 * 8];
        self.0.read_exact_at(&mut cells, 0).unwrap();
        let cell = |position: usize| {
            let bytes = &cells[position * 8..][..8];
            u64::from_ne_bytes(bytes.try_into().unwrap())
        };
        Deeds { written: cell(0) + cell(1), after_exec: cell(2), born: cell(4), ended: cell(5) }
    }
}
