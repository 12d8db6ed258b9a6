//! `mpp doctor`: what can be measured here, how exactly, and what would cure the rest.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use clap::builder::styling::{AnsiColor, Style};
use metrics_per_process::doctor::{
    Capabilities, Cure, Fact, Grant, ProcfsKind, Refusal, Standing, ends, examine, self_test,
};
use metrics_per_process::exit::ExitSource;
use metrics_per_process::report::Tier;
use mpp_export::escape;

use crate::args;
use crate::failure::{Failure, Status};
use crate::{screen, selection};

/// Tries everything and prints what came of it; exits with 3 where nothing can be measured.
pub(crate) fn run(typed: &args::Doctor, out: &mut dyn Write) -> Result<Status, Failure> {
    let procfs = selection::procfs(&typed.procfs)?;
    let mut found = examine(&procfs)?;
    let ends = ends(&procfs)?;
    if found.procfs == ProcfsKind::OwnNamespace {
        found.note_tier(ends.0);
        if ends.0 == Tier::B {
            found.note_told_threads();
        }
    }
    let mut page = page(&found, &procfs, &ends);
    push_self_test(&mut page, &procfs);
    push_grants(&mut page, &found, &ends.1);
    out.write_all(screen::for_stdout(page).as_bytes())?;
    Ok(Status::Ok)
}

fn page(found: &Capabilities, procfs: &Path, (tier, refusals): &(Tier, Vec<Refusal>)) -> String {
    let mut page = String::new();
    let release = escape::terminal(&found.kernel_release);
    let held = match found.held.is_empty() {
        true => "none of those that matter here".to_owned(),
        false => found.held.chunks(3).map(|some| some.join(", ")).collect::<Vec<_>>().join(BREAK),
    };
    let rows = [
        ("mpp", format!("{} on Linux {release}", env!("CARGO_PKG_VERSION"))),
        ("procfs", escape::terminal(procfs.as_os_str().as_encoded_bytes())),
        ("user", format!("uid {}", found.uid)),
        ("capabilities", held),
        ("tier", format!("{} {}: {}", tier.letter(), tier.promise(), tier_means(*tier))),
    ];
    for (name, value) in rows {
        push_broken(&mut page, &format!("{name:<13} "), &value, HEAD_COLUMNS);
    }
    for refusal in refusals {
        push_refusal(&mut page, refusal);
    }
    push_line(&mut page, format_args!(""));
    for fact in &found.facts {
        push_fact(&mut page, fact, &found.held);
    }
    page
}

/// Where a line of the head goes on below its beginning.
const BREAK: &str = ",\n";

/// How far in that is, and how far a finding goes on below its beginning.
const HEAD_COLUMNS: usize = 14;
const FINDING_COLUMNS: usize = 9;

/// How ended processes are seen.
fn tier_means(tier: Tier) -> &'static str {
    match tier {
        Tier::A => "hooks in the kernel tell what each thread did until its end",
        Tier::B => {
            "the kernel's taskstats tell what each thread did until its end, rounded down to KiB"
        }
        Tier::C => "what ended processes did is inferred from what is left of them",
    }
}

/// Why the tier is not better, and what would help.
fn push_refusal(page: &mut String, refusal: &Refusal) {
    let better = match refusal.source {
        ExitSource::Exact => "A",
        ExitSource::Rounded => "B",
        ExitSource::Nobody => "C",
    };
    let begin = format!("{:<13} {better}: ", "");
    push_broken(page, &begin, &refusal.reason, HEAD_COLUMNS + 3);
    if let Some(Cure::Command(command)) = refusal.cure {
        push_line(page, format_args!("{:<13}    $ {command}", ""));
    }
}

/// All capabilities that are missing anywhere, in one command: the second of two would take away
/// what the first one gave.
fn push_grants(page: &mut String, found: &Capabilities, refusals: &[Refusal]) {
    let cures = found.facts.iter().filter_map(|fact| fact.cure);
    let grant_in = |cure| match cure {
        Cure::Grant(grant) => Some(grant),
        _ => None,
    };
    let cures = cures.chain(refusals.iter().filter_map(|refusal| refusal.cure));
    let Some(grant) = cures.filter_map(grant_in).reduce(Grant::joined) else { return };
    let program = std::env::current_exe().unwrap_or_else(|_| "mpp".into());
    push_line(page, format_args!(""));
    push_line(page, format_args!("all capabilities named above, and those held, by one command:"));
    push_line(
        page,
        format_args!("         $ {}", escape::terminal(grant.command(&program).as_bytes())),
    );
}

