//! What the command says, word for word: on a frozen tree, and to bad input.
//!
//! `INSTA_UPDATE=always cargo test -p mpp-cli` writes the snapshots anew.

mod harness;

use harness::{Ended, frozen_trees, mpp, ran, run};

/// The services of a small server, at one moment.
const TREE: &str = "6.18-services";

/// The command and everything it said, as one text.
fn transcript(arguments: &[&str], ended: &Ended) -> String {
    let Ended { status, stdout, stderr } = ended;
    let typed = arguments.join(" ");
    let status = status.map_or_else(|| "a signal".to_owned(), |status| status.to_string());
    format!("$ mpp {typed}\n[{status}]\n{stdout}--- stderr\n{stderr}")
}

/// Compares the transcript of a command with its snapshot. A tree is named relative to the
/// folder of trees, so that no path of this machine is in it.
fn check(name: &str, arguments: &[&str], variables: &[(&str, &str)]) {
    let mut command = mpp(arguments);
    command.current_dir(frozen_trees()).envs(variables.iter().copied());
    insta::assert_snapshot!(name, transcript(arguments, &run(command)));
}

/// The same, of one sweep of the frozen tree.
fn check_frozen(name: &str, arguments: &[&str]) {
    let arguments = [arguments, &["--procfs", TREE]].concat();
    check(name, &arguments, &[]);
}

#[test]
fn every_group_of_a_small_server() {
    check_frozen("show_everything", &["show", "-i", "0"]);
}

#[test]
fn a_table_is_cut_into_blocks_where_the_screen_is_narrow() {
    let arguments = ["show", "-i", "0", "--by", "name", "-m", "all", "--procfs", TREE];
    check("show_all_80_columns", &arguments, &[("COLUMNS", "80")]);
    check("show_all_200_columns", &arguments, &[("COLUMNS", "200")]);
}

#[test]
fn matched_processes_and_their_descendants_are_told_apart() {
    check_frozen("show_bash", &["show", "bash", "-i", "0"]);
    check_frozen("show_bash_alone", &["show", "bash", "-i", "0", "--no-children"]);
    check_frozen("show_children_of", &["show", "-P", "bash", "-i", "0"]);
}

#[test]
fn units_are_chosen() {
    for units in ["iec", "si", "raw"] {
        let name = format!("show_units_{units}");
        check_frozen(&name, &["show", "-i", "0", "java", "sshd", "--by", "name", "--units", units]);
    }
}

#[test]
fn rows_stand_in_the_order_that_was_asked_for() {
    let arguments = ["show", "-i", "0", "--by", "unit", "-m", "fds,io_counters.write_bytes"];
    check_frozen("show_sorted_by_name", &[&arguments[..], &["-s", "name"]].concat());
    let by_bytes = [&arguments[..], &["-s", "io_counters.write_bytes"]].concat();
    check_frozen("show_sorted_by_bytes", &by_bytes);
}

#[test]
fn every_format_of_the_same_groups() {
    for format in ["table", "json", "jsonl", "csv", "graphite", "prometheus", "influx"] {
        let name = format!("format_{format}");
        let metrics = "default,io_counters.write_bytes,memory.swap";
        check_frozen(
            &name,
            &[
                "show",
                "-i",
                "0",
                "-p",
                "801,901,1040,1050",
                "--no-children",
                "--by",
                "pid",
                "-m",
                metrics,
                "--format",
                format,
            ],
        );
    }
    let groups = ["show", "-i", "0", "nginx", "-m", "default"];
    check_frozen("format_csv_wide", &[&groups[..], &["--format", "csv", "--wide"]].concat());
    let prefixed = [&groups[..], &["--format", "graphite", "--prefix", "servers.web17"]].concat();
    check_frozen("format_graphite_prefix", &prefixed);
}

#[test]
fn a_rate_over_no_time_is_unknown() {
    check_frozen("show_frozen_interval", &["show", "nginx", "-i", "1ms", "-m", "default"]);
}

