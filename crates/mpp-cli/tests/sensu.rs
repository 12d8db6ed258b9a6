//! `mpp sensu` on processes of this machine, point by point of what the script does.

mod harness;

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::time::{SystemTime, UNIX_EPOCH};

use harness::{Ended, Sleeper, mpp, ran, run, unique_name};

/// The lines as metric and value; checks their form and order on the way.
fn lines(ended: &Ended, scheme: &str) -> BTreeMap<String, String> {
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let mut metrics = Vec::new();
    for line in ended.stdout.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [path, value, epoch] = words[..] else { panic!("expected three words: {line}") };
        let metric = path.strip_prefix(scheme).and_then(|rest| rest.strip_prefix('.'));
        assert!(value.parse::<f64>().expect("a number") >= 0.0, "{line}");
        let epoch_seconds: u64 = epoch.parse().expect("whole seconds");
        assert!(now.abs_diff(epoch_seconds) < 60, "{line}");
        metrics.push((metric.expect("the scheme").to_owned(), value.to_owned()));
    }
    assert!(metrics.is_sorted(), "{metrics:?}");
    metrics.into_iter().collect()
}

const SCHEME: &str = "per_process_stats";

#[test]
fn a_name_gives_sums_without_zeros() {
    let name = unique_name('a');
    let _both = [Sleeper::named(&name), Sleeper::named(&name)];
    let metrics = lines(&ran(&["sensu", "-n", &name]), SCHEME);
    assert_eq!(metrics["total_processes"], "2");
    assert_eq!(metrics["threads"], "2");
    assert!(metrics["memory.percent"].contains('.'), "{metrics:?}");
    assert!(!metrics["memory.rss"].contains('.'), "{metrics:?}");
    assert!(!metrics.contains_key("memory.lib"), "zeros are dropped: {metrics:?}");
    assert!(!metrics.contains_key("cpu.percent"), "zeros are dropped: {metrics:?}");
}

#[test]
fn nothing_found_is_a_number_and_no_failure() {
    let nobody = unique_name('b');
    for option in ["-n", "-u"] {
        let metrics = lines(&ran(&["sensu", option, &nobody]), SCHEME);
        assert_eq!(metrics, BTreeMap::from([("total_processes".into(), "0".into())]));
    }
    let ended = ran(&["sensu", "-n", ""]);
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(0), ""));
}

#[test]
fn a_name_that_the_kernel_cuts_matches_nothing_and_says_so() {
    let name = format!("{}-longer-than-fifteen", unique_name('c'));
    let _sleeper = Sleeper::named(&name);
    let ended = ran(&["sensu", "-n", &name]);
    assert_eq!(lines(&ended, SCHEME)["total_processes"], "0");
    assert!(ended.stderr.contains("longer than 15 bytes"), "{}", ended.stderr);
    assert_eq!(lines(&ran(&["sensu", "-n", &name[..15]]), SCHEME)["total_processes"], "1");
}

#[test]
fn a_pid_file_gives_one_process_with_its_zeros() {
    let sleeper = Sleeper::named(unique_name('d'));
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("{}\n", sleeper.pid())).expect("written");
    let path = file.path().to_str().expect("a path");
    let metrics = lines(&ran(&["sensu", "-p", path]), SCHEME);
    assert_eq!(metrics["threads"], "1");
    assert_eq!(metrics["cpu.percent"], "0.0");
    assert_eq!(metrics["memory.lib"], "0");
    assert!(!metrics.contains_key("total_processes"), "{metrics:?}");
    assert!(metrics.keys().all(|metric| !metric.starts_with("conns.tcp")), "{metrics:?}");
}

#[test]
fn a_tcp_socket_brings_its_twelve_states_and_the_total() {
    let _listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), std::process::id().to_string()).expect("written");
    let path = file.path().to_str().expect("a path");
    let tcp = |list: &str| {
        let metrics = lines(&ran(&["sensu", "-p", path, "-m", list]), SCHEME);
        metrics.into_iter().filter(|(metric, _)| metric.starts_with("conns.tcp.")).collect()
    };
    let all: BTreeMap<String, String> = tcp(".*");
    assert_eq!(all.len(), 13, "{all:?}");
    assert_eq!(all["conns.tcp.listen"], "1");
    assert_eq!(all["conns.tcp.established"], "0");
    let listening: BTreeMap<String, String> = tcp("conns.tcp.listen");
    assert_eq!(listening.into_keys().collect::<Vec<_>>(), ["conns.tcp.listen", "conns.tcp.total"]);
}

