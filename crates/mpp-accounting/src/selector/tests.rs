//! Truth tables of the conditions, and the text form there and back.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::network::Listening;
use crate::process::{EnvironmentEntry, Gauges, Lineage, ProcessIo, ProcessState, Usage};
use crate::units::BootTime;

const OWN_PID: u32 = 77;

fn bytes(text: &[u8]) -> Reading<Box<[u8]>> {
    Reading::Value(text.into())
}

fn entry(key: &str, value: &[u8]) -> EnvironmentEntry {
    EnvironmentEntry { key: key.as_bytes().into(), value: value.into() }
}

/// User 1000's `/usr/sbin/nginx -g daemon off;` in its unit, with `TAG=web-1`.
fn nginx() -> Identity {
    Identity {
        comm: b"nginx".as_slice().into(),
        uid: 1000,
        executable: bytes(b"/usr/sbin/nginx"),
        cmdline: bytes(b"/usr/sbin/nginx\0-g\0daemon off;\0"),
        environment: Reading::Value(Box::new([entry("TAG", b"web-1"), entry("EMPTY", b"")])),
        cgroup: bytes(b"/system.slice/nginx.service"),
        is_environment_incomplete: false,
        is_kernel_thread: false,
    }
}

fn process(pid: u32, parent_pid: u32, identity: Identity) -> ProcessSample {
    ProcessSample {
        key: ProcessKey { pid, start_time_ticks: u64::from(pid) },
        parent_pid,
        lineage: Lineage::default(),
        state: ProcessState::Living,
        identity: Arc::new(identity),
        read_at: BootTime::default(),
        usage: Usage::default(),
        io: ProcessIo::absent(Absence::NotRequested),
        gauges: Gauges::absent(Absence::NotRequested),
    }
}

fn resolution() -> Resolution {
    Resolution {
        users: HashMap::from([
            (b"max".as_slice().into(), Some(1000)),
            (b"nosuch".as_slice().into(), None),
        ]),
        pid_files: HashMap::from([("/run/5.pid".into(), Some(5)), ("/run/none".into(), None)]),
        user_names: HashMap::from([(1000, b"max".as_slice().into())]),
        own_pids: vec![OWN_PID],
    }
}

/// The process 5 of this identity, child of 4, grandchild of 1.
fn family(identity: Identity) -> Snapshot {
    let named = |name: &str| Identity {
        comm: name.as_bytes().into(),
        executable: bytes(format!("/sbin/{name}").as_bytes()),
        cmdline: bytes(format!("{name}\0").as_bytes()),
        ..nginx()
    };
    Snapshot {
        processes: vec![
            process(1, 0, named("init")),
            process(4, 1, named("shell")),
            process(5, 4, identity),
        ],
        ..Snapshot::default()
    }
}

fn verdict(selector: &str, identity: Identity) -> Verdict {
    let selector = Selector::parse(selector).expect("a selector");
    let snapshot = family(identity);
    selector.matches(&snapshot.processes[2], &snapshot, &resolution())
}

fn check(selector: &str, expected: Verdict) {
    assert_eq!(verdict(selector, nginx()), expected, "{selector}");
}

fn check_of(identity: &Identity, selector: &str, expected: Verdict) {
    assert_eq!(verdict(selector, identity.clone()), expected, "{selector} on {identity:?}");
}

use Verdict::{No, Unknown, Yes};

#[test]
fn no_condition_matches_everything() {
    check("", Yes);
    check("children:no", Yes);
}

#[test]
fn a_name_is_the_command_the_executable_or_the_first_argument() {
    check("name:nginx", Yes);
    check("name:ngin", No);
    check("name:ng*", Yes);
    check("name:*x name:y", Yes);
    check("name:/usr/sbin/nginx", No);
    let renamed = Identity { comm: b"worker".as_slice().into(), ..nginx() };
    check_of(&renamed, "name:worker", Yes);
    check_of(&renamed, "name:nginx", Yes);
    let script = Identity {
        comm: b"python3".as_slice().into(),
        executable: bytes(b"/usr/bin/python3.11"),
        cmdline: bytes(b"/opt/tool\0-v\0"),
        ..nginx()
    };
    for (selector, expected) in
        [("name:python3", Yes), ("name:python3.11", Yes), ("name:tool", Yes), ("name:-v", No)]
    {
        check_of(&script, selector, expected);
    }
}