#[test]
fn find_on_a_small_server() {
    check_frozen("find_cmdlines", &["find", "*", "-a"]);
    check_frozen("find_names", &["find", "-u", "33", "-l"]);
    check_frozen("find_environment", &["find", "-e", "TAG_ENV_VAR", "-e", "!PGDATA", "-d", " "]);
    check_frozen("find_unit", &["find", "--unit", "nginx", "-c"]);
    check_frozen("find_long_name", &["find", "systemd-journald", "-l"]);
    check_frozen("find_regex", &["find", "-f", "--shard=[0-9]+", "-x", "user:0"]);
    check_frozen("find_children", &["find", "bash", "--children", "-d", ","]);
    check_frozen("find_port", &["find", "--port", "80,8000-8010"]);
    check_frozen("find_nothing", &["find", "nobody-is-called-so"]);
    check_frozen("show_text_form", &["show", "name:nginx user:33", "-i", "0"]);
    check_frozen("find_text_form", &["find", "name:nginx", "-l"]);
}

#[test]
fn help_fits_a_screen_of_80_columns() {
    for arguments in [
        &["--help"][..],
        &["show", "--help"],
        &["find", "--help"],
        &["exits", "--help"],
        &["run", "--help"],
        &["sensu", "--help"],
        &["metrics", "--help"],
        &["doctor", "--help"],
        &["completions", "--help"],
        &["man", "--help"],
    ] {
        check(&format!("help_{}", arguments[0].trim_matches('-')), arguments, &[]);
        let too_wide =
            ran(arguments).stdout.lines().find(|line| line.chars().count() > 80).map(str::to_owned);
        assert_eq!(too_wide, None, "{arguments:?}");
    }
}

#[test]
fn help_is_a_command_too() {
    assert_eq!(ran(&["help"]).stdout, ran(&["--help"]).stdout);
    assert_eq!(ran(&["help", "show"]).stdout, ran(&["show", "--help"]).stdout);
    // What stands behind is not started.
    assert_eq!(ran(&["help", "run", "true"]).stdout, ran(&["run", "--help"]).stdout);
    assert_eq!(ran(&["help", "shwo"]).status, Some(2));
}

#[test]
fn metrics_are_listed() {
    check("metrics", &["metrics"], &[]);
    let listed = ran(&["metrics", "--json"]);
    let table: serde_json::Value = serde_json::from_str(&listed.stdout).expect("JSON");
    let names: Vec<&str> = table["metrics"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|m| m["name"].as_str())
        .collect();
    assert!(names.contains(&"memory.rss") && names.len() > 40, "{names:?}");
    let metric = |name: &str| {
        let metrics = table["metrics"].as_array().expect("a list");
        metrics.iter().find(|metric| metric["name"] == name).expect("a metric").clone()
    };
    let written = metric("io_counters.write_bytes");
    for (key, expected) in [
        ("heading", "WRITE"),
        ("prometheus", "mpp_io_write_bytes_total"),
        ("otel", "mpp.group.disk.io"),
        ("drop_in", "io_counters.write_bytes"),
        ("source", "proc_pid_io(5) write_bytes"),
        (
            "privilege",
            "CAP_BPF and CAP_PERFMON, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH; within a KiB a \
             thread with CAP_NET_ADMIN",
        ),
    ] {
        assert_eq!(written[key], expected, "{written}");
    }
    assert_eq!(metric("processes.total")["drop_in"], "total_processes");
    assert!(metric("uptime")["drop_in"].is_null());
}

#[test]
fn metrics_fit_a_screen_of_80_columns() {
    let listed = ran(&["metrics"]).stdout;
    let too_wide: Vec<&str> = listed.lines().filter(|line| line.chars().count() > 80).collect();
    assert_eq!(too_wide, [""; 0]);
}

