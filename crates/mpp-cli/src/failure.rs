//! What went wrong, what to type next, and what the command exits with.

use std::fmt;

/// What `mpp` exits with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Done.
    Ok,
    /// Nothing matched; also every failure of `mpp sensu` that the script knows.
    NothingMatched,
    /// What was typed cannot be meant.
    Usage,
    /// Nothing can be measured here.
    CannotMeasure,
    /// What `mpp run` passes on, or says in the manner of env(1).
    OfRun(u8),
}

impl Status {
    /// What to exit with.
    pub(crate) fn number(self) -> u8 {
        match self {
            Status::Ok => 0,
            Status::NothingMatched => 1,
            Status::Usage => 2,
            Status::CannotMeasure => 3,
            Status::OfRun(number) => number,
        }
    }
}

/// Why a command ends early. Printed once, by [`run`](crate::run).
#[derive(Debug)]
pub(crate) struct Failure {
    /// What the command exits with.
    pub(crate) status: Status,
    /// What failed and why, outermost first.
    pub(crate) cause: anyhow::Error,
    /// The next thing to do or to type.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// What was typed cannot be meant.
    pub(crate) fn usage(what: impl fmt::Display) -> Self {
        Failure { status: Status::Usage, cause: anyhow::anyhow!("{what}"), hint: None }
    }

    /// No process is what was asked for.
    pub(crate) fn nothing_matched(what: impl fmt::Display) -> Self {
        Failure { status: Status::NothingMatched, ..Failure::usage(what) }
    }

    /// Nothing can be measured here.
    pub(crate) fn cannot_measure(cause: impl Into<anyhow::Error>) -> Self {
        Failure { status: Status::CannotMeasure, cause: cause.into(), hint: None }
    }

    /// The same, with the next thing to do.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Failure { hint: Some(hint.into()), ..self }
    }

    /// The same, asking whether the nearest of the words was meant, where one is near.
    pub(crate) fn did_you_mean(self, nearest: Option<impl fmt::Display>) -> Self {
        match nearest {
            Some(word) => self.hint(format!("did you mean `{word}`?")),
            None => self,
        }
    }

    /// The whole chain of causes in one line, without the hints that stand in it.
    pub(crate) fn message(&self) -> String {
        let links = self.cause.chain().map(|link| one_line(&split_hint(&link.to_string()).0));
        links.collect::<Vec<_>>().join(": ")
    }

    /// The next thing to do: as this failure says, or as the library says.
    pub(crate) fn advice(&self) -> Option<String> {
        let of_library = || self.cause.chain().find_map(|link| split_hint(&link.to_string()).1);
        self.hint.clone().or_else(of_library)
    }

    /// Whether nobody reads the output any more, which is no failure at all.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        let io = self.cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

/// Regex engines draw the expression, and say what is wrong with it in the last line.
fn one_line(text: &str) -> String {
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

/// Errors of the library end in their hint, after an empty line.
fn split_hint(text: &str) -> (String, Option<String>) {
    match text.split_once("\n\nhint: ") {
        Some((what, hint)) => (what.to_owned(), Some(hint.to_owned())),
        None => (text.to_owned(), None),
    }
}

/// What the library refuses: what it was asked for, or everything.
impl From<metrics_per_process::Error> for Failure {
    fn from(error: metrics_per_process::Error) -> Self {
        use metrics_per_process::Error;
        let status = match &error {
            Error::UnknownUser { .. } | Error::ForeignUser { .. } | Error::PidFile(_) => {
                Status::Usage
            }
            _ => Status::CannotMeasure,
        };
        let hint = match &error {
            Error::UnknownUser { .. } => Some("`getent passwd` lists the users".to_owned()),
            _ => None,
        };
        Failure { status, cause: error.into(), hint }
    }
}

/// Output that could not be written: the reader has gone, or the disk is full.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::cannot_measure(anyhow::Error::new(error).context("cannot write the output"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_every_cause_in_one_line() {
        let refused = std::io::Error::from_raw_os_error(13);
        let failure = Failure::cannot_measure(anyhow::Error::new(refused).context("cannot read x"));
        assert_eq!(failure.message(), "cannot read x: Permission denied (os error 13)");
        assert_eq!(failure.status, Status::CannotMeasure);
    }

    #[test]
    fn the_hints_of_the_library_become_ours() {
        let inner = anyhow::anyhow!("cannot read x\n\nhint: look elsewhere");
        let failure = Failure::cannot_measure(inner.context("cannot begin"));
        assert_eq!(failure.message(), "cannot begin: cannot read x");
        assert_eq!(failure.advice().as_deref(), Some("look elsewhere"));
        assert_eq!(failure.hint("try y").advice().as_deref(), Some("try y"));
    }

    #[test]
    fn a_drawing_is_left_out() {
        let drawing = anyhow::anyhow!("regex parse error:\n    a(\n     ^\nerror: unclosed group");
        let failure = Failure::cannot_measure(drawing.context("expected a regex"));
        assert_eq!(failure.message(), "expected a regex: unclosed group");
    }

    #[test]
    fn only_output_that_nobody_reads_is_a_closed_pipe() {
        let broken = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert!(Failure::from(broken()).is_closed_pipe());
        assert!(!Failure::from(std::io::Error::from_raw_os_error(28)).is_closed_pipe());
    }

    #[test]
    fn asks_nothing_where_nothing_is_near() {
        assert_eq!(Failure::usage("x").did_you_mean(None::<&str>).hint, None);
        let failure = Failure::usage("x").did_you_mean(Some("y"));
        assert_eq!(failure.hint.as_deref(), Some("did you mean `y`?"));
    }
}
