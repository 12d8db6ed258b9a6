//! The project's automation: `cargo xtask help`.

#![forbid(unsafe_code)]

mod bench;
mod boot;
mod bpf;
mod checks;
mod fuzz;
mod instructions;
mod python;
mod same_load;
mod soak;
mod static_programs;
mod step;
mod tidy;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [--long] [--fuzz-seconds N]       everything that must pass; ends at the first failure
  tidy                                   layers, names, the one table of metrics
  fuzz [TARGET] [--seconds N]            one fuzz target, or each of them
  bench [--processes N,N] [--active PERCENT,PERCENT] [--samples N]
                                         what one sample costs, beside other tools and C programs
  ratios                                 a sample beside the fewest system calls, held to bounds
  growth [--samples N] [--upto N] [--results FOLDER]
                                         what it costs while processes, groups, threads grow
  instructions [--accept]                what parsers, ledger, groups and encoders take, by valgrind
  same-load [--seconds N] [--only LOAD]  what we and other tools show of one load, by the second
  boot [--kernel LINE]                   Debian's 6.1, or another line, or all, emulated; with its own tests
  soak [--seconds N]                     ten minutes beside a load, in which nothing may grow
  bpf [--check]                          compile the BPF programs, or compare what is committed
  wheel                                  the Python wheel for every Linux, and its sources
  python                                 the tests of the Python module alone

test --long also boots Debian's 6.1, runs `soak`, watches each load every 5 seconds too, searches
longer (more random histories, 60 seconds for each fuzz target), and grants no test a second try.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(outcome) => outcome,
        Err(error) => {
            complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<ExitCode> {
    let root = root()?;
    let (command, rest) = arguments.split_first().map_or(("help", arguments), |(c, r)| (c, r));
    match command {
        "test" => return checks::run(&root, &checks::Plan::parse(rest)?),
        "tidy" => {
            no_more(rest)?;
            tidy::run(&root)?;
        }
        "fuzz" => fuzz::run(&root, &fuzz::Plan::parse(rest)?)?,
        "bench" => bench::run(&root, &bench::Plan::parse(rest)?)?,
        "ratios" => {
            no_more(rest)?;
            bench::ratios::check(&root)?;
        }
        "growth" => bench::growth::run(&root, &bench::growth::Plan::parse(rest)?)?,
        "instructions" => instructions::run(&root, instructions::Plan::parse(rest)?)?,
        "same-load" => same_load::run(&root, &same_load::Plan::parse(rest)?)?,
        "boot" => boot::run(&root, &boot::Plan::parse(rest)?)?,
        "soak" => soak::run(&root, &soak::Plan::parse(rest)?)?,
        "bpf" => bpf::run(&root, bpf::Plan::parse(rest)?)?,
        "wheel" => {
            no_more(rest)?;
            python::wheel(&root)?;
        }
        "python" => {
            no_more(rest)?;
            python::test(&root)?;
        }
        "help" | "--help" | "-h" => std::io::stdout().lock().write_all(USAGE.as_bytes())?,
        other => bail!("unknown command `{other}`\n\n{USAGE}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The root of the workspace: this program is run by cargo, in a package one level below.
fn root() -> Result<PathBuf> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").context("run it as `cargo xtask`")?;
    let root = Path::new(&manifest).parent().context("the automation lies in no workspace")?;
    Ok(root.to_path_buf())
}

/// Where cargo builds, this program too.
fn target_folder(root: &Path) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this program")?;
    let folder = own.parent().and_then(Path::parent).map(Path::to_path_buf);
    Ok(folder.unwrap_or_else(|| root.join("target")))
}

fn no_more(arguments: &[String]) -> Result<()> {
    match arguments.first() {
        Some(argument) => bail!("unexpected argument `{argument}`\n\n{USAGE}"),
        None => Ok(()),
    }
}

/// The value behind an option.
fn value<'a>(option: &str, arguments: &mut impl Iterator<Item = &'a String>) -> Result<&'a str> {
    arguments.next().map(String::as_str).with_context(|| format!("option `{option}` needs a value"))
}

/// The whole number behind an option.
fn number<'a>(option: &str, arguments: &mut impl Iterator<Item = &'a String>) -> Result<u64> {
    let text = value(option, arguments)?;
    text.parse().with_context(|| format!("`{option} {text}`: expected a whole number"))
}

/// Says something on standard error.
fn complain(words: &str) {
    // There is nobody left to tell where standard error is closed.
    let _ = writeln!(std::io::stderr(), "{words}");
}
