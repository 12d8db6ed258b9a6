//! `cargo xtask boot`: Debian's own kernels, each with the static programs and nothing beside.
//!
//! Kernel, emulator and shell come from Debian's archive into a folder of the build; nothing is
//! installed. The machine is emulated in software, since a nested /dev/kvm may be there and
//! still fail, and so needs no privilege. Its first process is `boot/init.sh`, which runs `mpp`
//! and loads that know their truth and writes to a second serial port; what must be there is
//! judged here.

mod archive;
mod initramfs;
mod verdict;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use self::archive::{Archive, Suite};
use crate::static_programs::StaticPrograms;
use crate::step::{Program, seconds};
use crate::{USAGE, target_folder, value};

/// A line of kernels, where Debian has it, and what it must give.
struct Kernel {
    line: &'static str,
    suite: &'static str,
    /// The best tier for root.
    tier: char,
    /// Why it is no better, where it is not.
    reasons: &'static [&'static str],
}

const KERNELS: &[Kernel] = &[
    Kernel { line: "6.1", suite: "bookworm", tier: 'A', reasons: &[] },
    Kernel {
        line: "5.10",
        suite: "bullseye",
        tier: 'C',
        reasons: &[
            "A: Linux 5.10 is too old: programs fit themselves to the kernel since 5.17",
            "B: this kernel does not tell to which process an ended thread belonged (taskstats before version 12)",
        ],
    },
    Kernel { line: "6.12", suite: "trixie", tier: 'A', reasons: &[] },
    Kernel { line: "6.18", suite: "trixie-backports", tier: 'A', reasons: &[] },
];

const QEMU: &str = "qemu-system-x86_64";
/// An emulated machine is done by then, also beside others.
const BOOT_MAX: Duration = Duration::from_secs(480);
const DISK_BYTES: u64 = 512 << 20;
/// What the first process writes last.
const OVER: &str = "#over";

/// Which kernels to boot.
pub(crate) struct Plan {
    kernels: Vec<&'static Kernel>,
}

impl Plan {
    /// Reads the arguments behind `boot`: the oldest kernel that has all tiers unless told.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut plan = Plan { kernels: KERNELS.iter().take(1).collect() };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--kernel" => plan.kernels = kernels(value(argument, &mut arguments)?)?,
                other => bail!("unknown option `{other}`\n\n{USAGE}"),
            }
        }
        Ok(plan)
    }
}

fn kernels(name: &str) -> Result<Vec<&'static Kernel>> {
    let chosen: Vec<_> =
        KERNELS.iter().filter(|kernel| name == "all" || kernel.line == name).collect();
    let known: Vec<_> = KERNELS.iter().map(|kernel| kernel.line).collect();
    ensure!(
        !chosen.is_empty(),
        "`--kernel {name}`: expected `all`, or one of {}",
        known.join(", ")
    );
    Ok(chosen)
}

/// Boots each kernel, and fails at the first that does not show what it must.
pub(crate) fn run(root: &Path, plan: &Plan) -> Result<()> {
    if let Some(why) = archive::missing() {
        bail!("{why}");
    }
    let machine = Machine::prepare(root)?;
    for kernel in &plan.kernels {
        let begin = Instant::now();
        let failed = || format!("Linux {} does not show what it must", kernel.line);
        let written = machine.boot(kernel).with_context(failed)?;
        let shown = verdict::judge(kernel, &written).with_context(failed)?;
        say(&format!("{shown}: tier {}, in {}", kernel.tier, seconds(begin.elapsed())))?;
    }
    Ok(())
}

/// Boots the kernel that the archive's present release has; where kernels cannot be had, says so.
pub(crate) fn check(root: &Path) -> Result<()> {
    match archive::missing() {
        Some(why) => say(&format!("skipped: {why}")),
        None => run(root, &Plan::parse(&[])?),
    }
}

/// Everything that a machine needs but its kernel.
struct Machine {
    archive: Archive,
    programs: StaticPrograms,
    busybox: PathBuf,
    /// What was unpacked beside it, where the emulator is not installed.
    tools: PathBuf,
}

impl Machine {
    fn prepare(root: &Path) -> Result<Self> {
        let programs = StaticPrograms::build(root)?;
        let archive = Archive::at(target_folder(root)?.join("boot"))?;
        let own = archive.suite(&archive::own_release()?)?;
        let tools = archive.folder("tools")?;
        own.unpack(&["busybox-static".to_owned()], &tools)?;
        if !Program::new(root, &format!("{QEMU} --version")).succeeds() {
            let names = own.with_dependencies("qemu-system-x86")?;
            own.unpack(&names, &tools)?;
        }
        let busybox = tools.join("bin/busybox");
        Ok(Machine { archive, programs, busybox, tools })
    }

