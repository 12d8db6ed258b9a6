//! `mpp-load SCENARIO [--option VALUE]...`: a load whose truth is known.
//!
//! What a measurement says of these processes can be compared with what they say
//! of themselves: bytes, children, CPU time, as lines of JSON on standard output.

mod actor;
mod kernel;
mod options;
mod scenario;
mod stage;
mod truth;

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::options::{OptionRow, Options, SHARED};
use crate::scenario::{AFTER_EXEC, REFUSE_BPF, SCENARIOS, Scenario};
use crate::stage::Stage;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            actor::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        bail!("no scenario\n\nhint: `mpp-load help` lists them");
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        std::io::stdout().lock().write_all(usage().as_bytes())?;
        return Ok(());
    }
    if name == AFTER_EXEC {
        return scenario::go_on_after_exec(rest);
    }
    if name == REFUSE_BPF {
        return scenario::execute_without_bpf(rest);
    }
    let Some(scenario) = SCENARIOS.iter().find(|scenario| scenario.name == name) else {
        bail!("unknown scenario `{name}`\n\nhint: `mpp-load help` lists them");
    };
    let options = Options::parse(&[SHARED, scenario.options], rest)?;
    (scenario.run)(&Stage::set_up(scenario.name, &options)?, &options)
}

fn usage() -> String {
    let mut text = String::from("usage: mpp-load SCENARIO [--option VALUE]...\n");
    list_options(&mut text, "\nevery scenario:\n", SHARED);
    for Scenario { name, help, options, .. } in SCENARIOS {
        list_options(&mut text, &format!("\n{name}: {help}\n"), options);
    }
    text
}

fn list_options(text: &mut String, title: &str, rows: &[OptionRow]) {
    text.push_str(title);
    for OptionRow { name, default, help } in rows {
        let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  --{name:<16} {help}{shown}");
    }
}
