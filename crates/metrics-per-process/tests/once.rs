//! One sample that reads only those who may belong says what a sample of everybody says.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::io::Read;
use std::process::{Child, Command, Stdio};

use metrics_per_process::report::{Figure, GroupReport, Report};
use metrics_per_process::selector::{GroupKey, Selector};
use metrics_per_process::{Monitor, MonitorBuilder, metric};

/// A shell with two children, one of which has another name for itself, that ends with this.
struct Family(Child);

impl Family {
    fn start(variable: &str) -> Self {
        let script = "sleep 600 & (exec -a another-name sleep 600) & echo begun; wait";
        let mut shell = Command::new("bash");
        shell.args(["-c", script]).env(variable, "x").stdout(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        let mut begun = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut begun).unwrap();
        Family(child)
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        let children = format!("/proc/{0}/task/{0}/children", self.0.id());
        let children = std::fs::read_to_string(children).unwrap();
        for pid in children.split_whitespace() {
            let status = Command::new("kill").arg(pid).status().unwrap();
            assert!(status.success());
        }
        self.0.wait().unwrap();
    }
}

fn counts(report: &Report) -> Vec<(String, u64, u64, bool)> {
    let groups = report.groups.iter();
    let count = |group: &GroupReport| {
        let has_memory = group.figures.iter().all(|figure| matches!(figure, Figure::Known { .. }));
        (group.name.escape_ascii().to_string(), group.matched, group.descendants, has_memory)
    };
    groups.map(count).collect()
}

#[test]
fn a_single_sample_finds_whom_a_sample_of_everybody_finds() {
    let variable = format!("MPP_ONCE_{}", std::process::id());
    let family = Family::start(&variable);
    let check = |text: &str, expected: (u64, u64)| {
        let builder = || {
            let selector = Selector::parse(text).unwrap();
            let columns = metric::choose("memory.rss,io_counters.write_bytes").unwrap();
            Monitor::builder().group("family", selector).columns(columns)
        };
        let of = |builder: MonitorBuilder| counts(&builder.build().unwrap().sample().unwrap());
        let whole = of(builder());
        assert_eq!(of(builder().once()), whole, "{text}");
        let by_name = |builder: MonitorBuilder| of(builder.by(GroupKey::Name));
        assert_eq!(by_name(builder().once()), by_name(builder()), "{text}");
        assert_eq!(whole, [("family".to_owned(), expected.0, expected.1, true)], "{text}");
    };
    let shell = family.0.id();
    // Wherever another process could match, the variable keeps it out.
    check(&format!("pid:{shell}"), (1, 2));
    check(&format!("pid:{shell} children:no"), (1, 0));
    check(&format!("env:{variable}"), (3, 0));
    check(&format!("env:{variable} name:another-name"), (1, 0));
    check(&format!("env:{variable} name:bash"), (1, 2));
    check(&format!("env:{variable} name:bash !name:another-name"), (1, 1));
    check(&format!("env:{variable} cmdline:^another"), (1, 0));
    check(&format!("children-of:{shell}"), (2, 0));
}
