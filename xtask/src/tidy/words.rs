//! Rules about words: what must not be written anywhere, and metric names only in their table.

use std::collections::BTreeSet;

use super::rust_text::{code_only, literals, test_lines};
use super::{Complaint, Tree};

/// Code that must not reach anybody, and why.
const FORBIDDEN_CODE: [(&str, &str); 4] = [
    ("todo!", "what is missing is written, or not begun"),
    ("unimplemented!", "what is missing is written, or not begun"),
    ("dbg!", "it is for a moment at the desk"),
    ("#[ignore", "a test that is not run shows nothing"),
];

/// Beginnings of paths that exist on one machine only, spelt so that this file passes.
const MACHINE_PATHS: [&str; 2] = [concat!("/", "work/"), concat!("/", "root/")];

/// Likewise, but tests need them too, as what a process may have open or be called by.
const PLACES_OF_USERS: [&str; 3] =
    [concat!("/", "home/"), concat!("/", "Users/"), concat!("/", "tmp/")];

/// Settings that send a build to a registry other than everybody's, spelt so likewise.
const REGISTRY_SETTINGS: [&str; 4] = [
    concat!("index", "-url"),
    concat!("[source", "."),
    concat!("[registries", "."),
    concat!("registry", " ="),
];

/// Where lock files may say that packages come from.
const PUBLIC_REGISTRIES: [&str; 2] = [
    concat!("registry+https://github.com/", "rust-lang/crates.io-index"),
    concat!("https://registry.", "npmjs.org/"),
];

/// Files that hold foreign or captured text.
const NOT_OURS: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

/// The one file that may spell metric names.
const METRIC_TABLE: &str = "crates/mpp-accounting/src/metric.rs";

/// No code that stops, prints for debugging, or skips a test.
pub(super) fn forbidden_code(tree: &Tree) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (path, text) in tree.rust_files() {
        for (number, line) in code_only(text).lines().enumerate() {
            for (word, why) in FORBIDDEN_CODE {
                if line.contains(word) {
                    complaints.push(Complaint::at(path, number + 1, &format!("`{word}`: {why}")));
                }
            }
        }
    }
    complaints
}

/// Nothing that is true on one machine only.
pub(super) fn machine_paths(tree: &Tree) -> Vec<Complaint> {
    let names_any = |line: &str, beginnings: &[&str]| {
        let begins = |path: &&str| line.match_indices(*path).any(|(at, _)| is_absolute(line, at));
        beginnings.iter().any(begins)
    };
    complain_of_lines(
        tree,
        |line, place| {
            names_any(line, &MACHINE_PATHS)
                || (place == Place::Product && names_any(line, &PLACES_OF_USERS))
        },
        "names a path that exists on one machine only",
    )
}

/// Packages come from where everybody gets them.
pub(super) fn registries(tree: &Tree) -> Vec<Complaint> {
    let is_private = |line: &str, _| {
        let line = line.trim();
        let source = line.strip_prefix("source = \"").or(line.strip_prefix("\"resolved\": \""));
        let is_setting = REGISTRY_SETTINGS.iter().any(|setting| line.contains(setting));
        let is_public =
            |source: &str| PUBLIC_REGISTRIES.iter().any(|public| source.starts_with(public));
        is_setting || source.is_some_and(|source| !is_public(source))
    };
    complain_of_lines(tree, is_private, "names a registry other than everybody's")
}

/// Where a line stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Product,
    Test,
}

fn complain_of_lines(
    tree: &Tree,
    is_wrong: impl Fn(&str, Place) -> bool,
    why: &str,
) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| !NOT_OURS.contains(path)) {
        let tests = if path.ends_with(".rs") { test_lines(&code_only(text)) } else { Vec::new() };
        for (line, number) in text.lines().zip(1..) {
            let is_test = is_test_file(path) || tests.iter().any(|range| range.contains(&number));
            if is_wrong(line, if is_test { Place::Test } else { Place::Product }) {
                complaints.push(Complaint::at(path, number, why));
            }
        }
    }
    complaints
}

/// Whether a path begins here, and not the middle of one.
fn is_absolute(line: &str, at: usize) -> bool {
    let before = line[..at].bytes().next_back();
    !before.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_.-~*}>/".contains(&byte))
}

