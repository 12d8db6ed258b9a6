//! The text form of a selector: what `-x`, configurations and the API are written in.
//!
//! Reading what was printed gives the selector that was printed.

use std::fmt;

use super::error::push_printable;
use super::{
    Descendants, EnvironmentCondition, Selector, SelectorError, User, path_bytes, path_of,
};
use crate::similar;

/// Every kind of condition.
const KINDS: [&str; 12] = [
    "name",
    "user",
    "cmdline",
    "env",
    "pid",
    "pidfile",
    "port",
    "children-of",
    "unit",
    "cgroup",
    "not",
    "children",
];

/// One condition of the text form.
struct Term<'a> {
    is_negated: bool,
    kind: &'a str,
    kind_at: usize,
    value: Vec<u8>,
    value_at: usize,
}

pub(super) fn parse(text: &str) -> Result<Selector, SelectorError> {
    let mut reader = Reader { text, at: 0 };
    let mut selector = Selector::default();
    while let Some(term) = reader.term()? {
        selector = add(selector, &term)?;
    }
    Ok(selector)
}

fn add(selector: Selector, term: &Term<'_>) -> Result<Selector, SelectorError> {
    let at_value = |error: SelectorError| error.at(term.value_at);
    if !term.is_negated {
        return add_condition(selector, term);
    }
    match term.kind {
        "env" if !term.value.contains(&b'=') && !term.value.starts_with(b"!") => {
            let condition = [b"!".as_slice(), &term.value].concat();
            selector.environment(condition).map_err(at_value)
        }
        "not" | "children" => {
            let error = SelectorError::new("a condition behind `!`", term.kind.as_bytes());
            Err(error.at(term.kind_at))
        }
        _ => selector.excluding(add_condition(Selector::default(), term)?).map_err(at_value),
    }
}

fn add_condition(selector: Selector, term: &Term<'_>) -> Result<Selector, SelectorError> {
    let value = term.value.as_slice();
    let added = match term.kind {
        "name" => selector.name(value),
        "user" => selector.user(value),
        "cmdline" => selector.cmdline(value),
        "env" => selector.environment(value),
        "pid" => selector.pids(value),
        "pidfile" => selector.pid_file(path_of(value)),
        "port" => selector.ports(value),
        "children-of" => selector.children_of(value),
        "unit" => selector.unit(value),
        "cgroup" => selector.cgroup(value),
        "not" => excluded(value).and_then(|other| selector.excluding(other)),
        "children" => match value {
            b"no" => Ok(selector.with_descendants(Descendants::Left)),
            b"yes" => Ok(selector.with_descendants(Descendants::Taken)),
            _ => Err(SelectorError::new("`yes` or `no`", value)),
        },
        unknown => {
            let error =
                SelectorError::new(format!("one of {}", KINDS.join(", ")), unknown.as_bytes());
            return Err(error.at(term.kind_at).did_you_mean(similar::closest(unknown, KINDS)));
        }
    };
    added.map_err(|error| error.at(term.value_at))
}

/// The selector in a `not:`.
fn excluded(value: &[u8]) -> Result<Selector, SelectorError> {
    match std::str::from_utf8(value) {
        Ok(text) => parse(text),
        Err(_) => Err(SelectorError::new("the text form of a selector", value)),
    }
}

/// Where the reading of a text form has come to.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The next condition, or `None` at the end.
    fn term(&mut self) -> Result<Option<Term<'a>>, SelectorError> {
        let unspaced = self.rest().trim_start_matches(is_space);
        self.at = self.text.len() - unspaced.len();
        if unspaced.is_empty() {
            return Ok(None);
        }
        let is_negated = unspaced.starts_with('!');
        self.at += usize::from(is_negated);
        let (kind, kind_at) = (self.kind()?, self.at);
        self.at += kind.len() + 1;
        let value_at = self.at;
        let value = self.value()?;
        Ok(Some(Term { is_negated, kind, kind_at, value, value_at }))
    }

    /// The word before the colon.
    fn kind(&self) -> Result<&'a str, SelectorError> {
        let word_end = |c: char| is_space(c) || c == ':' || c == '"';
        let end = self.rest().find(word_end).unwrap_or(self.rest().len());
        let (word, behind) = self.rest().split_at(end);
        if behind.starts_with(':') && !word.is_empty() {
            return Ok(word);
        }
        let found = self.rest().split(is_space).next().unwrap_or_default();
        let error = SelectorError::new("`KIND:VALUE`", found.as_bytes()).at(self.at);
        let meant = (!word.is_empty() && found == word).then(|| format!("name:{word}"));
        Err(error.did_you_mean(meant))
    }

    /// The value behind the colon, its quotes taken off.
    fn value(&mut self) -> Result<Vec<u8>, SelectorError> {
        let begin = self.at;
        let mut value = Vec::new();
        while let Some(letter) = self.rest().chars().next().filter(|c| !is_space(*c)) {
            if letter == '"' {
                self.quoted(&mut value)?;
            } else {
                let end = self.at + letter.len_utf8();
                value.extend_from_slice(&self.text.as_bytes()[self.at..end]);
                self.at = end;
            }
        }
        if self.at == begin {
            let error = SelectorError::new("a value", b"").at(begin);
            return Err(error.with_hint("a value with spaces stands in double quotes"));
        }
        Ok(value)
    }

    /// One part of a value in double quotes.
    fn quoted(&mut self, value: &mut Vec<u8>) -> Result<(), SelectorError> {
        let opening = self.at;
        self.at += 1;
        loop {
            let Some(letter) = self.rest().chars().next() else {
                let found = &self.text.as_bytes()[opening..];
                return Err(SelectorError::new("a closing `\"`", found).at(opening));
            };
            let letter_at = self.at;
            self.at += letter.len_utf8();
            match letter {
                '"' => return Ok(()),
                '\\' => value.push(self.escaped(letter_at)?),
                _ => value.extend_from_slice(&self.text.as_bytes()[letter_at..self.at]),
            }
        }
    }

    /// What stands behind a backslash.
    fn escaped(&mut self, backslash_at: usize) -> Result<u8, SelectorError> {
        let rest = self.rest().as_bytes();
        let (byte, length) = match rest {
            [b'\\', ..] => (b'\\', 1),
            [b'"', ..] => (b'"', 1),
            [b'n', ..] => (b'\n', 1),
            [b't', ..] => (b'\t', 1),
            [b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (digit(*high) << 4 | digit(*low), 3)
            }
            _ => {
                let end = self.rest().chars().next().map_or(0, char::len_utf8);
                let found = &self.text.as_bytes()[backslash_at..self.at + end];
                let expected = r#"one of `\\`, `\"`, `\n`, `\t` and `\xHH`"#;
                let error = SelectorError::new(expected, found).at(backslash_at);
                return Err(error.with_hint("in quotes, `\\\\` stands for a backslash"));
            }
        };
        self.at += length;
        Ok(byte)
    }
}