#[test]
fn a_pid_file_that_is_none_is_named_on_stdout() {
    fn check(content: Option<&str>, expected: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pid");
        if let Some(content) = content {
            std::fs::write(&path, content).expect("written");
        }
        let path = path.to_str().expect("a path");
        let ended = ran(&["sensu", "-p", path]);
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(1), ""));
        assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stdout);
        assert!(ended.stdout.contains(expected) && ended.stdout.contains(path), "{}", ended.stdout);
    }
    check(None, "No such file or directory");
    check(Some(""), "found nothing");
    check(Some("nonsense"), "expected a digit");
}

#[test]
fn a_process_that_is_gone_prints_nothing_and_is_no_failure() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let gone = Sleeper::named(unique_name('e')).pid();
    std::fs::write(file.path(), gone.to_string()).expect("written");
    let ended = ran(&["sensu", "-p", file.path().to_str().expect("a path")]);
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(0), ""));
}

#[test]
fn not_one_of_the_three_is_refused_on_stdout() {
    fn check(arguments: &[&str], expected: &str) {
        let ended = ran(arguments);
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(1), ""), "{arguments:?}");
        assert_eq!(ended.stdout, expected, "{arguments:?}");
    }
    let none = "one of a process name (-n), a pid file (-p) or a user (-u) is needed\n";
    let two = "only one of a process name (-n), a pid file (-p) or a user (-u) is possible\n";
    check(&["sensu"], none);
    check(&["sensu", "-m", "cpu"], none);
    check(&["sensu", "-n", "a", "-u", "b"], two);
    check(&["sensu", "-n", "a", "-p", "b"], two);
    check(&["sensu", "-n", "a", "-p", "b", "-u", "c"], two);
}

#[test]
fn patterns_choose_metrics_and_the_scheme_begins_lines() {
    let name = unique_name('f');
    let _sleeper = Sleeper::named(&name);
    let ended = ran(&["sensu", "-n", &name, "-m", "threads,memory.rs", "-s", "web.17"]);
    let metrics: Vec<String> = lines(&ended, "web.17").into_keys().collect();
    assert_eq!(metrics, ["memory.rss", "threads", "total_processes"]);
    let ended = ran(&["sensu", "-n", &name, "-m", "(?!memory|cpu|fds)"]);
    let metrics = lines(&ended, SCHEME);
    assert!(metrics.keys().all(|metric| !metric.starts_with("memory")), "{metrics:?}");
    assert!(metrics.contains_key("threads"), "{metrics:?}");
}

#[test]
fn a_bad_regex_is_named_and_exits_with_1() {
    let ended = ran(&["sensu", "-n", "a", "-m", "cpu,("]);
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.starts_with("mpp: `--metrics-regexes`: bad regex `(`"), "{ended:?}");
    assert!(ended.stderr.contains("\n\nhint: "), "{ended:?}");
}

#[test]
fn long_options_may_be_cut_and_the_last_one_counts() {
    let name = unique_name('h');
    let _sleeper = Sleeper::named(&name);
    for arguments in [
        &["sensu", "--process-name", &name][..],
        &["sensu", "--pro", &name],
        &["sensu", "--pro", "other", "--process-n", &name],
        &["sensu", "-n", "other", "-n", &name],
        &["sensu", &format!("--process-name={name}"), "--g", SCHEME, "--m", ".*"],
        &["sensu", &format!("-n{name}"), "a further word"],
    ] {
        assert_eq!(lines(&ran(arguments), SCHEME)["total_processes"], "1", "{arguments:?}");
    }
    let ended = ran(&["sensu", "--p", &name]);
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(2), ""), "two options begin so");
}

#[test]
fn called_by_the_name_of_the_script_it_is_the_script() {
    let name = unique_name('k');
    let _sleeper = Sleeper::named(&name);
    let mut command = mpp(["-n", &name]);
    command.arg0("/etc/sensu/plugins/metrics-per-process.py");
    assert_eq!(lines(&run(command), SCHEME)["total_processes"], "1");
}
