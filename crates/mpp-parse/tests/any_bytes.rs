//! Properties that hold for any bytes, and for pages made from any numbers.
//!
//! The relations are those of the fuzz targets. Here they meet random bytes and
//! captured pages with a few places changed, in every build and without a fuzzer.

use std::path::Path;

use mpp_parse::proc_pid_io::Io;
use mpp_parse::proc_pid_stat::Stat;
use mpp_parse::proc_pid_statm::Statm;
use mpp_parse::{proc_pid_io, proc_pid_stat, proc_pid_statm};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

#[path = "../../../fuzz/relations.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate uses them as a library")]
mod relations;

/// Bytes that mean something to one parser or another.
const TELLING: &[u8] = b"\0\n\t ():=,-+0189\\[]Z\x1b\x7f\xff";

/// Every captured input with the relation of its page.
fn captured() -> Vec<(relations::Relation, Vec<u8>)> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parse");
    let mut captured = Vec::new();
    for (target, relation) in relations::TARGETS {
        let Ok(files) = std::fs::read_dir(fixtures.join(target)) else { continue };
        for file in files {
            let path = file.expect("the folder is readable").path();
            captured.push((relation, std::fs::read(path).expect("the file is readable")));
        }
    }
    assert!(captured.len() > 40, "only {} captured inputs were found", captured.len());
    captured
}

fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![any::<u8>(), select(TELLING)]
}

/// A place, how many bytes are taken out there, and what is put in.
fn change() -> impl Strategy<Value = (Index, usize, Vec<u8>)> {
    (any::<Index>(), 0..4_usize, vec(byte(), 0..4))
}

proptest! {
    #[test]
    fn any_bytes_hold_every_relation(bytes in vec(byte(), 0..200)) {
        for (_, relation) in relations::TARGETS {
            relation(&bytes);
        }
    }

    #[test]
    fn captured_pages_with_changes_hold_their_relation(
        (relation, mut bytes) in select(captured()),
        changes in vec(change(), 1..4),
    ) {
        for (at, taken, put) in changes {
            let start = at.index(bytes.len() + 1);
            let end = (start + taken).min(bytes.len());
            bytes.splice(start..end, put);
        }
        relation(&bytes);
    }

    #[test]
    fn a_printed_stat_is_read_back(
        (pid, ppid, flags) in any::<(u32, u32, u32)>(),
        (pgrp, session) in any::<(i32, i32)>(),
        comm in vec(byte(), 0..16),
        state in select(b"RSDZTtXI".as_slice()),
        numbers in any::<[u64; 15]>(),
    ) {
        let [minflt, cminflt, majflt, cmajflt, utime, stime, cutime, cstime, rest @ ..] = numbers;
        let [threads, start_time, vsize, rss, start_code, start_stack, delay] = rest;
        let stat = Stat {
            pid,
            comm: &comm,
            state,
            ppid,
            pgrp,
            session,
            flags,
            minflt,
            cminflt,
            majflt,
            cmajflt,
            utime_ticks: utime,
            stime_ticks: stime,
            cutime_ticks: cutime,
            cstime_ticks: cstime,
            num_threads: threads,
            start_time_ticks: start_time,
            vsize_bytes: vsize,
            rss_pages: rss,
            start_code,
            start_stack,
            delayacct_blkio_ticks: delay,
        };
        let page = relations::print_stat(&stat);
        prop_assert_eq!(proc_pid_stat::parse(&page), Ok(stat));
        for length in 0..page.len() {
            prop_assert!(proc_pid_stat::parse(&page[..length]).is_err());
        }
    }

    #[test]
    fn a_printed_io_is_read_back(numbers in any::<[u64; 7]>()) {
        let [rchar, wchar, syscr, syscw, read_bytes, write_bytes, cancelled_write_bytes] = numbers;
        let io = Io { rchar, wchar, syscr, syscw, read_bytes, write_bytes, cancelled_write_bytes };
        prop_assert_eq!(proc_pid_io::parse(&relations::print_io(&io)), Ok(io));
    }

    #[test]
    fn a_printed_statm_is_read_back(numbers in any::<[u64; 7]>()) {
        let [size_pages, resident_pages, shared_pages, text_pages, rest @ ..] = numbers;
        let [lib_pages, data_pages, dt_pages] = rest;
        let statm = Statm {
            size_pages,
            resident_pages,
            shared_pages,
            text_pages,
            lib_pages,
            data_pages,
            dt_pages,
        };
        prop_assert_eq!(proc_pid_statm::parse(&relations::print_statm(&statm)), Ok(statm));
    }
}
