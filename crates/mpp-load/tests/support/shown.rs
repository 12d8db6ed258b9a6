//! What `/proc` shows of a process: names, threads, and what its descriptors are.

/// One process.
pub(crate) struct Shown {
    pub(crate) comm: String,
    pub(crate) threads: usize,
    /// What its descriptors are, by their links.
    pub(crate) descriptors: Vec<String>,
}

impl Shown {
    pub(crate) fn of(pid: u32) -> Shown {
        let listed = |folder: &str| std::fs::read_dir(format!("/proc/{pid}/{folder}")).unwrap();
        let links = listed("fd").map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap());
        Shown {
            comm: std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap(),
            threads: listed("task").count(),
            descriptors: links.map(|link| link.to_str().unwrap().to_owned()).collect(),
        }
    }

    /// The inodes of its sockets, one for each descriptor.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = &str> {
        self.descriptors.iter().filter_map(|link| link.strip_prefix("socket:[")?.strip_suffix(']'))
    }
}
