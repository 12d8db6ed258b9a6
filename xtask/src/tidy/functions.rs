//! Functions stay short enough to be read at once.

use super::rust_text::{code_only, end_of_item, line_of};
use super::{Complaint, Tree};

/// Above this a function is a table, or two functions.
const LINES_MAX: usize = 70;

/// Flat tables and matches that may be longer: file, function, why.
const ALLOWED: &[(&str, &str, &str)] = &[];

/// Every function that is too long, and every permission that nobody needs any more.
pub(super) fn check(tree: &Tree) -> Vec<Complaint> {
    check_against(tree, ALLOWED)
}

fn check_against(tree: &Tree, allowed: &[(&str, &str, &str)]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut unused: Vec<(&str, &str)> =
        allowed.iter().map(|&(path, name, _)| (path, name)).collect();
    for (path, text) in tree.rust_files() {
        for function in functions(&code_only(text)) {
            if function.lines <= LINES_MAX {
                continue;
            }
            if allowed.iter().any(|&(file, name, _)| file == path && name == function.name) {
                unused.retain(|&permission| permission != (path, function.name.as_str()));
                continue;
            }
            let why = format!(
                "`{}` has {} lines, more than {LINES_MAX}: it is a table, or two functions",
                function.name, function.lines
            );
            complaints.push(Complaint::at(path, function.line, &why));
        }
    }
    let is_needless = |(path, name)| {
        Complaint::new(path, &format!("`{name}` needs no permission to be long any more"))
    };
    complaints.extend(unused.into_iter().map(is_needless));
    complaints
}

struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// Every function with a body, nested ones too.
fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices("fn ") {
        let is_word = !code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let rest = &code[start + 3..];
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if !is_word || length == 0 {
            continue;
        }
        if let Some(end) = end_of_item(code, start) {
            let (line, last) = (line_of(code, start), line_of(code, end));
            found.push(Function { name: rest[..length].to_owned(), line, lines: last - line + 1 });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "crates/mpp-cli/src/plan.rs";

    fn check(body_lines: usize, allowed: &[(&str, &str, &str)], expected: &[&str]) {
        let body = "    call(\"}\");\n".repeat(body_lines);
        let source =
            format!("trait T {{\n    fn short(&self);\n}}\n\npub fn long(x: u8) {{\n{body}}}\n");
        let found = check_against(&Tree::of(&[(PATH, &source)]), allowed);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_function_that_is_too_long_is_refused_unless_it_is_a_known_table() {
        let why = "`long` has 71 lines, more than 70: it is a table, or two functions";
        check(68, &[], &[]);
        check(69, &[], &[&format!("{PATH}:5: {why}")]);
        check(69, &[(PATH, "long", "a flat match")], &[]);
    }

    #[test]
    fn a_permission_that_nobody_needs_is_refused() {
        let why = format!("{PATH}: `long` needs no permission to be long any more");
        check(3, &[(PATH, "long", "a flat match")], &[&why]);
    }
}