#[test]
fn a_name_longer_than_the_kernel_keeps_needs_both_halves() {
    let long = Identity {
        comm: b"massindexer-wor".as_slice().into(),
        executable: bytes(b"/opt/massindexer-worker"),
        cmdline: bytes(b"x\0"),
        ..nginx()
    };
    check_of(&long, "name:massindexer-worker", Yes);
    check_of(&long, "name:massindexer-wor", Yes);
    check_of(&long, "name:massindexer-work", No);
    check_of(&long, "name:massindexer-*", Yes);
    let other = Identity { comm: b"something-else".as_slice().into(), ..long.clone() };
    check_of(&other, "name:massindexer-worker", No);
    let by_argument = Identity {
        executable: bytes(b"/usr/bin/python3"),
        cmdline: bytes(b"massindexer-worker\0"),
        ..long
    };
    check_of(&by_argument, "name:massindexer-worker", Yes);
}

#[test]
fn a_command_name_decides_alone_and_a_mismatch_needs_the_rest() {
    let hidden = Identity {
        executable: Reading::Absent(Absence::Denied),
        cmdline: Reading::Absent(Absence::Blocked),
        ..nginx()
    };
    check_of(&hidden, "name:nginx", Yes);
    check_of(&hidden, "name:apache", Unknown(Absence::Blocked));
    check_of(&hidden, "!name:nginx", No);
    check_of(&hidden, "!name:apache", Unknown(Absence::Blocked));
    let known_argument = Identity { cmdline: bytes(b"apache\0"), ..hidden };
    check_of(&known_argument, "name:apache", Yes);
    check_of(&known_argument, "name:postgres", No);
}

#[test]
fn a_user_is_a_name_or_a_number() {
    check("user:max", Yes);
    check("user:1000", Yes);
    check("user:0,max", Yes);
    check("user:0", No);
    check("user:nosuch", No);
    check("user:never-looked-up", No);
    check("!user:nosuch", Yes);
}

#[test]
fn an_expression_sees_spaces_between_arguments() {
    check(r"cmdline:-g\sdaemon", Yes);
    check("cmdline:\"nginx -g daemon off;$\"", Yes);
    check("cmdline:^nginx", No);
    check("cmdline:^nginx cmdline:daemon", Yes);
    let kernel_thread = Identity { cmdline: bytes(b""), ..nginx() };
    check_of(&kernel_thread, "cmdline:.", No);
    let blocked = Identity { cmdline: Reading::Absent(Absence::Blocked), ..nginx() };
    check_of(&blocked, "cmdline:.", Unknown(Absence::Blocked));
    check_of(&blocked, "!cmdline:.", Unknown(Absence::Blocked));
}

#[test]
fn a_command_line_that_was_cut_says_yes_but_never_no() {
    let mut cut = b"java\0".to_vec();
    cut.resize(CMDLINE_BYTES_MAX, b'x');
    let cut = Identity { cmdline: bytes(&cut), ..nginx() };
    check_of(&cut, "cmdline:java", Yes);
    check_of(&cut, "cmdline:--late", Unknown(Absence::TooLarge));
    check_of(&cut, "!cmdline:--late", Unknown(Absence::TooLarge));
}

#[test]
fn environment_conditions_must_all_hold() {
    for (selector, expected) in [
        ("env:TAG", Yes),
        ("env:TAG=web-1", Yes),
        ("env:TAG=web-*", Yes),
        ("env:TAG=web", No),
        ("env:EMPTY=", Yes),
        ("env:TAG=", No),
        ("env:OTHER", No),
        ("env:OTHER=", No),
        ("!env:OTHER", Yes),
        ("!env:TAG", No),
        ("!env:EMPTY", No),
        ("env:TAG !env:OTHER", Yes),
        ("env:TAG env:OTHER", No),
        ("!env:TAG=web-2", Yes),
        ("!env:TAG=web-1", No),
    ] {
        check(selector, expected);
    }
}