#[test]
fn findings_fit_a_screen_of_80_columns_but_for_commands_to_copy() {
    let mut command = mpp(["doctor"]);
    command.env("COLUMNS", "80");
    let page = run(command).stdout;
    let is_command = |line: &&str| line.trim_start().starts_with("$ ");
    let words = page.lines().filter(|line| !is_command(line));
    let too_wide: Vec<&str> = words.filter(|line| line.chars().count() > 80).collect();
    assert_eq!(too_wide, [""; 0]);
}

#[test]
fn completions_and_pages_are_written_for_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = ran(&["completions", shell]);
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
        assert!(ended.stdout.contains("children-of"), "{shell} completes the options of show");
    }
    let page = ran(&["man"]);
    assert!(page.stdout.contains(".TH mpp 1"), "{}", page.stdout);
    for command in
        ["show", "find", "exits", "run", "sensu", "metrics", "doctor", "completions", "man"]
    {
        let ended = ran(&["man", command]);
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
        assert!(ended.stdout.contains(&format!(".TH mpp-{command} 1")), "{}", ended.stdout);
    }
    assert_eq!(ran(&["--version"]).stdout, format!("mpp {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn without_a_command_a_script_gets_help_on_stderr_and_a_failure() {
    let ended = ran(&[]);
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(2), ""));
    assert_eq!(ended.stderr, ran(&["--help"]).stdout);
}

/// Bad input: one message, nothing measured, stdout empty.
fn check_refused(arguments: &[&str], message: &str, hint: &str) {
    let ended = ran(arguments);
    let hint = if hint.is_empty() { String::new() } else { format!("\nhint: {hint}\n") };
    assert_eq!(ended.stderr, format!("mpp: {message}\n{hint}"), "{arguments:?}");
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(2), ""), "{arguments:?}");
}

#[test]
fn misspelt_words_get_one_question() {
    check_refused(&["shwo"], "unknown command `shwo`", "did you mean `mpp show`?");
    let to_show = "to measure the processes of that name, `mpp show nginx`";
    check_refused(&["nginx"], "unknown command `nginx`", to_show);
    check_refused(
        &["show", "--colr", "never"],
        "unknown option `--colr`",
        "did you mean `--color`?",
    );
    check_refused(&["find", "--usr", "max"], "unknown option `--usr`", "did you mean `--user`?");
    check_refused(
        &["show", "-m", "memory.rs"],
        "`--metrics`: expected the name of a metric, a glob or a preset, but found `memory.rs`",
        "did you mean `memory.rss`?",
    );
    check_refused(
        &["show", "-x", "nmae:foo"],
        "`--exclude`: expected one of name, user, cmdline, env, pid, pidfile, port, \
         children-of, unit, cgroup, not, children, but found `nmae` at byte 0",
        "did you mean `name`?",
    );
    check_refused(&["man", "shw"], "unknown command `shw`", "did you mean `show`?");
}

#[test]
fn conditions_that_are_none_are_refused() {
    for command in ["show", "find"] {
        check_refused(
            &[command, "-u", "nobody-is-called-so"],
            "`--user`: expected the name or number of a user, but found `nobody-is-called-so`",
            "`getent passwd` lists the users",
        );
        check_refused(
            &[command, "-x", "user:nobody-is-called-so"],
            "`--exclude`: expected the name or number of a user, but found `nobody-is-called-so`",
            "`getent passwd` lists the users",
        );
        check_refused(
            &[command, "-F", "/nowhere/pid"],
            "`--pidfile`: cannot read PID file /nowhere/pid: No such file or directory (os error 2)",
            "check the path, and that you may read it",
        );
        check_refused(
            &[command, "-p", "12x"],
            "`--pid`: expected a PID from 1 to 4194304, but found `12x`",
            "",
        );
        check_refused(
            &[command, "-p", "-1"],
            "`--pid`: expected a PID from 1 to 4194304, but found `-1`",
            "",
        );
        check_refused(
            &[command, "--port", "80,http"],
            "`--port`: expected a port from 1 to 65535, or a range `8000-8010`, \
             but found `http`",
            "",
        );
        check_refused(
            &[command, "-e", "!K=x"],
            "`--env`: expected `KEY`, `KEY=VALUE` or `!KEY`, but found `!K=x`",
            "to leave a value out, exclude `env:KEY=VALUE`",
        );
    }
    check_refused(
        &["find"],
        "nothing to look for",
        "`mpp find NAME`, or any selecting option of `mpp find --help`",
    );
}

