//! `mpp man [COMMAND]`: a manual page, made from the same options as the help.

use std::io::Write;

use clap::CommandFactory;

use crate::args::{Man, Typed};
use crate::failure::{Failure, Status};
use crate::nearest;

/// Prints the page of the command, or of mpp itself.
pub(crate) fn run(typed: &Man, out: &mut dyn Write) -> Result<Status, Failure> {
    let mut command = Typed::command();
    command.build();
    let page = match &typed.command {
        None => command,
        Some(name) => page_of(&command, name)?,
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text)?;
    out.write_all(&text)?;
    Ok(Status::Ok)
}

fn page_of(command: &clap::Command, name: &str) -> Result<clap::Command, Failure> {
    if let Some(found) = command.find_subcommand(name) {
        return Ok(found.clone().display_name(format!("mpp-{}", found.get_name())));
    }
    let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    Err(Failure::usage(format!("unknown command `{name}`"))
        .hint(format!("`mpp man` takes one of {}", names.join(", ")))
        .did_you_mean(nearest(name, &names)))
}
