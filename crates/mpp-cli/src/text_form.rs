//! The text form of a selector, `name:nginx`, typed where names go: names bear no prefix there,
//! and a process may be called so; but most often a condition was meant, and this says how to type
//! it.

use std::ffi::OsStr;

use metrics_per_process::selector::Selector;

/// The options that mean what a word says as a text form, for a shell. `None` where it is none,
/// or holds a value in quotes.
pub(crate) fn as_options(word: &OsStr) -> Option<String> {
    let word = word.to_str().filter(|word| word.contains(':'))?;
    let selector = Selector::parse(word).ok().filter(|selector| !selector.is_unconditional())?;
    let text = selector.to_string();
    if text.contains('"') {
        return None;
    }
    let options: Option<Vec<String>> = text.split(' ').map(option).collect();
    options.map(|options| options.join(" "))
}

/// One condition as an option.
fn option(condition: &str) -> Option<String> {
    let (kind, value) = condition.split_once(':')?;
    let with = |option: &str, value: &str| format!("{option} {}", shell_word(value));
    Some(match kind {
        "name" => shell_word(value),
        "user" => with("-u", value),
        "cmdline" => with("-f", value),
        "env" => with("-e", value),
        "!env" if !value.contains('=') => with("-e", &format!("!{value}")),
        "pid" => with("-p", value),
        "pidfile" => with("-F", value),
        "port" => with("--port", value),
        "children-of" => with("-P", value),
        "unit" => with("--unit", value),
        "cgroup" => with("--cgroup", value),
        "children" => "--no-children".to_owned(),
        _ => with("-x", condition.strip_prefix('!')?),
    })
}

/// A text as a shell reads it as one word.
fn shell_word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+=:,@%".contains(&byte);
    match text.bytes().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(word: &str, expected: Option<&str>) {
        assert_eq!(as_options(OsStr::new(word)).as_deref(), expected, "{word}");
    }

    #[test]
    fn every_condition_has_its_option() {
        check("name:nginx", Some("nginx"));
        check("name:php* user:max", Some("'php*' -u max"));
        check("env:TAG=x !env:OTHER", Some("-e TAG=x -e '!OTHER'"));
        check("cmdline:shard=[0-9]+", Some("-f 'shard=[0-9]+'"));
        check("pid:1,2 pidfile:/run/x.pid", Some("-p 1,2 -F /run/x.pid"));
        check("port:80,8000-8010", Some("--port 80,8000-8010"));
        check("children-of:make", Some("-P make"));
        check("unit:nginx cgroup:/a/*", Some("--unit nginx.service --cgroup '/a/*'"));
        check("name:a !user:0 !env:A=b", Some("a -x user:0 -x env:A=b"));
        check("name:it's children:no", Some(r"'it'\''s' --no-children"));
    }

    #[test]
    fn what_is_no_text_form_has_none() {
        for word in ["nginx", "kworker/0:1", "nmae:x", "pid:x", "children:no", "name:\"a b\"", ""] {
            check(word, None);
        }
    }
}
