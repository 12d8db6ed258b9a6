//! One escaping function for each place that bytes of a process may reach.
//!
//! A process names itself, and may do so with line ends, terminal sequences, quotes
//! and what is not UTF-8. Nothing of that leaves here raw. Wherever the format lets
//! it, the original can be told back from what was written; in Graphite's paths,
//! which know no escapes, it cannot.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar as _;

/// The sign that a shortened name was shortened by. A name that holds it has it escaped.
pub const ELLIPSIS: char = '…';

/// Bytes as text on one line.
///
/// Control characters, invisible and direction-changing ones, and bytes that are not
/// UTF-8 become `\xHH`, byte by byte; so does a backslash that could be mistaken for the
/// beginning of one of these. Reading each `\xHH` as its byte gives the original.
#[must_use]
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(valid) = std::str::from_utf8(bytes)
        && !valid.contains(|c| c == '\\' || is_hazard(c))
    {
        return Cow::Borrowed(valid);
    }
    let mut text = String::with_capacity(bytes.len() + 8);
    let mut rest = bytes;
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            let is_misleading = letter == '\\' && rest.get(1) == Some(&b'x');
            rest = &rest[letter.len_utf8()..];
            if is_misleading || is_hazard(letter) {
                push_bytes(&mut text, letter);
            } else {
                text.push(letter);
            }
        }
        rest = &rest[chunk.invalid().len()..];
        push_hexadecimal(&mut text, chunk.invalid());
    }
    Cow::Owned(text)
}

/// Bytes for a terminal: as [`text`], but every backslash is doubled, and what has no
/// width of its own is escaped too, so that a cell is as wide as it looks.
#[must_use]
pub fn terminal(bytes: &[u8]) -> String {
    terminal_parts(bytes).into_iter().map(|part| part.text).collect()
}

/// A piece of a name that must not be cut: a letter, or an escape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) text: String,
    pub(crate) width: usize,
}

/// What [`terminal`] writes, in pieces.
pub(crate) fn terminal_parts(bytes: &[u8]) -> Vec<Part> {
    let mut parts = Vec::with_capacity(bytes.len());
    let escape = |bytes: &[u8]| {
        let mut text = String::new();
        push_hexadecimal(&mut text, bytes);
        Part { width: text.len(), text }
    };
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            let width = letter.width().unwrap_or(0);
            parts.push(if letter == '\\' {
                Part { text: "\\\\".to_owned(), width: 2 }
            } else if width == 0 || letter == ELLIPSIS || is_hazard(letter) {
                escape(letter.encode_utf8(&mut [0; 4]).as_bytes())
            } else {
                Part { text: letter.to_string(), width }
            });
        }
        parts.extend(chunk.invalid().iter().map(|byte| escape(&[*byte])));
    }
    parts
}

/// Appends a JSON string with its quotes.
///
/// Bytes that are not UTF-8 become `\xHH` as in [`text`], which in JSON is `\\xHH`; all
/// other characters are JSON's own, the hazardous ones as `\uXXXX`.
pub fn push_json(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = bytes;
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            let is_misleading = letter == '\\' && rest.get(1) == Some(&b'x');
            rest = &rest[letter.len_utf8()..];
            match is_misleading {
                true => out.extend_from_slice(b"\\\\x5C"),
                false => push_json_letter(letter, out),
            }
        }
        rest = &rest[chunk.invalid().len()..];
        for byte in chunk.invalid() {
            out.extend_from_slice(format!("\\\\x{byte:02X}").as_bytes());
        }
    }
    out.push(b'"');
}

