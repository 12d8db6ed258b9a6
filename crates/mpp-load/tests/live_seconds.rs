//! Every sample against the load's own counters in the moment of the sample: no byte is shown
//! before it was written, and none later than the sample after.
//!
//! A load counts each write as it is done. A monitor that samples in this very process reads
//! those counters right before and right after a sample, so what it shows must lie between the
//! two. What is allowed besides is what a process may have written and not counted yet: one
//! write and the filesystem's blocks of one file, for each that is alive.

mod support;

use metrics_per_process::report::Tier;
use support::moment::{Moment, SLICE_BYTES, Watcher};
use support::{Load, number};

/// What is shown of a load's children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reaped {
    /// Somebody waits for each, so that their counters go to somebody.
    ByParent,
    /// Nobody does: without records nothing is left of them.
    ByKernel,
}

/// What each watcher showed lies, in every sample, between what was written when the sample
/// began and when it ended; in the end it is all.
fn check(reaped: Reaped, arguments: &[&str]) {
    let mut load = Load::start(arguments);
    let group = format!("pid:{}", load.pid());
    let watchers = Watcher::start_all(&load, &[&group]);
    load.begin();
    let total = load.total();
    let parent = number(&total, "parent_write_bytes");
    let all = parent + number(&total, "children_write_bytes");
    for watcher in watchers {
        let what = format!("{arguments:?} at {watcher}");
        let moments = watcher.stop();
        // A record that is lost lowers the tier, as does a privilege that is missing.
        let worst = moments.iter().map(|moment| moment.tier).max();
        let is_partial = reaped == Reaped::ByKernel && worst == Some(Tier::C);
        check_none_early(&what, &moments);
        let shown = moments[moments.len() - 1].written[0] - moments[0].written[0];
        if is_partial {
            assert!((parent..=all).contains(&shown), "{what}: {shown} of {all}");
        } else {
            check_none_late(&what, &moments);
            assert_eq!(shown, all, "{what}");
        }
    }
}

/// What all processes together may have in hand that were alive at some time in a sample.
fn in_hand(moment: &Moment) -> u64 {
    let children = moment.after.born.saturating_sub(moment.before.ended);
    (children + 1) * SLICE_BYTES
}

/// Nothing is shown before it was written.
fn check_none_early(what: &str, moments: &[Moment]) {
    for moment in moments {
        let (shown, most) = (moment.written[0] - moments[0].written[0], moment.after.written);
        assert!(shown <= most + in_hand(moment), "{what}: {shown} shown, {:?}", moment.after);
    }
}

/// Everything is shown that was written before the sample began.
fn check_none_late(what: &str, moments: &[Moment]) {
    for moment in moments {
        let (shown, least) = (moment.written[0] - moments[0].written[0], moment.before.written);
        assert!(shown + in_hand(moment) >= least, "{what}: {shown} shown, {:?}", moment.before);
    }
}

#[test]
fn children_of_a_moment_show_in_the_second_in_which_they_wrote() {
    check(Reaped::ByParent, &["short-lived", "--seconds", "4"]);
    check(Reaped::ByParent, &["nested-deaths", "--seconds", "3"]);
}

#[test]
fn children_that_live_across_samples_show_in_the_second_in_which_they_wrote() {
    check(Reaped::ByParent, &["parent-and-children", "--life-ms", "150", "--seconds", "4"]);
}

#[test]
fn zombies_held_for_seconds_show_in_the_second_in_which_they_wrote() {
    check(Reaped::ByParent, &["massindexer", "--seconds", "5"]);
}

#[test]
fn threads_that_come_and_go_show_in_the_second_in_which_they_wrote() {
    check(Reaped::ByParent, &["threads", "--seconds", "3"]);
}

#[test]
fn children_that_nobody_waits_for_show_in_the_second_in_which_they_wrote() {
    for life_ms in ["2", "150"] {
        let arguments = ["autoreap", "--children", "3", "--life-ms", life_ms];
        check(Reaped::ByKernel, &[&arguments[..], &["--seconds", "3"]].concat());
    }
}