#[test]
fn what_is_missing_from_an_environment_that_was_written_over_says_nothing() {
    let written_over = Identity { is_environment_incomplete: true, ..nginx() };
    let present = written_over.environment.value().and_then(|entries| entries.first()).cloned();
    let present = String::from_utf8(present.expect("a variable").key.into()).expect("ASCII");
    check_of(&written_over, &format!("env:{present}"), Yes);
    check_of(&written_over, &format!("!env:{present}"), No);
    check_of(&written_over, "env:NOT_THERE", Unknown(Absence::Malformed));
    check_of(&written_over, "!env:NOT_THERE", Unknown(Absence::Malformed));
}

#[test]
fn an_unknown_environment_matches_no_condition_not_even_a_negative_one() {
    for why in [Absence::Denied, Absence::TooLarge, Absence::NotYetKnown] {
        let unknown = Identity { environment: Reading::Absent(why), ..nginx() };
        for selector in ["env:TAG", "!env:TAG", "!env:TAG=web-1", "not:\"env:TAG name:nginx\""] {
            check_of(&unknown, selector, Unknown(why));
        }
        check_of(&unknown, "env:TAG user:0", No);
        check_of(&unknown, "not:\"env:TAG name:apache\"", Yes);
    }
}

#[test]
fn a_pid_and_a_pid_file_are_one_kind() {
    check("pid:5", Yes);
    check("pid:4", No);
    check("pid:4,5", Yes);
    check("pid:4 pid:5", Yes);
    check("pidfile:/run/5.pid", Yes);
    check("pidfile:/run/none", No);
    check("pidfile:/never/looked/up", No);
    check("pid:4 pidfile:/run/5.pid", Yes);
}

#[test]
fn a_descendant_is_found_at_any_depth_and_its_root_is_not() {
    check("children-of:4", Yes);
    check("children-of:1", Yes);
    check("children-of:5", No);
    check("children-of:init", Yes);
    check("children-of:sh*", Yes);
    check("children-of:nginx", No);
    check("children-of:nginx children-of:4", Yes);
    check("!children-of:4", No);
}

#[test]
fn a_broken_line_of_ancestors_decides_only_what_was_seen() {
    let selector = |text: &str| Selector::parse(text).expect("a selector");
    let mut snapshot = family(nginx());
    snapshot.processes.remove(1);
    let orphan = snapshot.processes[1].clone();
    let judge = |text: &str, snapshot: &Snapshot| {
        selector(text).matches(&orphan, snapshot, &Resolution::default())
    };
    assert_eq!(judge("children-of:4", &snapshot), Yes);
    assert_eq!(judge("children-of:1", &snapshot), Unknown(Absence::Vanished));
    snapshot.unreadable_pids.push(4);
    assert_eq!(judge("children-of:1", &snapshot), Unknown(Absence::Denied));
}

#[test]
fn a_circle_of_parents_ends() {
    let snapshot = Snapshot {
        processes: vec![process(5, 6, nginx()), process(6, 5, nginx())],
        ..Snapshot::default()
    };
    let selector = Selector::parse("children-of:9").expect("a selector");
    assert_eq!(selector.matches(&snapshot.processes[0], &snapshot, &Resolution::default()), No);
}

#[test]
fn a_unit_is_the_innermost_that_is_no_slice() {
    for (path, unit) in [
        ("/system.slice/nginx.service", Some("nginx.service")),
        ("/user.slice/user-1.slice/user@1.service/app.slice/a.scope", Some("a.scope")),
        ("/user.slice/user-1.slice/user@1.service/app.slice", Some("user@1.service")),
        ("/system.slice/docker.service/payload/worker", Some("docker.service")),
        ("/user.slice/user-1.slice", Some("user-1.slice")),
        ("/system.slice/_cpu.service", Some("cpu.service")),
        ("/.slice/.service", None),
        ("/", None),
        ("", None),
    ] {
        assert_eq!(unit_of(path.as_bytes()), unit.map(str::as_bytes), "{path}");
    }
}

