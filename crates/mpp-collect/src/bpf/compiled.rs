//! What is in the compiled BPF objects, in the order of their loader.
//!
//! Written by `cargo xtask bpf` together with the objects, and compared by
//! `cargo xtask bpf --check`.

use super::skeleton::Skeleton;

/// `bpf/programs.bpf.c`.
pub(super) const PROGRAMS: Skeleton = Skeleton {
    bytes: include_bytes!("../../bpf/programs.skel"),
    data_length: 135064,
    maps: &[
        "scratches",
        "asked",
        "told",
        "exec_scratches",
        "execs",
        "origins",
        "exits",
        "walkers",
        "slots",
        "settings",
        "lasts",
        "rounds",
        "cpu_distances",
        "yardstick",
        "met",
        "spills_even",
        "spills_odd",
        "counts",
        "rodata",
    ],
    programs: &[
        "write_task",
        "survey_processes",
        "tell_asked",
        "tell_sockets",
        "remember_fork",
        "write_exec",
        "write_exit",
        "write_free",
        "write_socket",
    ],
};

/// `bpf/hooks.bpf.c`.
pub(super) const HOOKS: Skeleton = Skeleton {
    bytes: include_bytes!("../../bpf/hooks.skel"),
    data_length: 42800,
    maps: &[
        "exec_scratches",
        "execs",
        "origins",
        "exits",
        "settings",
        "spills_even",
        "spills_odd",
        "counts",
        "rodata",
    ],
    programs: &["remember_fork", "write_exec", "write_exit", "write_free"],
};
