//! clap's complaints in the words of this command: what, why, and one thing to type.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::failure::Failure;
use crate::nearest;

/// What clap refused, as a failure. Help and version are no failures and never come here.
pub(crate) fn from_clap(error: &clap::Error, command: &clap::Command, typed: &Words) -> Failure {
    let argument = bare(&context(error, ContextKind::InvalidArg));
    let value = context(error, ContextKind::InvalidValue);
    match error.kind() {
        ErrorKind::InvalidSubcommand => unknown_command(error, command),
        ErrorKind::UnknownArgument => unknown_argument(&argument, command, typed),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation if value.is_empty() => {
            Failure::usage(format!("`{argument}` needs a value")).hint(typed.help())
        }
        ErrorKind::InvalidValue => {
            let valid = context(error, ContextKind::ValidValue);
            let words: Vec<&str> = valid.split(", ").collect();
            Failure::usage(format!("`{argument}`: expected one of {valid}, but found `{value}`"))
                .hint(typed.help())
                .did_you_mean(nearest(&value, &words))
        }
        ErrorKind::TooManyValues => {
            Failure::usage(format!("`{argument}` takes no value, but found `{value}`"))
                .hint(typed.help())
        }
        ErrorKind::ArgumentConflict => {
            let other = bare(&context(error, ContextKind::PriorArg));
            let what = if argument == other || other.is_empty() {
                format!("`{argument}` is given twice")
            } else {
                format!("`{argument}` and `{other}` exclude each other")
            };
            Failure::usage(what).hint(typed.help())
        }
        ErrorKind::MissingRequiredArgument => {
            Failure::usage(format!("`{argument}` is missing")).hint(typed.help())
        }
        _ => Failure::usage(first_line(error)).hint(typed.help()),
    }
}

/// The words of the command line that decide how a complaint is answered.
///
/// Known before parsing, since they matter most where parsing fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    /// The command's own name, also where an alias was typed.
    pub(crate) command: Option<String>,
    /// Whether an error also goes to stdout, as an object.
    pub(crate) wants_json: bool,
    /// The value of `--color`, where there is one.
    pub(crate) color: Option<String>,
}

impl Words {
    /// Looks through what was typed.
    pub(crate) fn scan(typed: &[std::ffi::OsString], command: &clap::Command) -> Self {
        let mut words = Words::default();
        let texts: Vec<_> = typed.iter().skip(1).map(|word| word.to_string_lossy()).collect();
        let options = texts.iter().take_while(|text| *text != "--");
        for (position, text) in options.enumerate() {
            let next = texts.get(position + 1).map(|next| next.clone().into_owned());
            match text.split_once('=') {
                Some(("--color", value)) => words.color = Some(value.to_owned()),
                Some(("--format", value)) => words.wants_json |= value == "json",
                _ if text == "--color" => words.color = next,
                _ if text == "--format" => words.wants_json |= next.as_deref() == Some("json"),
                _ if text == "--json" => words.wants_json = true,
                _ if words.command.is_none() => {
                    let found = command.find_subcommand(text.as_ref());
                    words.command = found.map(|found| found.get_name().to_owned());
                }
                _ => {}
            }
        }
        words
    }

    /// Where to read on.
    fn help(&self) -> String {
        match &self.command {
            Some(command) => format!("`mpp {command} --help` lists what it takes"),
            None => "`mpp --help` lists the commands".to_owned(),
        }
    }
}

fn unknown_command(error: &clap::Error, command: &clap::Command) -> Failure {
    let typed = context(error, ContextKind::InvalidSubcommand);
    let failure = Failure::usage(format!("unknown command `{typed}`"));
    let commands: Vec<&str> =
        command.get_subcommands().flat_map(clap::Command::get_name_and_visible_aliases).collect();
    match nearest(&typed, &commands) {
        Some(word) => failure.hint(format!("did you mean `mpp {word}`?")),
        None => failure.hint(format!("to measure the processes of that name, `mpp show {typed}`")),
    }
}

fn unknown_argument(argument: &str, command: &clap::Command, typed: &Words) -> Failure {
    if !argument.starts_with('-') {
        let what = format!("unexpected argument `{argument}`");
        return Failure::usage(what).hint(typed.help());
    }
    let failure = Failure::usage(format!("unknown option `{argument}`")).hint(typed.help());
    let Some(name) = &typed.command else {
        let of_show = command.find_subcommand("show").is_some_and(|show| has(show, argument));
        let hint = format!("`{argument}` is an option of `mpp show`");
        return if of_show { failure.hint(hint) } else { failure };
    };
    let of_command = command.find_subcommand(name).map(long_options).unwrap_or_default();
    let known: Vec<&str> = of_command.iter().map(String::as_str).collect();
    failure.did_you_mean(nearest(argument, &known))
}

