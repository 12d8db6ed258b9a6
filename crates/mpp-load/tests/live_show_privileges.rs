//! `mpp show` with exactly these privileges on a load that knows its truth: what it marks as exact
//! is the truth, what it bounds lies within the bound, and what it cannot know is no number.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(clippy::print_stderr, reason = "a test that lacks a privilege says so")]

mod support;

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use serde_json::Value;
use support::show::Show;
use support::stranger::{NOBODY, Place, is_root, nobody_with, unshared};
use support::{Load, io_counters, number};

const WRITTEN: &str = "io_counters.write_bytes";

/// A family of root's, or of `nobody`'s, that is ready.
fn start_load(place: &Place, owner: Owner) -> Load {
    let mut command = Command::new(place.program("mpp-load"));
    command.args(["parent-and-children", "--seconds", "2"]);
    if owner == Owner::Nobody && is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    Load::start_command(command, place.folder())
}

/// What `mpp show` prints of a whole family once all is done and reaped, and what is true of it.
fn show(place: &Place, starter: &[String], owner: Owner) -> Shown {
    let mut load = start_load(place, owner);
    let before = io_counters(&format!("/proc/{}/io", load.pid()))["write_bytes"];
    let (first, rest) = starter.split_first().unwrap();
    let group = load.pid().to_string();
    let columns = format!("{WRITTEN},processes.ended,memory.rss");
    let mut command = Command::new(first);
    command.args(rest).arg(place.program("mpp")).args(["show", "-p", &group, "-m", &columns]);
    command.args(["-i", "250ms", "-c", "1000000", "--format", "jsonl"]);
    let mut show = Show::start_command(&mut command);
    load.begin();
    let truth = load.total();
    show.settle();
    let mut samples = show.end();
    let was_unreadable = samples.iter().any(|sample| number(sample, "unreadable") > 0);
    let last = samples.pop().unwrap();
    Shown { last, truth, before, was_unreadable }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Ourselves,
    Nobody,
}

struct Shown {
    last: Value,
    truth: Value,
    /// What the first process had written before the load began.
    before: u64,
    /// Whether a member of it was out of sight in some sample: a zombie, which only root may read
    /// unless it was seen before it ended.
    was_unreadable: bool,
}

impl Shown {
    fn all(&self) -> u64 {
        self.before + number(&self.truth, "parent_write_bytes") + self.of_children()
    }

    fn of_children(&self) -> u64 {
        number(&self.truth, "children_write_bytes")
    }

    fn check(&self, tier: &str, mark: Option<&str>) {
        assert_eq!(self.last["tier"], tier, "{}", self.last);
        let found = self.last["accuracy"].get(WRITTEN).map(|mark| mark.as_str().unwrap());
        // What was once out of sight may be missing from an estimate for ever.
        let mark = match mark {
            Some("estimate") if self.was_unreadable => Some("lower_bound"),
            mark => mark,
        };
        assert_eq!(found, mark, "{}", self.last);
        assert!(number(&self.last, "memory.rss") > 0, "{}", self.last);
    }

    /// With a record of each, all are told of that ended.
    fn check_ended(&self) {
        let born = number(&self.truth, "born");
        assert_eq!(number(&self.last, "processes.ended"), born, "{}", self.last);
        assert_eq!(self.last["accuracy"].get("processes.ended"), None, "{}", self.last);
    }
}

/// Whether capabilities can be handed out here. Where not, what is left is to be shown.
fn may_hand_out() -> bool {
    if !is_root() {
        eprintln!("handing out capabilities needs root");
        let place = Place::for_everybody();
        let shown = show(&place, &["env".to_owned()], Owner::Ourselves);
        shown.check("C", Some("estimate"));
        assert_eq!(number(&shown.last, WRITTEN), shown.all(), "{}", shown.truth);
    }
    is_root()
}

#[test]
fn two_capabilities_are_enough_to_be_exact_about_others() {
    if !may_hand_out() {
        return;
    }
    let shown = show(&Place::for_everybody(), &nobody_with(&["bpf", "perfmon"]), Owner::Ourselves);
    shown.check("A", None);
    shown.check_ended();
    assert_eq!(number(&shown.last, WRITTEN), shown.all(), "{}", shown.truth);
    assert_eq!(shown.last["why"], serde_json::json!({}), "{}", shown.last);
}

#[test]
fn whoever_hears_of_ends_alone_knows_the_living_by_their_threads_and_says_what_may_be_missing() {
    if !may_hand_out() {
        return;
    }
    let place = Place::for_everybody();
    let shown = show(&place, &nobody_with(&["net_admin"]), Owner::Ourselves);
    shown.check("B", Some("lower_bound"));
    shown.check_ended();
    let (found, bound) = (number(&shown.last, WRITTEN), number(&shown.last, "io_bound_bytes"));
    let range = shown.all() - bound..=shown.all();
    assert!(range.contains(&found), "{found} of {range:?}: {}", shown.truth);
    assert!(!shown.was_unreadable, "{}", shown.last);

    let also_reads = nobody_with(&["net_admin", "sys_ptrace", "dac_read_search"]);
    let shown = show(&place, &also_reads, Owner::Ourselves);
    shown.check("B", Some("bound"));
    shown.check_ended();
    let (found, bound) = (number(&shown.last, WRITTEN), number(&shown.last, "io_bound_bytes"));
    assert!(shown.all() - found <= bound, "{found}: {} {}", shown.last, shown.truth);
}

#[test]
fn whoever_may_only_look_gives_an_estimate_that_says_so() {
    if !may_hand_out() {
        return;
    }
    let place = Place::for_everybody();
    let looks = nobody_with(&["sys_ptrace", "dac_read_search"]);
    let shown = show(&place, &looks, Owner::Ourselves);
    shown.check("C", Some("estimate"));
    assert_eq!(number(&shown.last, WRITTEN), shown.all(), "{}", shown.truth);
    // One's own processes need no privilege.
    let shown = show(&place, &nobody_with(&[]), Owner::Nobody);
    shown.check("C", Some("estimate"));
    assert_eq!(number(&shown.last, WRITTEN), shown.all(), "{}", shown.truth);
}

#[test]
fn what_others_wrote_is_no_number_for_whoever_may_not_look() {
    if !may_hand_out() {
        return;
    }
    let place = Place::for_everybody();
    // The right to trace does not open files of another user.
    for held in [&[][..], &["sys_ptrace"]] {
        let shown = show(&place, &nobody_with(held), Owner::Ourselves);
        shown.check("C", None);
        assert_eq!(shown.last[WRITTEN], Value::Null, "{}", shown.last);
        assert_eq!(shown.last["why"][WRITTEN], "permission denied", "{}", shown.last);
    }
}

#[test]
fn in_another_network_no_records_come_and_that_is_noticed() {
    if !may_hand_out() {
        return;
    }
    let place = Place::for_everybody();
    let unshared = unshared(&["--net"]);
    let held = ["net_admin", "sys_ptrace", "dac_read_search"];
    let starter = [unshared.clone(), nobody_with(&held)].concat();
    let shown = show(&place, &starter, Owner::Ourselves);
    shown.check("C", Some("estimate"));
    assert_eq!(number(&shown.last, WRITTEN), shown.all(), "{}", shown.truth);
    let starter = [unshared, nobody_with(&["bpf", "perfmon"])].concat();
    let shown = show(&place, &starter, Owner::Ourselves);
    shown.check("A", None);
    assert_eq!(number(&shown.last, WRITTEN), shown.all(), "{}", shown.truth);
}
