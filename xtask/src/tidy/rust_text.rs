//! Rust source text, taken apart just far enough: code, comments, literals.
//!
//! Rules about code must not stumble over a comment that names what they forbid, and
//! rules about texts must see nothing else.

/// What a stretch of source text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Code,
    Comment,
    /// A string or character literal, quotes included.
    Literal,
}

/// Source text with everything but code replaced by spaces; lines stay lines.
pub(super) fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    for (kind, text) in stretches(source) {
        match kind {
            Kind::Code => code.push_str(text),
            Kind::Comment | Kind::Literal => {
                code.extend(text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            }
        }
    }
    code
}

/// The string literals outside comments and test modules, without quotes, each with its line.
pub(super) fn literals(source: &str) -> Vec<(usize, &str)> {
    let tests = test_lines(&code_only(source));
    let mut line = 1;
    let mut found = Vec::new();
    for (kind, text) in stretches(source) {
        let is_test = tests.iter().any(|range| range.contains(&line));
        if kind == Kind::Literal && !is_test {
            let opened = text.trim_start_matches(['b', 'c', 'r', '#']);
            if let Some(inner) = opened.strip_prefix('"') {
                found.push((line, inner.trim_end_matches('#').trim_end_matches('"')));
            }
        }
        line += text.matches('\n').count();
    }
    found
}

/// The lines of modules and items that only tests compile.
pub(super) fn test_lines(code: &str) -> Vec<std::ops::RangeInclusive<usize>> {
    let mut ranges = Vec::new();
    for (start, _) in code.match_indices("#[cfg(test)]") {
        if let Some(end) = end_of_item(code, start) {
            ranges.push(line_of(code, start)..=line_of(code, end));
        }
    }
    ranges
}

/// The line, from 1, that holds a byte.
pub(super) fn line_of(text: &str, position: usize) -> usize {
    text[..position].matches('\n').count() + 1
}

/// Where the item that begins here ends: its `;`, or the brace that closes its body.
pub(super) fn end_of_item(code: &str, start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut braces = 0_usize;
    for (offset, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'{' => braces += 1,
            b'}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 && depth == 0 {
                    return Some(offset);
                }
            }
            b';' if braces == 0 && depth == 0 => return Some(offset),
            _ => {}
        }
    }
    None
}

/// Source text in stretches that add up to all of it.
fn stretches(source: &str) -> Vec<(Kind, &str)> {
    let mut stretches = Vec::new();
    let (mut code_start, mut position) = (0, 0);
    while position < source.len() {
        let rest = &source[position..];
        let previous = source[..position].bytes().next_back();
        match special(rest, previous) {
            Some((kind, length)) => {
                stretches.push((Kind::Code, &source[code_start..position]));
                stretches.push((kind, &rest[..length]));
                position += length;
                code_start = position;
            }
            None => position += rest.chars().next().map_or(1, char::len_utf8),
        }
    }
    stretches.push((Kind::Code, &source[code_start..]));
    stretches
}

/// The comment or literal that begins here, and its length.
fn special(rest: &str, previous: Option<u8>) -> Option<(Kind, usize)> {
    if rest.starts_with("//") {
        return Some((Kind::Comment, rest.find('\n').unwrap_or(rest.len())));
    }
    if rest.starts_with("/*") {
        return Some((Kind::Comment, block_comment_length(rest)));
    }
    let in_word = previous.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !in_word && let Some(length) = raw_string_length(rest) {
        return Some((Kind::Literal, length));
    }
    let prefix = usize::from(!in_word && rest.starts_with(['b', 'c']));
    match rest.as_bytes().get(prefix) {
        Some(b'"') => Some((Kind::Literal, quoted_length(rest, prefix, b'"'))),
        Some(b'\'') if is_character(&rest[prefix..]) => {
            Some((Kind::Literal, quoted_length(rest, prefix, b'\'')))
        }
        _ => None,
    }
}

fn block_comment_length(rest: &str) -> usize {
    let (mut depth, mut position) = (0_usize, 0);
    while position < rest.len() {
        let bytes = &rest.as_bytes()[position..];
        if bytes.starts_with(b"/*") {
            depth += 1;
            position += 2;
        } else if bytes.starts_with(b"*/") {
            depth -= 1;
            position += 2;
            if depth == 0 {
                return position;
            }
        } else {
            position += 1;
        }
    }
    rest.len()
}

fn raw_string_length(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix(['b', 'c']).unwrap_or(rest).strip_prefix('r')?;
    let hashes = inner.len() - inner.trim_start_matches('#').len();
    let body = inner[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = body.find(&close).map_or(body.len(), |end| end + close.len());
    Some(rest.len() - body.len() + end)
}

fn quoted_length(rest: &str, prefix: usize, quote: u8) -> usize {
    let mut is_escaped = false;
    for (offset, byte) in rest.bytes().enumerate().skip(prefix + 1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            _ if byte == quote => return offset + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Whether a quote begins a character and not a lifetime.
fn is_character(rest: &str) -> bool {
    let mut characters = rest.chars().skip(1);
    match characters.next() {
        Some('\\') => true,
        Some(_) => characters.next() == Some('\''),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_not_code() {
        // In the expected text a `_` stands for what became a space.
        let check = |source: &str, expected: &str| {
            assert_eq!(code_only(source), expected.replace('_', " "), "{source}");
        };
        check("a // b\nc", "a ____\nc");
        check("a /* b /* c */ d */ e", "a _________________ e");
        check("f(\"x\\\"y\")", "f(______)");
        check("r#\"a\"b\"# c", "________ c");
        check("for b in x", "for b in x");
        check("b'x' '\\'' &'a str", "____ ____ &'a str");
    }

    #[test]
    fn literals_of_tests_and_comments_do_not_count() {
        let source =
            "const A: &str = \"one\"; // \"two\"\n#[cfg(test)]\nmod tests { f(\"three\"); }\n";
        assert_eq!(literals(source), [(1, "one")]);
        assert_eq!(literals("f(b\"x\", r#\"y\"#, 'z')"), [(1, "x"), (1, "y")]);
    }
}