fn push_json_letter(letter: char, out: &mut Vec<u8>) {
    match letter {
        '\\' => out.extend_from_slice(b"\\\\"),
        '"' => out.extend_from_slice(b"\\\""),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        hazard if is_hazard(hazard) => {
            for unit in hazard.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            }
        }
        plain => out.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// The value of a Prometheus label, without its quotes: [`text`] with backslashes and
/// quotes escaped as the exposition format wants it.
#[must_use]
pub fn prometheus_label(bytes: &[u8]) -> String {
    text(bytes).replace('\\', "\\\\").replace('"', "\\\"")
}

/// A tag's value in the line protocol of Influx.
///
/// As [`text`], with a backslash before comma, equals sign and space. A backslash of the
/// name itself is always `\x5C`, since the protocol cannot end a value in one. An empty
/// value is forbidden there and becomes `_`.
#[must_use]
pub fn influx_tag(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "_".to_owned();
    }
    let mut tag = String::new();
    for (position, part) in bytes.split(|byte| *byte == b'\\').enumerate() {
        if position > 0 {
            tag.push_str("\\x5C");
        }
        for letter in text(part).chars() {
            if matches!(letter, ',' | '=' | ' ') {
                tag.push('\\');
            }
            tag.push(letter);
        }
    }
    tag
}

/// One component of a Graphite path: letters, digits, `-` and `_`; every other byte
/// becomes `_`, and nothing at all becomes `_` too.
#[must_use]
pub fn graphite(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "_".to_owned();
    }
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    bytes.iter().map(|byte| if is_allowed(*byte) { char::from(*byte) } else { '_' }).collect()
}

