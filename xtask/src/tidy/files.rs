//! Rules about files as such: their names, their first lines, their folders.

use std::collections::BTreeSet;

use super::{Complaint, Tree};

/// Names that say nothing about what a file defines.
const EMPTY_NAMES: [&str; 8] =
    ["utils", "common", "helpers", "misc", "types", "manager", "info", "data"];

/// Crates whose `unsafe` is allowed, and why.
const UNSAFE_ALLOWED: [(&str, &str); 3] = [
    ("mpp-collect", "the one crate with system calls"),
    ("mpp-load", "test programs fork and change their own memory map"),
    ("mpp-python", "the binding's generated code"),
];

/// Files bear the name of the noun that they define.
pub(super) fn names(tree: &Tree) -> Vec<Complaint> {
    let is_empty_name = |path: &str| {
        let name = path.rsplit('/').next().and_then(|file| file.strip_suffix(".rs"));
        let folder = path.strip_suffix("/mod.rs").and_then(|path| path.rsplit('/').next());
        folder.or(name).is_some_and(|name| EMPTY_NAMES.contains(&name))
    };
    let paths = tree.rust_files().map(|(path, _)| path).filter(|path| is_empty_name(path));
    paths
        .map(|path| Complaint::new(path, "the name says nothing: name the noun it defines"))
        .collect()
}

/// A file opens with what it is for.
pub(super) fn openings(tree: &Tree) -> Vec<Complaint> {
    let is_silent = |text: &str| {
        let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with("#!["));
        !lines.next().is_some_and(|line| line.starts_with("//!"))
    };
    let files = tree.rust_files().filter(|(_, text)| is_silent(text));
    files
        .map(|(path, _)| Complaint::new(path, "does not open with `//!`: what is it for?"))
        .collect()
}

/// A workspace of its own, which cannot inherit lints: it repeats them.
const FUZZ_MANIFEST: &str = "fuzz/Cargo.toml";

/// The fuzz targets are held to the lints that all crates are held to.
pub(super) fn fuzz_lints(tree: &Tree) -> Vec<Complaint> {
    let lints_of = |manifest: &str| lints(tree.text(manifest).unwrap_or_default());
    let (shared, repeated) = (lints_of("Cargo.toml"), lints_of(FUZZ_MANIFEST));
    let lacks = shared.difference(&repeated).map(|(table, lint)| {
        Complaint::new(FUZZ_MANIFEST, &format!("[lints.{table}] lacks `{lint}` of the workspace"))
    });
    let differs = repeated.difference(&shared).map(|(table, lint)| {
        Complaint::new(FUZZ_MANIFEST, &format!("[lints.{table}] has its own `{lint}`"))
    });
    lacks.chain(differs).collect()
}

/// Every line of a manifest's tables of lints, with the tool that the table is for.
fn lints(manifest: &str) -> BTreeSet<(&str, &str)> {
    let mut table = None;
    let mut lints = BTreeSet::new();
    for line in manifest.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.strip_prefix("workspace.").unwrap_or(header);
            table = header.strip_prefix("lints.").map(|table| table.trim_end_matches(']'));
        } else if let Some(table) = table.filter(|_| !line.starts_with('#')) {
            lints.insert((table, line));
        }
    }
    lints
}

/// A crate's folder bears its name.
pub(super) fn folders(tree: &Tree) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (path, text) in tree.files() {
        let folder = path.strip_prefix("crates/").and_then(|path| path.strip_suffix("/Cargo.toml"));
        let Some(folder) = folder else { continue };
        if !text.lines().any(|line| line.trim() == format!("name = \"{folder}\"")) {
            complaints.push(Complaint::new(path, "the package and its folder differ in name"));
        }
    }
    complaints
}

/// The compiler keeps `unsafe` where it belongs, and I/O out of the parsers.
pub(super) fn attributes(tree: &Tree) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (path, text) in tree.rust_files() {
        let Some(package) = crate_of_root(path) else { continue };
        let has = |attribute: &str| text.lines().any(|line| line == attribute);
        let may_be_unsafe = UNSAFE_ALLOWED.iter().any(|(name, _)| *name == package);
        if !may_be_unsafe && !has("#![forbid(unsafe_code)]") {
            complaints.push(Complaint::new(path, "lacks `#![forbid(unsafe_code)]`"));
        }
        if package == "mpp-parse" && !has("#![no_std]") {
            complaints.push(Complaint::new(path, "lacks `#![no_std]`"));
        }
    }
    complaints.extend(returned_std(tree));
    complaints
}

/// `extern crate` would bring back into the parsers what `no_std` took out.
fn returned_std(tree: &Tree) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (path, text) in
        tree.rust_files().filter(|(path, _)| path.starts_with("crates/mpp-parse/src/"))
    {
        let code = super::rust_text::code_only(text);
        let tests = super::rust_text::test_lines(&code);
        for (number, line) in code.lines().enumerate() {
            let is_test = tests.iter().any(|range| range.contains(&(number + 1)));
            if line.contains("extern crate") && !is_test {
                let why = "outside tests the parsers have no `extern crate`: they do not allocate";
                complaints.push(Complaint::at(path, number + 1, why));
            }
        }
    }
    complaints
}

