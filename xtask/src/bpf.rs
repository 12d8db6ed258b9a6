//! `cargo xtask bpf`: the BPF programs from their C sources into the bytes that are committed.
//!
//! The same sources give the same bytes in any folder: paths are mapped away, and what is left
//! for debuggers is stripped. bpftool wraps each object as a light skeleton, a C header; of that
//! only the two byte strings and the order of maps and programs are kept, since the loader is
//! ours. Building the project needs none of the tools.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::step::Program;
use crate::{USAGE, target_folder};

/// Where the sources and the compiled objects lie.
const FOLDER: &str = "crates/mpp-collect/bpf";
/// The file that says what is in the compiled objects.
const CONTENTS: &str = "crates/mpp-collect/src/bpf/compiled.rs";
/// Every object, by the name of its source.
const OBJECTS: [&str; 2] = ["programs", "hooks"];
const CLANG: &str = "clang-14";
const STRIP: &str = "llvm-strip-14";
const BPFTOOL: &str = "bpftool";
const FLAGS: &str = "-target bpfel -mcpu=v3 -O2 -g -nostdinc -Wall -Wextra -Werror";
const INSTALL: &str =
    "apt-get install --yes --quiet --no-install-recommends clang-14 llvm-14 bpftool";

/// What to do with what was compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Write it into the tree.
    Write,
    /// Compare it with what lies in the tree.
    Check,
}

impl Plan {
    /// Reads the arguments behind `bpf`.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        match arguments {
            [] => Ok(Plan::Write),
            [option] if option == "--check" => Ok(Plan::Check),
            [other, ..] => bail!("unknown option `{other}`\n\n{USAGE}"),
        }
    }
}

/// Compiles every object and writes or compares it; where a tool is missing the comparison says
/// so and succeeds.
pub(crate) fn run(root: &Path, plan: Plan) -> Result<()> {
    if let Some(why) = missing_tool(root) {
        ensure!(plan == Plan::Check, "{why}");
        say(&format!("skipped: {why}"))?;
        return Ok(());
    }
    let mut skeletons = Vec::new();
    for name in OBJECTS {
        let skeleton = compile(root, name).with_context(|| format!("cannot make {name}.skel"))?;
        skeletons.push((name, skeleton));
    }
    let mut files = vec![(root.join(CONTENTS), formatted(root, &contents(&skeletons)?)?)];
    for (name, skeleton) in &skeletons {
        files.push((root.join(FOLDER).join(format!("{name}.skel")), skeleton.bytes()));
    }
    for (path, bytes) in files {
        match plan {
            Plan::Write => fs::write(&path, bytes)
                .with_context(|| format!("cannot write {}", path.display()))?,
            Plan::Check => compare(&path, &bytes)?,
        }
    }
    Ok(())
}

/// Compares, after the tools were installed where that may be done unasked.
pub(crate) fn check(root: &Path) -> Result<()> {
    if missing_tool(root).is_some() && may_install() {
        // Without them the comparison says what it lacks.
        let installed = Program::new(root, INSTALL).env("DEBIAN_FRONTEND", "noninteractive").run();
        if let Err(error) = installed {
            say(&format!("the compiler of BPF programs could not be installed: {error:#}"))?;
        }
    }
    run(root, Plan::Check)
}

/// Whether this is a machine for tests, which nobody minds being changed.
fn may_install() -> bool {
    let is_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt as _;
        own.uid() == 0
    });
    is_ci && is_root && Path::new("/etc/debian_version").exists()
}

/// Why nothing can be compiled here, or `None`.
fn missing_tool(root: &Path) -> Option<String> {
    let has = |line: &str| Program::new(root, line).succeeds();
    if !has("clang-14 --version") || !has("llvm-strip-14 --version") {
        return Some("clang-14 is not installed".to_owned());
    }
    if !has("bpftool version") {
        return Some("bpftool is not installed".to_owned());
    }
    // bpftool looks at it although the object is relocated where it is loaded.
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Some("this kernel does not describe its types, which bpftool needs".to_owned());
    }
    None
}

/// A light skeleton: a program that loads the others, what it works on, and what it loads.
#[derive(Debug, PartialEq, Eq)]
struct Skeleton {
    maps: Vec<String>,
    programs: Vec<String>,
    data: Vec<u8>,
    instructions: Vec<u8>,
}

impl Skeleton {
    /// As it is committed: the data, then the instructions.
    fn bytes(&self) -> Vec<u8> {
        [self.data.as_slice(), &self.instructions].concat()
    }
}

fn compile(root: &Path, name: &str) -> Result<Skeleton> {
    let object = object_path(root, name)?;
    let folder = root.join(FOLDER);
    let here = folder.display();
    let clang = Program::new(&folder, &format!("{CLANG} {FLAGS}"))
        .arg(format!("-fdebug-prefix-map={here}=."))
        .arg(format!("-ffile-prefix-map={here}=."));
    clang.arg("-c").arg(format!("{name}.bpf.c")).arg("-o").arg(&object).run()?;
    Program::new(&folder, &format!("{STRIP} -g")).arg(&object).run()?;
    let skeleton = Program::new(&folder, &format!("{BPFTOOL} gen skeleton -L"));
    read_skeleton(&skeleton.arg(&object).output()?)
}

fn object_path(root: &Path, name: &str) -> Result<PathBuf> {
    let folder = target_folder(root)?.join("bpf");
    fs::create_dir_all(&folder).context("cannot create the folder for BPF objects")?;
    Ok(folder.join(format!("{name}.o")))
}

