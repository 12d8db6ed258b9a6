//! The Python module: its tests, and `cargo xtask wheel`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::step::Program;
use crate::target_folder;

/// Environments and wheels, below the build folder.
struct Workshop {
    root: PathBuf,
    folder: PathBuf,
}

/// Builds the module as a developer does, and tries it in an environment of its own.
pub(crate) fn test(root: &Path) -> Result<()> {
    let workshop = Workshop::open(root)?;
    let python = workshop.environment("venv", &["-r", "python/requirements.txt"])?;
    let wheels = workshop.empty_folder("dev-wheels")?;
    // A debug build shares what the other tests have compiled already.
    let build = "-m maturin build --quiet --profile dev --compatibility linux --out";
    workshop.program(&python, build).arg(&wheels).run()?;
    workshop.install(&python, &the_wheel(&wheels)?)?;
    workshop.program(&python, "python/tests/generate_sections.py --check").run()?;
    workshop.program(&python, "-m mypy --no-error-summary").run()?;
    let stubtest = "-m mypy.stubtest metrics_per_process --concise";
    workshop.program(&python, stubtest).run()?;
    let pytest = "-X dev -X faulthandler -m pytest --quiet python/tests";
    let pytest = workshop.program(&python, pytest).env("MPP_LOAD", workshop.load()?);
    pytest.env("MMAP_LOCK_HOLDER", workshop.mmap_lock_holder()?).run()
}

/// Builds the manylinux2014 wheel and the source distribution into `target/python/dist`, and
/// shows that the wheel works where there is no Rust.
pub(crate) fn wheel(root: &Path) -> Result<()> {
    let workshop = Workshop::open(root)?;
    let python = workshop.environment("wheel-venv", &["maturin>=1.9.4,<2", "ziglang"])?;
    let dist = workshop.empty_folder("dist")?;
    let build = "-m maturin build --quiet --release --sdist --zig --compatibility manylinux2014 \
                 --out";
    let build = workshop.program(&python, build).arg(&dist);
    // The wheel is built from the source distribution, in a folder that goes; what it compiles
    // is kept here.
    build.env("CARGO_TARGET_DIR", workshop.folder.join("wheel-build")).run()?;
    let wheel = the_wheel(&dist)?;
    for interpreter in workshop.interpreters()? {
        let user = workshop.fresh_environment("user-venv", &interpreter)?;
        workshop.install(&user, &wheel)?;
        let check = workshop.program(&user, "python/tests/try_wheel.py");
        let own_folder = user.parent().context("an interpreter lies in a folder")?;
        check.env("PATH", own_folder).run()?;
    }
    Ok(())
}

impl Workshop {
    fn open(root: &Path) -> Result<Self> {
        let folder = target_folder(root)?.join("python");
        fs::create_dir_all(&folder).context("cannot create the folder for Python")?;
        Ok(Workshop { root: root.to_path_buf(), folder })
    }

    /// An environment that is kept, with these packages.
    fn environment(&self, name: &str, packages: &[&str]) -> Result<PathBuf> {
        let python = self.folder.join(name).join("bin/python");
        if !python.exists() {
            let create = Program::new(&self.root, "python3 -m venv");
            create.arg(self.folder.join(name)).run()?;
        }
        let install = self.program(&python, PIP_INSTALL);
        packages.iter().fold(install, Program::arg).run()?;
        Ok(python)
    }

    /// The interpreters of this machine that the module is for, one of each version.
    fn interpreters(&self) -> Result<Vec<PathBuf>> {
        let listed = Program::new(&self.root, "python3 python/tests/interpreters.py").output()?;
        Ok(listed.lines().map(PathBuf::from).collect())
    }

    /// An environment of an interpreter, with nothing in it.
    fn fresh_environment(&self, name: &str, interpreter: &Path) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        self.program(interpreter, "-m venv --clear").arg(&folder).run()?;
        Ok(folder.join("bin/python"))
    }

    fn install(&self, python: &Path, wheel: &Path) -> Result<()> {
        self.program(python, PIP_INSTALL).arg("--no-deps").arg("--force-reinstall").arg(wheel).run()
    }

    fn empty_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    }

    /// The program with loads that know their truth, which the tests start.
    fn load(&self) -> Result<PathBuf> {
        Program::cargo(&self.root, "cargo build --quiet --package mpp-load").run()?;
        Ok(target_folder(&self.root)?.join("debug/mpp-load"))
    }

    /// The program that makes a process nobody can read the memory of without hanging.
    fn mmap_lock_holder(&self) -> Result<PathBuf> {
        let build = "cargo build --quiet --package mpp-collect --example mmap_lock_holder";
        Program::cargo(&self.root, build).run()?;
        Ok(target_folder(&self.root)?.join("debug/examples/mmap_lock_holder"))
    }

    /// An interpreter with the words of a line as arguments, in its environment.
    fn program(&self, python: &Path, line: &str) -> Program {
        let program = line.split_whitespace().fold(Program::at(&self.root, python), Program::arg);
        // Programs that packages bring along, as zig, are looked for beside the interpreter.
        let own = python.parent().map(Path::to_path_buf);
        let path = std::env::var_os("PATH").unwrap_or_default();
        match std::env::join_paths(own.into_iter().chain(std::env::split_paths(&path))) {
            Ok(path) => program.env("PATH", path),
            Err(_) => program,
        }
    }
}

const PIP_INSTALL: &str = "-m pip install --quiet --disable-pip-version-check";

/// The one wheel in a folder, which must serve all versions of Python.
fn the_wheel(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).context("cannot list the wheels")?;
    let mut wheels = Vec::new();
    for entry in entries {
        let path = entry.context("cannot list the wheels")?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            wheels.push(path);
        }
    }
    match wheels.as_slice() {
        [wheel] if is_abi3(wheel) => Ok(wheel.clone()),
        _ => bail!("expected one abi3 wheel in {}, but found {wheels:?}", folder.display()),
    }
}

fn is_abi3(wheel: &Path) -> bool {
    wheel.file_name().is_some_and(|name| name.to_string_lossy().contains("-cp39-abi3-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wheel: &str, expected: bool) {
        assert_eq!(is_abi3(Path::new(wheel)), expected, "{wheel}");
    }

    #[test]
    fn one_wheel_serves_all_versions_of_python() {
        check("dist/metrics_per_process-0.1.0-cp39-abi3-manylinux2014_x86_64.whl", true);
        check("dist/metrics_per_process-0.1.0-cp311-cp311-linux_x86_64.whl", false);
        check("dist/-cp39-abi3-/other.whl", false);
    }
}