    /// Runs a kernel until its first process is done; returns what that wrote.
    fn boot(&self, kernel: &Kernel) -> Result<String> {
        let image = self.kernel_image(kernel)?;
        let folder = self.archive.folder("run")?;
        let [initramfs, disk, console, results] =
            ["initramfs", "disk", "console", "results"].map(|name| folder.join(name));
        initramfs::write(&initramfs, &self.programs, &self.busybox)?;
        File::create(&disk)?.set_len(DISK_BYTES)?;
        fs::write(&results, "")?;
        let mut emulator = self.emulator(&image, &initramfs, &disk, &console, &results)?;
        let outcome = wait(&mut emulator, &results);
        // Both fail only where it has ended already.
        let _ = emulator.kill();
        let _ = emulator.wait();
        fs::remove_file(&disk)?;
        let written = String::from_utf8_lossy(&fs::read(&results)?).replace('\r', "");
        match outcome {
            Ok(()) => Ok(written),
            Err(error) => Err(error.context(format!(
                "{}\n{written}",
                tail(&String::from_utf8_lossy(&fs::read(&console).unwrap_or_default()))
            ))),
        }
    }

    fn kernel_image(&self, kernel: &Kernel) -> Result<PathBuf> {
        let suite: Suite = self.archive.suite(kernel.suite)?;
        let line = kernel.line.replace('.', "\\.");
        let package = suite.newest(&format!("^linux-image-{line}\\.[0-9].*-cloud-amd64$"))?;
        let release = package.strip_prefix("linux-image-").unwrap_or_default().to_owned();
        let folder = self.archive.folder("kernels")?;
        suite.unpack(&[package], &folder)?;
        Ok(folder.join(format!("boot/vmlinuz-{release}")))
    }

    fn emulator(
        &self,
        image: &Path,
        initramfs: &Path,
        disk: &Path,
        console: &Path,
        results: &Path,
    ) -> Result<Child> {
        let unpacked = self.tools.join("usr/bin").join(QEMU);
        let program = match unpacked.exists() {
            true => {
                let libraries = ["usr/lib", "lib"]
                    .map(|folder| format!("{}/{folder}/x86_64-linux-gnu", self.tools.display()));
                Program::at(Path::new("/"), unpacked)
                    .env("LD_LIBRARY_PATH", libraries.join(":"))
                    .arg("-L")
                    .arg(self.tools.join("usr/share/qemu"))
                    .arg("-L")
                    .arg(self.tools.join("usr/share/seabios"))
            }
            false => Program::new(Path::new("/"), QEMU),
        };
        let file = |kind: &str, path: &Path| format!("{kind}{}", path.display());
        let drive = file("format=raw,if=none,id=disk,cache=unsafe,file=", disk);
        let fixed = "-accel tcg,thread=multi -cpu max -smp 2 -m 1024 -nodefaults -no-user-config \
                     -display none -no-reboot -device nvme,drive=disk,serial=disk";
        let program = fixed.split_whitespace().fold(program, Program::arg);
        let program = program.arg("-drive").arg(drive).arg("-kernel").arg(image);
        let program = program.arg("-initrd").arg(initramfs).arg("-append");
        // On a busy host an emulated timer is late, which is no fault of the kernel.
        let program = program.arg("console=ttyS0 loglevel=4 panic=-1 no_timer_check");
        let program = program.arg("-serial").arg(file("file:", console));
        let mut command = program.arg("-serial").arg(file("file:", results)).into_command();
        command.stdin(Stdio::null()).spawn().context("cannot start the emulator")
    }
}

/// Waits until the first process has said that it is done.
fn wait(emulator: &mut Child, results: &Path) -> Result<()> {
    let begin = Instant::now();
    loop {
        let has_ended = emulator.try_wait()?.is_some();
        if fs::read(results)?.windows(OVER.len()).any(|bytes| bytes == OVER.as_bytes()) {
            return Ok(());
        }
        ensure!(!has_ended, "the machine went off before its first process was done");
        ensure!(begin.elapsed() < BOOT_MAX, "not done after {}", seconds(BOOT_MAX));
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The last lines of a text.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn say(words: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "    {words}")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str], expected: Result<&[&str], &str>) {
        let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        let lines = |plan: Plan| plan.kernels.iter().map(|kernel| kernel.line).collect();
        let found: Result<Vec<&str>> = Plan::parse(&arguments).map(lines);
        let found = found.map_err(|error| error.to_string());
        assert_eq!(found, expected.map(<[&str]>::to_vec).map_err(str::to_owned));
    }

    #[test]
    fn one_kernel_or_all_are_booted() {
        check(&[], Ok(&["6.1"]));
        check(&["--kernel", "6.12"], Ok(&["6.12"]));
        check(&["--kernel", "all"], Ok(&["6.1", "5.10", "6.12", "6.18"]));
        let known = "6.1, 5.10, 6.12, 6.18";
        let expected = format!("`--kernel 6`: expected `all`, or one of {known}");
        check(&["--kernel", "6"], Err(&expected));
    }
}