#[test]
fn a_unit_goes_by_its_short_name_and_a_slice_holds_all_below() {
    check("unit:nginx", Yes);
    check("unit:nginx.service", Yes);
    check("unit:ngin*", Yes);
    check("unit:nginx.scope", No);
    check("unit:system.slice", Yes);
    check("unit:*.slice", Yes);
    check("unit:user.slice", No);
    let elsewhere = Identity { cgroup: Reading::Absent(Absence::Unsupported), ..nginx() };
    check_of(&elsewhere, "unit:nginx", Unknown(Absence::Unsupported));
}

#[test]
fn a_control_group_is_a_whole_path_or_a_glob() {
    check("cgroup:/system.slice/nginx.service", Yes);
    check("cgroup:/system.slice", No);
    check("cgroup:/system.slice/*", Yes);
    check("cgroup:/a cgroup:/sys*", Yes);
    check("cgroup:/sys* unit:other", No);
}

#[test]
fn kinds_are_anded_and_values_ored() {
    check("name:nginx user:max pid:5 unit:nginx children-of:1 env:TAG cmdline:off", Yes);
    for spoiler in ["name:x", "user:0", "pid:6", "unit:x", "children-of:9", "env:X", "cmdline:X"] {
        let others = ["name:nginx", "user:max", "pid:5", "unit:nginx", "env:TAG", "cmdline:off"];
        let kind = spoiler.split(':').next().expect("a kind");
        let rest = others.iter().filter(|other| !other.starts_with(&format!("{kind}:")));
        let text = rest.fold(spoiler.to_owned(), |text, other| format!("{text} {other}"));
        check(&text, No);
    }
}

#[test]
fn an_exclusion_excludes_what_it_would_match() {
    check("user:max !name:nginx", No);
    check("user:max !name:curl", Yes);
    check("not:\"name:nginx user:0\"", Yes);
    check("not:\"name:nginx user:max\"", No);
    check("not:!name:nginx", Yes);
    check("!pid:5,6", No);
}

#[test]
fn we_ourselves_match_only_where_our_pid_is_named() {
    let snapshot =
        Snapshot { processes: vec![process(OWN_PID, 1, nginx())], ..Snapshot::default() };
    for (text, expected) in
        [("", No), ("name:nginx", No), ("pid:77", Yes), ("pid:77 name:nginx", Yes), ("!pid:1", No)]
    {
        let selector = Selector::parse(text).expect("a selector");
        let verdict = selector.matches(&snapshot.processes[0], &snapshot, &resolution());
        assert_eq!(verdict, expected, "{text}");
    }
}