/// A metric's names stand in the one table: everywhere else they are taken from there.
pub(super) fn metric_names(tree: &Tree) -> Vec<Complaint> {
    let names: BTreeSet<&str> = tree
        .text(METRIC_TABLE)
        .map(|text| {
            literals(text).into_iter().map(|(_, name)| name).filter(|n| is_name(n)).collect()
        })
        .unwrap_or_default();
    let mut complaints = Vec::new();
    for (path, text) in tree.rust_files() {
        let is_source = path.starts_with("crates/") && path.contains("/src/");
        if !is_source || path == METRIC_TABLE || is_test_file(path) {
            continue;
        }
        for (line, text) in literals(text) {
            if names.contains(text.strip_suffix("_per_sec").unwrap_or(text)) {
                let why = format!("spells the metric `{text}`: take the name from METRICS");
                complaints.push(Complaint::at(path, line, &why));
            }
        }
    }
    complaints
}

/// A dotted name, or one of Prometheus: nothing that is an ordinary word too.
fn is_name(literal: &str) -> bool {
    let is_spelt_so =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._".contains(&byte);
    let is_dotted = literal.contains('.') && !literal.ends_with('.');
    (is_dotted || literal.starts_with("mpp_")) && literal.bytes().all(is_spelt_so)
}

/// Files for tests alone: modules that only they compile, and what they read.
fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/") || path.starts_with("fixtures/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&Tree) -> Vec<Complaint>, files: &[(&str, &str)], expected: &[&str]) {
        let found: Vec<String> = rule(&Tree::of(files)).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn unfinished_code_is_refused_and_words_about_it_are_not() {
        let path = "crates/mpp-cli/src/plan.rs";
        let check =
            |text: &str, expected: &[&str]| check(forbidden_code, &[(path, text)], expected);
        check(
            "fn f() {\n    todo!()\n}",
            &[&format!("{path}:2: `todo!`: {}", FORBIDDEN_CODE[0].1)],
        );
        check("dbg!(x);", &[&format!("{path}:1: `dbg!`: {}", FORBIDDEN_CODE[2].1)]);
        check("#[ignore = \"slow\"]", &[&format!("{path}:1: `#[ignore`: {}", FORBIDDEN_CODE[3].1)]);
        check("// no todo! and no dbg! here\nlet x = \"todo!\";", &[]);
    }

    #[test]
    fn paths_of_one_machine_are_refused() {
        let refused = ["README.md:1: names a path that exists on one machine only"];
        let check_file = |path: &str, text: &str, expected: &[&str]| {
            check(machine_paths, &[(path, text)], expected);
        };
        let check = |text: &str, expected: &[&str]| check_file("README.md", text, expected);
        check(concat!("see /", "work/main"), &refused);
        check(concat!("\"/", "root/x\""), &refused);
        check(concat!("in /", "tmp/x"), &refused);
        check("see target/tmp/x and /proc/1/root/etc", &[]);
        let socket = concat!("const A: &str = \"/", "tmp/socket\";");
        check_file("crates/mpp-cli/tests/sockets.rs", socket, &[]);
        check_file("fixtures/proc/1/cmdline", concat!("sh /", "home/max/backup"), &[]);
        let tests = format!("#[cfg(test)]\nmod tests {{ {socket} }}\n");
        check_file("crates/mpp-cli/src/plan.rs", &tests, &[]);
    }

    #[test]
    fn registries_of_ones_own_are_refused() {
        let lock = |source: &str| format!("[[package]]\nsource = \"{source}\"\n");
        let refused = ["Cargo.lock:2: names a registry other than everybody's"];
        check(registries, &[("Cargo.lock", &lock("registry+https://example.org/index"))], &refused);
        check(registries, &[("Cargo.lock", &lock(PUBLIC_REGISTRIES[0]))], &[]);
        let setting = format!("[global]\n{}=https://example.org\n", REGISTRY_SETTINGS[0]);
        let refused = ["pip.conf:2: names a registry other than everybody's"];
        check(registries, &[("pip.conf", &setting)], &refused);
    }

    #[test]
    fn a_metric_is_spelt_in_its_table_alone() {
        let table =
            (METRIC_TABLE, "name: \"memory.rss\", prometheus: (\"mpp_memory_rss_bytes\", &[])");
        let path = "crates/mpp-export/src/table.rs";
        let check =
            |text: &str, expected: &[&str]| check(metric_names, &[table, (path, text)], expected);
        let why = "take the name from METRICS";
        check("f(\"memory.rss\")", &[&format!("{path}:1: spells the metric `memory.rss`: {why}")]);
        let rate = format!("{path}:1: spells the metric `memory.rss_per_sec`: {why}");
        check("f(\"memory.rss_per_sec\")", &[&rate]);
        let base = format!("{path}:1: spells the metric `mpp_memory_rss_bytes`: {why}");
        check("f(\"mpp_memory_rss_bytes\")", &[&base]);
        check(
            "// \"memory.rss\"\nf(\"memory.current\")\n#[cfg(test)]\nmod tests {\n\"memory.rss\"\n}",
            &[],
        );
    }
}