/// Takes from bpftool's header what the loader needs.
fn read_skeleton(header: &str) -> Result<Skeleton> {
    let (data, instructions) =
        (byte_string(header, "opts.data")?, byte_string(header, "opts.insns")?);
    for (size, bytes) in [("opts.data_sz", &data), ("opts.insns_sz", &instructions)] {
        let expected = after(header, &format!("{size} = "))?.split(';').next().unwrap_or_default();
        ensure!(expected == bytes.len().to_string(), "{size} is {expected}, not {}", bytes.len());
    }
    let maps = names(header, "struct bpf_map_desc ");
    let programs = names(header, "struct bpf_prog_desc ");
    Ok(Skeleton { maps, programs, data, instructions })
}

/// The names of all members of a type, in order.
fn names(header: &str, member: &str) -> Vec<String> {
    let lines = header.lines().filter_map(|line| line.trim().strip_prefix(member));
    lines.map(|name| name.trim_end_matches(';').to_owned()).collect()
}

fn after<'a>(text: &'a str, beginning: &str) -> Result<&'a str> {
    let found = text.split_once(beginning).map(|(_, rest)| rest);
    found.with_context(|| format!("bpftool wrote no `{beginning}`"))
}

/// The bytes of a C string of escaped bytes, over several lines.
fn byte_string(header: &str, variable: &str) -> Result<Vec<u8>> {
    let text = after(header, &format!("{variable} = (void *)\""))?;
    let text = text.split('"').next().unwrap_or_default().replace("\\\n", "");
    let escapes = text.trim().split('\\').skip(1);
    escapes.map(byte).collect()
}

/// The byte of an escape, without its backslash: `0`, or `x` and two digits.
fn byte(escape: &str) -> Result<u8> {
    let digits = if escape == "0" { Some(escape) } else { escape.strip_prefix('x') };
    let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
    byte.with_context(|| format!("bpftool wrote `\\{escape}`, which is no byte"))
}

/// The source file that says what is in the objects.
fn contents(skeletons: &[(&str, Skeleton)]) -> Result<String> {
    let mut text = "//! What is in the compiled BPF objects, in the order of their loader.\n//!\n\
         //! Written by `cargo xtask bpf` together with the objects, and compared by\n\
         //! `cargo xtask bpf --check`.\n\n\
         use super::skeleton::Skeleton;\n"
        .to_owned();
    for (name, skeleton) in skeletons {
        let upper = name.to_uppercase();
        write!(
            text,
            "\n/// `bpf/{name}.bpf.c`.\n\
             pub(super) const {upper}: Skeleton = Skeleton {{\n\
             bytes: include_bytes!(\"../../bpf/{name}.skel\"),\n\
             data_length: {},\n\
             maps: &{:?},\n\
             programs: &{:?},\n\
             }};\n",
            skeleton.data.len(),
            skeleton.maps,
            skeleton.programs,
        )?;
    }
    Ok(text)
}

/// Rust source as rustfmt has it in this project.
fn formatted(root: &Path, source: &str) -> Result<Vec<u8>> {
    let path = object_path(root, "compiled")?.with_extension("rs");
    fs::write(&path, source).with_context(|| format!("cannot write {}", path.display()))?;
    let rustfmt = Program::new(root, "rustfmt --edition 2024 --config-path rustfmt.toml");
    rustfmt.arg(&path).run()?;
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn compare(path: &Path, expected: &[u8]) -> Result<()> {
    let found = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let hint = "`cargo xtask bpf` writes it anew; it wants Debian's clang-14 and bpftool 7.1";
    ensure!(found == expected, "{} is not what its sources compile to\n\n{hint}", path.display());
    Ok(())
}

fn say(words: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "    {words}")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "struct x {\n\tstruct {\n\t\tstruct bpf_map_desc exits;\n\
        \t\tstruct bpf_map_desc rodata;\n\t} maps;\n\tstruct {\n\
        \t\tstruct bpf_prog_desc write_exit;\n\t} progs;\n};\n\
        \tskel->rodata = skel_prep_map_data((void *)\"\\\n\\x01\", 4096, 1);\n\
        \topts.data_sz = 3;\n\topts.data = (void *)\"\\\n\\0\\xff\\\n\\x7a\";\n\
        \topts.insns_sz = 2;\n\topts.insns = (void *)\"\\\n\\x01\\x02\";\n";

    fn check(header: &str, expected: Result<Skeleton, &str>) {
        let found = read_skeleton(header).map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(str::to_owned));
    }

    #[test]
    fn a_skeleton_is_its_bytes_and_its_names_in_order() {
        let skeleton = Skeleton {
            maps: vec!["exits".to_owned(), "rodata".to_owned()],
            programs: vec!["write_exit".to_owned()],
            data: vec![0, 255, 0x7a],
            instructions: vec![1, 2],
        };
        assert_eq!(skeleton.bytes(), [0, 255, 0x7a, 1, 2]);
        check(HEADER, Ok(skeleton));
    }

    #[test]
    fn a_skeleton_that_another_bpftool_writes_otherwise_is_refused() {
        check(&HEADER.replace("_sz = 3", "_sz = 4"), Err("opts.data_sz is 4, not 3"));
        check(&HEADER.replace("\\xff", "\\377"), Err("bpftool wrote `\\377`, which is no byte"));
        check("", Err("bpftool wrote no `opts.data = (void *)\"`"));
    }

    #[test]
    fn the_one_option_is_to_compare() {
        let parse = |arguments: &[&str]| {
            Plan::parse(&arguments.iter().map(|&a| a.to_owned()).collect::<Vec<_>>()).ok()
        };
        assert_eq!(parse(&[]), Some(Plan::Write));
        assert_eq!(parse(&["--check"]), Some(Plan::Check));
        assert_eq!(parse(&["--check", "x"]), None);
        assert_eq!(parse(&["check"]), None);
    }
}
