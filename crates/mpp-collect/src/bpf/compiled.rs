//! What is in the compiled BPF objects, in the order of their loader.
//!
//! Written by `cargo xtask bpf` together with the objects, and compared by
//! `cargo xtask bpf --check`.

use super::skeleton::Skeleton;

/// `bpf/tasks.bpf.c`.
pub(super) const TASKS: Skeleton = Skeleton {
    bytes: include_bytes!("../../bpf/tasks.skel"),
    data_length: 23920,
    maps: &["cpu_distances", "scratches", "yardstick", "rodata"],
    programs: &["write_task"],
};

/// `bpf/hooks.bpf.c`.
pub(super) const HOOKS: Skeleton = Skeleton {
    bytes: include_bytes!("../../bpf/hooks.skel"),
    data_length: 32184,
    maps: &[
        "origins",
        "exec_scratches",
        "execs",
        "exits",
        "spills_even",
        "spills_odd",
        "settings",
        "counts",
        "rodata",
    ],
    programs: &["remember_fork", "write_exec", "write_exit", "write_free"],
};
