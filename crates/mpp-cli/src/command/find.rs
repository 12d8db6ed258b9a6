//! `mpp find`: PIDs, like pgrep(1).

use std::io::Write;

use metrics_per_process::process::{Identity, Reading};
use metrics_per_process::selector::Descendants;
use metrics_per_process::{FindOptions, Found, FoundProcess, MemoryReaderKind, find};
use mpp_export::escape;

use crate::args;
use crate::failure::{Failure, Status};
use crate::plan::{Detail, FindPlan, Listing};
use crate::selection::{meant, seclusion};

/// Looks once and prints. As with pgrep, nothing is said where nothing is found, but for
/// the processes that leave the answer in doubt, and where a condition was typed as a name.
pub(crate) fn run(typed: &args::Find, out: &mut dyn Write) -> Result<Status, Failure> {
    let plan = FindPlan::new(typed)?;
    let options = FindOptions {
        procfs: plan.procfs.clone(),
        memory_reader: MemoryReaderKind::HelperProcess,
        shows_cmdline: matches!(plan.listing, Listing::Each(Detail::Cmdline, _)),
    };
    let found = find(&plan.selector, &options)?;
    match &plan.listing {
        Listing::Count => writeln!(out, "{}", found.processes.len())?,
        Listing::Each(detail, delimiter) => {
            let lines = found.processes.iter().map(|process| line(process, *detail));
            let lines: Vec<Vec<u8>> = lines.collect();
            out.write_all(&lines.join(&delimiter[..]))?;
            if !lines.is_empty() {
                out.write_all(b"\n")?;
            }
        }
    }
    let is_doubtful = found.processes.is_empty() || plan.listing == Listing::Count;
    if let Some(doubt) = doubt(&found).filter(|_| is_doubtful) {
        crate::screen::note(&doubt);
    }
    if found.processes.is_empty()
        && let Some(options) = meant(&typed.selection)
    {
        let selector = plan.selector.clone().with_descendants(Descendants::Taken);
        crate::screen::note(&format!(
            "no process matches `{selector}`; did you mean `mpp find {options}`?"
        ));
    }
    Ok(if found.processes.is_empty() { Status::NothingMatched } else { Status::Ok })
}

/// What is said of processes that may match or not, and of those that nobody can see.
fn doubt(found: &Found) -> Option<String> {
    if let Some(why) = seclusion(found.visibility) {
        return Some(why.to_owned());
    }
    let undecided = found.undecided;
    let processes = if undecided == 1 { "process" } else { "processes" };
    let doubt =
        format!("{undecided} {processes} could not be decided; `mpp doctor` shows what is missing");
    (undecided > 0).then_some(doubt)
}

fn line(process: &FoundProcess, detail: Detail) -> Vec<u8> {
    let pid = process.key.pid;
    let text = match detail {
        Detail::Pid => pid.to_string(),
        Detail::Name => format!("{pid} {}", escape::terminal(&process.identity.comm)),
        Detail::Cmdline => format!("{pid} {}", command_line(&process.identity)),
    };
    text.into_bytes()
}

/// One blank between arguments; the name in brackets where there are none, as in ps(1); `-`
/// where they cannot be read.
fn command_line(identity: &Identity) -> String {
    match &identity.cmdline {
        Reading::Absent(_) => "-".to_owned(),
        Reading::Value(cmdline) => {
            let end = cmdline.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let spaced = cmdline[..end].iter().map(|byte| if *byte == 0 { b' ' } else { *byte });
            match end {
                0 => format!("[{}]", escape::terminal(&identity.comm)),
                _ => escape::terminal(&spaced.collect::<Vec<u8>>()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cmdline: Reading<&[u8]>, expected: &str) {
        let identity = Identity {
            comm: Box::from(b"a\x1bb".as_slice()),
            uid: 0,
            executable: Reading::Absent(metrics_per_process::process::Absence::NotRequested),
            cmdline: cmdline.map(Box::from),
            environment: Reading::Absent(metrics_per_process::process::Absence::NotRequested),
            cgroup: Reading::Absent(metrics_per_process::process::Absence::NotRequested),
            is_environment_incomplete: false,
            is_kernel_thread: false,
        };
        assert_eq!(command_line(&identity), expected);
    }

    #[test]
    fn arguments_stand_in_one_line_that_no_terminal_obeys() {
        check(Reading::Value(b"sh\0-c\0echo 1\0"), "sh -c echo 1");
        check(Reading::Value(b"a\nb\0\x1b[31m\0\0"), "a\\x0Ab \\x1B[31m");
    }

    #[test]
    fn what_has_no_arguments_is_named_in_brackets_and_what_cannot_be_read_is_not() {
        check(Reading::Value(b""), "[a\\x1Bb]");
        check(Reading::Absent(metrics_per_process::process::Absence::Denied), "-");
    }
}
