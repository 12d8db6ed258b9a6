//! Which crate may import which: the table of the layers, held against every manifest.

use std::collections::BTreeMap;

use super::{Complaint, Tree};

/// One crate's row.
struct Row {
    /// The crate, built already or yet to come.
    package: &'static str,
    /// Crates of the workspace that it may import.
    may_import: &'static [&'static str],
    /// Further ones that its tests and examples may import.
    tests_may_import: &'static [&'static str],
}

const fn row(
    package: &'static str,
    may_import: &'static [&'static str],
    tests_may_import: &'static [&'static str],
) -> Row {
    Row { package, may_import, tests_may_import }
}

/// The table. No arrow turns back.
const ROWS: &[Row] = &[
    row("mpp-parse", &[], &[]),
    row("mpp-accounting", &[], &[]),
    row("mpp-collect", &["mpp-parse", "mpp-accounting"], &[]),
    row("metrics-per-process", &["mpp-accounting", "mpp-collect"], &[]),
    row("mpp-export", &["mpp-accounting"], &[]),
    row("mpp-history", &["mpp-accounting"], &[]),
    row("mpp-agent", &["metrics-per-process", "mpp-export", "mpp-history"], &[]),
    row("mpp-cli", &["metrics-per-process", "mpp-export", "mpp-history", "mpp-agent"], &[]),
    row("mpp-python", &["metrics-per-process", "mpp-export", "mpp-cli"], &[]),
    // Loads for tests: they know nothing of what measures them, their tests know it all.
    row(
        "mpp-load",
        &[],
        &["mpp-parse", "mpp-accounting", "mpp-collect", "metrics-per-process", "mpp-export"],
    ),
    row("mpp-fuzz", &["mpp-parse", "mpp-accounting", "mpp-export"], &[]),
    row("xtask", &[], &[]),
    // Other crates in our place, for the benchmark: nothing of ours.
    row("crate-costs", &[], &[]),
];

/// Every import that the table does not hold, and every crate that it does not know.
pub(super) fn check(tree: &Tree) -> Vec<Complaint> {
    let aliases = aliases(tree.text("Cargo.toml").unwrap_or_default());
    let manifests = tree.files().filter(|(path, _)| path.ends_with("/Cargo.toml"));
    manifests.flat_map(|(path, text)| check_manifest(path, text, &aliases)).collect()
}

fn check_manifest(path: &str, text: &str, aliases: &BTreeMap<String, String>) -> Vec<Complaint> {
    let Some(package) = package_name(text) else {
        return vec![Complaint::new(path, "the package has no name")];
    };
    let Some(row) = ROWS.iter().find(|row| row.package == package) else {
        let why = format!("{package} is not in the table of edges: it needs a row there");
        return vec![Complaint::new(path, &why)];
    };
    let mut complaints = Vec::new();
    for dependency in dependencies(text) {
        let name = aliases.get(&dependency.name).unwrap_or(&dependency.name).as_str();
        let is_member = ROWS.iter().any(|row| row.package == name);
        let may = row.may_import.contains(&name);
        let tests_may = may || row.tests_may_import.contains(&name);
        let why = match dependency.audience {
            Audience::Everyone if is_member && !may => {
                format!("{package} must not import {name}")
            }
            Audience::Tests if is_member && !tests_may && name != package => {
                format!("the tests of {package} must not import {name}")
            }
            Audience::Everyone | Audience::Tests => continue,
        };
        complaints.push(Complaint::new(path, &why));
    }
    complaints
}

/// Who sees a dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audience {
    Everyone,
    Tests,
}

#[derive(Debug, PartialEq, Eq)]
struct Dependency {
    name: String,
    audience: Audience,
}

/// The names by which the root manifest's `[workspace.dependencies]` calls other packages.
fn aliases(root: &str) -> BTreeMap<String, String> {
    let mut aliases = BTreeMap::new();
    for (section, line) in lines_by_section(root) {
        if section == "workspace.dependencies"
            && let Some(package) = renamed_package(line)
        {
            aliases.insert(key(line), package.to_owned());
        }
    }
    aliases
}

fn package_name(manifest: &str) -> Option<&str> {
    let mut lines = lines_by_section(manifest);
    let name = lines.find(|(section, line)| section == "package" && key(line) == "name")?.1;
    name.split('"').nth(1)
}