/// One field of a CSV line: [`text`], in quotes where RFC 4180 wants them or where spaces
/// at an end might be lost.
#[must_use]
pub fn csv(bytes: &[u8]) -> String {
    let text = text(bytes);
    let is_padded = text.starts_with(' ') || text.ends_with(' ');
    if is_padded || text.contains([',', '"']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.into_owned()
}

/// Characters that act on a screen or a line rather than show: controls, line and
/// paragraph separators, changes of direction, and the invisible.
fn is_hazard(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

fn push_bytes(text: &mut String, letter: char) {
    push_hexadecimal(text, letter.encode_utf8(&mut [0; 4]).as_bytes());
}

fn push_hexadecimal(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "\\x{byte:02X}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each `\xHH` read as its byte; with `\\` too, each of these as a backslash.
    fn original(text: &str, has_doubled_backslashes: Doubled) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        loop {
            rest = match rest {
                [] => return bytes,
                [b'\\', b'\\', rest @ ..] if has_doubled_backslashes == Doubled::Yes => {
                    bytes.push(b'\\');
                    rest
                }
                [b'\\', b'x', high, low, rest @ ..] => {
                    let digits = [*high, *low];
                    let digits = std::str::from_utf8(&digits).expect("two digits");
                    bytes.push(u8::from_str_radix(digits, 16).expect("two digits"));
                    rest
                }
                [byte, rest @ ..] => {
                    bytes.push(*byte);
                    rest
                }
            }
        }
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Doubled {
        Yes,
        No,
    }

    fn is_harmless(text: &str) -> bool {
        !text.contains(is_hazard)
    }

    fn check_text(bytes: &[u8], expected: &str) {
        assert_eq!(text(bytes), expected);
    }

    #[test]
    fn text_escapes_what_acts_and_leaves_what_shows() {
        check_text(b"nginx", "nginx");
        check_text("größe 表".as_bytes(), "größe 表");
        check_text(b"DOMAIN\\user", "DOMAIN\\user");
        check_text(b"\\x41\\", "\\x5Cx41\\");
        check_text(b"a\nb\x1b[2J\xff", "a\\x0Ab\\x1B[2J\\xFF");
        check_text("\u{202e}\u{85}".as_bytes(), "\\xE2\\x80\\xAE\\xC2\\x85");
        check_text(b"\xe8\xa1", "\\xE8\\xA1");
    }

    #[test]
    fn each_format_escapes_its_own_signs() {
        let name = b"a b,c=\"d\\\n\xff.";
        assert_eq!(prometheus_label(name), "a b,c=\\\"d\\\\\\\\x0A\\\\xFF.");
        assert_eq!(influx_tag(name), "a\\ b\\,c\\=\"d\\x5C\\x0A\\xFF.");
        assert_eq!(graphite(name), "a_b_c__d____");
        assert_eq!(csv(name), "\"a b,c=\"\"d\\\\x0A\\xFF.\"");
        assert_eq!(terminal(name), "a b,c=\"d\\\\\\x0A\\xFF.");
        let mut json = Vec::new();
        push_json(name, &mut json);
        assert_eq!(json, b"\"a b,c=\\\"d\\\\\\n\\\\xFF.\"");
    }

    #[test]
    fn nothing_has_a_place_in_every_format() {
        assert_eq!((influx_tag(b"").as_str(), graphite(b"").as_str()), ("_", "_"));
        assert_eq!((csv(b"").as_str(), prometheus_label(b"").as_str()), ("", ""));
    }

    #[test]
    fn a_terminal_sees_no_invisible_letter_and_no_foreign_ellipsis() {
        assert_eq!(terminal("e\u{301}".as_bytes()), "e\\xCC\\x81");
        assert_eq!(terminal("a…".as_bytes()), "a\\xE2\\x80\\xA6");
    }

    fn names() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            any::<Vec<u8>>(),
            any::<String>().prop_map(String::into_bytes),
            r#"[\\x0-9A-F"',= \n\x1b\u{80}-\u{9f}\u{202a}-\u{202e}é]{0,12}"#
                .prop_map(String::into_bytes),
        ]
    }

    proptest! {
        #[test]
        fn text_can_be_told_back(name in names()) {
            let escaped = text(&name);
            prop_assert!(is_harmless(&escaped));
            prop_assert_eq!(original(&escaped, Doubled::No), name);
        }

        #[test]
        fn the_terminal_form_can_be_told_back(name in names()) {
            let escaped = terminal(&name);
            prop_assert!(is_harmless(&escaped) && !escaped.contains(ELLIPSIS));
            prop_assert_eq!(original(&escaped, Doubled::Yes), name);
        }

        #[test]
        fn json_is_a_string_that_can_be_told_back(name in names()) {
            let mut json = Vec::new();
            push_json(&name, &mut json);
            prop_assert!(is_harmless(std::str::from_utf8(&json).expect("UTF-8")));
            let parsed: String = serde_json::from_slice(&json).expect("a JSON string");
            prop_assert_eq!(original(&parsed, Doubled::No), name);
        }

        #[test]
        fn a_label_can_be_told_back(name in names()) {
            let label = prometheus_label(&name);
            prop_assert!(is_harmless(&label));
            let mut letters = label.chars();
            let mut read = String::new();
            while let Some(letter) = letters.next() {
                prop_assert!(letter != '"');
                read.push(if letter == '\\' { letters.next().expect("an escape") } else { letter });
            }
            prop_assert_eq!(original(&read, Doubled::No), name);
        }

        #[test]
        fn an_influx_tag_can_be_told_back(name in names()) {
            prop_assume!(!name.is_empty());
            let tag = influx_tag(&name);
            prop_assert!(is_harmless(&tag) && !tag.ends_with('\\'));
            let mut read = String::new();
            let mut letters = tag.chars().peekable();
            while let Some(letter) = letters.next() {
                let special = matches!(letters.peek(), Some(',' | '=' | ' '));
                if letter == '\\' && special {
                    read.extend(letters.next());
                } else {
                    prop_assert!(!matches!(letter, ',' | '=' | ' '));
                    read.push(letter);
                }
            }
            prop_assert_eq!(original(&read, Doubled::No), name);
        }

        #[test]
        fn a_csv_field_can_be_told_back(name in names()) {
            let field = csv(&name);
            prop_assert!(is_harmless(&field));
            let read = match field.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
                Some(inner) => inner.replace("\"\"", "\""),
                None => {
                    prop_assert!(!field.contains([',', '"']));
                    field
                }
            };
            prop_assert_eq!(original(&read, Doubled::No), name);
        }

        #[test]
        fn a_graphite_component_is_one_word(name in names()) {
            let component = graphite(&name);
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            prop_assert!(!component.is_empty() && component.chars().all(is_word));
        }
    }
}
