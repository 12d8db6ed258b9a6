//! What every command has in common when it prints: colour, width, the grammar of errors.

use std::io::{self, Write};

use clap::builder::styling::{AnsiColor, Style};
use mpp_export::escape;

use crate::failure::Failure;

/// Programs that went wrong say so in red.
const WRONG: Style = AnsiColor::Red.on_default().bold();

/// What to do next stands out.
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// Obeys `--color`; anything but its words is left to be refused with the other arguments.
///
/// `auto` obeys `NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE`, `TERM` and whether a terminal is there.
pub(crate) fn choose_color(word: Option<&str>) {
    let choice = match word {
        Some("always") => anstream::ColorChoice::Always,
        Some("never") => anstream::ColorChoice::Never,
        _ => anstream::ColorChoice::Auto,
    };
    choice.write_global();
}

/// Columns that a line may take: `COLUMNS`, or what the terminal has. What goes elsewhere is
/// not cut.
pub(crate) fn width_columns() -> usize {
    let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let of_terminal = || Some(usize::from(terminal_size::terminal_size_of(io::stdout())?.0.0));
    told.filter(|columns| *columns > 0).or_else(of_terminal).unwrap_or(usize::from(u16::MAX))
}

/// Writes a failure: `mpp: ...`, and its hint after an empty line.
///
/// # Errors
///
/// What the writer says.
pub(crate) fn write_failure(err: &mut dyn Write, failure: &Failure) -> io::Result<()> {
    let message = failure.message();
    writeln!(err, "{WRONG}mpp:{WRONG:#} {}", escape::text(message.as_bytes()))?;
    if let Some(hint) = failure.advice() {
        writeln!(err, "\n{HINT}hint:{HINT:#} {}", escape::text(hint.as_bytes()))?;
    }
    err.flush()
}

/// A failure as the one object that stands on stdout where JSON was asked for.
pub(crate) fn error_object(failure: &Failure) -> Vec<u8> {
    let mut object = b"{\"schema\":1,\"error\":".to_vec();
    escape::push_json(failure.message().as_bytes(), &mut object);
    if let Some(hint) = failure.advice() {
        object.extend_from_slice(b",\"hint\":");
        escape::push_json(hint.as_bytes(), &mut object);
    }
    object.extend_from_slice(b"}\n");
    object
}

/// Says something that is no failure, in the same grammar.
pub(crate) fn note(text: &str) {
    let line = format!("mpp: {}\n", escape::text(text.as_bytes()));
    // A note that nobody can read is no reason to fail.
    drop(anstream::stderr().write_all(line.as_bytes()));
}

/// Text with colours, without them where stdout shall have none.
pub(crate) fn for_stdout(text: String) -> String {
    match anstream::AutoStream::choice(&io::stdout()) {
        anstream::ColorChoice::Never => anstream::adapter::strip_str(&text).to_string(),
        _ => text,
    }
}