/// The package that a file is a root of: a library, a program, or the automation.
fn crate_of_root(path: &str) -> Option<&str> {
    let (package, file) = match path.strip_prefix("xtask/") {
        Some(file) => ("xtask", file),
        None => path.strip_prefix("crates/")?.split_once('/')?,
    };
    let is_root = matches!(file, "src/lib.rs" | "src/main.rs") || file.starts_with("src/bin/");
    is_root.then_some(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&Tree) -> Vec<Complaint>, files: &[(&str, &str)], expected: &[&str]) {
        let found: Vec<String> = rule(&Tree::of(files)).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_name_that_says_nothing_is_refused() {
        let why = "the name says nothing: name the noun it defines";
        let path = "crates/mpp-cli/src/utils.rs";
        check(
            names,
            &[(path, ""), ("crates/mpp-cli/src/plan.rs", "")],
            &[&format!("{path}: {why}")],
        );
        let path = "crates/mpp-cli/tests/common/mod.rs";
        check(names, &[(path, "")], &[&format!("{path}: {why}")]);
    }

    #[test]
    fn a_file_that_does_not_say_what_it_is_for_is_refused() {
        let silent = "crates/mpp-cli/src/plan.rs: does not open with `//!`: what is it for?";
        check(openings, &[("crates/mpp-cli/src/plan.rs", "use std::fs;\n")], &[silent]);
        check(openings, &[("crates/mpp-cli/src/plan.rs", "//! What is meant.\n")], &[]);
        let silent = "fuzz/fuzz_targets/x.rs: does not open with `//!`: what is it for?";
        check(
            openings,
            &[("fuzz/fuzz_targets/x.rs", "#![no_main]\n\nfuzz_target!(x);\n")],
            &[silent],
        );
        check(openings, &[("fuzz/fuzz_targets/x.rs", "#![no_main]\n\n//! Tries x.\n")], &[]);
    }

    #[test]
    fn a_lint_that_fuzz_targets_are_not_held_to_is_refused() {
        let root =
            ("Cargo.toml", "[workspace.lints.clippy]\ntodo = \"warn\"\n\n[profile.dev]\na = 1\n");
        let fuzz = |lints: &'static str| [root, (FUZZ_MANIFEST, lints)];
        check(
            fuzz_lints,
            &fuzz("[lints.clippy]\n# As there.\ntodo = \"warn\"\n[profile]\nb = 1"),
            &[],
        );
        let lacks =
            format!("{FUZZ_MANIFEST}: [lints.clippy] lacks `todo = \"warn\"` of the workspace");
        check(fuzz_lints, &fuzz("[package]"), &[&lacks]);
        let differs = format!("{FUZZ_MANIFEST}: [lints.clippy] has its own `todo = \"allow\"`");
        check(fuzz_lints, &fuzz("[lints.clippy]\ntodo = \"allow\""), &[&lacks, &differs]);
    }

    #[test]
    fn a_folder_and_its_crate_bear_one_name() {
        let differ = "crates/mpp-a/Cargo.toml: the package and its folder differ in name";
        check(folders, &[("crates/mpp-a/Cargo.toml", "[package]\nname = \"mpp-b\"\n")], &[differ]);
        check(folders, &[("crates/mpp-a/Cargo.toml", "[package]\nname = \"mpp-a\"\n")], &[]);
    }

    #[test]
    fn a_crate_without_its_lock_is_refused() {
        let both = "//! Parsers.\n#![no_std]\n#![forbid(unsafe_code)]\n";
        let (path, forbid) =
            ("crates/mpp-parse/src/lib.rs", "//! Parsers.\n#![forbid(unsafe_code)]\n");
        check(attributes, &[(path, both)], &[]);
        check(attributes, &[(path, forbid)], &[&format!("{path}: lacks `#![no_std]`")]);
        let commented = "//! #![forbid(unsafe_code)]\n";
        let missing = "crates/mpp-cli/src/main.rs: lacks `#![forbid(unsafe_code)]`";
        check(attributes, &[("crates/mpp-cli/src/main.rs", commented)], &[missing]);
        check(
            attributes,
            &[("crates/mpp-collect/src/lib.rs", ""), ("crates/mpp-cli/src/plan.rs", "")],
            &[],
        );
    }

    #[test]
    fn the_parsers_get_no_allocator_but_in_tests() {
        let path = "crates/mpp-parse/src/number.rs";
        let why = "outside tests the parsers have no `extern crate`: they do not allocate";
        check(attributes, &[(path, "extern crate alloc;\n")], &[&format!("{path}:1: {why}")]);
        check(attributes, &[(path, "#[cfg(test)]\nextern crate std;\n")], &[]);
    }
}
