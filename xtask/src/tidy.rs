//! What neither compiler nor lints can hold: the layers, the names, the one table of metrics.

mod edges;
mod files;
mod functions;
mod rust_text;
mod tree;
mod words;

use std::fmt;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Result, bail};

use tree::Tree;

/// A rule: what it keeps true, and what it finds wrong in a tree.
struct Rule {
    keeps: &'static str,
    check: fn(&Tree) -> Vec<Complaint>,
}

const RULES: &[Rule] = &[
    Rule { keeps: "no arrow between crates turns back", check: edges::check },
    Rule { keeps: "unsafe and I/O stay where they belong", check: files::attributes },
    Rule { keeps: "a crate's folder bears its name", check: files::folders },
    Rule { keeps: "a file bears the name of what it defines", check: files::names },
    Rule { keeps: "a file opens with what it is for", check: files::openings },
    Rule { keeps: "fuzz targets are held to every lint", check: files::fuzz_lints },
    Rule { keeps: "functions can be read at once", check: functions::check },
    Rule { keeps: "no call says only true or false", check: functions::bool_parameters },
    Rule { keeps: "nothing unfinished is here", check: words::forbidden_code },
    Rule { keeps: "nothing depends on one machine", check: words::machine_paths },
    Rule { keeps: "packages come from everybody's registry", check: words::registries },
    Rule { keeps: "a metric is spelt in one table", check: words::metric_names },
];

/// Something that a rule found wrong.
struct Complaint {
    path: String,
    line: Option<usize>,
    why: String,
}

impl Complaint {
    /// About a whole file.
    fn new(path: &str, why: &str) -> Self {
        Complaint { path: path.to_owned(), line: None, why: why.to_owned() }
    }

    /// About one line, counted from 1.
    fn at(path: &str, line: usize, why: &str) -> Self {
        Complaint { path: path.to_owned(), line: Some(line), why: why.to_owned() }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path, self.why),
            None => write!(f, "{}: {}", self.path, self.why),
        }
    }
}

/// Holds every rule against the tree below `root`.
pub(crate) fn run(root: &Path) -> Result<()> {
    let tree = Tree::read(root)?;
    let mut out = io::stdout().lock();
    let mut complaints = 0;
    for rule in RULES {
        let found = (rule.check)(&tree);
        complaints += found.len();
        writeln!(out, "  {} {}", if found.is_empty() { "ok  " } else { "FAIL" }, rule.keeps)?;
        for complaint in found {
            writeln!(out, "       {complaint}")?;
        }
    }
    if complaints > 0 {
        bail!("tidy found {complaints} things wrong");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_tree_keeps_every_rule() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let tree = Tree::read(&root).unwrap();
        assert!(tree.text("Cargo.toml").is_some());
        let found: Vec<String> =
            RULES.iter().flat_map(|rule| (rule.check)(&tree)).map(|c| c.to_string()).collect();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}