#[test]
fn hostile_bytes_are_compared_as_bytes() {
    let hostile = Identity {
        comm: b"a\n\x1b[2J\xff\"\\".as_slice().into(),
        cmdline: bytes(b"\xff\xfe\0\n\x1b\0\0\0"),
        environment: Reading::Value(Box::new([entry("TAG", b"\xff\n=\0")])),
        ..nginx()
    };
    let selector = Selector::default().name("a\n\u{1b}*").expect("a glob");
    let snapshot = family(hostile.clone());
    assert_eq!(selector.matches(&snapshot.processes[2], &snapshot, &resolution()), Yes);
    check_of(&hostile, r"cmdline:(?-u:\xff\xfe\x20\n\x1b)$", Yes);
    check_of(&hostile, "env:TAG=*", Yes);
    let plain = Identity { comm: b"\xff\n\"\\".as_slice().into(), ..nginx() };
    check_of(&plain, r#"name:"\xff\n\"\\""#, Yes);
}

#[test]
fn says_what_it_looks_at() {
    let needs = |text: &str| Selector::parse(text).expect("a selector").identity_needs();
    assert_eq!(needs("user:max pid:1 pidfile:/x children-of:1"), IdentityNeeds::default());
    let names = IdentityNeeds { executable: true, cmdline: true, ..IdentityNeeds::default() };
    assert_eq!(needs("name:x"), names);
    assert_eq!(needs("children-of:x"), names);
    assert_eq!(needs("cmdline:x"), IdentityNeeds { cmdline: true, ..IdentityNeeds::default() });
    assert_eq!(needs("unit:x").cgroup, needs("cgroup:x").cgroup);
    let keys: Vec<Box<[u8]>> = ["A", "B", "C"].map(|key| key.as_bytes().into()).into();
    assert_eq!(needs("env:A !env:B env:A=1 not:env:C !env:A").environment_keys, keys);
}

#[test]
fn names_what_has_to_be_looked_up() {
    let text = "user:max,7 pidfile:/a not:\"user:sam pidfile:/b\" !user:max";
    let references = Selector::parse(text).expect("a selector").references();
    let users: Vec<_> = references.user_names.iter().map(|name| name.to_vec()).collect();
    assert_eq!(users, [b"max", b"sam"]);
    let files: Vec<_> =
        references.pid_files.iter().map(|path| path.display().to_string()).collect();
    assert_eq!(files, ["/a", "/b"]);
}

fn check_error(text: &str, message: &str, hint: Option<&str>) {
    let error = Selector::parse(text).expect_err("an error");
    assert_eq!((error.to_string().as_str(), error.hint()), (message, hint), "{text}");
}

#[test]
fn an_error_says_what_was_expected_what_was_found_and_where() {
    let kinds =
        "name, user, cmdline, env, pid, pidfile, port, children-of, unit, cgroup, not, children";
    check_error(
        "user:max nmae:foo",
        &format!("selector: expected one of {kinds}, but found `nmae` at byte 9"),
        Some("did you mean `name`?"),
    );
    check_error(
        "foo",
        "selector: expected `KIND:VALUE`, but found `foo` at byte 0",
        Some("did you mean `name:foo`?"),
    );
    check_error(
        "name: x",
        "selector: expected a value, but found nothing at byte 5",
        Some("a value with spaces stands in double quotes"),
    );
    check_error("name:\"x", "selector: expected a closing `\"`, but found `\"x` at byte 5", None);
    check_error(
        r#"cmdline:"\d""#,
        r#"selector: expected one of `\\`, `\"`, `\n`, `\t` and `\xHH`, but found `\d` at byte 9"#,
        Some("in quotes, `\\\\` stands for a backslash"),
    );
}

#[test]
fn an_error_of_a_value_points_at_the_value() {
    check_error(
        "pid:1,x",
        "selector: expected a PID from 1 to 4194304, but found `x` at byte 4",
        None,
    );
    check_error(
        "pid:0",
        "selector: expected a PID from 1 to 4194304, but found `0` at byte 4",
        None,
    );
    check_error(
        "user:4294967296",
        "selector: expected the number of a user, at most 4294967295, but found `4294967296` at byte 5",
        None,
    );
    check_error(
        "user:a,,b",
        "selector: expected the name or number of a user, but found nothing at byte 5",
        None,
    );
    check_error(
        "!not:name:x",
        "selector: expected a condition behind `!`, but found `not` at byte 1",
        None,
    );
    check_error(
        "not:\"\"",
        "selector: expected a condition to exclude by, but found nothing at byte 4",
        None,
    );
    check_error(
        "children:maybe",
        "selector: expected `yes` or `no`, but found `maybe` at byte 9",
        None,
    );
    check_error(
        "env:=x",
        "selector: expected `KEY`, `KEY=VALUE` or `!KEY`, but found `=x` at byte 4",
        None,
    );
    check_error(
        "env:!A=x",
        "selector: expected `KEY`, `KEY=VALUE` or `!KEY`, but found `!A=x` at byte 4",
        Some("to leave a value out, exclude `env:KEY=VALUE`"),
    );
    check_error(
        "name:\"\\x1B[2J\u{7}\"",
        "selector: expected a glob for names of programs, but found `\\x1B[2J\\x07` at byte 5",
        None,
    );
}

#[test]
fn an_error_of_a_pattern_keeps_its_cause() {
    for text in ["cmdline:(", "name:[", "cgroup:/[", "unit:[", "env:A=[", "children-of:["] {
        let error = Selector::parse(text).expect_err("an error");
        assert!(std::error::Error::source(&error).is_some(), "{text}");
        assert!(error.position().is_some(), "{text}");
    }
}

#[test]
fn too_many_patterns_and_too_deep_exclusions_are_refused_and_many_names_are_not() {
    let globs: String = (0..=PATTERNS_MAX).map(|n| format!("name:a{n}* ")).collect();
    assert!(Selector::parse(&globs).is_err());
    let names: String = (0..10_000).map(|n| format!("name:a{n} ")).collect();
    assert!(Selector::parse(&names).is_ok());
    let mut selector = Selector::parse("name:x").expect("a selector");
    for depth in 1..=NESTING_MAX + 1 {
        match Selector::default().excluding(selector.clone()) {
            Ok(deeper) if depth <= NESTING_MAX => selector = deeper,
            Err(_) if depth > NESTING_MAX => {}
            other => panic!("depth {depth}: {other:?}"),
        }
    }
}

fn check_print(text: &str, printed: &str) {
    let selector = Selector::parse(text).expect("a selector");
    assert_eq!(selector.to_string(), printed);
    assert_eq!(Selector::parse(printed), Ok(selector), "{printed}");
}

#[test]
fn prints_in_the_order_of_kinds_with_quotes_where_needed() {
    check_print("", "");
    check_print("user:max\t name:foo\n", "name:foo user:max");
    check_print("pid:2 pid:1", "pid:2,1");
    check_print(r#"name:"a b" name:a"b"c"#, r#"name:"a b" name:abc"#);
    check_print("name:foo name:foo", "name:foo");
    check_print(r"cmdline:--shard=(?<shard>\d+)", r"cmdline:--shard=(?<shard>\d+)");
    check_print(r#"cmdline:"\\d \"""#, r#"cmdline:"\\d \"""#);
    check_print("unit:nginx", "unit:nginx.service");
    check_print("not:name:curl", "!name:curl");
    check_print("not:env:A !env:A", "!env:A not:env:A");
    check_print("not:\"name:a user:b\"", "not:\"name:a user:b\"");
    check_print("name:\"\\xff\\x1b\"", "name:\"\\xFF\\x1B\"");
    check_print("children:no name:a", "name:a children:no");
}

fn check_key(text: &str, expected: &str) {
    let selector = Selector::parse(r"cmdline:-(?<option>[a-z])").expect("a selector");
    let key = GroupKey::parse(text, &selector).expect("a key");
    let snapshot = family(nginx());
    let value = key.value_of(&snapshot.processes[2], &selector, &resolution());
    assert_eq!(value.as_deref(), Some(expected.as_bytes()), "{text}");
    assert_eq!(GroupKey::parse(&key.to_string(), &selector), Ok(key));
}

#[test]
fn a_group_key_names_the_row() {
    check_key("name", "nginx");
    check_key("user", "max");
    check_key("unit", "nginx.service");
    check_key("unit-or-name", "nginx.service");
    check_key("cgroup", "/system.slice/nginx.service");
    check_key("pid", "5");
    check_key("env:TAG", "web-1");
    check_key("env:EMPTY", "");
    check_key("option", "g");
    check_key("capture:option", "g");
}

fn value(key: &GroupKey, identity: Identity) -> Option<Box<[u8]>> {
    key.value_of(&process(5, 4, identity), &Selector::default(), &Resolution::default())
}

#[test]
fn a_row_may_have_no_name() {
    let key = |text: &str| GroupKey::parse(text, &Selector::default()).expect("a key");
    assert_eq!(value(&key("env:NONE"), nginx()), None);
    assert_eq!(value(&key("user"), nginx()).as_deref(), Some(b"1000".as_slice()));
    let rootless = Identity { cgroup: bytes(b"/"), ..nginx() };
    assert_eq!(value(&key("unit"), rootless.clone()), None);
    assert_eq!(value(&key("unit-or-name"), rootless).as_deref(), Some(b"nginx".as_slice()));
    let early = Identity { cgroup: Reading::Absent(Absence::NotYetKnown), ..nginx() };
    assert_eq!(value(&key("unit-or-name"), early), None);
}

#[test]
fn a_cut_name_is_completed_where_that_can_be_known() {
    let cut = |executable: Reading<Box<[u8]>>, cmdline: Reading<Box<[u8]>>| Identity {
        comm: b"massindexer-wor".as_slice().into(),
        executable,
        cmdline,
        ..nginx()
    };
    let denied = || Reading::Absent(Absence::Denied);
    let name = |identity: Identity| value(&GroupKey::Name, identity);
    let whole = Some(Box::from(b"massindexer-worker".as_slice()));
    assert_eq!(name(cut(bytes(b"/opt/massindexer-worker"), denied())), whole);
    assert_eq!(name(cut(denied(), bytes(b"./massindexer-worker\0-v\0"))), whole);
    let kept = Some(Box::from(b"massindexer-wor".as_slice()));
    assert_eq!(name(cut(denied(), denied())), kept);
    assert_eq!(name(cut(bytes(b"/bin/sh"), bytes(b"sh\0"))), kept);
    assert_eq!(name(cut(denied(), Reading::Absent(Absence::NotYetKnown))), None);
}

#[test]
fn an_unknown_group_key_is_asked_about() {
    let selector = Selector::parse(r"cmdline:(?<shard>\d+)").expect("a selector");
    let check = |text: &str, hint: Option<&str>| {
        let error = GroupKey::parse(text, &selector).expect_err("an error");
        assert!(error.to_string().starts_with("group key: expected "), "{error}");
        assert_eq!(error.hint(), hint, "{text}");
    };
    check("nmae", Some("did you mean `name`?"));
    check("shrad", Some("did you mean `shard`?"));
    check("colour", None);
    check("env:", None);
}

/// What a selector says of the process 5, of which this is known.
fn check_ports(text: &str, listening: Reading<Listening>, expected: Verdict) {
    let mut snapshot = family(nginx());
    snapshot.network.listening = listening;
    let selector = Selector::parse(text).expect("a selector");
    let verdict = selector.matches(&snapshot.processes[2], &snapshot, &resolution());
    assert_eq!(verdict, expected, "{text}");
}

#[test]
fn who_listens_on_a_port_is_chosen_and_who_may_is_undecided() {
    let key = family(nginx()).processes[2].key;
    let at = |ports: &[u16]| {
        let ports = ports.iter().map(|port| (key, *port)).collect();
        Reading::Value(Listening { ports, unread: Vec::new() })
    };
    check_ports("port:80", at(&[80]), Verdict::Yes);
    check_ports("port:80,443", at(&[443]), Verdict::Yes);
    check_ports("port:8000-8010", at(&[22, 8010]), Verdict::Yes);
    check_ports("port:8000-8010", at(&[7999, 8011]), Verdict::No);
    check_ports("port:80 port:443", at(&[443]), Verdict::Yes);
    check_ports("port:80", at(&[]), Verdict::No);
    check_ports("!port:80", at(&[80]), Verdict::No);
    check_ports("!port:80", at(&[]), Verdict::Yes);
    check_ports("name:nginx port:80", at(&[80]), Verdict::Yes);
    check_ports("name:other port:80", at(&[80]), Verdict::No);
    let unread = Listening { ports: Vec::new(), unread: vec![(key, Absence::Denied)] };
    let unknown = Verdict::Unknown(Absence::Denied);
    check_ports("port:80", Reading::Value(unread.clone()), unknown);
    check_ports("!port:80", Reading::Value(unread), unknown);
    let unasked = Reading::Absent(Absence::NotRequested);
    check_ports("port:80", unasked, Verdict::Unknown(Absence::NotRequested));
}

#[test]
fn ports_are_numbers_and_ranges_and_nothing_else() {
    for text in ["0", "65536", "", "x", "+80", "80-", "-80", "81-80", "80,", "80-90-100", " 80"] {
        let error = Selector::default().ports(text).expect_err("no port");
        let expected = "selector: expected a port from 1 to 65535, or a range `8000-8010`";
        assert!(error.to_string().starts_with(expected), "{text}: {error}");
    }
    let selector = Selector::parse("port:1 port:65535,80-80 port:1-65535").expect("ports");
    assert_eq!(selector.to_string(), "port:1,65535,80,1-65535");
    assert!(selector.identity_needs().listening_ports && selector.looks_at_ports());
    let excluding = Selector::parse("!port:80").expect("a selector");
    assert!(excluding.identity_needs().listening_ports && excluding.looks_at_ports());
    assert!(!Selector::parse("name:80").expect("a selector").looks_at_ports());
}

#[test]
fn a_group_key_says_what_it_looks_at() {
    let needs =
        |text: &str| GroupKey::parse(text, &Selector::default()).expect("a key").identity_needs();
    assert_eq!(needs("user"), IdentityNeeds::default());
    assert_eq!(needs("env:A").environment_keys, [Box::from(b"A".as_slice())]);
    assert!(needs("name").cmdline && needs("name").executable && needs("unit").cgroup);
}

fn word() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-z*?\\[\\] \"\\\\!:=,/.\u{80}-\u{ff}\n]{1,8}".prop_map(String::into_bytes),
        prop::collection::vec(1..=255_u8, 1..8),
    ]
}

/// A condition by the builder's method of this number; those that are refused add nothing.
fn with(selector: Selector, kind: u8, value: &[u8]) -> Selector {
    let before = selector.clone();
    let added = match kind {
        0 => selector.name(value),
        1 => selector.user(value),
        2 => selector.cmdline(value),
        3 => selector.environment(value),
        4 => selector.environment([b"!", value].concat()),
        5 => selector.environment([b"KEY=", value].concat()),
        6 => selector.pids(format!("{},7", value.len())),
        7 => selector.pid_file(path_of(value)),
        8 => selector.children_of(value),
        9 => selector.unit(value),
        10 => selector.cgroup(value),
        11 => selector.ports(format!("{},80-{}", value.len(), 80 + value.len())),
        _ => Ok(selector.with_descendants(Descendants::Left)),
    };
    added.unwrap_or(before)
}

fn selectors() -> impl Strategy<Value = Selector> {
    let leaf = prop::collection::vec((0..13_u8, word()), 0..6).prop_map(|conditions| {
        conditions
            .iter()
            .fold(Selector::default(), |selector, (kind, value)| with(selector, *kind, value))
    });
    leaf.prop_recursive(3, 12, 2, |inner| {
        (inner.clone(), inner).prop_map(|(outer, other)| {
            let before = outer.clone();
            outer.excluding(other).unwrap_or(before)
        })
    })
}

proptest! {
    #[test]
    fn what_was_printed_reads_as_itself(selector in selectors()) {
        let printed = selector.to_string();
        prop_assert!(printed.chars().all(|c| !c.is_control()), "{}", printed);
        prop_assert_eq!(Selector::parse(&printed), Ok(selector), "{}", printed);
    }

    #[test]
    fn any_text_is_a_selector_or_an_error_on_one_line(text in any::<String>()) {
        if let Err(error) = Selector::parse(&text) {
            prop_assert!(error.to_string().chars().all(|c| !c.is_control()));
        }
    }

    #[test]
    fn likely_text_is_a_selector_that_prints_or_an_error(
        text in r#"(!?(name|user|env|pid|port|not|cmdline|children):["\\a-c= !1,*\[\n:]{0,6} ?){0,4}"#,
    ) {
        if let Ok(selector) = Selector::parse(&text) {
            prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
        }
    }

    #[test]
    fn an_exclusion_is_the_opposite(selector in selectors(), comm in word(), cmdline in word()) {
        prop_assume!(!selector.is_unconditional() && selector.nesting() < NESTING_MAX);
        let identity = Identity { comm: comm.into(), cmdline: bytes(&cmdline), ..nginx() };
        let snapshot = family(identity);
        let judge = |selector: &Selector| {
            selector.matches(&snapshot.processes[2], &snapshot, &resolution())
        };
        let excluding = Selector::default().excluding(selector.clone()).expect("an exclusion");
        prop_assert_eq!(judge(&excluding), judge(&selector).not());
    }
}
