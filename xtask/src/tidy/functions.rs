//! Functions stay short enough to be read at once, and a call of one says what it means.

use super::rust_text::{code_only, end_of_item, line_of, test_lines};
use super::{Complaint, Tree};

/// Above this a function is a table, or two functions.
const LINES_MAX: usize = 70;

/// Flat tables and matches that may be longer: file, function, why.
const ALLOWED: &[(&str, &str, &str)] = &[];

/// Functions that may take a `bool`: file, function, why.
const BOOL_ALLOWED: &[(&str, &str, &str)] = &[];

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

/// Every function of the product that takes a `bool`, and every permission that nobody needs
/// any more.
///
/// `advance(&p, true, false)` says nothing to who reads the call. In tests it may be what is
/// expected; methods of a trait that is somebody else's are as that wants them, and those of a
/// trait of ours are judged where the trait declares them.
pub(super) fn bool_parameters(tree: &Tree) -> Vec<Complaint> {
    bool_parameters_against(tree, BOOL_ALLOWED)
}

fn bool_parameters_against(tree: &Tree, allowed: &[(&str, &str, &str)]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut unused: Vec<(&str, &str)> =
        allowed.iter().map(|&(path, name, _)| (path, name)).collect();
    for (path, text) in tree.rust_files().filter(|(path, _)| is_product(path)) {
        let code = code_only(text);
        let (tests, impls) = (test_lines(&code), trait_impls(&code));
        for function in functions(&code) {
            let is_exempt = tests.iter().any(|lines| lines.contains(&function.line))
                || impls.iter().any(|range| range.contains(&function.start));
            let parameters = parameters(&code[function.start..]);
            if is_exempt || !parameters.iter().any(|parameter| is_bool(parameter)) {
                continue;
            }
            if allowed.iter().any(|&(file, name, _)| file == path && name == function.name) {
                unused.retain(|&permission| permission != (path, function.name.as_str()));
                continue;
            }
            let why =
                format!("`{}` takes a `bool`: make it an enum, or two functions", function.name);
            complaints.push(Complaint::at(path, function.line, &why));
        }
    }
    let is_needless = |(path, name)| {
        Complaint::new(path, &format!("`{name}` needs no permission to take a `bool` any more"))
    };
    complaints.extend(unused.into_iter().map(is_needless));
    complaints
}

fn is_product(path: &str) -> bool {
    path.starts_with("crates/") && path.contains("/src/") && !path.ends_with("/tests.rs")
}

/// Where the code implements a trait for a type, and not a type alone.
fn trait_impls(code: &str) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices("impl") {
        let is_word = start == 0 || code[..start].ends_with(char::is_whitespace);
        let Some(body) = code[start..].find('{').filter(|_| is_word) else { continue };
        let is_of_trait = code[start..start + body].split_whitespace().any(|word| word == "for");
        if is_of_trait && let Some(end) = end_of_item(code, start) {
            found.push(start..end);
        }
    }
    found
}

/// The parameters of the function that begins here, each with its type.
fn parameters(function: &str) -> Vec<&str> {
    let Some(list) = parameter_list(function) else { return Vec::new() };
    let (mut parameters, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    for (position, byte) in list.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'<' | b'{' => depth += 1,
            b'>' if list[..position].ends_with('-') => {}
            b')' | b']' | b'>' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                parameters.push(&list[start..position]);
                start = position + 1;
            }
            _ => {}
        }
    }
    parameters.push(&list[start..]);
    parameters
}

/// What stands between the parentheses behind a function's name and its generics.
fn parameter_list(function: &str) -> Option<&str> {
    let (mut angles, mut opened, mut depth) = (0_usize, None, 0_usize);
    for (position, byte) in function.bytes().enumerate() {
        match byte {
            b'<' if opened.is_none() => angles += 1,
            b'>' if opened.is_none() && !function[..position].ends_with('-') => {
                angles = angles.saturating_sub(1);
            }
            b'(' if angles == 0 => {
                opened = opened.or(Some(position + 1));
                depth += 1;
            }
            b')' if angles == 0 => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return function.get(opened?..position);
                }
            }
            _ => {}
        }
    }
    None
}

/// Whether a parameter's type is `bool`, behind a reference or not.
fn is_bool(parameter: &str) -> bool {
    let ty = parameter.split_once(':').map_or("", |(_, ty)| ty.trim());
    let is_of_type = |word: &&str| *word != "mut" && !word.starts_with('\'');
    let ty = ty.trim_start_matches('&').split_whitespace().filter(is_of_type);
    ty.eq(["bool"])
}

struct Function {
    name: String,
    /// The byte at which it begins.
    start: usize,
    line: usize,
    lines: usize,
}

/// Every function, nested ones and mere declarations too.
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
            let name = rest[..length].to_owned();
            found.push(Function { name, start, line, lines: last - line + 1 });
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

    fn check_bools(source: &str, allowed: &[(&str, &str, &str)], expected: &[&str]) {
        let found = bool_parameters_against(&Tree::of(&[(PATH, source)]), allowed);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{source}");
    }

    #[test]
    fn a_parameter_that_is_true_or_false_is_refused_however_it_is_spelt() {
        let why = format!("{PATH}:1: `f` takes a `bool`: make it an enum, or two functions");
        for source in [
            "fn f(is_x: bool) {}",
            "fn f(&self, n: u8, is_x: bool) -> u8 { n }",
            "pub(crate) const fn f<T: Fn(u8) -> u8>(t: T, mut is_x: bool) {}",
            "fn f((a, b): (u8, u8), is_x: &'a mut bool) {}",
            "trait T { fn f(is_x: &bool); }",
            "impl T { fn f(is_x: bool,) {} }",
        ] {
            check_bools(source, &[], &[&why]);
            check_bools(source, &[(PATH, "f", "a row of a table")], &[]);
        }
    }

    #[test]
    fn a_bool_that_no_call_shows_is_left_alone() {
        for source in [
            "fn f() -> bool { true }",
            "struct S { is_x: bool }\nfn f(s: &S, is_x: Option<bool>) {}",
            "fn f(choose: impl Fn(u8) -> bool) {}",
            "fn f(choose: fn(bool) -> u8) {}",
            "// fn f(is_x: bool) {}",
            "impl Visitor for X {\n    fn visit_bool(self, value: bool) {}\n}",
            "#[cfg(test)]\nmod tests {\n    fn check(input: u8, expected: bool) {}\n}",
        ] {
            check_bools(source, &[], &[]);
        }
    }

    #[test]
    fn a_permission_to_take_a_bool_that_nobody_needs_is_refused() {
        let why = format!("{PATH}: `f` needs no permission to take a `bool` any more");
        check_bools("fn f() {}", &[(PATH, "f", "a row of a table")], &[&why]);
    }
}
