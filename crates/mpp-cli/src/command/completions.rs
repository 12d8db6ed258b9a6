//! `mpp completions SHELL`: a completion script.

use std::io::Write;

use clap::CommandFactory;

use crate::args::{Completions, Typed};
use crate::failure::{Failure, Status};

/// Prints the script of one shell.
pub(crate) fn run(typed: &Completions, out: &mut dyn Write) -> Result<Status, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(typed.shell, &mut Typed::command(), "mpp", &mut script);
    out.write_all(&script)?;
    Ok(Status::Ok)
}