/// Whether the numbers are what children of our own know to be true.
fn push_self_test(page: &mut String, procfs: &Path) {
    let test = match self_test(procfs) {
        Ok(test) => test,
        Err(error) => {
            let (word, style) = standing(Standing::Untried);
            let begin = format!("{style}{word:<8}{style:#} ");
            push_broken(page, &begin, &format!("self test: {error}"), FINDING_COLUMNS);
            return;
        }
    };
    let missing_bytes = test.written_bytes.abs_diff(test.counted_bytes);
    let is_right = test.counted_bytes <= test.written_bytes && missing_bytes <= test.bound_bytes;
    let (word, style) = standing(if is_right { Standing::Works } else { Standing::Limited });
    let finding = format!(
        "self test: {} children wrote {} bytes and ended, {} were counted (tier {})",
        test.children,
        test.written_bytes,
        test.counted_bytes,
        test.tier.letter()
    );
    push_broken(page, &format!("{style}{word:<8}{style:#} "), &finding, FINDING_COLUMNS);
}

/// The finding in one line; below it what it takes, and the command that gives it.
fn push_fact(page: &mut String, fact: &Fact, held: &[&str]) {
    let (word, style) = standing(fact.standing);
    let finding = format!("{}: {}", fact.subject, fact.found);
    push_broken(page, &format!("{style}{word:<8}{style:#} "), &finding, FINDING_COLUMNS);
    if matches!(fact.standing, Standing::Works | Standing::Untried) {
        return;
    }
    if held.contains(&fact.needs) {
        let refused = format!(
            "{} is held: something else refuses, such as a user namespace or a security module",
            fact.needs
        );
        push_broken(page, "         ", &refused, FINDING_COLUMNS);
        return;
    }
    push_broken(page, "         ", &format!("needs {}", fact.needs), FINDING_COLUMNS);
    if let Some(Cure::Command(command)) = fact.cure {
        push_line(page, format_args!("         $ {command}"));
    }
}

fn standing(standing: Standing) -> (&'static str, Style) {
    match standing {
        Standing::Works => ("ok", AnsiColor::Green.on_default()),
        Standing::Limited => ("limited", AnsiColor::Yellow.on_default()),
        Standing::Missing => ("missing", AnsiColor::Red.on_default()),
        Standing::Untried => ("untried", Style::new()),
    }
}

/// Words behind a beginning that takes so many columns, broken between them where the screen
/// ends, and going on below where they began. Commands are never broken: they are to be copied.
fn push_broken(page: &mut String, begin: &str, words: &str, begin_columns: usize) {
    let width = screen::width_columns();
    page.push_str(begin);
    for (position, line) in broken(words, width.saturating_sub(begin_columns)).iter().enumerate() {
        if position > 0 {
            let _ = write!(page, "{:begin_columns$}", "");
        }
        push_line(page, format_args!("{line}"));
    }
}

/// Lines of words that are no wider than this, where a word is not. A line feed begins one, too.
fn broken(words: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for part in words.split('\n') {
        let mut line = String::new();
        for word in part.split_whitespace() {
            let columns = line.chars().count() + 1 + word.chars().count();
            if !line.is_empty() && columns > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

fn push_line(page: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(page, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_broken_where_the_screen_ends_and_nowhere_within() {
        let check = |words: &str, width, expected: &[&str]| {
            assert_eq!(broken(words, width), expected, "{words} {width}");
        };
        check("what can be measured", 80, &["what can be measured"]);
        check("what can be measured", 11, &["what can be", "measured"]);
        check("CAP_SYS_PTRACE or root", 8, &["CAP_SYS_PTRACE", "or root"]);
        check("one,\ntwo three", 80, &["one,", "two three"]);
        check("", 80, &[""]);
    }
}