/// The options of a command that are worth offering, with their dashes.
fn long_options(command: &clap::Command) -> Vec<String> {
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let own = shown.filter_map(|argument| Some(format!("--{}", argument.get_long()?)));
    own.chain(["--help".to_owned(), "--color".to_owned()]).collect()
}

fn has(command: &clap::Command, option: &str) -> bool {
    command.get_arguments().any(|argument| {
        let short = argument.get_short().map(|short| format!("-{short}"));
        let long = argument.get_long().map(|long| format!("--{long}"));
        short.as_deref() == Some(option) || long.as_deref() == Some(option)
    })
}

/// One piece of what clap knows about an error, as text; empty where there is none.
fn context(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    }
}

/// An option without the name of its value, and a positional argument without its brackets: as
/// all other messages name them.
fn bare(argument: &str) -> String {
    let first = argument.split([' ', '=']).next().unwrap_or_default();
    first.trim_end_matches("...").trim_matches(['<', '>', '[', ']']).to_owned()
}

/// What clap itself would have said, without its layout.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::*;
    use crate::args::Typed;

    fn check(typed: &[&str], message: &str, hint: &str) {
        let typed: Vec<_> = ["mpp"].iter().chain(typed).map(Into::into).collect();
        let mut command = Typed::command();
        let words = Words::scan(&typed, &command);
        let matched = command.try_get_matches_from_mut(&typed);
        let error = matched.and_then(|matches| Typed::from_arg_matches(&matches));
        let failure = from_clap(&error.expect_err("a refusal"), &command, &words);
        assert_eq!((failure.message().as_str(), failure.hint.as_deref()), (message, Some(hint)));
    }

    #[test]
    fn a_misspelt_command_gets_one_question() {
        check(&["shwo"], "unknown command `shwo`", "did you mean `mpp show`?");
        check(&["metric"], "unknown command `metric`", "did you mean `mpp metrics`?");
    }

    #[test]
    fn a_name_in_place_of_a_command_is_told_where_names_go() {
        let hint = "to measure the processes of that name, `mpp show nginx`";
        check(&["nginx"], "unknown command `nginx`", hint);
    }

    #[test]
    fn a_misspelt_option_gets_one_question() {
        check(&["show", "--formt=csv"], "unknown option `--formt`", "did you mean `--format`?");
        check(
            &["stat", "--no-child"],
            "unknown option `--no-child`",
            "did you mean `--no-children`?",
        );
        let hint = "`mpp find --help` lists what it takes";
        check(&["find", "--frobnicate"], "unknown option `--frobnicate`", hint);
    }

    #[test]
    fn an_option_before_the_command_is_told_where_it_goes() {
        check(&["-u", "max"], "unknown option `-u`", "`-u` is an option of `mpp show`");
    }

    #[test]
    fn what_is_missing_or_too_much_is_named() {
        let hint = "`mpp show --help` lists what it takes";
        check(&["show", "-u"], "`--user` needs a value", hint);
        check(&["show", "--json=x"], "`--json` takes no value, but found `x`", hint);
        check(&["show", "-s", "a", "-s", "b"], "`--sort` is given twice", hint);
        let hint = "`mpp completions --help` lists what it takes";
        check(&["completions"], "`SHELL` is missing", hint);
        let hint = "`mpp doctor --help` lists what it takes";
        check(&["doctor", "x"], "unexpected argument `x`", hint);
        let hint = "`mpp find --help` lists what it takes";
        check(&["find", "x", "-c", "-l"], "`--count` and `--list-name` exclude each other", hint);
    }

    #[test]
    fn a_value_of_a_closed_set_is_asked_about() {
        let message = "`--color`: expected one of auto, always, never, but found `nevr`";
        check(&["show", "--color", "nevr"], message, "did you mean `never`?");
    }

    #[test]
    fn the_words_that_decide_how_to_answer_are_found_before_parsing() {
        let scan = |typed: &[&str]| {
            let typed: Vec<_> = ["mpp"].iter().chain(typed).map(Into::into).collect();
            Words::scan(&typed, &Typed::command())
        };
        assert!(scan(&["show", "--json"]).wants_json);
        assert!(scan(&["show", "--format", "json"]).wants_json);
        assert!(scan(&["show", "--format=json"]).wants_json);
        assert!(!scan(&["show", "--format=jsonl"]).wants_json);
        assert!(!scan(&["show", "--", "--json"]).wants_json);
        assert_eq!(scan(&["--color", "never", "stat"]).command.as_deref(), Some("show"));
        assert_eq!(scan(&["--color=never"]).color.as_deref(), Some("never"));
    }
}
