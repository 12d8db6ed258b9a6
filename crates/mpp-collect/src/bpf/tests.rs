//! The programs in a real kernel, watching processes that know their own truth.

use super::*;

#[test]
fn the_programs_find_this_process() {
    let mut bpf = match Bpf::open(&BpfOptions::default()) {
        Ok(bpf) => bpf,
        Err(refusal) => panic!("{refusal}: {:?}", refusal.cure()),
    };
    assert_eq!(bpf.missing_hooks(), []);
    let mut found = 0;
    bpf.read_tasks(&mut |task| found += u32::from(task.tgid() == std::process::id())).unwrap();
    assert!(found > 0);
    assert_eq!(bpf.lost().unwrap(), Lost::default());
}