/// Every dependency of a manifest, in whichever of its spellings.
fn dependencies(manifest: &str) -> Vec<Dependency> {
    let mut found: Vec<Dependency> = Vec::new();
    for (section, line) in lines_by_section(manifest) {
        let (parent, last) = section.rsplit_once('.').unwrap_or(("", &section));
        if let Some(audience) = audience(last) {
            if !line.is_empty() {
                let name = renamed_package(line).map_or_else(|| key(line), str::to_owned);
                found.push(Dependency { name, audience });
            }
        } else if let Some(audience) = audience(parent.rsplit('.').next().unwrap_or(parent)) {
            // `[dependencies.NAME]`: the header is one line, a `package` key another.
            let name = last.trim_matches('"').to_owned();
            if line.is_empty() {
                found.push(Dependency { name, audience });
            } else if key(line) == "package"
                && let Some(package) = line.split('"').nth(1)
            {
                found.push(Dependency { name: package.to_owned(), audience });
            }
        }
    }
    found
}

fn audience(section: &str) -> Option<Audience> {
    match section {
        "dependencies" | "build-dependencies" => Some(Audience::Everyone),
        "dev-dependencies" => Some(Audience::Tests),
        _ => None,
    }
}

/// Lines that say something, each with its section; a section's header counts as an empty line.
fn lines_by_section(toml: &str) -> impl Iterator<Item = (String, &str)> {
    let mut section = String::new();
    toml.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).map(move |line| {
        match line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            Some(header) => {
                section = header.trim_matches(['[', ']']).to_owned();
                (section.clone(), "")
            }
            None => (section.clone(), line),
        }
    })
}

/// Left of the first `.`, ` ` or `=`.
fn key(line: &str) -> String {
    line.split(['.', ' ', '=']).next().unwrap_or_default().trim_matches('"').to_owned()
}

fn renamed_package(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("package")?;
    rest.trim_start().strip_prefix('=')?.split('"').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_crate(name: &str, dependencies: &str, expected: &[&str]) {
        let manifest = format!("[package]\nname = \"{name}\"\n\n{dependencies}\n");
        let root =
            "[workspace.dependencies]\nparsing = { package = \"mpp-parse\", path = \"x\" }\n";
        let path = format!("crates/{name}/Cargo.toml");
        let tree = Tree::of(&[("Cargo.toml", root), (&path, &manifest)]);
        let expected: Vec<String> = expected.iter().map(|why| format!("{path}: {why}")).collect();
        let found: Vec<String> = check(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{dependencies}");
    }

    #[test]
    fn an_arrow_that_turns_back_is_refused_however_it_is_spelt() {
        let refused = &["mpp-accounting must not import mpp-parse"];
        let check = |dependencies| check_crate("mpp-accounting", dependencies, refused);
        check("[dependencies]\nmpp-parse.workspace = true");
        check("[dependencies]\nmpp-parse = { path = \"../mpp-parse\" }");
        check("[dependencies]\n\"mpp-parse\" = \"0.1\"");
        check("[dependencies]\nwords = { package = \"mpp-parse\", path = \"../mpp-parse\" }");
        check("[dependencies]\nparsing.workspace = true");
        check("[dependencies.mpp-parse]\npath = \"../mpp-parse\"");
        check("[dependencies.words]\npackage = \"mpp-parse\"\npath = \"../mpp-parse\"");
        check("[build-dependencies]\nmpp-parse.workspace = true");
        check("[target.'cfg(unix)'.dependencies]\nmpp-parse.workspace = true");
        check("[target.'cfg(unix)'.dependencies.mpp-parse]\nworkspace = true");
    }

    #[test]
    fn tests_have_a_column_of_their_own() {
        let dependencies = "[dev-dependencies]\nmpp-collect.workspace = true";
        check_crate("mpp-load", dependencies, &[]);
        let refused = "the tests of mpp-parse must not import mpp-collect";
        check_crate("mpp-parse", dependencies, &[refused]);
        let dependencies = "[dependencies]\nmpp-collect.workspace = true";
        check_crate("mpp-load", dependencies, &["mpp-load must not import mpp-collect"]);
    }

    #[test]
    fn crates_yet_to_come_have_their_rows() {
        let dependencies = "[dependencies]\nmpp-export.workspace = true\nmpp-parse = \"1\"";
        check_crate("mpp-agent", dependencies, &["mpp-agent must not import mpp-parse"]);
    }

    #[test]
    fn a_crate_that_nobody_placed_is_refused() {
        let why = "mpp-extra is not in the table of edges: it needs a row there";
        check_crate("mpp-extra", "", &[why]);
    }

    #[test]
    fn what_comes_from_outside_is_not_judged() {
        check_crate("mpp-parse", "[dependencies]\nmemchr.workspace = true", &[]);
    }
}