#[test]
fn patterns_that_are_none_are_refused_in_one_line() {
    for arguments in [&["show", "-f", "a("][..], &["find", "a[", "-c"], &["show", "--cgroup", "["]]
    {
        let ended = ran(arguments);
        assert_eq!((ended.status, ended.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        let message = ended.stderr.lines().next().unwrap_or_default();
        assert!(message.starts_with("mpp: `") && !message.contains("\\x0A"), "{}", ended.stderr);
        assert!(
            ended.stderr.lines().count() == 1 || ended.stderr.contains("\n\nhint: "),
            "{ended:?}"
        );
    }
}

#[test]
fn pid_files_that_are_none_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path_of = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("written");
        path
    };
    let missing = folder.path().join("missing");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(path_of("target", "1"), &link).expect("a link");
    for (path, expected) in [
        (missing, "cannot read PID file"),
        (path_of("empty", ""), "found nothing"),
        (path_of("huge", &"1".repeat(1 << 20)), "expected a PID in at most"),
        (path_of("text", "nginx\n"), "expected a digit"),
        (folder.path().to_owned(), "found a directory"),
        (link, "expected a regular file"),
    ] {
        for command in ["show", "find"] {
            let ended = ran(&[command, "-F", path.to_str().expect("a path")]);
            assert_eq!((ended.status, ended.stdout.as_str()), (Some(2), ""), "{}", path.display());
            assert!(ended.stderr.starts_with("mpp: "), "{}", ended.stderr);
            assert!(ended.stderr.contains(expected), "{}", ended.stderr);
            assert_eq!(ended.stderr.matches("hint: ").count(), 1, "{}", ended.stderr);
            assert_eq!(ended.stderr.lines().count(), 3, "{}", ended.stderr);
        }
    }
}

#[test]
fn a_procfs_that_is_none_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("a path");
    let ended = ran(&["show", "--procfs", path]);
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(3), ""));
    assert!(ended.stderr.contains("expected a procfs"), "{}", ended.stderr);
    let ended = ran(&["doctor", "--procfs", path]);
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(3), ""));
    let nowhere = format!("{path}/nowhere");
    check_refused(
        &["show", "--procfs", &nowhere],
        &format!("`--procfs`: cannot read {nowhere}: No such file or directory (os error 2)"),
        "",
    );
    let mut command = mpp(["find", "init"]);
    command.env("HOST_PROC", &nowhere);
    let ended = run(command);
    assert!(ended.stderr.starts_with("mpp: `$HOST_PROC`: cannot read"), "{}", ended.stderr);
}

#[test]
fn where_json_was_asked_for_a_failure_is_an_object_too() {
    fn check_object(arguments: &[&str], status: i32, error: &str) {
        let ended = ran(arguments);
        assert_eq!(ended.status, Some(status), "{arguments:?}");
        let object: serde_json::Value = serde_json::from_str(&ended.stdout).expect("one object");
        assert_eq!(object["error"], error, "{arguments:?}");
        assert_eq!(object["schema"], 1);
        assert!(ended.stderr.starts_with("mpp: "), "{}", ended.stderr);
    }
    check_object(
        &["show", "nobody-is-called-so", "--json", "-i", "0"],
        1,
        "no process matches `name:nobody-is-called-so`",
    );
    check_object(&["show", "--format", "json", "--colr"], 2, "unknown option `--colr`");
    check_object(
        &["show", "--format=json", "-c", "0"],
        2,
        "`--count`: expected a number from 1 on, but found `0`",
    );
}