fn is_space(letter: char) -> bool {
    letter.is_ascii_whitespace()
}

/// The value of an ASCII hexadecimal digit.
fn digit(letter: u8) -> u8 {
    match letter {
        b'0'..=b'9' => letter - b'0',
        _ => (letter | 0x20) - b'a' + 10,
    }
}

/// The text form, see [`Selector::parse`]: conditions in the order of their kinds, values
/// in quotes where they need them.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.terms().join(" "))
    }
}

impl Selector {
    fn terms(&self) -> Vec<String> {
        let mut terms = Vec::new();
        terms.extend(self.names.texts().map(|name| term("name", name)));
        terms.extend(self.users.iter().map(|user| match user {
            User::Name(name) => term("user", name),
            User::Id(id) => format!("user:{id}"),
        }));
        terms.extend(self.cmdlines.iter().map(|regex| term("cmdline", regex.text().as_bytes())));
        terms.extend(self.environment.iter().map(environment_term));
        terms.extend((!self.pids.is_empty()).then(|| format!("pid:{}", list(&self.pids))));
        terms.extend(self.pid_files.iter().map(|path| term("pidfile", path_bytes(path))));
        terms.extend((!self.ports.is_empty()).then(|| format!("port:{}", list(&self.ports))));
        terms.extend(self.roots.pids.iter().map(|pid| format!("children-of:{pid}")));
        terms.extend(self.roots.names.texts().map(|name| term("children-of", name)));
        terms.extend(self.units.iter().map(|unit| term("unit", unit.text())));
        terms.extend(self.cgroups.iter().map(|cgroup| term("cgroup", cgroup.text())));
        terms.extend(self.exclusions.iter().map(exclusion_term));
        if self.descendants == Descendants::Left {
            terms.push("children:no".to_owned());
        }
        terms
    }
}

fn environment_term(condition: &EnvironmentCondition) -> String {
    match condition {
        EnvironmentCondition::Present(key) => term("env", key),
        EnvironmentCondition::Absent(key) => term("!env", key),
        EnvironmentCondition::Equals(key, value) => {
            term("env", &[key, b"=".as_slice(), value.text()].concat())
        }
    }
}

/// `!kind:value` where one condition can stand so, `not:"..."` elsewhere.
fn exclusion_term(excluded: &Selector) -> String {
    let terms = excluded.terms();
    let is_presence = matches!(*excluded.environment, [EnvironmentCondition::Present(_)]);
    match terms.as_slice() {
        [only] if !is_presence && !only.starts_with('!') && !only.starts_with("not:") => {
            format!("!{only}")
        }
        _ => term("not", terms.join(" ").as_bytes()),
    }
}

fn list(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn term(kind: &str, value: &[u8]) -> String {
    let mut plain = String::new();
    push_printable(&mut plain, value);
    let is_plain = plain.as_bytes() == value && !plain.is_empty();
    if is_plain && !plain.contains(|c: char| is_space(c) || c == '"') {
        return format!("{kind}:{plain}");
    }
    let mut text = format!("{kind}:\"");
    for part in value.split_inclusive(|byte| b"\\\"".contains(byte)) {
        match part {
            [before @ .., special @ (b'\\' | b'"')] => {
                push_printable(&mut text, before);
                text.push('\\');
                text.push(char::from(*special));
            }
            _ => push_printable(&mut text, part),
        }
    }
    text.push('"');
    text
}