#[test]
fn nothing_matched_is_said_and_exits_with_1() {
    check_frozen("show_nothing", &["show", "nobody-is-called-so", "-i", "0"]);
}

/// One sweep of the frozen tree, in which somebody matches, and what is said beside the table.
fn check_noted(arguments: &[&str], note: &str) {
    let procfs = frozen_trees().join(TREE);
    let procfs = procfs.to_str().expect("a path");
    let ended = ran(&[&["show", "-i", "0", "--procfs", procfs], arguments].concat());
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), note), "{arguments:?}");
}

#[test]
fn a_value_that_nobody_has_is_named_beside_one_that_somebody_has() {
    check_noted(&["nginx", "java"], "");
    check_noted(&["nginx", "nosuch"], "mpp: no process matches `name:nosuch`\n");
    check_noted(
        &["nosuch", "nginx", "no*such", "-u", "33"],
        "mpp: no process matches `name:nosuch user:33` or `name:no*such user:33`\n",
    );
    check_noted(&["-p", "901,77777"], "mpp: no process matches `pid:77777`\n");
    check_noted(
        &["nginx", "user:max"],
        "mpp: no process matches `name:user:max`; did you mean `-u max`?\n",
    );
    let many: Vec<String> = (77_001..77_008).map(|pid| pid.to_string()).collect();
    check_noted(
        &["-p", &format!("901,{}", many.join(","))],
        "mpp: no process matches `pid:77001` or `pid:77002` or `pid:77003` or `pid:77004` or \
         `pid:77005` or 2 more\n",
    );
}

#[test]
fn a_pid_file_whose_process_has_ended_is_said_to_be_stale() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("daemon.pid");
    std::fs::write(&path, "77777\n").expect("written");
    let path = path.to_str().expect("a path");
    check_no_row(
        &["-F", path],
        &format!("no process matches `pidfile:{path}`"),
        &format!("no process has the PID in {path}: whoever wrote it has ended"),
    );
    check_noted(&["-p", "901", "-F", path], &format!("mpp: no process matches `pidfile:{path}`\n"));
}

/// One sweep of the frozen tree, in which nobody has a row.
fn check_no_row(arguments: &[&str], message: &str, hint: &str) {
    let procfs = frozen_trees().join(TREE);
    let procfs = procfs.to_str().expect("a path");
    let ended = ran(&[&["show", "-i", "0", "--procfs", procfs], arguments].concat());
    assert_eq!(ended.stderr, format!("mpp: {message}\n\nhint: {hint}\n"), "{arguments:?}");
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(1), ""), "{arguments:?}");
}

#[test]
fn where_nobody_has_a_row_it_is_said_what_nobody_has() {
    let by_name = "`--by name` makes a row of every program";
    let no_variable = "no process has the variable `NOSUCHVAR`";
    // The environment of a zombie is gone.
    let zombie = "1 process could not be asked; `mpp doctor` shows what is missing";
    check_no_row(&["--by", "env:NOSUCHVAR"], no_variable, zombie);
    let selection = ["-p", "2", "--no-children"];
    let of_kthreadd = "no process that matches `pid:2 children:no` has a unit";
    check_no_row(&[&selection[..], &["--by", "unit"]].concat(), of_kthreadd, by_name);
    check_no_row(
        &["-f", "bash|(?<shard>nowhere)", "--by", "shard"],
        "no process that matches `cmdline:bash|(?<shard>nowhere)` has a value for the capture \
         `shard`",
        by_name,
    );
    check_no_row(
        &["nobody-is-called-so", "--by", "unit"],
        "no process matches `name:nobody-is-called-so`",
        "`mpp show` lists what there is",
    );
}
